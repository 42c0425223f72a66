//! Real problems and replies for tests, from the folder `shared` beside the checkout. Tests that use them
//! pass with a printed note where it is absent.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

/// The folder of shared data, if it is there.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    if path.is_dir() {
        return Some(path.to_owned());
    }
    println!("skipped: {} is absent", path.display());
    None
}

/// A row of a Parquet file.
pub(crate) struct Row(BTreeMap<String, Field>);

impl Row {
    /// The text of a column, empty where it is null.
    pub(crate) fn text(&self, column: &str) -> &str {
        match self.0.get(column) {
            Some(Field::Str(text)) => text,
            Some(Field::Null) => "",
            other => panic!("column {column} is {other:?}, not text"),
        }
    }

    /// A column of any type.
    #[allow(dead_code, reason = "each test file uses a part of this module")]
    pub(crate) fn field(&self, column: &str) -> &Field {
        &self.0[column]
    }

    /// A column that is true or false.
    #[allow(dead_code, reason = "each test file uses a part of this module")]
    pub(crate) fn flag(&self, column: &str) -> bool {
        matches!(self.0.get(column), Some(Field::Bool(true)))
    }
}

/// Every row of a Parquet file.
pub(crate) fn rows(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| Row(row.unwrap().into_columns().into_iter().collect())).collect()
}
