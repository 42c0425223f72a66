//! Names: of repositories, revisions and the files in them. All come from outside and become parts of paths.

use std::fmt;
use std::path::{Component, Path};

use crate::HubError;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

impl RepoKind {
    /// `models` or `datasets`, as the API and the cache call them.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// The part of an address before the repository's name.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// A repository by its checked name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repo {
    kind: RepoKind,
    name: String,
}

/// The longest name of an organisation or a repository.
const LONGEST: usize = 96;

impl Repo {
    /// `organisation/name`, or a name alone as the oldest repositories have.
    ///
    /// # Errors
    /// The name holds other characters than letters, digits, `-`, `_` and `.`, or parts that would lead elsewhere.
    pub fn new(kind: RepoKind, name: &str) -> Result<Self, HubError> {
        let wrong = |why| Err(HubError::Name { name: name.chars().take(200).collect(), why });
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
            return wrong("it has to be one name, or two with a `/` between them");
        }
        if parts.iter().any(|part| part.len() > LONGEST) {
            return wrong("a part is longer than 96 characters");
        }
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')) {
            return wrong("it may hold letters, digits, `-`, `_` and `.` only");
        }
        // `--` parts the names of cache folders; dots at an end would be `..` or a hidden file.
        if name.contains("--") || name.contains("..") || parts.iter().any(|part| part.starts_with(['.', '-']) || part.ends_with(['.', '-']))
        {
            return wrong("it may hold neither `--` nor `..`, and no part begins or ends with `-` or `.`");
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> RepoKind {
        self.kind
    }

    /// `organisation/name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its folder in the cache.
    pub(crate) fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.name.replace('/', "--"))
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.prefix(), self.name)
    }
}

/// Whether a text that names no local folder may name a repository: `organisation/name`.
#[must_use]
pub fn looks_like_repo(text: &str) -> bool {
    text.contains('/') && Repo::new(RepoKind::Model, text).is_ok()
}

/// Whether a path of the hub's stays inside the folder that it is joined to.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 1024
        && !path.contains(['\0', '\\'])
        && !path.split('/').any(|part| part.is_empty() || part == "." || part.len() > 255)
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether this is the full hash of a commit.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && is_hex(revision)
}

pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A branch, tag or commit that may stand in an address and name a file under `refs`.
pub(crate) fn check_revision(repo: &Repo, revision: &str) -> Result<(), HubError> {
    let fine = is_inside(revision) && revision.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+'));
    if fine {
        return Ok(());
    }
    Err(HubError::Setting {
        what: format!("{repo}: `{}` is no revision", revision.chars().take(200).collect::<String>()),
        hint: "name a branch, a tag or a commit",
    })
}

/// A path or revision as part of an address: everything but unreserved characters and the listed ones is escaped.
pub(crate) fn escaped(text: &str, keep: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for good in ["openai/gsm8k", "Qwen/Qwen2.5-1.5B-Instruct", "gpt2", "a/b_c.d"] {
            assert_eq!(Repo::new(RepoKind::Dataset, good).unwrap().name(), good);
        }
        let long = "x".repeat(97);
        for bad in ["", "/", "a/", "/b", "a/b/c", "../b", "a/..", "a/.b", "a--b/c", "a b/c", "a/b?x", "a/b#c", "ä/b", "a\\b", "-a/b", &long]
        {
            assert!(Repo::new(RepoKind::Model, bad).is_err(), "{bad}");
        }
        assert!(
            looks_like_repo("Qwen/Qwen3-0.6B")
                && !looks_like_repo("gpt2")
                && !looks_like_repo("./models/mine")
                && !looks_like_repo("/abs/p")
        );
    }

    #[test]
    fn files_stay_in_their_folder() {
        for good in ["config.json", "data/train-00000-of-00002.parquet", "a b/ö.txt", ".gitattributes"] {
            assert!(is_inside(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\\..\\b", "a\0b", "C:\\x"] {
            assert!(!is_inside(bad), "{bad}");
        }
    }

    #[test]
    fn addresses_are_escaped() {
        assert_eq!(escaped("data/a b#1?.parquet", b"/"), "data/a%20b%231%3F.parquet");
        assert_eq!(escaped("refs/pr/1", b""), "refs%2Fpr%2F1");
    }
}
