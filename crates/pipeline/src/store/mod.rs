//! The artifact store: a folder of committed results, addressed by fingerprint.
//!
//! ```text
//! artifacts/<fingerprint>/manifest.json   put if absent; the only truth
//! attempts/<uuid>/<output>/…              data, complete and on disk before a manifest names it
//! scratch/<fingerprint>/                  partial work of a stage, kept over kills until the stage commits
//! shared/<name>/                          what stages and runs share: journals of paid responses
//! runs/<time>-<id>/                       event log and summary of a run
//! locks/                                  advisory locks; they save double work, correctness does not rest on them
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

mod commit;
mod error;
mod manifest;
#[cfg(test)]
mod tests;

pub use commit::{Attempt, Commit, OutputInfo};
pub use error::StoreError;
pub use manifest::{Ancestor, FORMAT, FileEntry, Input, Manifest, Output, Tokens};

pub(crate) use commit::write_flushed;
pub(crate) use error::At;

use crate::fingerprint::Fingerprint;

const MANIFEST: &str = "manifest.json";

/// An open store. While it is open, the attempt folders of running stages are safe from being taken for garbage.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Held shared as long as the store is open; `None` on a file system without locks, and for a store opened for reading.
    _presence: Option<File>,
}

/// A committed artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// What it is.
    pub manifest: Manifest,
    folder: PathBuf,
    manifest_path: PathBuf,
}

impl Artifact {
    /// The absolute paths of an output's files, in order; of the first output where no name is given. Empty for an output that is not there.
    #[must_use]
    pub fn files(&self, output: Option<&str>) -> Vec<PathBuf> {
        let files = self.manifest.output(output).map(|output| output.files.as_slice()).unwrap_or_default();
        files.iter().map(|file| self.folder.join(&file.path)).collect()
    }

    /// The absolute path of the file or folder to open, for an output that has one: a model's folder.
    #[must_use]
    pub fn entry(&self, output: Option<&str>) -> Option<PathBuf> {
        Some(self.folder.join(self.manifest.output(output)?.entry.as_ref()?))
    }

    /// Reads every file and compares its hash with the manifest's.
    ///
    /// # Errors
    /// The first file that cannot be read or differs.
    pub fn verify(&self) -> Result<(), StoreError> {
        for file in self.manifest.outputs.iter().flat_map(|output| &output.files) {
            let path = self.folder.join(&file.path);
            let found = commit::hash(&path)?;
            if found != file.blake3 {
                let expected = file.blake3.clone();
                return Err(StoreError::Altered { path, manifest: self.manifest_path.clone(), what: "hash", expected, found });
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), StoreError> {
        for file in self.manifest.outputs.iter().flat_map(|output| &output.files) {
            let path = self.folder.join(&file.path);
            let found = match fs::metadata(&path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(StoreError::Missing { path, manifest: self.manifest_path.clone() });
                }
                Err(error) => return Err(error).at("read", &path),
            };
            if found != file.bytes {
                let (expected, found) = (format!("{} bytes", file.bytes), format!("{found} bytes"));
                return Err(StoreError::Altered { path, manifest: self.manifest_path.clone(), what: "size", expected, found });
            }
        }
        Ok(())
    }
}

impl Store {
    /// Opens the store at `root` for a run; makes it where there is none, and removes what dead runs left behind.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = std::path::absolute(root.as_ref()).at("find", root.as_ref())?;
        for folder in ["artifacts", "attempts", "scratch", "shared", "runs", "locks"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).at("make the folder", &path)?;
        }
        let path = root.join("locks").join("store");
        let lock = open_lock(&path)?;
        let mut store = Self { root, _presence: None };
        // Alone in the store, nobody's attempt is alive: what no manifest names is garbage.
        let presence = match lock.try_lock() {
            Ok(()) => {
                store.collect_garbage()?;
                lock.lock_shared().at("lock", &path)?;
                Some(lock)
            }
            Err(TryLockError::WouldBlock) => {
                lock.lock_shared().at("lock", &path)?;
                Some(lock)
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => None,
            Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
        };
        store._presence = presence;
        Ok(store)
    }

    /// Opens a store for looking at it: changes nothing, needs no permission to write.
    ///
    /// # Errors
    /// There is no store.
    pub fn open_read_only(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = std::path::absolute(root.as_ref()).at("find", root.as_ref())?;
        if !root.join("artifacts").is_dir() {
            return Err(StoreError::NoStore { path: root });
        }
        Ok(Self { root, _presence: None })
    }

    /// The absolute path of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn manifest_path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.root.join("artifacts").join(fingerprint.to_string()).join(MANIFEST)
    }

    fn attempt_folder(&self, attempt: &str) -> PathBuf {
        self.root.join("attempts").join(attempt)
    }

    /// The committed artifact of a fingerprint; `None` when there is none. Its files are there and have the right sizes.
    ///
    /// # Errors
    /// The manifest is not usable, or a file is missing or has another size.
    pub fn find(&self, fingerprint: &Fingerprint) -> Result<Option<Artifact>, StoreError> {
        let artifact = self.read(fingerprint)?;
        if let Some(artifact) = &artifact {
            artifact.check_sizes()?;
        }
        Ok(artifact)
    }

    fn read(&self, fingerprint: &Fingerprint) -> Result<Option<Artifact>, StoreError> {
        let manifest_path = self.manifest_path(fingerprint);
        let bytes = match fs::read(&manifest_path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("read", &manifest_path),
        };
        let manifest = Manifest::unseal(&String::from_utf8_lossy(&bytes), fingerprint, &manifest_path)?;
        let folder = self.attempt_folder(&manifest.attempt);
        Ok(Some(Artifact { manifest, folder, manifest_path }))
    }

    /// The fingerprints of all committed artifacts, sorted.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn fingerprints(&self) -> Result<Vec<Fingerprint>, StoreError> {
        let mut all: Vec<Fingerprint> = Vec::new();
        for name in list(&self.root.join("artifacts"))? {
            // Folders of other names are not ours; a folder without a manifest is an artifact that was never committed.
            if let Ok(fingerprint) = name.parse()
                && self.manifest_path(&fingerprint).exists()
            {
                all.push(fingerprint);
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// The folder for a stage's partial work. It outlives kills and is removed when the stage commits. Two processes may see the same
    /// folder only on a file system without locks: replace files in it atomically.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn scratch(&self, fingerprint: &Fingerprint) -> Result<PathBuf, StoreError> {
        let path = self.root.join("scratch").join(fingerprint.to_string());
        fs::create_dir_all(&path).at("make the folder", &path)?;
        Ok(path)
    }

    /// A folder that all stages and runs share, such as the journal of paid responses.
    ///
    /// # Errors
    /// The name would leave the store, or the folder cannot be made.
    pub fn shared(&self, name: &str) -> Result<PathBuf, StoreError> {
        if !manifest::is_inside(name) {
            return Err(StoreError::BadName { name: name.to_owned() });
        }
        let path = self.root.join("shared").join(name);
        fs::create_dir_all(&path).at("make the folder", &path)?;
        Ok(path)
    }

    /// Makes the folder of a run, named by time and a random id; gives the name and the path.
    pub(crate) fn begin_run(&self) -> Result<(String, PathBuf), StoreError> {
        let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string().replace(':', "");
        let name = format!("{time}-{}", &Uuid::new_v4().to_string()[..8]);
        let path = self.root.join("runs").join(&name);
        fs::create_dir_all(&path).at("make the folder", &path)?;
        Ok((name, path))
    }

    /// Waits until no other run works on the fingerprint, then keeps others from it until the guard is dropped. `waiting` is called
    /// about five times a second while another run holds it; when it says no, the result is `None`. Without locks it does not wait.
    pub(crate) fn exclusive(&self, fingerprint: &Fingerprint, mut waiting: impl FnMut() -> bool) -> Result<Option<Exclusive>, StoreError> {
        let path = self.root.join("locks").join(fingerprint.to_string());
        let file = open_lock(&path)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Exclusive { _lock: Some(file) })),
                Err(TryLockError::WouldBlock) => {
                    if !waiting() {
                        return Ok(None);
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Some(Exclusive { _lock: None }));
                }
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
            }
        }
    }

    /// Removes attempts that no manifest names, and the scratch of what is committed. A manifest that cannot be read may name
    /// any of them: then nothing is removed.
    fn collect_garbage(&self) -> Result<(), StoreError> {
        let mut named = Vec::new();
        for fingerprint in self.fingerprints()? {
            let Ok(Some(artifact)) = self.read(&fingerprint) else {
                return Ok(());
            };
            named.push(artifact.manifest.attempt);
            remove(&self.root.join("scratch").join(fingerprint.to_string()))?;
        }
        let attempts = self.root.join("attempts");
        for name in list(&attempts)? {
            if Uuid::parse_str(&name).is_ok() && !named.contains(&name) {
                remove(&attempts.join(name))?;
            }
        }
        Ok(())
    }
}

/// The right to work on a fingerprint.
pub(crate) struct Exclusive {
    _lock: Option<File>,
}

fn open_lock(path: &Path) -> Result<File, StoreError> {
    File::options().create(true).truncate(false).read(true).write(true).open(path).at("open the lock", path)
}

/// The names in a folder, sorted; names that are no UTF-8 are not ours.
fn list(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        names.extend(entry.at("list", folder)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", folder),
        _ => Ok(()),
    }
}
