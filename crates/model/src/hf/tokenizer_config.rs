//! `tokenizer_config.json` and the chat template, wherever a folder keeps it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{LARGEST_CONFIG, read};
use crate::{ChatTemplate, ModelConfig, Result, Specials, Tokenizer, files};

const FILE: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// The chat template with the special tokens it prints, if the folder has one: in a file of its own or in
/// `tokenizer_config.json`, there also as one of several named ones.
pub(super) fn load(dir: &Path) -> Result<Option<ChatTemplate>> {
    let path = dir.join(FILE);
    let config: Value = if path.exists() { read::json(&path, LARGEST_CONFIG)? } else { Value::Null };
    let separate = dir.join(TEMPLATE);
    let source = if separate.exists() { Some(files::read_text(&separate, LARGEST_CONFIG)?) } else { template_in(&config["chat_template"]) };
    source.map(|source| ChatTemplate::new(&source, specials(&config))).transpose()
}

fn template_in(value: &Value) -> Option<String> {
    match value {
        Value::String(source) => Some(source.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default").or(named.first())?;
            default["template"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

fn specials(config: &Value) -> Specials {
    let token = |name: &str| {
        let value = &config[name];
        value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
    };
    Specials { bos: token("bos_token"), eos: token("eos_token"), pad: token("pad_token"), unk: token("unk_token") }
}

/// Writes `tokenizer_config.json` with the template inside.
pub(super) fn save(dir: &Path, config: &ModelConfig, tokenizer: &Tokenizer, template: Option<&ChatTemplate>) -> Result<()> {
    let by_id = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id));
    let given = template.map(ChatTemplate::specials).cloned().unwrap_or_default();
    let tokens = [
        ("bos_token", given.bos.or_else(|| by_id(config.bos_token_id))),
        ("eos_token", given.eos.or_else(|| by_id(config.eos_token_ids.first().copied()))),
        ("pad_token", given.pad.or_else(|| by_id(config.pad_token_id))),
        ("unk_token", given.unk),
    ];
    let mut map = Map::new();
    map.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    map.insert("model_max_length".into(), json!(config.max_position_embeddings));
    map.insert("clean_up_tokenization_spaces".into(), json!(false));
    for (name, token) in tokens {
        if let Some(token) = token {
            map.insert(name.into(), json!(token));
        }
    }
    if let Some(template) = template {
        map.insert("chat_template".into(), json!(template.source()));
    }
    files::write_atomically(&dir.join(FILE), format!("{:#}\n", Value::Object(map)).as_bytes())
}
