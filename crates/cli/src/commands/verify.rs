//! `potstill verify`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use indicatif::{ProgressBar, ProgressStyle};
use potstill_data::parts::{BatchReader, BatchWriter};
use potstill_data::{Table, Verdict};
use potstill_verify::{Case, Judgement, Proof, SwapCheck, Verifier, VerifyOptions, verifier};

use crate::exit::{CONFIG, Done, FAILED, Failure};
use crate::report::grouped;
use crate::sandbox;
use crate::stages::rows::parallel;
use crate::terminal::{complain, is_terminal, say, table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A Parquet or JSONL file
    file: PathBuf,
    /// The column with the reference answer
    #[arg(long, value_name = "COL", required_unless_present = "tests")]
    gold: Option<String>,
    /// The column with the problem's tests as JSON, or several columns that become one object: `prompt,test,entry_point`
    #[arg(long, value_name = "COL,…", value_delimiter = ',')]
    tests: Vec<String>,
    /// The column with the reply or the answer to grade
    #[arg(long, value_name = "COL")]
    prediction: String,
    /// The file to write, .parquet or .jsonl: each input row with `verdict`, `extracted`, `proof` and `note`, in order
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The verifier
    #[arg(long, default_value = "math")]
    verifier: String,
    /// A column with a verdict from elsewhere to compare with (true/false or 1/0)
    #[arg(long, value_name = "COL")]
    reference: Option<String>,
    /// A file for the rows on which verdict and reference differ, .parquet or .jsonl
    #[arg(long, value_name = "FILE", requires = "reference")]
    disagreements: Option<PathBuf>,
    /// Read the answer only after the end of thinking (`</think>`); a reply that never ends it has no answer
    #[arg(long)]
    after_think: bool,
    /// Run programs of replies without any protection where this machine allows no sandbox: they can then read, change and send what you can
    #[arg(long)]
    unsafe_no_sandbox: bool,
    /// Policies as JSON, such as '{"extract":{"which":"first"}}'
    #[arg(long, value_name = "JSON")]
    options: Option<String>,
}

pub(crate) fn run(args: &Args) -> Done {
    let mut options: VerifyOptions = match &args.options {
        Some(text) => serde_json::from_str(text).map_err(|e| Failure::new(CONFIG, format!("--options: {e}"), None))?,
        None => VerifyOptions::default(),
    };
    options.extract.after_think |= args.after_think;
    options.code.unsafe_no_sandbox |= args.unsafe_no_sandbox;
    let verifier = verifier(&args.verifier, &sandbox::ready(&options)).map_err(Failure::config)?;
    outputs_are_apart(args)?;
    let (batches, total) = batches(&args.file)?;
    let bar = bar(total);
    let (mut out, mut disputed) = (None, None);
    let mut tally = Tally { tests: !args.tests.is_empty(), ..Tally::default() };
    for batch in batches {
        let batch = batch?;
        let (graded, differs) = grade(args, verifier.as_ref(), &batch, &mut tally)?;
        if let Some(path) = &args.disagreements {
            let rows = arrow::compute::filter_record_batch(&graded, &differs).map_err(|e| Failure::new(FAILED, e, None))?;
            Out::append(&mut disputed, path, &rows)?;
        }
        Out::append(&mut out, &args.out, &graded)?;
        bar.inc(graded.num_rows() as u64);
    }
    bar.finish_and_clear();
    let Some(out) = out else {
        return Err(Failure::new(FAILED, format!("`{}` has no rows", args.file.display()), None));
    };
    out.finish()?;
    disputed.map_or(Ok(()), Out::finish)?;
    tally.tell();
    Ok(ExitCode::SUCCESS)
}

/// A bar with an end where it is known.
fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        _ if !is_terminal() => return ProgressBar::hidden(),
        Some(total) => (ProgressBar::new(total), "{bar:30} {human_pos} of {human_len} rows, {per_sec}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} rows, {per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// No file is read and written, or written twice.
fn outputs_are_apart(args: &Args) -> Result<(), Failure> {
    let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut taken = vec![place(&args.file)];
    for (option, path) in [("--out", Some(&args.out)), ("--disagreements", args.disagreements.as_ref())] {
        let Some(path) = path else { continue };
        if taken.contains(&place(path)) {
            let message = format!("{option} `{}` is another file of this command: it would be overwritten", path.display());
            return Err(Failure::new(CONFIG, message, Some("name a new file")));
        }
        taken.push(place(path));
    }
    Ok(())
}

pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, Failure>>>;

/// The file's rows as record batches, with the columns as they are, and how many there are.
pub(crate) fn batches(file: &Path) -> Result<(Batches, Option<u64>), Failure> {
    if file.extension().is_some_and(|e| e == "parquet") {
        let reader = BatchReader::open(&[file])?;
        let rows = reader.rows();
        return Ok((Box::new(reader.map(|located| Ok(located?.batch))), Some(rows)));
    }
    let table = Table::open(file)?;
    let rows = table.rows();
    Ok((Box::new(table.batches().map(|located| Ok(located?.batch))), Some(rows)))
}

/// The batch with its four new columns, and which of its rows differ from the reference.
fn grade(args: &Args, verifier: &dyn Verifier, batch: &RecordBatch, tally: &mut Tally) -> Result<(RecordBatch, BooleanArray), Failure> {
    let gold = args.gold.as_ref().map(|column| texts(batch, column)).transpose()?;
    let tests = if args.tests.is_empty() { None } else { Some(tests(batch, &args.tests)?) };
    let prediction = texts(batch, &args.prediction)?;
    let rows: Vec<usize> = (0..batch.num_rows()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let judge = |row: usize| {
        let gold = gold.as_ref().filter(|gold| gold.is_valid(row)).map(|gold| gold.value(row));
        let tests = tests.as_ref().and_then(|tests| tests[row].as_deref());
        let response = if prediction.is_valid(row) { prediction.value(row) } else { "" };
        verifier.verify(&Case { gold, tests, response, ..Case::default() })
    };
    let judgements: Vec<Judgement> = parallel(rows, threads, &judge);
    let reference = args.reference.as_ref().map(|column| texts(batch, column)).transpose()?;
    let mut differs = Vec::with_capacity(judgements.len());
    for (row, judgement) in judgements.iter().enumerate() {
        let gold = gold.as_ref().filter(|gold| gold.is_valid(row)).map_or("", |gold| gold.value(row));
        tally.swap.add(gold, if prediction.is_valid(row) { prediction.value(row) } else { "" });
        differs.push(tally.add(judgement, gold, reference.as_ref().filter(|r| r.is_valid(row)).map(|r| r.value(row))));
    }
    let column = |pick: fn(&Judgement) -> Option<&str>| Arc::new(judgements.iter().map(pick).collect::<StringArray>()) as ArrayRef;
    let added = [
        ("verdict", column(|j| Some(j.verdict.as_str()))),
        ("extracted", column(|j| j.extracted.as_deref())),
        ("proof", column(|j| Some(j.proof.as_str()))),
        ("note", column(|j| Some(j.note.as_str()).filter(|n| !n.is_empty()))),
    ];
    let schema = batch.schema();
    let kept = |(field, column): (&Arc<Field>, &ArrayRef)| {
        (!added.iter().any(|(name, _)| name == field.name())).then(|| (field.clone(), column.clone()))
    };
    let (mut fields, mut columns): (Vec<_>, Vec<_>) = schema.fields().iter().zip(batch.columns()).filter_map(kept).unzip();
    for (name, column) in added {
        fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
        columns.push(column);
    }
    let graded = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| Failure::new(FAILED, e, None))?;
    Ok((graded, BooleanArray::from(differs)))
}

/// A column as text; numbers and truth values are written out.
fn texts(batch: &RecordBatch, column: &str) -> Result<StringArray, Failure> {
    let schema = batch.schema();
    let names = || schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    let Some(found) = batch.column_by_name(column) else {
        let names = names();
        let near = potstill_pipeline::near(column, names.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        return Err(Failure::new(CONFIG, format!("no column `{column}`; there are: {}", names.join(", ")), near.as_deref()));
    };
    let cast = arrow::compute::cast(found, &DataType::Utf8)
        .map_err(|e| Failure::new(FAILED, format!("column `{column}` cannot be read as text: {e}"), None))?;
    Ok(StringArray::from(cast.to_data()))
}

/// Tests as JSON text: a column of text as it stands, anything else written as JSON; several columns as one object.
fn tests(batch: &RecordBatch, columns: &[String]) -> Result<Vec<Option<String>>, Failure> {
    let failed = |e: arrow::error::ArrowError| Failure::new(FAILED, format!("the tests cannot be written as JSON: {e}"), None);
    let schema = batch.schema();
    let at = |column: &String| match schema.index_of(column) {
        Ok(at) => Ok(at),
        Err(_) => texts(batch, column).map(|_| 0),
    };
    let at = columns.iter().map(at).collect::<Result<Vec<_>, _>>()?;
    let mut writer = arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&batch.project(&at).map_err(failed)?).map_err(failed)?;
    writer.finish().map_err(failed)?;
    let text = String::from_utf8(writer.into_inner()).map_err(|e| Failure::new(FAILED, e, None))?;
    let [column] = columns else { return Ok(text.lines().map(|line| Some(line.to_owned())).collect()) };
    let alone = |line: &str| match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).ok()?.remove(column)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Ok(text.lines().map(alone).collect())
}

enum Out {
    Parquet(BatchWriter),
    Lines(PathBuf, arrow::json::LineDelimitedWriter<BufWriter<File>>),
}

impl Out {
    fn create(path: &Path, first: &RecordBatch) -> Result<Self, Failure> {
        if path.extension().is_some_and(|e| e == "parquet") {
            return Ok(Self::Parquet(BatchWriter::create(path, first.schema())?));
        }
        let file = File::create(path).map_err(|e| Failure::new(FAILED, format!("cannot write `{}`: {e}", path.display()), None))?;
        Ok(Self::Lines(path.to_owned(), arrow::json::LineDelimitedWriter::new(BufWriter::new(file))))
    }

    /// Writes a batch, into a new file if it is the first.
    fn append(out: &mut Option<Self>, path: &Path, batch: &RecordBatch) -> Result<(), Failure> {
        match out {
            Some(out) => out.write(batch),
            None => out.insert(Self::create(path, batch)?).write(batch),
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        match self {
            Self::Parquet(writer) => Ok(writer.write(batch)?),
            Self::Lines(path, writer) => {
                writer.write(batch).map_err(|e| Failure::new(FAILED, format!("cannot write `{}`: {e}", path.display()), None))
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Parquet(writer) => writer.finish().map(drop).map_err(Failure::from),
            Self::Lines(path, mut writer) => {
                let failed = |e: String| Failure::new(FAILED, format!("cannot write `{}`: {e}", path.display()), None);
                writer.finish().map_err(|e| failed(e.to_string()))?;
                writer.into_inner().flush().map_err(|e| failed(e.to_string()))
            }
        }
    }
}

/// Counts for the summary.
#[derive(Default)]
struct Tally {
    rows: u64,
    counts: BTreeMap<(&'static str, &'static str), u64>,
    agree: u64,
    disagree: u64,
    /// The first rows that differ from the reference.
    shown: Vec<Vec<String>>,
    swap: SwapCheck,
    /// The first reason why the verifier could not work.
    unavailable: Option<String>,
    /// Whether problems have tests instead of golds.
    tests: bool,
    /// The first reason why there was nothing to hold an answer against.
    bad_gold: Option<String>,
}

/// Disagreements that the summary shows.
const SHOWN: usize = 5;

impl Tally {
    /// Counts a row; returns whether it differs from the reference.
    fn add(&mut self, judgement: &Judgement, gold: &str, reference: Option<&str>) -> bool {
        self.rows += 1;
        if judgement.proof == Proof::Unavailable && self.unavailable.is_none() {
            self.unavailable = Some(judgement.note.clone());
        }
        if judgement.proof == Proof::BadGold && self.bad_gold.is_none() {
            self.bad_gold = Some(judgement.note.clone());
        }
        *self.counts.entry((judgement.verdict.as_str(), judgement.proof.as_str())).or_default() += 1;
        let Some(reference) = reference else { return false };
        let said = matches!(reference.trim().to_lowercase().as_str(), "true" | "1" | "1.0" | "correct" | "yes");
        let differs = said != (judgement.verdict == Verdict::Correct);
        *(if differs { &mut self.disagree } else { &mut self.agree }) += 1;
        if differs && self.shown.len() < SHOWN {
            let row = self.rows.to_string();
            let answer = judgement.extracted.as_deref().unwrap_or("");
            let cells = [row.as_str(), judgement.verdict.as_str(), reference, gold, answer];
            self.shown.push(cells.into_iter().map(short).collect());
        }
        differs
    }

    fn tell(&self) {
        let mut rows = vec![["verdict", "proof", "rows"].map(str::to_owned).to_vec()];
        for ((verdict, proof), count) in &self.counts {
            rows.push(vec![(*verdict).to_owned(), (*proof).to_owned(), grouped(*count)]);
        }
        say(&table(&rows, &[2]));
        let of = |verdict: &str| self.counts.iter().filter(|((v, _), _)| *v == verdict).map(|(_, n)| n).sum::<u64>();
        let share = of("correct") as f64 * 100.0 / self.rows.max(1) as f64;
        say(&format!(
            "\n{} rows, {} correct ({share:.1} %), {} incorrect, {} undecided",
            grouped(self.rows),
            grouped(of("correct")),
            grouped(of("incorrect")),
            grouped(of("undecided"))
        ));
        if self.agree + self.disagree > 0 {
            say(&format!("agrees with the reference on {} of {} rows", grouped(self.agree), grouped(self.agree + self.disagree)));
        }
        if !self.shown.is_empty() {
            let head = ["row", "verdict", "reference", "gold", "answer"].map(str::to_owned).to_vec();
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(self.shown.iter().cloned()).collect();
            say(&format!("\nthe first that differ:\n{}", table(&rows, &[0])));
        }
        self.warn();
    }

    fn warn(&self) {
        if let Some(reason) = &self.unavailable {
            complain(&format!("warning: some rows could not be verified here, the first because: {reason}"));
        }
        let bad_gold = self.counts.iter().filter(|((_, proof), _)| *proof == "bad_gold").map(|(_, n)| n).sum::<u64>();
        if let Some(reason) = &self.bad_gold {
            let what = if self.tests { "rows without tests that can be used" } else { "golds that are missing or cannot be read" };
            complain(&format!("warning: {what}: {}; undecided, never correct; the first: {reason}", grouped(bad_gold)));
        }
        if self.tests {
            return;
        }
        if self.swap.suspicion().is_some() || bad_gold * 2 > self.rows {
            complain("warning: the golds look like replies, or cannot be read: are --gold and --prediction exchanged?");
        }
    }
}

/// One line of at most 40 signs.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 40 { line } else { line.chars().take(39).chain(['…']).collect() }
}
