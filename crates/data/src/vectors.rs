//! Vectors by id, as embedding models give them: a column of ids and one of lists of numbers, in Parquet files.

use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, Float32Type};

use crate::error::Place;
use crate::parts::{BatchReader, Located, PartFile};
use crate::{DataError, Result};

/// Files of vectors.
#[derive(Debug, Clone)]
pub struct Vectors {
    files: Vec<PathBuf>,
    id: String,
    column: String,
}

impl Vectors {
    /// Finds the files (`*` stands for any part of a name) and checks that they have both columns, and that the second holds
    /// lists of numbers.
    ///
    /// # Errors
    /// No such file, no sound Parquet file, no such column, or one of another type.
    pub fn open(path: &Path, id: &str, column: &str) -> Result<Self> {
        let files = crate::source::expand(path)?;
        for file in &files {
            let part = PartFile::open(file)?;
            for name in [id, column] {
                let field = part.schema().field_with_name(name).map_err(|_| DataError::NoColumn {
                    place: Place::file(file),
                    column: name.to_owned(),
                    known: part.columns(),
                })?;
                if name == column && !is_vector(field.data_type()) {
                    return Err(DataError::ColumnType {
                        place: Place::file(file),
                        column: name.to_owned(),
                        wanted: "a list of numbers",
                        found: field.data_type().to_string(),
                    });
                }
            }
        }
        Ok(Self { files, id: id.to_owned(), column: column.to_owned() })
    }

    /// The files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Calls `visit` with every id and its vector, in the order of the files; gives the vectors' common length.
    ///
    /// # Errors
    /// A damaged file; an id or a vector that is null; vectors of several lengths; a number that is not finite.
    pub fn each(&self, mut visit: impl FnMut(&str, &[f32])) -> Result<usize> {
        let mut length = None;
        for located in BatchReader::open(&self.files)?.with_columns(&[&self.id, &self.column]) {
            let located = located?;
            let (ids, lists) = (self.cast(&located, &self.id, &DataType::Utf8)?, self.cast(&located, &self.column, &list_type())?);
            let (ids, lists) = (ids.as_string::<i32>(), lists.as_list::<i32>());
            let numbers = lists.values().as_primitive::<Float32Type>();
            for (row, ends) in lists.value_offsets().windows(2).enumerate() {
                let wrong = |what: String| DataError::value(Place::row(&located.path, located.first_row + row as u64), what);
                if ids.is_null(row) || lists.is_null(row) {
                    let column = if ids.is_null(row) { &self.id } else { &self.column };
                    return Err(wrong(format!("column `{column}` is null")));
                }
                let (from, to) = (ends[0] as usize, ends[1] as usize);
                let vector = &numbers.values()[from..to];
                let expected = *length.get_or_insert(vector.len());
                if vector.len() != expected || expected == 0 {
                    return Err(wrong(format!(
                        "column `{}` has a vector of {} numbers, those before have {expected}",
                        self.column,
                        vector.len()
                    )));
                }
                if let Some(at) = (from..to).find(|at| numbers.is_null(*at) || !numbers.value(*at).is_finite()) {
                    let found = if numbers.is_null(at) { "null".to_owned() } else { numbers.value(at).to_string() };
                    return Err(wrong(format!(
                        "column `{}` must hold finite numbers, found {found} as number {}",
                        self.column,
                        at - from + 1
                    )));
                }
                visit(ids.value(row), vector);
            }
        }
        Ok(length.unwrap_or(0))
    }

    fn cast(&self, located: &Located, name: &str, wanted: &DataType) -> Result<ArrayRef> {
        let Some(column) = located.batch.column_by_name(name) else {
            return Err(DataError::NoColumn { place: Place::file(&located.path), column: name.to_owned(), known: Vec::new() });
        };
        Ok(cast(column, wanted)?)
    }
}

fn list_type() -> DataType {
    DataType::List(Field::new("item", DataType::Float32, true).into())
}

fn is_vector(data_type: &DataType) -> bool {
    let list = matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _));
    let numbers = match data_type {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => field.data_type().is_numeric(),
        _ => false,
    };
    list && numbers && can_cast_types(data_type, &list_type())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{FixedSizeListArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
    use arrow::datatypes::{Float32Type, Float64Type};

    use super::*;
    use crate::parts::BatchWriter;

    fn write(path: &Path, ids: ArrayRef, vectors: ArrayRef) {
        let batch = RecordBatch::try_from_iter([("id", ids), ("embedding", vectors)]).unwrap();
        let mut out = BatchWriter::create(path, batch.schema()).unwrap();
        out.write(&batch).unwrap();
        out.finish().unwrap();
    }

    fn lists(rows: &[&[f64]]) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows.iter().map(|row| Some(row.iter().map(|x| Some(*x))))))
    }

    fn read(path: &Path) -> Result<Vec<(String, Vec<f32>)>> {
        let mut all = Vec::new();
        Vectors::open(path, "id", "embedding")?.each(|id, vector| all.push((id.to_owned(), vector.to_vec())))?;
        Ok(all)
    }

    #[test]
    fn lists_of_any_kind_of_number_are_vectors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.parquet");
        let ids = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
        let wanted = vec![("a".to_owned(), vec![1.0, 2.0]), ("b".to_owned(), vec![3.0, 4.0])];
        write(&path, ids(), lists(&[&[1.0, 2.0], &[3.0, 4.0]]));
        assert_eq!(read(&path).unwrap(), wanted);
        let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>([[1.0, 2.0], [3.0, 4.0]].map(|v| Some(v.map(Some))), 2);
        write(&path, ids(), Arc::new(fixed));
        assert_eq!(read(&path).unwrap(), wanted);
        write(&path, Arc::new(Int64Array::from(vec![7])), lists(&[&[1.0]]));
        assert_eq!(read(&path).unwrap()[0].0, "7");
    }

    #[test]
    fn what_is_no_vector_is_named_with_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.parquet");
        let ids = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
        let error = || read(&path).unwrap_err().to_string();
        write(&path, ids(), lists(&[&[1.0, 2.0], &[3.0]]));
        assert!(error().ends_with("row 2: column `embedding` has a vector of 1 numbers, those before have 2"), "{}", error());
        write(&path, ids(), lists(&[&[1.0, 2.0], &[3.0, f64::NAN]]));
        assert!(error().ends_with("row 2: column `embedding` must hold finite numbers, found NaN as number 2"), "{}", error());
        write(&path, ids(), Arc::new(Float64Array::from(vec![1.0, 2.0])));
        assert!(error().ends_with("column `embedding` holds Float64, but a list of numbers is needed"), "{}", error());
        write(&path, Arc::new(StringArray::from(vec![Some("a"), None])), lists(&[&[1.0], &[2.0]]));
        assert!(error().ends_with("row 2: column `id` is null"), "{}", error());
        let error = Vectors::open(&path, "problem_id", "embedding").unwrap_err().to_string();
        assert!(error.ends_with("no column `problem_id`"), "{error}");
    }
}
