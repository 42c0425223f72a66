//! Conversations from any file with a `messages` column, and settings from the command line: what `train` and `preview`
//! share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use potstill_data::{Row, Sample};
use potstill_model::{Device, Outline};
use potstill_train::{ScratchConfig, SftConfig, Student, TrainError, device};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fetch::runtime;
use super::verify::batches;
use crate::exit::{CONFIG, FAILED, Failure};
use crate::hub::{self, ModelId};

/// Which samples, which student, which settings.
#[derive(clap::Args)]
pub(crate) struct Inputs {
    /// Parquet or JSONL files with a column `messages`: lists of {role, content}, perhaps with `reasoning`
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The student: a model folder (config.json, safetensors, tokenizer.json), a GGUF file, or ORGANISATION/NAME of a hub;
    /// `--set from_scratch.layers=4` makes a new one instead
    #[arg(long, value_name = "PATH|NAME")]
    student: Option<String>,
    /// A TOML file with settings as in a train stage, `student` and `from_scratch` among them
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// A setting as in a train stage, such as --set epochs=3 or --set lora.rank=8 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// The settings of a run, and where its student comes from.
pub(crate) struct Settings {
    pub(crate) config: SftConfig,
    start: Start,
}

enum Start {
    Model(PathBuf),
    Scratch(ScratchConfig),
}

impl Inputs {
    /// The settings: the file's, with `--set` laid over them.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let mut table = toml::Table::new();
        if let Some(path) = &self.settings {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::new(CONFIG, format!("cannot read the settings `{}`: {e}", path.display()), None))?;
            table = text.parse().map_err(|e| Failure::config(format!("`{}`: {e}", path.display())))?;
        }
        for text in &self.set {
            lay_over(&mut table, assignment(text)?);
        }
        let (student, scratch) = (table.remove("student"), table.remove("from_scratch"));
        let config: SftConfig = read("settings", table.into())?;
        config.validate().map_err(Failure::config)?;
        device::parse(&config.device).map_err(Failure::config)?;
        let student = self.student.clone().map_or_else(|| student.map(|name| read("student", name)).transpose(), |name| Ok(Some(name)))?;
        let start = match (student, scratch) {
            (Some(name), None) => Start::Model(folder(&name)?),
            (None, Some(shape)) => Start::Scratch(read("from_scratch", shape)?),
            (Some(_), Some(_)) => {
                let hint = Some("leave --student or `from_scratch` out");
                return Err(Failure::new(CONFIG, "a student is either loaded or made from scratch, not both", hint));
            }
            (None, None) => {
                let hint = Some("--student PATH loads one, and --set from_scratch.layers=4 makes a new one");
                return Err(Failure::new(CONFIG, "nothing says which student to train", hint));
            }
        };
        Ok(Settings { config, start })
    }

    /// All samples of all files. Rows without an id are named after their file and place.
    pub(crate) fn samples(&self) -> Result<Vec<Sample>, Failure> {
        let mut samples = Vec::new();
        for file in &self.files {
            let mut row = 0;
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            for batch in batches(file)?.0 {
                let batch =
                    with_lists(batch?, row).map_err(|why| Failure::new(FAILED, format!("`{}`: {why}", file.display()), Some(MESSAGES)))?;
                let batch = with_ids(&batch, &name, &mut row)?;
                let read = Sample::from_batch(&batch);
                samples.extend(read.map_err(|e| Failure::new(FAILED, format!("`{}`: {e}", file.display()), Some(MESSAGES)))?);
            }
        }
        if samples.is_empty() {
            return Err(Failure::new(FAILED, "the files have no rows", None));
        }
        Ok(samples)
    }
}

impl Settings {
    /// The student, on the CPU. One that the run cannot have memory for is refused before it is read.
    pub(crate) fn student(&self, samples: &[Sample]) -> Result<Student, Failure> {
        let cpu = Device::flex();
        match &self.start {
            Start::Model(path) => Student::load_to_train(path, &self.config, &cpu).map_err(|e| unusable(&e, path)),
            Start::Scratch(shape) => Student::from_scratch(shape, samples, self.config.seed, &cpu).map_err(Failure::config),
        }
    }

    /// The student without its weights.
    pub(crate) fn outline(&self, samples: &[Sample]) -> Result<Outline, Failure> {
        match &self.start {
            Start::Model(path) => Outline::read(path).map_err(|e| unusable(&e.into(), path)),
            Start::Scratch(_) => Ok(self.student(samples)?.outline()),
        }
    }
}

fn unusable(error: &TrainError, path: &Path) -> Failure {
    let hint = "--student is a model folder, a GGUF file, or ORGANISATION/NAME of a hub";
    match error {
        TrainError::Memory { .. } => Failure::config(error),
        _ => Failure::new(CONFIG, format!("the student `{}`: {error}", path.display()), error.hint().or(Some(hint))),
    }
}

/// The folder or file of a student: a path, or a name of a hub, which is fetched.
fn folder(name: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(name);
    match ModelId::parse(name) {
        Some(model) if !path.exists() => Ok(model.fetch(runtime()?.handle(), &hub::open()?)?.folder),
        _ => Ok(path),
    }
}

fn read<T: DeserializeOwned>(what: &str, value: toml::Value) -> Result<T, Failure> {
    let wrong = |e| Failure::new(CONFIG, format!("{what}: {e}"), Some("`potstill schema` lists the settings of a train stage"));
    serde_json::to_value(&value).and_then(serde_json::from_value).map_err(wrong)
}

const MESSAGES: &str = "the column `messages` is a list of {role, content}; `potstill run` with a `samples` stage makes such files";

/// `KEY=VALUE` as a table. A bare word is text.
fn assignment(text: &str) -> Result<toml::Table, Failure> {
    let wrong = || Failure::new(CONFIG, format!("--set {text}: not KEY=VALUE"), Some("for example --set epochs=3 or --set device=cpu"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let quoted = || format!("{key} = {}", toml::Value::String(value.trim().to_owned()));
    text.parse().or_else(|_| quoted().parse()).map_err(|_: toml::de::Error| wrong())
}

fn lay_over(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => lay_over(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// The batch with `messages` as lists where they are text with JSON inside, as some datasets have them. `first` is the batch's
/// first row.
fn with_lists(batch: RecordBatch, first: usize) -> Result<RecordBatch, String> {
    let Some((at, field)) = batch.schema().column_with_name("messages").map(|(at, field)| (at, field.clone())) else { return Ok(batch) };
    if !matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Ok(batch);
    }
    let told = |e: ArrowError| e.to_string();
    let texts = cast_with_options(batch.column(at), &DataType::Utf8, &CastOptions::default()).map_err(told)?;
    let parse = |(row, text): (usize, Option<&str>)| {
        let list: Result<Value, _> = serde_json::from_str(text.unwrap_or_default());
        let wrong = |why: String| format!("row {}: the text in `messages` is no JSON list of messages: {why}", first + row + 1);
        match list {
            Ok(list @ Value::Array(_)) => Ok(json!({ "messages": list })),
            Ok(_) => Err(wrong("it is no list".into())),
            Err(e) => Err(wrong(e.to_string())),
        }
    };
    let rows = texts.as_string::<i32>().iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
    let parts = ["role", "content", "reasoning"].map(|name| Field::new(name, DataType::Utf8, true));
    let item = Field::new("item", DataType::Struct(parts.to_vec().into()), true);
    let list = Arc::new(Field::new("messages", DataType::List(Arc::new(item)), true));
    let schema = Arc::new(Schema::new(vec![Arc::clone(&list)]));
    let mut decoder = ReaderBuilder::new(schema).with_batch_size(rows.len().max(1)).build_decoder().map_err(told)?;
    decoder.serialize(&rows).map_err(told)?;
    let Some(decoded) = decoder.flush().map_err(told)? else { return Ok(batch) };
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::clone(decoded.column(0));
    let whole = batch.schema();
    let fields = whole.fields().iter().enumerate().map(|(place, field)| Arc::clone(if place == at { &list } else { field }));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).map_err(told)
}

/// The batch with a text column `sample_id`: its own, else its `id`, else names made of file and row.
fn with_ids(batch: &RecordBatch, file: &str, row: &mut usize) -> Result<RecordBatch, Failure> {
    let first = *row;
    *row += batch.num_rows();
    if batch.column_by_name("sample_id").is_some() {
        return Ok(batch.clone());
    }
    let made = || -> ArrayRef { Arc::new(StringArray::from_iter_values((first..*row).map(|row| format!("{file}:{row}")))) };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let own = batch.column_by_name("id").filter(|ids| ids.null_count() == 0 && !ids.data_type().is_nested());
    let ids = own.and_then(|ids| cast_with_options(ids, &DataType::Utf8, &strict).ok()).unwrap_or_else(made);
    let schema = batch.schema();
    let fields = schema.fields().iter().cloned().chain([Arc::new(Field::new("sample_id", DataType::Utf8, false))]);
    let columns = batch.columns().iter().cloned().chain([ids]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).map_err(|e| Failure::new(FAILED, e, None))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn settings_are_laid_over_and_bare_words_are_text() {
        let mut table = "epochs = 2\n[lora]\nrank = 4".parse::<toml::Table>().unwrap();
        for text in ["lora.alpha=8.0", "schedule.kind=linear", "epochs=3"] {
            lay_over(&mut table, assignment(text).unwrap_or_else(|_| panic!("{text}")));
        }
        let config: SftConfig = serde_json::from_value(serde_json::to_value(&table).unwrap()).unwrap();
        let lora = config.lora.unwrap();
        assert_eq!((config.epochs, lora.rank, lora.alpha), (Some(3.0), 4, 8.0));
        assert_eq!(config.schedule.kind, potstill_train::ScheduleKind::Linear);
        assert!(assignment("epochs").is_err());
    }

    #[test]
    fn messages_that_stand_in_text_are_read() {
        let batch = |text: &str| {
            let column = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
            RecordBatch::try_from_iter([("x", column("1")), ("messages", column(text))]).unwrap()
        };
        let text = r#"[{"role":"user","content":"2+2?"},{"role":"assistant","content":"4","extra":1}]"#;
        let read = with_ids(&with_lists(batch(text), 0).unwrap(), "f", &mut 0).unwrap_or_else(|_| panic!("ids"));
        let samples = Sample::from_batch(&read).unwrap();
        assert_eq!((samples[0].sample_id.as_str(), samples[0].messages[1].content.as_str()), ("f:0", "4"));
        for wrong in ["", "{}", "[1, 2"] {
            assert!(with_lists(batch(wrong), 6).unwrap_err().starts_with("row 7: the text in `messages`"), "{wrong}");
        }
    }

    #[test]
    fn rows_without_an_id_are_named_after_their_place() {
        let ids = |batch: &RecordBatch, row: &mut usize| {
            let batch = with_ids(batch, "f", row).unwrap_or_else(|_| panic!("ids"));
            let column = batch.column_by_name("sample_id").unwrap().clone();
            let ids: Vec<String> = column.as_any().downcast_ref::<StringArray>().unwrap().iter().flatten().map(str::to_owned).collect();
            ids
        };
        let column = |name: &str| RecordBatch::try_from_iter([(name, Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef)]).unwrap();
        let mut row = 3;
        assert_eq!(ids(&column("x"), &mut row), ["f:3", "f:4"]);
        assert_eq!(ids(&column("id"), &mut row), ["7", "8"]);
        assert_eq!(row, 7);
    }
}
