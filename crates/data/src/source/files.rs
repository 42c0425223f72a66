//! The files of a source: which they are, what format they have, and how they are unpacked.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::Format;
use crate::{DataError, Result};

/// A file's unpacked bytes.
pub(crate) type Stream = Box<dyn BufRead + Send>;

const BUFFER: usize = 1 << 18;

/// The files that a path with or without `*` stands for, by name.
pub(crate) fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    let text = path.to_string_lossy();
    if !text.contains(['*', '?', '[']) || path.exists() {
        let about = path.metadata().map_err(|error| DataError::read(path, error))?;
        if about.is_dir() {
            return Err(DataError::setting(
                format!("{} is a folder, where files are needed", path.display()),
                format!("name the files in it, as in `{}/*.parquet`", path.display()),
            ));
        }
        return Ok(vec![path.to_owned()]);
    }
    let matches = glob::glob(&text)
        .map_err(|error| DataError::setting(format!("`{text}` is no pattern of file names: {error}"), "use `*` for any part"))?;
    let mut files = Vec::new();
    for file in matches {
        let file = file.map_err(|error| {
            let path = error.path().to_owned();
            DataError::read(&path, error.into())
        })?;
        if file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(DataError::Missing { path: path.to_owned(), hint: Some("no file name matches that pattern".to_owned()) });
    }
    Ok(files)
}

/// The format that a file's name tells.
pub(crate) fn format_of(path: &Path) -> Result<Format> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst"));
    let name_is_plain = plain.is_none();
    let name = plain.unwrap_or(&name);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "parquet" if !name_is_plain => Err(DataError::setting(
            format!("{} is a packed Parquet file, which cannot be read from its end", path.display()),
            "unpack it first; Parquet is packed inside already",
        )),
        "parquet" => Ok(Format::Parquet),
        "jsonl" | "ndjson" => Ok(Format::Jsonl),
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        "tsv" => Ok(Format::Tsv),
        _ => Err(DataError::setting(
            format!("the name of {} does not tell its format", path.display()),
            "set `format` to parquet, jsonl, json, csv or tsv",
        )),
    }
}

/// Opens a file and unpacks it if its first bytes say that it is packed, whatever its name.
pub(crate) fn open(path: &Path) -> Result<Stream> {
    let fault = |error| DataError::read(path, error);
    let file = File::open(path).map_err(fault)?;
    let mut raw = BufReader::with_capacity(BUFFER, file);
    let magic = raw.fill_buf().map_err(fault)?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))));
    }
    if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let unpacked = zstd::stream::read::Decoder::with_buffer(raw).map_err(fault)?;
        return Ok(Box::new(BufReader::with_capacity(BUFFER, unpacked)));
    }
    Ok(Box::new(raw))
}
