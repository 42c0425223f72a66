//! What a revision of a repository is, and which files it holds.

use serde::Deserialize;

use crate::cache::RepoCache;
use crate::http::Found;
use crate::repo::{Repo, check_revision, escaped, is_commit, is_hex, is_inside};
use crate::{Hub, HubError};

/// The files of a commit.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<Entry>,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) hash: Hash,
}

/// The hash that names a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hash {
    /// SHA-256 of the content: files in Git LFS.
    Sha256(String),
    /// Git's own hash of the content with its length before it: small files.
    Git(String),
}

impl Hash {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::Git(text) => text,
        }
    }
}

/// The answer of the API.
#[derive(Deserialize)]
struct Wire {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob_id: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads the API's answer; every name that becomes part of a path is checked where it is used or here.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !is_commit(&wire.sha) {
            return Err(format!("`sha` is no commit: `{}`", wire.sha.chars().take(60).collect::<String>()));
        }
        let files = wire.siblings.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Self { commit: wire.sha, files })
    }

    /// The files that the names and patterns choose, in the listing's order. Patterns of `required` have to match something.
    pub(crate) fn choose(&self, repo: &Repo, required: &[String], optional: &[String]) -> Result<Vec<Entry>, HubError> {
        let mut chosen = vec![false; self.files.len()];
        for (pattern, needed) in required.iter().map(|p| (p, true)).chain(optional.iter().map(|p| (p, false))) {
            let wanted = Wanted::new(pattern)?;
            let mut found = false;
            for (file, chosen) in self.files.iter().zip(&mut chosen).filter(|(file, _)| wanted.matches(&file.path)) {
                // Only what is asked for is refused: a strange name elsewhere in a repository harms nobody.
                if !is_inside(&file.path) {
                    return Err(HubError::Escape { repo: repo.to_string(), path: file.path.chars().take(200).collect() });
                }
                (*chosen, found) = (true, true);
            }
            if needed && !found {
                let known = self.files.iter().take(20).map(|file| file.path.chars().take(80).collect()).collect();
                return Err(HubError::NoFile { repo: repo.to_string(), pattern: pattern.clone(), known });
            }
        }
        Ok(self.files.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(file, _)| file.clone()).collect())
    }
}

/// A name, or a pattern in which `*` stands for any part of a name.
pub(crate) struct Wanted(glob::Pattern);

impl Wanted {
    pub(crate) fn new(pattern: &str) -> Result<Self, HubError> {
        let wrong = |what: String| HubError::Setting { what, hint: "name files as the repository does, as in `data/train-*.parquet`" };
        if !is_inside(pattern) {
            return Err(wrong(format!("`{pattern}` is no file of a repository: it would leave its folder")));
        }
        glob::Pattern::new(pattern).map(Self).map_err(|error| wrong(format!("`{pattern}` is no pattern: {error}")))
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        let options = glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
        self.0.matches_with(path, options)
    }
}

fn entry(sibling: Sibling) -> Result<Entry, String> {
    let path = sibling.rfilename;
    let shown = || path.chars().take(100).collect::<String>();
    let (hash, size) = match (sibling.lfs, sibling.blob_id, sibling.size) {
        (Some(lfs), ..) => (Hash::Sha256(lfs.sha256), lfs.size),
        (None, Some(blob), Some(size)) => (Hash::Git(blob), size),
        _ => return Err(format!("no size and hash of the file `{}`", shown())),
    };
    let length = if matches!(hash, Hash::Sha256(_)) { 64 } else { 40 };
    if hash.text().len() != length || !is_hex(hash.text()) {
        return Err(format!("the hash of the file `{}` is none", shown()));
    }
    Ok(Entry { path, size, hash })
}

impl Hub {
    /// What a revision holds, from the hub, or from the cache where the hub may not or cannot be asked.
    pub(crate) async fn listing(&self, repo: &Repo, revision: &str) -> Result<Option<Listing>, HubError> {
        check_revision(repo, revision)?;
        let cache = RepoCache::new(self, repo);
        let known = || cache.listing(&cache.commit(revision)?);
        // A commit never changes: what it holds was asked once.
        if (self.offline || is_commit(revision))
            && let Some(listing) = known()
        {
            return Ok(Some(listing));
        }
        if self.offline {
            return Ok(None);
        }
        match self.ask_listing(repo, revision).await {
            Ok((listing, bytes)) => {
                cache.remember(revision, &listing, &bytes)?;
                Ok(Some(listing))
            }
            Err(error) if error.is_temporary() => known().map(Some).ok_or(error),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn ask_listing(&self, repo: &Repo, revision: &str) -> Result<(Listing, Vec<u8>), HubError> {
        let revision_part = escaped(revision, b"");
        let url = format!("{}/api/{}/{}/revision/{revision_part}?blobs=true", self.endpoint(), repo.kind().plural(), repo.name());
        let bytes = match self.http.get_json(&url, repo).await? {
            Found::Yes(bytes) => bytes,
            Found::No => {
                let (endpoint, repo, revision) = (self.endpoint().to_owned(), repo.to_string(), revision.to_owned());
                return Err(HubError::NotFound { endpoint, repo, revision });
            }
        };
        match Listing::parse(&bytes) {
            Ok(listing) => Ok((listing, bytes)),
            Err(what) => Err(HubError::Answer { url, what }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RepoKind;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn listing(names: &[&str]) -> Listing {
        let files: Vec<serde_json::Value> =
            names.iter().map(|name| serde_json::json!({ "rfilename": name, "size": 1, "blobId": SHA })).collect();
        Listing::parse(serde_json::json!({ "sha": SHA, "siblings": files }).to_string().as_bytes()).unwrap()
    }

    fn chosen(names: &[&str], required: &[&str], optional: &[&str]) -> Result<Vec<String>, HubError> {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let repo = Repo::new(RepoKind::Model, "a/b").unwrap();
        let files = listing(names).choose(&repo, &owned(required), &owned(optional))?;
        Ok(files.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn patterns_choose_files_and_stay_in_their_folder() {
        let names = ["a.json", "model-1.safetensors", "model-2.safetensors", "onnx/model-3.safetensors", "../../evil"];
        assert_eq!(
            chosen(&names, &["model*.safetensors"], &["a.json", "none"]).unwrap(),
            ["a.json", "model-1.safetensors", "model-2.safetensors"]
        );
        assert!(matches!(chosen(&names, &["b.json"], &[]), Err(HubError::NoFile { .. })));
        assert!(matches!(chosen(&names, &["../../evil"], &[]), Err(HubError::Setting { .. })));
        // A pattern never matches `..`; what it may match besides is refused by name.
        assert!(matches!(chosen(&["x/../../evil"], &["x/*/*/*"], &[]), Err(HubError::NoFile { .. })));
        assert!(matches!(chosen(&["x\\..\\evil.txt"], &["*.txt"], &[]), Err(HubError::Escape { .. })));
    }

    #[test]
    fn hashes_and_commits_are_hexadecimal_or_refused() {
        let parse = |text: String| Listing::parse(text.as_bytes()).map(|l| l.files.len());
        assert_eq!(parse(format!("{{\"sha\":\"{SHA}\",\"siblings\":[]}}")), Ok(0));
        assert!(parse("{\"sha\":\"../../x\"}".into()).unwrap_err().contains("no commit"));
        let file = |hash: &str| format!("{{\"sha\":\"{SHA}\",\"siblings\":[{{\"rfilename\":\"a\",\"size\":1,\"blobId\":\"{hash}\"}}]}}");
        assert_eq!(parse(file(SHA)), Ok(1));
        assert!(parse(file("../../../../home/x")).unwrap_err().contains("hash"));
    }
}
