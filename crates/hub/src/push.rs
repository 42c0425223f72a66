//! One commit of a folder: what the hub has already is not sent, large files go ahead by Git LFS.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::download::{Hasher, Watch, blocking};
use crate::listing::{Hash, Listing};
use crate::repo::{Repo, RepoKind, check_revision, escaped, is_inside};
use crate::{Hub, HubError, Progress};

/// Bytes of a file by which the hub decides how it is to be sent.
const SAMPLE: usize = 512;
/// Files asked about at a time.
const BATCH: usize = 256;
/// The most that may stand inside a commit itself.
const LARGEST_INLINE: u64 = 10 << 20;

/// What to push.
#[derive(Debug, Clone)]
pub struct Push {
    /// The repository; made if it is not there.
    pub repo: Repo,
    /// The folder, with all its files but hidden ones (names that begin with a dot; `.gitattributes` goes along).
    pub folder: PathBuf,
    /// The branch.
    pub branch: String,
    /// The commit's message.
    pub message: String,
    /// Whether a repository that is made is private.
    pub private: bool,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The page of the repository.
    pub page: String,
    /// The new commit; `None` where the hub had everything already.
    pub commit: Option<String>,
    /// Files that were sent.
    pub sent: usize,
    /// Files that the hub had already.
    pub unchanged: usize,
}

/// A local file.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    git: String,
    sample: Vec<u8>,
}

#[derive(Deserialize)]
struct Modes {
    files: Vec<Mode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    commit_oid: String,
}

impl Hub {
    /// Pushes a folder as one commit. Files of the repository that the folder lacks stay.
    ///
    /// # Errors
    /// [`HubError`]: no token, no right to write, the network, or a folder that cannot be read.
    pub async fn push(&self, push: &Push, watch: &Watch<'_>) -> Result<Pushed, HubError> {
        if self.offline {
            return Err(HubError::Setting { what: "a push needs the network, which may not be used".into(), hint: "unset HF_HUB_OFFLINE" });
        }
        check_revision(&push.repo, &push.branch)?;
        let folder = push.folder.clone();
        let local = blocking(move || read_folder(&folder)).await?;
        self.create(push).await?;
        let known = match self.ask_listing(&push.repo, &push.branch).await {
            Ok((listing, _)) => Some(listing),
            Err(HubError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let (unchanged, changed): (Vec<Local>, Vec<Local>) =
            local.into_iter().partition(|file| known.as_ref().is_some_and(|k| has(k, file)));
        let page = format!("{}/{}", self.endpoint(), push.repo);
        if changed.is_empty() {
            return Ok(Pushed { page, commit: None, sent: 0, unchanged: unchanged.len() });
        }
        let (large, small) = self.modes(push, changed).await?;
        let total = large.iter().chain(&small).map(|file| file.size).sum();
        self.upload(push, &large, total, watch).await?;
        let commit = self.commit(push, &large, &small).await?;
        watch(Progress { bytes: total, total });
        Ok(Pushed { page, commit: Some(commit), sent: large.len() + small.len(), unchanged: unchanged.len() })
    }

    /// Makes the repository; one that is there is fine.
    async fn create(&self, push: &Push) -> Result<(), HubError> {
        let (organisation, name) = match push.repo.name().split_once('/') {
            Some((organisation, name)) => (Some(organisation), name),
            None => (None, push.repo.name()),
        };
        let kind = if push.repo.kind() == RepoKind::Dataset { "dataset" } else { "model" };
        let body = json!({ "type": kind, "name": name, "organization": organisation, "private": push.private });
        let url = format!("{}/api/repos/create", self.endpoint());
        let answer = self.http.send(|| self.http.request(Method::POST, &url).json(&body)).await?;
        if answer.status() == StatusCode::CONFLICT {
            return Ok(());
        }
        self.http.checked(answer, &push.repo).await.map(drop)
    }

    /// Asks the hub which files go ahead by LFS and which stand in the commit.
    async fn modes(&self, push: &Push, files: Vec<Local>) -> Result<(Vec<Local>, Vec<Local>), HubError> {
        let url = self.api(push, "preupload");
        let mut lfs = std::collections::BTreeSet::new();
        let mut ignored = std::collections::BTreeSet::new();
        for batch in files.chunks(BATCH) {
            let asked: Vec<Value> =
                batch.iter().map(|f| json!({ "path": f.name, "size": f.size, "sample": BASE64.encode(&f.sample) })).collect();
            let body = json!({ "files": asked });
            let answer = self.http.send(|| self.http.request(Method::POST, &url).json(&body)).await?;
            let modes: Modes = self.parsed(self.http.checked(answer, &push.repo).await?).await?;
            for mode in modes.files {
                if mode.should_ignore {
                    ignored.insert(mode.path);
                } else if mode.upload_mode == "lfs" {
                    lfs.insert(mode.path);
                }
            }
        }
        let files = files.into_iter().filter(|file| !ignored.contains(&file.name));
        Ok(files.partition(|file| lfs.contains(&file.name) || file.size > LARGEST_INLINE))
    }

    /// The commit itself: lines of JSON. It is sent once only, for a second one would be a second commit.
    async fn commit(&self, push: &Push, large: &[Local], small: &[Local]) -> Result<String, HubError> {
        let mut lines = vec![json!({ "key": "header", "value": { "summary": push.message, "description": "" } })];
        for file in small {
            let content = std::fs::read(&file.path).map_err(HubError::file("read", &file.path))?;
            let value = json!({ "path": file.name, "encoding": "base64", "content": BASE64.encode(content) });
            lines.push(json!({ "key": "file", "value": value }));
        }
        for file in large {
            let value = json!({ "path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.size });
            lines.push(json!({ "key": "lfsFile", "value": value }));
        }
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let url = self.api(push, "commit");
        let request = self.http.request(Method::POST, &url).header(CONTENT_TYPE, "application/x-ndjson").body(body);
        let answer = request.send().await.map_err(|error| self.http.unreachable(&error))?;
        let committed: Committed = self.parsed(self.http.checked(answer, &push.repo).await?).await?;
        Ok(committed.commit_oid)
    }

    fn api(&self, push: &Push, what: &str) -> String {
        let branch = escaped(&push.branch, b"");
        format!("{}/api/{}/{}/{what}/{branch}", self.endpoint(), push.repo.kind().plural(), push.repo.name())
    }

    pub(crate) async fn parsed<T: serde::de::DeserializeOwned>(&self, answer: reqwest::Response) -> Result<T, HubError> {
        let url = answer.url().to_string();
        let bytes = self.http.body(answer).await?;
        serde_json::from_slice(&bytes).map_err(|error| HubError::Answer { url, what: error.to_string() })
    }
}

/// Whether the hub has this content under this name.
fn has(listing: &Listing, file: &Local) -> bool {
    let same = |hash: &Hash| match hash {
        Hash::Sha256(hash) => *hash == file.sha256,
        Hash::Git(hash) => *hash == file.git,
    };
    listing.files.iter().any(|entry| entry.path == file.name && same(&entry.hash))
}

/// The files of a folder by name, with their hashes.
fn read_folder(folder: &Path) -> Result<Vec<Local>, HubError> {
    let mut files = Vec::new();
    collect(folder, folder, &mut files)?;
    if files.is_empty() {
        return Err(HubError::Setting {
            what: format!("the folder {} holds no files", folder.display()),
            hint: "push a folder that an export made",
        });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<Local>) -> Result<(), HubError> {
    for entry in folder.read_dir().map_err(HubError::file("list", folder))? {
        let path = entry.map_err(HubError::file("list", folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.') && name != ".gitattributes");
        if hidden {
            continue;
        }
        let about = path.symlink_metadata().map_err(HubError::file("read", &path))?;
        if about.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        // A link may lead to what nobody meant to publish; links to files inside the folder are no loss either.
        if !about.is_file() {
            let what = format!("{} is a link or no plain file", path.display());
            return Err(HubError::Setting { what, hint: "put a copy of the file in its place" });
        }
        files.push(local(root, path, about.len())?);
    }
    Ok(())
}

fn local(root: &Path, path: PathBuf, size: u64) -> Result<Local, HubError> {
    let name = path.strip_prefix(root).ok().and_then(Path::to_str).filter(|name| is_inside(name));
    let Some(name) = name.map(str::to_owned) else {
        let what = format!("{} has a name that a repository cannot hold", path.display());
        return Err(HubError::Setting { what, hint: "name files in UTF-8, without `\\`" });
    };
    let mut file = std::fs::File::open(&path).map_err(HubError::file("read", &path))?;
    let (mut sha256, mut git) = (Hasher::new(&Hash::Sha256(String::new()), size), Hasher::git(size));
    let (mut sample, mut buffer, mut have) = (Vec::new(), vec![0; 1 << 20], 0_u64);
    loop {
        let read = file.read(&mut buffer).map_err(HubError::file("read", &path))?;
        if read == 0 {
            break;
        }
        if sample.len() < SAMPLE {
            sample.extend_from_slice(&buffer[..read.min(SAMPLE - sample.len())]);
        }
        sha256.update(&buffer[..read]);
        git.update(&buffer[..read]);
        have += read as u64;
    }
    if have != size {
        return Err(HubError::Setting { what: format!("{} changes while it is read", path.display()), hint: "wait until it is written" });
    }
    Ok(Local { name, size, sha256: sha256.finish(), git: git.finish(), sample, path })
}
