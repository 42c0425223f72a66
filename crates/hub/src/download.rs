//! Files into the cache: several at once, resumed, each checked against the hash that the hub lists.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::Digest;

use crate::cache::RepoCache;
use crate::listing::{Entry, Hash, Listing, Wanted};
use crate::repo::{Repo, escaped};
use crate::{Hub, HubError};

/// Files that are loaded at once.
const AT_ONCE: usize = 4;
/// Times that a broken transfer goes on from where it was without a byte more.
const FRUITLESS: u32 = 4;

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The repository.
    pub repo: Repo,
    /// A branch, tag or commit; only a commit always means the same.
    pub revision: String,
    /// Names, and patterns with `*`, that have to match a file each.
    pub required: Vec<String>,
    /// Further ones that may be absent.
    pub optional: Vec<String>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The commit that the revision stands for.
    pub commit: String,
    /// The folder with the files under their names.
    pub folder: PathBuf,
    /// The files, relative to the folder.
    pub files: Vec<String>,
    /// Bytes that came over the network.
    pub downloaded: u64,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there.
    pub bytes: u64,
    /// Bytes of all files that were missing.
    pub total: u64,
}

/// Tells progress; called from several tasks.
pub type Watch<'a> = dyn Fn(Progress) + Sync + 'a;

/// The counters of a fetch.
struct Counter<'a> {
    bytes: AtomicU64,
    downloaded: AtomicU64,
    total: u64,
    watch: &'a Watch<'a>,
}

impl Counter<'_> {
    fn add(&self, bytes: u64) {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.watch)(Progress { bytes, total: self.total });
    }
}

impl Hub {
    /// Brings files into the cache and gives the folder in which they stand. What is there already is not loaded again.
    ///
    /// # Errors
    /// [`HubError`]: the name, the network, the hub's refusal, a damaged content, or the disk.
    pub async fn fetch(&self, fetch: &Fetch, watch: &Watch<'_>) -> Result<Fetched, HubError> {
        let cache = RepoCache::new(self, &fetch.repo);
        let Some(listing) = self.listing(&fetch.repo, &fetch.revision).await? else {
            return cached(&cache, fetch, &self.cache);
        };
        let files = listing.choose(&fetch.repo, &fetch.required, &fetch.optional)?;
        let folder = cache.snapshot(&listing.commit);
        let missing: Vec<&Entry> = files.iter().filter(|file| size(&folder.join(&file.path)) != Some(file.size)).collect();
        if self.offline
            && let Some(first) = missing.first()
        {
            let missing = format!("{} of {} files are missing, the first is `{}`", missing.len(), files.len(), first.path);
            return Err(offline(fetch, &self.cache, missing));
        }
        let total = missing.iter().map(|file| file.size).sum();
        let counter = Counter { bytes: AtomicU64::new(0), downloaded: AtomicU64::new(0), total, watch };
        stream::iter(missing.into_iter().map(|file| self.load(&cache, fetch, &listing, file, &counter)))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        let files = files.into_iter().map(|file| file.path).collect();
        Ok(Fetched { commit: listing.commit, folder, files, downloaded: counter.downloaded.into_inner() })
    }

    /// Brings one file into the cache.
    async fn load(&self, cache: &RepoCache, fetch: &Fetch, listing: &Listing, file: &Entry, counter: &Counter<'_>) -> Result<(), HubError> {
        let hash = file.hash.text();
        let lock = {
            let (cache, hash) = (cache.clone(), hash.to_owned());
            blocking(move || cache.lock(&hash)).await?
        };
        let blob = cache.blob(hash);
        if size(&blob) == Some(file.size) {
            counter.add(file.size);
        } else {
            let partial = cache.partial(hash);
            crate::cache::make_parent(&partial)?;
            let url = format!("{}/{}/resolve/{}/{}", self.endpoint(), fetch.repo, escaped(&listing.commit, b""), escaped(&file.path, b"/"));
            let transfer = Transfer { hub: self, repo: &fetch.repo, url, partial: &partial, file, counter };
            transfer.run().await?;
            std::fs::rename(&partial, &blob).map_err(HubError::file("move", &blob))?;
        }
        cache.link(&listing.commit, &file.path, hash)?;
        drop(lock);
        Ok(())
    }
}

/// One file on its way.
struct Transfer<'a> {
    hub: &'a Hub,
    repo: &'a Repo,
    url: String,
    partial: &'a Path,
    file: &'a Entry,
    counter: &'a Counter<'a>,
}

impl Transfer<'_> {
    /// Loads until the content is complete and has the hash that is listed.
    async fn run(&self) -> Result<(), HubError> {
        let (mut hasher, mut have) = self.begun().await?;
        self.counter.add(have);
        let mut fruitless = 0;
        while have < self.file.size {
            let before = have;
            match self.go_on(&mut hasher, &mut have).await {
                Ok(()) => {}
                Err(error @ HubError::Unreachable { .. }) => {
                    fruitless = if have > before { 0 } else { fruitless + 1 };
                    if fruitless > FRUITLESS {
                        return Err(error);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(200 << fruitless)).await;
                }
                Err(error) => return Err(error),
            }
        }
        if self.file.size == 0 {
            std::fs::File::create(self.partial).map_err(HubError::file("write", self.partial))?;
        }
        let found = hasher.finish();
        if found == self.file.hash.text() {
            return Ok(());
        }
        Err(self.damaged(format!("its hash is {found}, listed is {}", self.file.hash.text())))
    }

    /// Removes what was loaded: it is not what was asked for.
    fn damaged(&self, what: String) -> HubError {
        drop(std::fs::remove_file(self.partial));
        HubError::Damaged { repo: self.repo.to_string(), file: self.file.path.clone(), what }
    }

    /// What an earlier try left, and its hash so far.
    async fn begun(&self) -> Result<(Hasher, u64), HubError> {
        let (partial, hash, size) = (self.partial.to_owned(), self.file.hash.clone(), self.file.size);
        blocking(move || {
            let mut hasher = Hasher::new(&hash, size);
            let Ok(mut file) = std::fs::File::open(&partial) else { return Ok((hasher, 0)) };
            let (mut buffer, mut have) = (vec![0; 1 << 20], 0_u64);
            loop {
                let read = file.read(&mut buffer).map_err(HubError::file("read", &partial))?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                have += read as u64;
            }
            if have > size {
                std::fs::remove_file(&partial).map_err(HubError::file("remove", &partial))?;
                return Ok((Hasher::new(&hash, size), 0));
            }
            Ok((hasher, have))
        })
        .await
    }

    /// Appends what is missing, as far as the connection holds.
    async fn go_on(&self, hasher: &mut Hasher, have: &mut u64) -> Result<(), HubError> {
        let http = &self.hub.http;
        let start = *have;
        let answer = http
            .send(|| {
                let request = http.request(Method::GET, &self.url);
                if start > 0 { request.header(RANGE, format!("bytes={start}-")) } else { request }
            })
            .await?;
        let answer = http.checked(answer, self.repo).await?;
        if start > 0 && !continues(&answer, start) {
            // The server sends the whole file again.
            *hasher = Hasher::new(&self.file.hash, self.file.size);
            self.counter.bytes.fetch_sub(start, Ordering::Relaxed);
            *have = 0;
        }
        let mut options = std::fs::File::options();
        options.create(true).append(*have > 0).write(true).truncate(*have == 0);
        // Plain writes of what one chunk brought: they end in the system's cache, sooner than a thread could be asked to do them.
        let mut file = options.open(self.partial).map_err(HubError::file("write", self.partial))?;
        let written = self.receive(answer, &mut file, hasher, have).await;
        // What came before a failure is kept: the next try goes on from there.
        let partial = self.partial.to_owned();
        let kept = blocking(move || file.sync_all().map_err(HubError::file("write", partial))).await;
        written.and(kept)
    }

    async fn receive(&self, mut answer: Response, file: &mut std::fs::File, hasher: &mut Hasher, have: &mut u64) -> Result<(), HubError> {
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.hub.http.unreachable(&error))? {
            if *have + chunk.len() as u64 > self.file.size {
                return Err(self.damaged(format!("it is longer than the listed {} bytes", self.file.size)));
            }
            file.write_all(&chunk).map_err(HubError::file("write", self.partial))?;
            hasher.update(&chunk);
            *have += chunk.len() as u64;
            self.counter.downloaded.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            self.counter.add(chunk.len() as u64);
        }
        if *have < self.file.size {
            // A body that ends early without an error of the connection.
            return Err(HubError::Unreachable {
                endpoint: self.hub.endpoint().to_owned(),
                message: format!("`{}` ended after {have} of {} bytes", self.file.path, self.file.size),
            });
        }
        Ok(())
    }
}

/// Whether an answer goes on at the byte that was asked for.
fn continues(answer: &Response, start: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    answer.status() == StatusCode::PARTIAL_CONTENT && range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

/// The running hash of a content.
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Git(sha1::Sha1),
}

impl Hasher {
    pub(crate) fn new(hash: &Hash, size: u64) -> Self {
        match hash {
            Hash::Sha256(_) => Self::Sha256(sha2::Sha256::new()),
            Hash::Git(_) => Self::git(size),
        }
    }

    /// Git names a content by the SHA-1 of its length and itself.
    pub(crate) fn git(size: u64) -> Self {
        Self::Git(sha1::Sha1::new_with_prefix(format!("blob {size}\0")))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256(hasher) => hex(hasher.finalize().as_slice()),
            Self::Git(hasher) => hex(hasher.finalize().as_slice()),
        }
    }
}

/// What a cache made by another program has, without a list of what there should be.
fn cached(cache: &RepoCache, fetch: &Fetch, root: &Path) -> Result<Fetched, HubError> {
    let nothing = |missing: &str| offline(fetch, root, missing.to_owned());
    let commit = cache.commit(&fetch.revision).ok_or_else(|| nothing("nothing of it was fetched yet"))?;
    let folder = cache.snapshot(&commit);
    let mut there = Vec::new();
    walk(&folder, &folder, &mut there);
    there.sort();
    let mut files = Vec::new();
    for (pattern, needed) in fetch.required.iter().map(|p| (p, true)).chain(fetch.optional.iter().map(|p| (p, false))) {
        let wanted = Wanted::new(pattern)?;
        let found: Vec<&String> = there.iter().filter(|path| wanted.matches(path)).collect();
        if needed && !all_shards(&found) {
            return Err(nothing(&format!("not all files `{pattern}` are there")));
        }
        files.extend(found.into_iter().cloned());
    }
    files.sort();
    files.dedup();
    Ok(Fetched { commit, folder, files, downloaded: 0 })
}

/// Whether there is a file, and every one of a set named `…-00001-of-00003`.
fn all_shards(found: &[&String]) -> bool {
    let of = |path: &&String| path.rsplit_once("-of-").and_then(|(_, rest)| rest.get(..5)?.parse::<usize>().ok());
    !found.is_empty() && found.iter().filter_map(of).all(|count| found.iter().filter(|path| of(path) == Some(count)).count() == count)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, files);
        } else if path.is_file()
            && let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
        {
            files.push(name.to_owned());
        }
    }
}

fn offline(fetch: &Fetch, cache: &Path, missing: String) -> HubError {
    HubError::Offline { repo: fetch.repo.to_string(), revision: fetch.revision.clone(), cache: cache.to_owned(), missing }
}

/// The size of a file or of what a link leads to.
fn size(path: &Path) -> Option<u64> {
    path.metadata().ok().filter(std::fs::Metadata::is_file).map(|about| about.len())
}

/// Work that waits or reads much, away from the tasks.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, HubError> + Send + 'static) -> Result<T, HubError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(HubError::Setting { what: format!("the runtime ended: {error}"), hint: "" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_lfs() {
        let of = |mut hasher: Hasher| {
            hasher.update(b"hello\n");
            hasher.finish()
        };
        // `git hash-object` and `sha256sum` of the line "hello".
        assert_eq!(of(Hasher::git(6)), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(of(Hasher::new(&Hash::Sha256(String::new()), 6)), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    }

    #[test]
    fn shards_are_counted() {
        let check = |names: &[&str]| {
            let owned: Vec<String> = names.iter().map(|s| (*s).to_owned()).collect();
            all_shards(&owned.iter().collect::<Vec<_>>())
        };
        assert!(check(&["config.json"]) && check(&["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"]));
        assert!(!check(&[]) && !check(&["m-00001-of-00002.safetensors"]));
    }
}
