//! What the tests of sources share.

use potstill_data::source::Columns;
use potstill_data::{Attempt, DataError, Problem, Source, SourceKind, SourceSpec};
use tempfile::TempDir;

/// A folder with files of a test.
pub(crate) struct Folder(pub(crate) TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> SourceSpec {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
        SourceSpec { path: Some(name.into()), columns: Some(question_answer()), ..SourceSpec::default() }
    }

    pub(crate) fn open(&self, spec: &SourceSpec) -> Result<Source, DataError> {
        Source::open(spec, self.0.path())
    }

    pub(crate) fn problems(&self, spec: &SourceSpec) -> Vec<Problem> {
        let mut source = self.open(spec).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
        assert_eq!(source.kind(), SourceKind::Problems);
        source.problems().collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()))
    }

    pub(crate) fn attempts(&self, spec: &SourceSpec) -> Vec<Attempt> {
        let source = self.open(spec).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
        assert_eq!(source.kind(), SourceKind::Attempts);
        source.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()))
    }

    /// The error of opening or reading, and its hint.
    pub(crate) fn refused(&self, spec: &SourceSpec) -> (String, String) {
        let error = match self.open(spec) {
            Err(error) => error,
            Ok(source) => match source.collect::<Result<Vec<_>, _>>() {
                Err(error) => error,
                Ok(rows) => panic!("{} rows were accepted", rows.len()),
            },
        };
        let hint = error.hint().unwrap_or_default();
        (error.to_string().replace(&self.0.path().display().to_string(), "DIR"), hint)
    }
}

pub(crate) fn question_answer() -> Columns {
    Columns { prompt: Some("q".to_owned()), gold: Some("a".to_owned()), ..Columns::default() }
}

pub(crate) fn with_meta(names: &[&str]) -> Columns {
    Columns { meta: names.iter().map(|name| (*name).to_owned()).collect(), ..question_answer() }
}

pub(crate) const LINES: &str =
    "{\"q\": \"one?\", \"a\": 1, \"n\": 7}\n\n{\"q\": \"two?\", \"a\": \"2\", \"n\": 7.5}\r\n{\"q\": \"three?\", \"a\": null}";
