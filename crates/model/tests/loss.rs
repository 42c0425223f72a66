//! The chunked loss against one composed of burn's own operations over all logits, forward and backward.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData, activation::log_softmax},
};
use potstill_model::{CausalLm, LossTerms, ModelConfig, SoftTargets, Targets, parallel::Split};

/// More rows than a chunk holds.
const ROWS: usize = 600;
const VOCAB: usize = 50;
const WIDTH: usize = 16;
const TOP: usize = 3;

fn wave(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * step).sin()).collect()
}

fn model() -> CausalLm {
    let mut config = ModelConfig::llama(VOCAB, WIDTH, 1, 2, 1, 24);
    config.tie_word_embeddings = false;
    config.initializer_range = 0.8;
    CausalLm::init(&config, 5, &Device::flex()).unwrap().train()
}

fn targets(terms: LossTerms, soft: bool) -> Targets {
    let ids: Vec<u32> = (0..ROWS).map(|at| (at * 7 % VOCAB) as u32).collect();
    let weights: Vec<f32> = (0..ROWS).map(|at| [1.0, 0.5, 0.0, 2.0][at % 4]).collect();
    let soft = soft.then(|| {
        // One row in three has no teacher; one entry in some rows is unused; one row knows all of the probability.
        let rows = (0..ROWS).map(|at| match at % 6 {
            0 | 3 => [0.0; TOP],
            1 => [0.5, 0.3, 0.0],
            2 => [0.7, 0.2, 0.1],
            _ => [0.4, 0.3, 0.2],
        });
        let ids: Vec<u32> = (0..ROWS).flat_map(|at| [at * 7 % VOCAB, (at + 11) % VOCAB, (at + 30) % VOCAB]).map(|id| id as u32).collect();
        let distinct = |row: usize| ids[row * TOP..][..TOP].iter().enumerate().all(|(at, id)| !ids[row * TOP..][..at].contains(id));
        let probabilities = rows.enumerate().flat_map(|(at, row)| if distinct(at) { row } else { [0.0; TOP] }).collect();
        SoftTargets { ids: ids.into(), probabilities, top: TOP, weight: 0.3 }
    });
    Targets { ids: ids.into(), weights: weights.into(), terms, soft }
}

/// The definition, over all logits at once.
fn composed(logits: Tensor<2>, targets: &Targets, device: &Device) -> Tensor<1> {
    let ids: Vec<i32> = targets.ids.iter().map(|&id| id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [ROWS, 1]), device);
    let column = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [ROWS, 1]), device);
    let (smoothing, z) = (targets.terms.label_smoothing, targets.terms.z_loss);
    let log_p = log_softmax(logits.clone(), 1);
    let hard = log_p.clone().gather(1, ids).mul_scalar(smoothing - 1.0) - log_p.clone().mean_dim(1).mul_scalar(smoothing);
    let log_sum = (logits - log_p.clone()).mean_dim(1);
    let mut loss = hard.clone() + log_sum.clone() * log_sum.mul_scalar(z);
    if let Some(soft) = &targets.soft {
        // q and the mask of known tokens as full rows.
        let (mut q, mut known) = (vec![0.0_f32; ROWS * VOCAB], vec![0.0_f32; ROWS * VOCAB]);
        for (at, (&id, &probability)) in soft.ids.iter().zip(soft.probabilities.iter()).enumerate() {
            if probability > 0.0 {
                q[at / TOP * VOCAB + id as usize] = probability;
                known[at / TOP * VOCAB + id as usize] = 1.0;
            }
        }
        let sums: Vec<f32> = q.chunks(VOCAB).map(|row| row.iter().sum()).collect();
        let entropy: Vec<f32> = q
            .chunks(VOCAB)
            .zip(&sums)
            .map(|(row, sum)| {
                let term = |q: f32| if q > 1e-6 { q * q.ln() } else { 0.0 };
                row.iter().map(|&q| term(q)).sum::<f32>() + if *sum > 0.0 { term(1.0 - sum) } else { 0.0 }
            })
            .collect();
        let has: Vec<f32> = sums.iter().map(|sum| if *sum > 0.0 { soft.weight } else { 0.0 }).collect();
        let rest: Vec<f32> = sums.iter().map(|sum| if *sum > 0.0 && 1.0 - sum > 1e-6 { 1.0 - sum } else { 0.0 }).collect();
        let full = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [ROWS, VOCAB]), device);
        let rest_p = (log_p.clone().exp() * full(known).neg().add_scalar(1.0)).sum_dim(1);
        let divergence = column(entropy) - (log_p * full(q)).sum_dim(1) - column(rest) * rest_p.log();
        loss = loss - hard * column(has.clone()) + divergence * column(has);
    }
    (loss * column(targets.weights.to_vec())).sum()
}

fn close(what: &str, a: &[f32], b: &[f32]) {
    let largest = a.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let apart = a.iter().zip(b).fold(0.0_f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(a.len() == b.len() && largest > 0.0 && apart <= 2e-5 * largest, "{what}: {apart} of {largest}");
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.without_autodiff().try_into_vec_as().unwrap()
}

#[test]
fn chunked_and_composed_losses_agree_forward_and_backward() {
    let model = model();
    let device = Device::flex().autodiff();
    let all = LossTerms { label_smoothing: 0.1, z_loss: 0.01 };
    for (terms, soft) in [(LossTerms::default(), false), (all, false), (LossTerms::default(), true), (all, true)] {
        let targets = targets(terms, soft);
        let hidden = || Tensor::<2>::from_data(TensorData::new(wave(ROWS * WIDTH, 0.37), [ROWS, WIDTH]), &device).require_grad();
        let (a, b) = (hidden(), hidden());
        let ours = model.loss_sum(a.clone(), targets.clone()).unwrap();
        let theirs = composed(model.lm_head(b.clone()), &targets, &device);
        close("loss", &values(theirs.clone()), &values(ours.clone()));
        let (mut ours, mut theirs) = (ours.backward(), theirs.backward());
        close("hidden", &values(b.grad(&theirs).unwrap()), &values(a.grad(&ours).unwrap()));
        let (ours, theirs) = (model.named_gradients(&mut ours).unwrap(), model.named_gradients(&mut theirs).unwrap());
        close("head", &theirs["lm_head.weight"], &ours["lm_head.weight"]);
    }
}

#[test]
fn threads_share_the_loss_without_changing_it() {
    let model = model();
    let device = Device::flex().autodiff();
    let targets = targets(LossTerms { label_smoothing: 0.1, z_loss: 0.01 }, true);
    let run = || {
        let hidden = Tensor::<2>::from_data(TensorData::new(wave(ROWS * WIDTH, 0.37), [ROWS, WIDTH]), &device).require_grad();
        let loss = model.loss_sum(hidden.clone(), targets.clone()).unwrap();
        let gradients = loss.clone().backward();
        (values(loss), values(hidden.grad(&gradients).unwrap()))
    };
    let whole = run();
    let one = Split::new(1).unwrap().run(run);
    assert_eq!(one, Split::new(3).unwrap().run(run));
    close("split", &whole.1, &one.1);
}

#[test]
fn wrong_counts_of_a_teacher_are_refused() {
    let model = model();
    let hidden = Tensor::<2>::zeros([ROWS, WIDTH], &Device::flex().autodiff());
    let mut targets = targets(LossTerms::default(), true);
    if let Some(soft) = &mut targets.soft {
        soft.ids = vec![0; 5].into();
    }
    let error = model.loss_sum(hidden, targets).unwrap_err().to_string();
    assert!(error.contains("600 rows of 3 tokens of a teacher, but 5 tokens and 1800 probabilities"), "{error}");
}
