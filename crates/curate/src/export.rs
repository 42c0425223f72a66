//! Rows in the layouts that other trainers read: one JSON object per row, and the Arrow schema of the same.

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use potstill_data::{Message, Pair, Problem, Sample};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::error::{CurateError, nearest};
use crate::pairs::rl_prompt;
use crate::render::THINK;

/// What a layout is made of.
#[derive(Clone, Copy)]
pub enum Make {
    /// Of samples; `None` for conversations that the layout cannot hold.
    Samples(fn(&Sample) -> Option<Value>),
    /// Of preference pairs.
    Pairs(fn(&Pair) -> Value),
    /// Of problems, with a system turn before each prompt.
    Problems(fn(&Problem, Option<&str>) -> Value),
}

/// A layout.
pub struct Layout {
    /// The name used in pipeline files.
    pub name: &'static str,
    /// Who reads it.
    pub about: &'static str,
    /// One row in it.
    pub make: Make,
    columns: fn() -> Vec<Field>,
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layout").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Layout {
    /// The Arrow schema of its rows; lists of messages are what `datasets` makes of the JSON, too.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new((self.columns)()))
    }

    /// A sample in this layout, if it is one of samples and can hold it.
    #[must_use]
    pub fn sample(&self, sample: &Sample) -> Option<Value> {
        match self.make {
            Make::Samples(row) => row(sample),
            Make::Pairs(_) | Make::Problems(_) => None,
        }
    }
}

/// All layouts by name.
pub static LAYOUTS: &[Layout] = &[
    Layout {
        name: "messages",
        about: "`messages` of role and content (TRL, HF datasets, Axolotl, LLaMA-Factory `openai`)",
        make: Make::Samples(messages),
        columns: || {
            let mut columns = vec![list("messages", message_type(true))];
            columns.extend(told());
            columns.extend([Field::new("weight", DataType::Float32, true), list("loss_spans", span_type())]);
            columns
        },
    },
    Layout {
        name: "sharegpt",
        about: "`conversations` of from and value (ShareGPT, LLaMA-Factory, Axolotl)",
        make: Make::Samples(sharegpt),
        columns: || with_told(vec![list("conversations", structure(&["from", "value"]))]),
    },
    Layout {
        name: "alpaca",
        about: "`instruction`, `input`, `output`; single-turn only (Alpaca, LLaMA-Factory)",
        make: Make::Samples(alpaca),
        columns: || with_told(["instruction", "input", "output", "system"].map(text).to_vec()),
    },
    Layout {
        name: "prompt_completion",
        about: "`prompt` and `completion` messages (TRL)",
        make: Make::Samples(prompt_completion),
        columns: || with_told(vec![list("prompt", message_type(false)), list("completion", message_type(false))]),
    },
    Layout {
        name: "preference",
        about: "`prompt`, `chosen` and `rejected` messages, of pairs (TRL's DPO and reward trainers)",
        make: Make::Pairs(preference),
        columns: || {
            let mut columns: Vec<Field> = ["prompt", "chosen", "rejected"].map(|name| list(name, message_type(false))).to_vec();
            columns.extend(["pair_id", "problem_id", "source"].map(text));
            columns.push(list("lineage", DataType::Utf8));
            columns
        },
    },
    Layout {
        name: "rl_prompts",
        about: "prompts with gold answers, of problems (TRL's GRPO, verl)",
        make: Make::Problems(rl_prompt),
        columns: || {
            let structs = |name: &str, fields: &[&str]| Field::new(name, structure(fields), true);
            vec![
                text("data_source"),
                list("prompt", message_type(false)),
                text("ability"),
                text("gold"),
                structs("reward_model", &["style", "ground_truth"]),
                structs("extra_info", &["problem_id", "verifier", "tests"]),
            ]
        },
    },
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

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn structure(fields: &[&str]) -> DataType {
    DataType::Struct(fields.iter().map(|name| text(name)).collect())
}

/// Names the list element `element`, as pyarrow and HF `datasets` do.
fn list(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", item, true))), true)
}

fn message_type(with_reasoning: bool) -> DataType {
    structure(if with_reasoning { &["role", "content", "reasoning"] } else { &["role", "content"] })
}

fn span_type() -> DataType {
    let count = |name: &str| Field::new(name, DataType::UInt32, true);
    let fields = [count("message"), text("part"), count("start"), count("end"), Field::new("weight", DataType::Float32, true)];
    DataType::Struct(Fields::from_iter(fields))
}

fn told() -> [Field; 4] {
    ["sample_id", "problem_id", "source", "kind"].map(text)
}

fn with_told(mut columns: Vec<Field>) -> Vec<Field> {
    columns.extend(told());
    columns
}

fn messages(sample: &Sample) -> Option<Value> {
    let mut row = json!({ "messages": sample.messages.iter().map(message).collect::<Vec<_>>() });
    tell(&mut row, sample);
    // Our own trainer's columns; they would only distract readers of plain conversations.
    if sample.weight != 1.0 {
        row["weight"] = json!(sample.weight);
    }
    if !sample.loss_spans.is_empty() {
        row["loss_spans"] = json!(sample.loss_spans);
    }
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
    match &message.reasoning {
        Some(reasoning) => (THINK.assistant)(Some(reasoning), &message.content).content,
        None => message.content.clone(),
    }
}

fn spoken(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(|message| json!({ "role": message.role, "content": said(message) })).collect()
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
    tell(&mut row, sample);
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
    tell(&mut row, sample);
    Some(row)
}

fn prompt_completion(sample: &Sample) -> Option<Value> {
    let (last, prompt) = sample.messages.split_last()?;
    if last.role != "assistant" {
        return None;
    }
    let mut row = json!({ "prompt": spoken(prompt), "completion": spoken(std::slice::from_ref(last)) });
    tell(&mut row, sample);
    Some(row)
}

fn preference(pair: &Pair) -> Value {
    json!({
        "prompt": spoken(&pair.prompt),
        "chosen": spoken(&pair.chosen),
        "rejected": spoken(&pair.rejected),
        "pair_id": pair.pair_id,
        "problem_id": pair.problem_id,
        "source": pair.source,
        "lineage": pair.lineage,
    })
}

/// Where the sample comes from, in every layout.
fn tell(row: &mut Value, sample: &Sample) {
    row["sample_id"] = json!(sample.sample_id);
    row["problem_id"] = json!(sample.problem_id);
    row["source"] = json!(sample.source);
    row["kind"] = json!(sample.kind.as_str());
}
