//! Conversations from any file with a `messages` column, and settings from the command line: what `train` and `preview`
//! share.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use potstill_data::{Row, Sample};
use potstill_train::{SftConfig, Student, device};

use super::verify::batches;
use crate::exit::{CONFIG, FAILED, Failure};

/// Which samples, which student, which settings.
#[derive(clap::Args)]
pub(crate) struct Inputs {
    /// Parquet or JSONL files with a column `messages`: lists of {role, content}, perhaps with `reasoning`
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The student: a model folder (config.json, safetensors, tokenizer.json) or a GGUF file
    #[arg(long, value_name = "PATH")]
    student: PathBuf,
    /// A TOML file with settings as in a train stage
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// A setting as in a train stage, such as --set epochs=3 or --set lora.rank=8 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Inputs {
    /// The settings: the file's, with `--set` laid over them.
    pub(crate) fn config(&self) -> Result<SftConfig, Failure> {
        let mut table = toml::Table::new();
        if let Some(path) = &self.settings {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::new(CONFIG, format!("cannot read the settings `{}`: {e}", path.display()), None))?;
            table = text.parse().map_err(|e| Failure::config(format!("`{}`: {e}", path.display())))?;
        }
        for text in &self.set {
            lay_over(&mut table, assignment(text)?);
        }
        let config: SftConfig = serde_json::to_value(&table)
            .and_then(serde_json::from_value)
            .map_err(|e| Failure::new(CONFIG, format!("settings: {e}"), Some("`potstill schema` lists the settings of a train stage")))?;
        config.validate().map_err(Failure::config)?;
        device::parse(&config.device).map_err(Failure::config)?;
        Ok(config)
    }

    /// The student, on the CPU.
    pub(crate) fn student(&self) -> Result<Student, Failure> {
        let cpu = device::parse("cpu").map_err(Failure::config)?;
        Student::load(&self.student, &cpu).map_err(|e| Failure::new(CONFIG, e, Some("--student is a model folder or a GGUF file")))
    }

    /// All samples of all files. Rows without an id are named after their file and place.
    pub(crate) fn samples(&self) -> Result<Vec<Sample>, Failure> {
        let mut samples = Vec::new();
        for file in &self.files {
            let mut row = 0;
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            for batch in batches(file)?.0 {
                let batch = with_ids(&batch?, &name, &mut row)?;
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
