//! Files: read within bounds, write atomically.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

use crate::{Error, Result};

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io = |error| Error::io(path, error);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(io(std::io::Error::other(format!("larger than the {limit} bytes allowed for such a file"))));
    }
    Ok(bytes)
}

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read_bounded(path, limit)?).map_err(|_| Error::io(path, std::io::Error::other("not valid UTF-8")))
}

/// Writes a file so that a reader finds the whole old one or the whole new one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write_atomically`], with the bytes written by `write`.
pub(crate) fn write_with(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let written = File::create(&partial).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&partial, path)) {
        // The partial file is of no use to anybody; that it may stay behind is the smaller trouble.
        let _ = fs::remove_file(&partial);
        return Err(Error::io(path, error));
    }
    Ok(())
}
