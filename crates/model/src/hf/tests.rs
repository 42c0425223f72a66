use std::fs;

use super::*;
use crate::{ChatMessage, RenderOptions, SequenceLayout, TokenizerSpec};
use burn::tensor::{Int, Tensor, TensorData};

fn tokenizer() -> Tokenizer {
    Tokenizer::train(["some text"; 3].iter(), &TokenizerSpec { vocab_size: 270, ..TokenizerSpec::default() }).unwrap()
}

fn config() -> ModelConfig {
    let mut config = ModelConfig::llama(272, 16, 2, 4, 2, 24);
    config.bos_token_id = Some(1);
    config.eos_token_ids = vec![3];
    config.pad_token_id = Some(0);
    config
}

fn logits(model: &CausalLm) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(vec![5i32, 7, 11], [1, 3]), &Device::flex());
    model.forward(tokens, &SequenceLayout::dense(1, 3)).unwrap().try_into_vec_as().unwrap()
}

fn saved(tied: bool) -> (tempfile::TempDir, CausalLm) {
    let dir = tempfile::tempdir().unwrap();
    let model = CausalLm::init(&ModelConfig { tie_word_embeddings: tied, ..config() }, 2, &Device::flex()).unwrap();
    save(dir.path(), &model, &tokenizer(), Some(&ChatTemplate::chatml().unwrap())).unwrap();
    (dir, model)
}

#[test]
fn what_was_saved_loads_as_the_same_model() {
    for tied in [true, false] {
        let (dir, model) = saved(tied);
        let loaded = load(dir.path(), &Device::flex()).unwrap();
        assert_eq!(loaded.model.config(), model.config());
        assert_eq!(logits(&loaded.model), logits(&model));
        let messages = [ChatMessage::new("user", "hi")];
        let text = loaded.template().unwrap().render(&messages, &RenderOptions::prompt()).unwrap();
        assert_eq!(text, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(loaded.tokenizer.to_json().unwrap(), tokenizer().to_json().unwrap());
        let again = tempfile::tempdir().unwrap();
        save(again.path(), &loaded.model, &loaded.tokenizer, loaded.template.as_ref()).unwrap();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let name = entry.unwrap().file_name();
            assert_eq!(fs::read(dir.path().join(&name)).unwrap(), fs::read(again.path().join(&name)).unwrap(), "{name:?}");
        }
    }
}

/// Saves a model, changes one file and returns what loading says.
fn load_after(change: impl FnOnce(&Path)) -> String {
    let (dir, _) = saved(true);
    change(dir.path());
    load(dir.path(), &Device::flex()).unwrap_err().to_string()
}

fn edit_config(dir: &Path, field: &str, value: Value) {
    let mut config: Value = serde_json::from_slice(&fs::read(dir.join(CONFIG)).unwrap()).unwrap();
    config[field] = value;
    fs::write(dir.join(CONFIG), config.to_string()).unwrap();
}

#[test]
fn configurations_that_do_not_fit_name_the_field() {
    for (field, value, expected) in [
        ("model_type", json!("mamba"), "config field `model_type`: `mamba` is not one of"),
        ("hidden_size", json!("wide"), "config field `hidden_size`: expected a whole number, found \"wide\""),
        ("num_key_value_heads", json!(3), "config field `num_key_value_heads`: must divide num_attention_heads (4), found 3"),
        (
            "rope_scaling",
            json!({"rope_type": "longrope"}),
            "config field `rope_scaling`: only default, linear, dynamic, llama3 and yarn are supported, found longrope",
        ),
        ("attention_bias", json!(true), "config field `attention_bias`: only false is supported, found true"),
        ("hidden_act", json!("relu"), "config field `hidden_act`: only silu and gelu_pytorch_tanh are supported, found relu"),
        ("vocab_size", json!(100), "config field `vocab_size`: the embedding has 100 rows, but the tokenizer's ids need 2"),
        ("num_hidden_layers", json!(1u64 << 40), "config field `num_hidden_layers`: must be at most 4096"),
        (
            "intermediate_size",
            json!(32),
            "weights `model.layers.0.mlp.gate_proj.weight`: has the shape [24, 16], the configuration needs [32, 16]",
        ),
        ("num_hidden_layers", json!(1), "weights `model.layers.1.input_layernorm.weight`: is not part of a llama model"),
        ("num_hidden_layers", json!(3), "weights `model.layers.2.input_layernorm.weight`: is missing"),
        ("tie_word_embeddings", json!(false), "weights `lm_head.weight`: is missing"),
    ] {
        let error = load_after(|dir| edit_config(dir, field, value));
        assert!(error.starts_with(expected), "{error}");
    }
}

fn edit_weights(dir: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(dir.join(WEIGHTS)).unwrap();
    edit(&mut bytes);
    fs::write(dir.join(WEIGHTS), bytes).unwrap();
}

#[test]
fn damaged_weights_are_errors() {
    let data = |bytes: &[u8]| 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let cases: [(&dyn Fn(&mut Vec<u8>), &str); 5] = [
        (&|bytes| bytes.truncate(bytes.len() - 1), "bytes of tensors, but there are"),
        (&|bytes| bytes[7] = 0xFF, "claims a header of"),
        (&|bytes| bytes[9] = b'!', "header:"),
        (&|bytes| bytes.clear(), "failed to fill whole buffer"),
        (
            &|bytes| {
                let at = data(bytes);
                bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            },
            "holds NaN at element 0",
        ),
    ];
    for (edit, expected) in cases {
        let error = load_after(|dir| edit_weights(dir, edit));
        assert!(error.contains(expected), "{error}");
    }
    let pickled = load_after(|dir| fs::rename(dir.join(WEIGHTS), dir.join("pytorch_model.bin")).unwrap());
    assert!(pickled.contains("pickle can run code"), "{pickled}");
    let disguised = load_after(|dir| edit_weights(dir, |bytes| *bytes = b"\x80\x02}q\x00(X\x05\x00\x00\x00model".to_vec()));
    assert!(disguised.contains("pickled weights by another name"), "{disguised}");
}

#[test]
fn an_index_cannot_leave_its_folder() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.safetensors");
    fs::write(&secret, "secret").unwrap();
    for name in ["../secret.safetensors", secret.to_str().unwrap(), "a\0b", "link.safetensors", "sub/model.safetensors", "..", ""] {
        let error = load_after(|dir| {
            std::os::unix::fs::symlink(&secret, dir.join("link.safetensors")).unwrap();
            let index = json!({ "weight_map": { "model.embed_tokens.weight": name } });
            fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
        });
        assert!(error.contains("an index may only name files of its own folder"), "{name:?}: {error}");
    }
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
}

#[test]
fn shards_load_like_one_file() {
    let (dir, model) = saved(true);
    fs::rename(dir.path().join(WEIGHTS), dir.path().join("model-00001-of-00001.safetensors")).unwrap();
    let mut names = Vec::new();
    crate::weights::export(&model, &mut |name, _, _| {
        names.push(name.to_owned());
        Ok(())
    })
    .unwrap();
    let map: Map<String, Value> = names.into_iter().map(|name| (name, json!("model-00001-of-00001.safetensors"))).collect();
    fs::write(dir.path().join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string()).unwrap();
    assert_eq!(logits(&load(dir.path(), &Device::flex()).unwrap().model), logits(&model));
    fs::remove_file(dir.path().join("model-00001-of-00001.safetensors")).unwrap();
    let error = load(dir.path(), &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("`model-00001-of-00001.safetensors`") && error.contains("though the index names it"), "{error}");
}
