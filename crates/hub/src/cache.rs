//! The folder of one repository in the cache.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::listing::Listing;
use crate::repo::{Repo, is_commit};
use crate::{Hub, HubError};

/// A repository's folder.
#[derive(Debug, Clone)]
pub(crate) struct RepoCache {
    root: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(crate) fn new(hub: &Hub, repo: &Repo) -> Self {
        Self { root: hub.cache.join(repo.folder()), locks: hub.cache.join(".locks").join(repo.folder()) }
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The content of a hash; the hash is hexadecimal digits, checked when the listing was read.
    pub(crate) fn blob(&self, hash: &str) -> PathBuf {
        self.root.join("blobs").join(hash)
    }

    pub(crate) fn partial(&self, hash: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{hash}.incomplete"))
    }

    /// The commit that a revision stood for when it was last asked.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// What a commit holds, where that was asked before.
    pub(crate) fn listing(&self, commit: &str) -> Option<Listing> {
        let bytes = fs::read(self.listing_path(commit)).ok()?;
        Listing::parse(&bytes).ok().filter(|listing| listing.commit == commit)
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.root.join("listings").join(format!("{commit}.json"))
    }

    /// Keeps what a revision stands for and what it holds.
    pub(crate) fn remember(&self, revision: &str, listing: &Listing, bytes: &[u8]) -> Result<(), HubError> {
        replace(&self.listing_path(&listing.commit), bytes)?;
        if is_commit(revision) {
            return Ok(());
        }
        replace(&self.root.join("refs").join(revision), listing.commit.as_bytes())
    }

    /// Makes a file of a snapshot a link to its content.
    pub(crate) fn link(&self, commit: &str, path: &str, hash: &str) -> Result<PathBuf, HubError> {
        let link = self.snapshot(commit).join(path);
        make_parent(&link)?;
        // From snapshots/<commit>/a/b up to the repository's folder: two folders and one for each of the path's own.
        let up = "../".repeat(2 + path.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{hash}"));
        match fs::read_link(&link) {
            Ok(there) if there == target => return Ok(link),
            Ok(_) => fs::remove_file(&link).map_err(HubError::file("replace", &link))?,
            Err(_) => {}
        }
        match std::os::unix::fs::symlink(&target, &link) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(HubError::file("link", &link)(error)),
            _ => Ok(link),
        }
    }

    /// Waits until no other process loads this content, then keeps others from it. Blocks.
    pub(crate) fn lock(&self, hash: &str) -> Result<File, HubError> {
        let path = self.locks.join(format!("{hash}.lock"));
        make_parent(&path)?;
        let file = File::options().create(true).append(true).open(&path).map_err(HubError::file("open", &path))?;
        match file.lock() {
            // A file system without locks: the content is checked in the end, two writers only lose time.
            Err(error) if error.kind() != std::io::ErrorKind::Unsupported => Err(HubError::file("lock", &path)(error)),
            _ => Ok(file),
        }
    }
}

pub(crate) fn make_parent(path: &Path) -> Result<(), HubError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(HubError::file("make the folder", parent))
}

/// Writes a small file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    make_parent(path)?;
    let partial = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        fs::rename(&partial, path)
    };
    write().map_err(HubError::file("write", path))
}
