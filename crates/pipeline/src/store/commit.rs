//! Putting an artifact into the store, so that a kill at any moment leaves either all of it or nothing.
//!
//! 1. The stage writes into its own attempt folder.
//! 2. Every file and folder of it is flushed to disk.
//! 3. The manifest is written beside the data and flushed.
//! 4. A hard link puts it into place if nothing is there: of any number of racers one wins, and the others read the winner's.
//! 5. The folder of the link is flushed; only then the artifact counts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::manifest::{FileEntry, Manifest, Output, is_inside};
use super::{Artifact, At, MANIFEST, Store, StoreError, remove};
use crate::fingerprint::Fingerprint;
use crate::kind::Port;

/// The folder that a stage writes into. Dropped without a commit, it is removed.
#[derive(Debug)]
pub struct Attempt {
    id: String,
    folder: PathBuf,
    committed: bool,
}

/// What a stage says of an output besides its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputInfo {
    /// How many rows, where the output carries rows.
    pub rows: Option<u64>,
    /// The file or folder to open, relative to the output's folder, where that is not every file; `"."` is the folder itself.
    pub entry: Option<String>,
}

/// How a commit ended.
#[derive(Debug)]
pub enum Commit {
    /// The attempt is the artifact.
    Won(Artifact),
    /// Another one was first; this attempt is gone.
    Lost(Artifact),
}

/// The moments between which a kill can fall; tests stop there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The data is written but not flushed.
    Written,
    /// The data is on disk.
    Flushed,
    /// The manifest is on disk beside the data.
    Prepared,
    /// The manifest is in place.
    Linked,
    /// The manifest's folder is flushed.
    Committed,
}

impl Attempt {
    /// The path for a file of an output; the folders above it are made.
    ///
    /// # Errors
    /// The name would leave the output's folder, or a folder cannot be made.
    pub fn file(&self, output: &str, name: &str) -> Result<PathBuf, StoreError> {
        if !is_inside(output) || !is_inside(name) {
            return Err(StoreError::BadName { name: format!("{output}/{name}") });
        }
        let path = self.folder.join(output).join(name);
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).at("make the folder", parent)?;
        Ok(path)
    }

    /// The outputs with all files found in their folders, which are flushed on the way.
    fn outputs(&self, named: &[(String, Port)], infos: &BTreeMap<String, OutputInfo>) -> Result<Vec<Output>, StoreError> {
        let mut outputs = Vec::new();
        for (name, port) in named {
            let info = infos.get(name).cloned().unwrap_or_default();
            let entry = match info.entry.as_deref() {
                None => None,
                Some(".") => Some(name.clone()),
                Some(entry) if is_inside(entry) => Some(format!("{name}/{entry}")),
                Some(entry) => {
                    return Err(StoreError::BadName { name: entry.to_owned() });
                }
            };
            let mut files = Vec::new();
            if self.folder.join(name).exists() {
                collect(&self.folder, name, &mut files)?;
            }
            files.sort_by(|a: &FileEntry, b| a.path.cmp(&b.path));
            outputs.push(Output { name: name.clone(), port: *port, rows: info.rows, entry, files });
        }
        Ok(outputs)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now is garbage that a later run removes.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Store {
    /// Makes an attempt folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn begin(&self) -> Result<Attempt, StoreError> {
        let id = Uuid::new_v4().to_string();
        let folder = self.attempt_folder(&id);
        fs::create_dir(&folder).at("make the folder", &folder)?;
        Ok(Attempt { id, folder, committed: false })
    }

    /// Commits an attempt: flushes its data, completes `manifest` by the attempt's id and the files of the `named` outputs, and puts it
    /// in place if nothing is there; with `replace`, also if something is.
    ///
    /// # Errors
    /// Something cannot be written; then nothing is committed.
    pub fn commit(
        &self,
        attempt: Attempt,
        manifest: Manifest,
        named: &[(String, Port)],
        infos: &BTreeMap<String, OutputInfo>,
        replace: bool,
    ) -> Result<Commit, StoreError> {
        self.commit_with(attempt, manifest, named, infos, replace, &mut |_| ())
    }

    pub(super) fn commit_with(
        &self,
        mut attempt: Attempt,
        mut manifest: Manifest,
        named: &[(String, Port)],
        infos: &BTreeMap<String, OutputInfo>,
        replace: bool,
        at: &mut dyn FnMut(Step),
    ) -> Result<Commit, StoreError> {
        at(Step::Written);
        manifest.attempt.clone_from(&attempt.id);
        manifest.outputs = attempt.outputs(named, infos)?;
        flush_folder(&attempt.folder)?;
        flush_folder(&self.root.join("attempts"))?;
        at(Step::Flushed);
        let prepared = attempt.folder.join(MANIFEST);
        write_flushed(&prepared, manifest.seal().map_err(io::Error::from).at("write", &prepared)?.as_bytes())?;
        flush_folder(&attempt.folder)?;
        at(Step::Prepared);
        let fingerprint = manifest.fingerprint;
        if !self.put(&prepared, &fingerprint, &attempt.id, replace)? {
            return self.lost(&fingerprint);
        }
        attempt.committed = true;
        at(Step::Linked);
        self.flush_artifact(&fingerprint)?;
        at(Step::Committed);
        remove(&self.root.join("scratch").join(fingerprint.to_string()))?;
        let folder = attempt.folder.clone();
        Ok(Commit::Won(Artifact { manifest, folder, manifest_path: self.manifest_path(&fingerprint) }))
    }

    /// Puts the manifest in place. False when another one is there and is to stay.
    fn put(&self, prepared: &Path, fingerprint: &Fingerprint, attempt: &str, replace: bool) -> Result<bool, StoreError> {
        let target = self.manifest_path(fingerprint);
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).at("make the folder", folder)?;
        if replace {
            // A link of its own that is renamed over the old one: at no time the artifact is absent.
            let link = folder.join(format!("{attempt}.tmp"));
            fs::hard_link(prepared, &link).at("link the manifest to", &link)?;
            fs::rename(&link, &target).at("replace", &target)?;
            return Ok(true);
        }
        match fs::hard_link(prepared, &target) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error).at("link the manifest to", &target),
        }
    }

    fn lost(&self, fingerprint: &Fingerprint) -> Result<Commit, StoreError> {
        // The winner may have been killed between its link and its flush; what we rely on must be on disk.
        self.flush_artifact(fingerprint)?;
        match self.find(fingerprint)? {
            Some(artifact) => Ok(Commit::Lost(artifact)),
            None => Err(StoreError::Missing { path: self.manifest_path(fingerprint), manifest: self.manifest_path(fingerprint) }),
        }
    }

    fn flush_artifact(&self, fingerprint: &Fingerprint) -> Result<(), StoreError> {
        let target = self.manifest_path(fingerprint);
        flush_folder(target.parent().unwrap_or(&self.root))?;
        flush_folder(&self.root.join("artifacts"))
    }
}

/// Adds every file under `relative` with size and hash; flushes files and folders to disk.
fn collect(root: &Path, relative: &str, files: &mut Vec<FileEntry>) -> Result<(), StoreError> {
    let path = root.join(relative);
    let kind = fs::symlink_metadata(&path).at("read", &path)?.file_type();
    if kind.is_file() {
        let file = File::open(&path).at("read", &path)?;
        file.sync_all().at("flush", &path)?;
        let bytes = file.metadata().at("read", &path)?.len();
        files.push(FileEntry { path: relative.to_owned(), bytes, blake3: hash(&path)? });
        return Ok(());
    }
    if !kind.is_dir() {
        return Err(StoreError::NotAFile { path });
    }
    for entry in fs::read_dir(&path).at("list", &path)? {
        let name = entry.at("list", &path)?.file_name();
        let name = name.to_str().ok_or_else(|| StoreError::BadName { name: name.to_string_lossy().into_owned() })?;
        if !is_inside(name) {
            return Err(StoreError::BadName { name: name.to_owned() });
        }
        collect(root, &format!("{relative}/{name}"), files)?;
    }
    flush_folder(&path)
}

/// The blake3 hash of a file's content, in hexadecimal digits.
pub(super) fn hash(path: &Path) -> Result<String, StoreError> {
    let file = File::open(path).at("read", path)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).at("read", path)?;
    Ok(hasher.finalize().to_string())
}

/// Writes a file and flushes it to disk.
pub(crate) fn write_flushed(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = File::create(path).at("write", path)?;
    file.write_all(bytes).at("write", path)?;
    file.sync_all().at("flush", path)
}

/// Flushes a folder's entries to disk. Elsewhere than on Unix folders cannot be opened, and the system does it by itself.
fn flush_folder(path: &Path) -> Result<(), StoreError> {
    if cfg!(unix) { File::open(path).and_then(|folder| folder.sync_all()).at("flush", path) } else { Ok(()) }
}
