//! The forward pass against a plain f64 implementation, gradients against its finite differences.

use std::{cell::RefCell, collections::BTreeMap};

use burn::tensor::TensorData;

use super::*;
use crate::{Activation, weights};

type Tensors = BTreeMap<String, Vec<f64>>;

pub(crate) fn tiny() -> ModelConfig {
    let mut config = ModelConfig::llama(23, 16, 2, 4, 2, 24);
    config.head_dim = 6; // not hidden_size / heads, as in Qwen3
    config.attention_scale = 1.0 / 6f64.sqrt();
    config.initializer_range = 0.3;
    config
}

/// Every feature that some family uses.
fn ornate() -> ModelConfig {
    let mut config = tiny();
    config.tie_word_embeddings = false;
    config.qkv_bias = true;
    config.qk_norm = true;
    config.sandwich_norms = true;
    config.activation = Activation::GeluTanh;
    config.embedding_scale = Some(4.0);
    config.layers[0].window = Some(3);
    config.layers[1].no_rope = true;
    config
}

fn ints(tokens: &[u32], shape: [usize; 2], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(tokens.iter().map(|&token| token as i32).collect::<Vec<_>>(), shape), device)
}

fn tensors(model: &CausalLm) -> Tensors {
    let all = RefCell::new(Tensors::new());
    weights::export(model, &mut |name, _, values| {
        all.borrow_mut().insert(name.to_owned(), values()?.into_iter().map(f64::from).collect());
        Ok(())
    })
    .unwrap();
    all.into_inner()
}

/// `y[out] = W[out, in] · x[in] (+ b)`.
fn linear(tensors: &Tensors, name: &str, x: &[f64]) -> Vec<f64> {
    let weight = &tensors[&format!("{name}.weight")];
    let bias = tensors.get(&format!("{name}.bias"));
    weight
        .chunks_exact(x.len())
        .enumerate()
        .map(|(i, row)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias.map_or(0.0, |bias| bias[i]))
        .collect()
}

fn norm(weight: Option<&Vec<f64>>, x: &[f64], eps: f64) -> Vec<f64> {
    let Some(weight) = weight else { return x.to_vec() };
    x.chunks_exact(weight.len())
        .flat_map(|x| {
            let scale = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt();
            x.iter().zip(weight).map(|(x, w)| x * scale * w).collect::<Vec<_>>()
        })
        .collect()
}

fn rotate(x: &mut [f64], dim: usize, position: usize, theta: f64) {
    for head in x.chunks_exact_mut(dim) {
        for i in 0..dim / 2 {
            let (sin, cos) = (position as f64 * theta.powf(-2.0 * i as f64 / dim as f64)).sin_cos();
            let (a, b) = (head[i], head[i + dim / 2]);
            (head[i], head[i + dim / 2]) = (a * cos - b * sin, b * cos + a * sin);
        }
    }
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
    }
}

/// Logits of one document, token by token, straight from the definition.
fn reference(config: &ModelConfig, tensors: &Tensors, tokens: &[u32]) -> Vec<Vec<f64>> {
    let (hidden, dim) = (config.hidden_size, config.head_dim);
    let group = config.num_attention_heads / config.num_key_value_heads;
    let eps = config.rms_norm_eps;
    let embedding = &tensors["model.embed_tokens.weight"];
    let scale = config.embedding_scale.unwrap_or(1.0);
    let mut states: Vec<Vec<f64>> =
        tokens.iter().map(|&t| embedding[t as usize * hidden..(t as usize + 1) * hidden].iter().map(|x| x * scale).collect()).collect();
    for (index, kind) in config.layers.iter().enumerate() {
        let at = |name: &str| format!("model.layers.{index}.{name}");
        let get = |name: &str| tensors.get(&at(name));
        let (after_attention, pre_mlp, after_mlp) = if config.sandwich_norms {
            (get("post_attention_layernorm.weight"), get("pre_feedforward_layernorm.weight"), get("post_feedforward_layernorm.weight"))
        } else {
            (None, get("post_attention_layernorm.weight"), None)
        };
        let (mut queries, mut keys, mut values) = (vec![], vec![], vec![]);
        for (position, x) in states.iter().enumerate() {
            let x = norm(get("input_layernorm.weight"), x, eps);
            let mut q = norm(get("self_attn.q_norm.weight"), &linear(tensors, &at("self_attn.q_proj"), &x), eps);
            let mut k = norm(get("self_attn.k_norm.weight"), &linear(tensors, &at("self_attn.k_proj"), &x), eps);
            if !kind.no_rope {
                rotate(&mut q, dim, position, config.rope.theta);
                rotate(&mut k, dim, position, config.rope.theta);
            }
            queries.push(q);
            keys.push(k);
            values.push(linear(tensors, &at("self_attn.v_proj"), &x));
        }
        for (position, x) in states.iter_mut().enumerate() {
            let first = kind.window.map_or(0, |window| (position + 1).saturating_sub(window));
            let mut attended = vec![0.0; config.q_size()];
            for head in 0..config.num_attention_heads {
                let (q, shared) = (&queries[position][head * dim..(head + 1) * dim], head / group * dim);
                let scores: Vec<f64> = (first..=position)
                    .map(|key| keys[key][shared..shared + dim].iter().zip(q).map(|(k, q)| k * q).sum::<f64>() * config.attention_scale)
                    .collect();
                let total: f64 = scores.iter().map(|score| score.exp()).sum();
                for (key, score) in (first..=position).zip(&scores) {
                    for i in 0..dim {
                        attended[head * dim + i] += score.exp() / total * values[key][shared + i];
                    }
                }
            }
            let added = norm(after_attention, &linear(tensors, &at("self_attn.o_proj"), &attended), eps);
            x.iter_mut().zip(added).for_each(|(x, y)| *x += y);
            let inner = norm(pre_mlp, x, eps);
            let gate = linear(tensors, &at("mlp.gate_proj"), &inner);
            let up = linear(tensors, &at("mlp.up_proj"), &inner);
            let fed: Vec<f64> = gate.iter().zip(up).map(|(&gate, up)| activate(config.activation, gate) * up).collect();
            let added = norm(after_mlp, &linear(tensors, &at("mlp.down_proj"), &fed), eps);
            x.iter_mut().zip(added).for_each(|(x, y)| *x += y);
        }
    }
    let head = if config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
    states.iter().map(|x| linear(tensors, head, &norm(tensors.get("model.norm.weight"), x, eps))).collect()
}

fn reference_loss(config: &ModelConfig, tensors: &Tensors, documents: &[Vec<u32>], weights: &[f32]) -> f64 {
    let mut weights = weights.iter();
    let mut loss = 0.0;
    for document in documents {
        for (position, logits) in reference(config, tensors, document).iter().enumerate() {
            let target = document[(position + 1) % document.len()] as usize;
            let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
            loss += f64::from(*weights.next().unwrap()) * (total.ln() - logits[target]);
        }
    }
    loss
}

fn documents() -> Vec<Vec<u32>> {
    let length = [7usize, 1, 4];
    length.iter().enumerate().map(|(i, &n)| (0..n).map(|j| ((i * 11 + j * 7 + 3) % 23) as u32).collect()).collect()
}

#[test]
fn logits_match_the_definition_padded_packed_and_flat() {
    let device = Device::flex();
    for config in [tiny(), ornate()] {
        let model = CausalLm::init(&config, 5, &device).unwrap();
        let tensors = tensors(&model);
        let documents = documents();
        let expected: Vec<Vec<f64>> = documents.iter().flat_map(|document| reference(&config, &tensors, document)).collect();
        let mut padded = vec![0; 3 * 8];
        for (row, document) in documents.iter().enumerate() {
            padded[row * 8..row * 8 + document.len()].copy_from_slice(document);
        }
        let flat: Vec<u32> = documents.concat();
        let rows = |layout: &SequenceLayout| layout.documents().iter().cloned().flatten().collect::<Vec<_>>();
        for (tokens, layout) in [
            (flat.clone(), SequenceLayout::flat(&[7, 1, 4])),
            (padded, SequenceLayout::padded(3, 8, &[7, 1, 4]).unwrap()),
            ([&flat[..], &[0, 0, 0]].concat(), SequenceLayout::packed(15, &[vec![7, 1, 4]]).unwrap()),
        ] {
            let logits = model.forward(ints(&tokens, [layout.batch(), layout.len()], &device), &layout).unwrap();
            let logits: Vec<f32> = logits.try_into_vec_as().unwrap();
            assert!(logits.iter().all(|logit| logit.is_finite()), "padding must not make NaN");
            for (row, expected) in rows(&layout).into_iter().zip(&expected) {
                for (found, expected) in logits[row * 23..(row + 1) * 23].iter().zip(expected) {
                    assert!((f64::from(*found) - expected).abs() < 2e-4, "{found} instead of {expected}");
                }
            }
        }
    }
}

/// Gradients by parameter, in the names of the export.
fn gradients(model: &CausalLm, documents: &[Vec<u32>], weights: &[f32], device: &Device) -> (f64, Tensors) {
    let lengths: Vec<usize> = documents.iter().map(Vec::len).collect();
    let targets: Vec<u32> = documents.iter().flat_map(|d| (0..d.len()).map(|i| d[(i + 1) % d.len()])).collect();
    let tokens = documents.concat();
    let hidden = model.forward_hidden(ints(&tokens, [1, tokens.len()], device), &SequenceLayout::flat(&lengths)).unwrap();
    let loss = model.cross_entropy_sum(hidden, &targets, weights).unwrap();
    let mut grads = loss.backward();
    let named = model.named_gradients(&mut grads).unwrap();
    let named = named.into_iter().map(|(name, values)| (name, values.into_iter().map(f64::from).collect())).collect();
    (f64::from(loss.into_scalar::<f32>()), named)
}

#[test]
fn gradients_match_finite_differences_of_the_definition() {
    let device = Device::flex().autodiff();
    for config in [tiny(), ornate()] {
        let model = CausalLm::init(&config, 9, &device).unwrap();
        let documents = documents();
        let weights: Vec<f32> = (0..12).map(|i| if i == 3 { 0.0 } else { 0.5 + i as f32 / 10.0 }).collect();
        let (loss, gradients) = gradients(&model, &documents, &weights, &device);
        let mut tensors = tensors(&model);
        let expected = reference_loss(&config, &tensors, &documents, &weights);
        assert!((loss / expected - 1.0).abs() < 1e-5, "loss {loss} instead of {expected}");
        let names: Vec<String> = tensors.keys().cloned().collect();
        for name in names {
            let count = tensors[&name].len();
            for index in [0, count / 3, count / 2, count - 1] {
                const STEP: f64 = 1e-5;
                let kept = tensors[&name][index];
                let mut loss_at = |value: f64| {
                    tensors.get_mut(&name).unwrap()[index] = value;
                    reference_loss(&config, &tensors, &documents, &weights)
                };
                let slope = (loss_at(kept + STEP) - loss_at(kept - STEP)) / (2.0 * STEP);
                loss_at(kept);
                let found = gradients[&name][index];
                assert!((found - slope).abs() < 2e-4 * (1.0 + slope.abs()), "{name}[{index}]: {found} instead of {slope}");
            }
        }
    }
}

#[test]
fn initial_weights_depend_on_the_seed_alone() {
    let device = Device::flex();
    let model = |seed| tensors(&CausalLm::init(&tiny(), seed, &device).unwrap());
    assert_eq!(model(3), model(3));
    assert_ne!(model(3), model(4));
    let deviation = |values: &[f64]| (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt();
    let weights = model(3);
    assert!((deviation(&weights["model.embed_tokens.weight"]) - 0.3).abs() < 0.03);
    assert!((deviation(&weights["model.layers.0.mlp.down_proj.weight"]) - 0.15).abs() < 0.02);
    assert_eq!(CausalLm::init(&ornate(), 3, &device).unwrap().num_params(), ornate().num_parameters());
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let device = Device::flex();
    let mut config = tiny();
    config.max_position_embeddings = 4;
    let model = CausalLm::init(&config, 1, &device).unwrap();
    let hidden = |layout: SequenceLayout| {
        model.forward_hidden(ints(&[1; 6], [1, 6], &device), &layout).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(hidden(SequenceLayout::dense(1, 6)), Err("input: a sequence of 6 tokens is longer than the model's context of 4".into()));
    assert_eq!(hidden(SequenceLayout::dense(2, 3)), Err("input: the layout is 2×3, but the tokens are 1×6".into()));
    assert_eq!(hidden(SequenceLayout::flat(&[3, 3])), Ok(()));
    let states = model.forward_hidden(ints(&[1; 2], [1, 2], &device), &SequenceLayout::dense(1, 2)).unwrap();
    assert!(model.cross_entropy_sum(states.clone(), &[1, 23], &[1.0, 1.0]).unwrap_err().to_string().contains("token 23"));
    assert!(model.cross_entropy_sum(states, &[1], &[1.0]).is_err());
}

/// Random values, the same for the same seed.
fn random(seed: u32, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|at| ((seed as usize * 97 + at) as f32 * 0.7).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[test]
fn an_adapter_has_the_gradients_of_its_definition() {
    let device = Device::flex().autodiff();
    let leaf = |seed, shape| random(seed, shape, &device).require_grad();
    let (x, a, b) = (leaf(1, [5, 6]), leaf(2, [6, 2]), leaf(3, [2, 3]));
    let (w, slope) = (random(4, [6, 9], &device), random(5, [5, 9], &device));
    let gradients = |y: Tensor<2>| {
        let mut found = (y * slope.clone()).sum().backward();
        [&x, &a, &b].map(|leaf| leaf.grad_remove(&mut found).unwrap().try_into_vec_as::<f32>().unwrap())
    };
    let input = Input::from(x.clone());
    let ours = input.adapted(input.linear(w.clone()), a.clone(), b.clone(), ops::Place { column: 4, scale: 1.5 });
    let delta = x.clone().matmul(a.clone()).matmul(b.clone()) * 1.5;
    let plain = x.clone().matmul(w) + Tensor::cat(vec![Tensor::zeros([5, 4], &device), delta, Tensor::zeros([5, 2], &device)], 1);
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs()));
    let values = |y: &Tensor<2>| y.clone().without_autodiff().try_into_vec_as::<f32>().unwrap();
    assert!(near(&values(&ours), &values(&plain)));
    for (ours, plain) in gradients(ours).iter().zip(gradients(plain)) {
        assert!(ours.len() == plain.len() && near(ours, &plain), "{ours:?} instead of {plain:?}");
    }
}

#[test]
fn keeping_less_changes_no_bit() {
    let device = Device::flex().autodiff();
    let biased = ModelConfig { qkv_bias: true, ..tiny() };
    for (config, targets) in
        [(tiny(), Target::ALL.to_vec()), (biased, vec![Target::Query, Target::Value, Target::Down]), (ornate(), Target::ALL.to_vec())]
    {
        let spec = crate::lora::LoraSpec { rank: 2, scale: 0.5, targets };
        let mut model = CausalLm::init(&config, 9, &device).unwrap().with_lora(&spec, 3, &device).unwrap();
        for (index, layer) in model.layers.iter_mut().enumerate() {
            layer.lora.as_mut().unwrap().randomize(|shape| random(index as u32, shape, &device));
        }
        let layout = SequenceLayout::flat(&[7, 4]);
        let leaf = random(8, [11, 16], &device).require_grad();
        let of = |keep| {
            let x = (0..2).fold(leaf.clone(), |x, index| model.layer(index, x, &layout, None, keep));
            let mut gradients = (x * random(6, [11, 16], &device)).sum().backward();
            let mut all = vec![leaf.grad_remove(&mut gradients).unwrap().try_into_vec_as::<f32>().unwrap()];
            for layer in &model.layers {
                let factors = Target::ALL.into_iter().filter_map(|target| layer.lora.as_ref().unwrap().factors(target)).flatten();
                all.extend(factors.map(|factor| factor.grad_remove(&mut gradients).unwrap().try_into_vec_as::<f32>().unwrap()));
            }
            all
        };
        let (less, more) = (of(Keep::Less), of(Keep::More));
        assert!(less.iter().all(|gradient| gradient.iter().any(|value| *value != 0.0)));
        assert_eq!(less, more);
    }
}
