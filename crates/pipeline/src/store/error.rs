//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the store could not do something. The message names the path; [`StoreError::hint`] says what to do.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// There is no store at the path.
    #[error("there is no store at `{}`", path.display())]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A manifest is truncated, altered, of another version, or belongs elsewhere.
    #[error("the manifest `{}` is not usable: {problem}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that a manifest names is not there.
    #[error("`{}` is missing, but `{}` names it", path.display(), manifest.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The manifest.
        manifest: PathBuf,
    },
    /// A file is not as its manifest says.
    #[error("`{}` was altered: its {what} is {found}, but `{}` says {expected}", path.display(), manifest.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The manifest.
        manifest: PathBuf,
        /// What differs: `size` or `hash`.
        what: &'static str,
        /// As the manifest says.
        expected: String,
        /// As found.
        found: String,
    },
    /// An output holds something that is no plain file.
    #[error("`{}` is neither a file nor a folder", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A name for a file of an output would leave its folder.
    #[error("`{name}` cannot name a file of an output")]
    BadName {
        /// The name.
        name: String,
    },
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let rebuild = |path: &Path| {
            let folder = path.parent().unwrap_or(path);
            Some(format!("remove the folder `{}` to have the stage run again", folder.display()))
        };
        match self {
            Self::Io { source, path, .. } => io_hint(source, path),
            Self::NoStore { .. } => Some("run a pipeline first, or give its store with `--store`".to_owned()),
            Self::Manifest { path, .. } => rebuild(path),
            Self::Missing { manifest, .. } | Self::Altered { manifest, .. } => rebuild(manifest),
            Self::NotAFile { .. } | Self::BadName { .. } => None,
        }
    }
}

fn io_hint(error: &io::Error, path: &Path) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space and run again; what was committed is kept",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "choose a writable folder with `--store`",
        io::ErrorKind::Unsupported => "choose a folder on a file system with hard links with `--store`",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            return Some(format!("a part of `{}` is a file, no folder; choose another with `--store`", path.display()));
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Adds what was tried, and where, to an error of the operating system.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source })
    }
}
