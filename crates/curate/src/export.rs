//! Samples in the layouts that other trainers read, one JSON object per sample.

use potstill_data::{Message, Sample};
use serde_json::{Value, json};

use crate::error::{CurateError, nearest};
use crate::render::FORMATS;

/// A layout.
pub struct Layout {
    /// The name used in pipeline files.
    pub name: &'static str,
    /// Who reads it.
    pub about: &'static str,
    /// One sample in it; `None` for conversations that it cannot hold.
    pub row: fn(&Sample) -> Option<Value>,
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layout").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All layouts by name.
pub static LAYOUTS: &[Layout] = &[
    Layout { name: "messages", about: "`messages` of role and content (TRL, HF datasets, Axolotl, LLaMA-Factory `openai`)", row: messages },
    Layout { name: "sharegpt", about: "`conversations` of from and value (ShareGPT, LLaMA-Factory, Axolotl)", row: sharegpt },
    Layout { name: "alpaca", about: "`instruction`, `input`, `output`; single-turn only (Alpaca, LLaMA-Factory)", row: alpaca },
    Layout { name: "prompt_completion", about: "`prompt` and `completion` messages (TRL)", row: prompt_completion },
];

/// The layout of this name.
///
/// # Errors
/// [`CurateError::Unknown`] with the names that there are.
pub fn layout(name: &str) -> Result<&'static Layout, CurateError> {
    LAYOUTS.iter().find(|l| l.name == name).ok_or_else(|| CurateError::Unknown {
        what: "layout",
        name: name.to_owned(),
        known: LAYOUTS.iter().map(|l| l.name).collect::<Vec<_>>().join(", "),
        near: nearest(name, LAYOUTS.iter().map(|l| l.name)),
    })
}

fn messages(sample: &Sample) -> Option<Value> {
    let mut row = json!({ "messages": sample.messages.iter().map(message).collect::<Vec<_>>() });
    describe(&mut row, sample);
    Some(row)
}

fn message(message: &Message) -> Value {
    match &message.reasoning {
        Some(reasoning) => json!({ "role": message.role, "content": message.content, "reasoning": reasoning }),
        None => json!({ "role": message.role, "content": message.content }),
    }
}

/// Layouts without a place for thought carry it in the text, as R1 writes it.
fn said(message: &Message) -> String {
    let think = FORMATS.iter().find(|f| f.name == "think");
    match (&message.reasoning, think) {
        (Some(reasoning), Some(think)) => (think.assistant)(Some(reasoning), &message.content).content,
        _ => message.content.clone(),
    }
}

fn sharegpt(sample: &Sample) -> Option<Value> {
    let from = |role: &str| match role {
        "system" => "system",
        "user" => "human",
        "assistant" => "gpt",
        "tool" => "observation",
        _ => "human",
    };
    let turns: Vec<Value> = sample.messages.iter().map(|m| json!({ "from": from(&m.role), "value": said(m) })).collect();
    let mut row = json!({ "conversations": turns });
    describe(&mut row, sample);
    Some(row)
}

fn alpaca(sample: &Sample) -> Option<Value> {
    let (system, rest) = match sample.messages.as_slice() {
        [first, rest @ ..] if first.role == "system" => (Some(&first.content), rest),
        all => (None, all),
    };
    let [user, assistant] = rest else { return None };
    if user.role != "user" || assistant.role != "assistant" {
        return None;
    }
    let mut row = json!({ "instruction": user.content, "input": "", "output": said(assistant) });
    if let Some(system) = system {
        row["system"] = json!(system);
    }
    describe(&mut row, sample);
    Some(row)
}

fn prompt_completion(sample: &Sample) -> Option<Value> {
    let (last, prompt) = sample.messages.split_last()?;
    if last.role != "assistant" {
        return None;
    }
    let prompt: Vec<Value> = prompt.iter().map(message).collect();
    let mut row = json!({ "prompt": prompt, "completion": [{ "role": "assistant", "content": said(last) }] });
    describe(&mut row, sample);
    Some(row)
}

/// Where the sample comes from, in every layout.
fn describe(row: &mut Value, sample: &Sample) {
    row["sample_id"] = json!(sample.sample_id);
    row["problem_id"] = json!(sample.problem_id);
    row["source"] = json!(sample.source);
    row["kind"] = json!(sample.kind.as_str());
}
