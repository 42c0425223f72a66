//! Problems: what a teacher is asked.

use std::borrow::Cow;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, SchemaRef};

use super::build;
use super::columns::Columns;
use super::{Meta, MetaFields, Row};
use crate::Result;

/// One problem with its gold answer or tests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Problem {
    /// Unique within a dataset; stable from run to run.
    pub problem_id: String,
    /// The dataset that it came from.
    pub source: String,
    /// The subject area, such as `math` or `code`.
    pub domain: Option<String>,
    /// The question as put to a teacher (without any system prompt).
    pub prompt: String,
    /// The reference answer.
    pub gold: Option<String>,
    /// Machine-readable tests as JSON text, for example `{"numbers":[3,5,8],"target":14}`.
    pub tests: Option<String>,
    /// The name of the verifier that grades replies to it.
    pub verifier: Option<String>,
    /// Extra columns of the source.
    pub meta: Meta,
}

/// Column names, in file order, of everything but `meta`.
pub(super) const COLUMNS: [&str; 7] = ["problem_id", "source", "domain", "prompt", "gold", "tests", "verifier"];

pub(super) fn fields() -> Vec<Field> {
    COLUMNS.iter().map(|name| build::text_field(name, !matches!(*name, "problem_id" | "source" | "prompt"))).collect()
}

/// The arrays of [`COLUMNS`].
pub(super) fn arrays<'a>(rows: impl Iterator<Item = &'a Problem> + Clone) -> Vec<ArrayRef> {
    vec![
        build::text(rows.clone().map(|row| row.problem_id.as_str())),
        build::text(rows.clone().map(|row| row.source.as_str())),
        build::opt_text(rows.clone().map(|row| row.domain.as_deref())),
        build::text(rows.clone().map(|row| row.prompt.as_str())),
        build::opt_text(rows.clone().map(|row| row.gold.as_deref())),
        build::opt_text(rows.clone().map(|row| row.tests.as_deref())),
        build::opt_text(rows.map(|row| row.verifier.as_deref())),
    ]
}

/// Reads the problem columns of a batch of any row kind that carries them.
pub(super) fn read(columns: &Columns<'_>) -> Result<Vec<Problem>> {
    let ids = columns.text("problem_id")?;
    let sources = columns.text("source")?;
    let domains = columns.opt_text("domain")?;
    let prompts = columns.text("prompt")?;
    let golds = columns.opt_text("gold")?;
    let tests = columns.opt_text("tests")?;
    let verifiers = columns.opt_text("verifier")?;
    let metas = columns.meta()?;
    let rows = metas.into_iter().enumerate().map(|(row, meta)| Problem {
        problem_id: ids.get(row),
        source: sources.get(row),
        domain: domains.get(row),
        prompt: prompts.get(row),
        gold: golds.get(row),
        tests: tests.get(row),
        verifier: verifiers.get(row),
        meta,
    });
    Ok(rows.collect())
}

impl Problem {
    pub(super) fn text_bytes(&self) -> usize {
        let options = [&self.domain, &self.gold, &self.tests, &self.verifier];
        self.problem_id.len()
            + self.source.len()
            + self.prompt.len()
            + options.into_iter().flatten().map(String::len).sum::<usize>()
            + build::meta_bytes(&self.meta)
    }
}

impl Row for Problem {
    const NAME: &'static str = "problems";

    fn schema(meta: &MetaFields) -> SchemaRef {
        build::schema(fields(), meta)
    }

    fn to_batch(rows: &[Self], meta: &MetaFields) -> Result<RecordBatch> {
        build::batch(Self::schema(meta), arrays(rows.iter()), rows, meta)
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>> {
        read(&Columns::new::<Self>(batch))
    }

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.problem_id)
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn approx_bytes(&self) -> usize {
        self.text_bytes()
    }
}
