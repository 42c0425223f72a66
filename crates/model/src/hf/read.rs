//! Foreign files of a model folder.

use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Error, Result, files};

/// Parses a bounded JSON file.
pub(super) fn json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<T> {
    let bytes = files::read_bounded(path, limit)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::io(path, std::io::Error::other(format!("not valid JSON: {error}"))))
}

/// The path of a file that an index names: one plain name, and a link only to a place inside the folder or inside the
/// `blobs` of the hub cache that the folder belongs to.
pub(super) fn shard_path(dir: &Path, name: &str) -> Result<PathBuf> {
    let refuse = |problem: &str| Error::weights(name, format!("{problem}; an index may only name files of its own folder"));
    let mut components = Path::new(name).components();
    if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) || name.contains(['\0', '\\']) {
        return Err(refuse("is not a plain file name"));
    }
    let path = dir.join(name);
    let target = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::weights(name, format!("is missing from {}, though the index names it", dir.display())),
        _ => Error::io(&path, error),
    })?;
    let inside = |folder: PathBuf| folder.canonicalize().is_ok_and(|folder| target.starts_with(folder));
    if inside(dir.to_path_buf()) || inside(dir.join("../../blobs")) {
        return Ok(path);
    }
    Err(refuse("is a link that leaves the folder"))
}
