//! What can go wrong between here and a hub: each error says where, and [`HubError::hint`] what helps.

use std::path::PathBuf;

/// An error of this crate. No message holds the token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A setting cannot serve.
    #[error("{what}")]
    Setting {
        /// What is wrong.
        what: String,
        /// What helps.
        hint: &'static str,
    },
    /// A repository's name is none.
    #[error("`{name}` is no repository's name: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The hub names a file that would lie outside its folder.
    #[error("{repo} lists the file `{path}`, which would leave its folder")]
    Escape {
        /// The repository.
        repo: String,
        /// The path.
        path: String,
    },
    /// There is no such repository or revision, or it is hidden from this user.
    #[error("{endpoint} has no {repo} (revision {revision})")]
    NotFound {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// The hub refuses the user.
    #[error("{endpoint} refuses access to {repo} (status {status}): {message}")]
    Refused {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// 401 or 403.
        status: u16,
        /// What the hub says.
        message: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The hub answers with another error.
    #[error("{url}: status {status}: {message}")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// What the hub says.
        message: String,
    },
    /// The hub cannot be reached.
    #[error("cannot reach {endpoint}: {message}")]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// What the system says.
        message: String,
    },
    /// The network may not be used, and the cache does not have what is wanted.
    #[error("{repo} (revision {revision}) is not complete in the cache {}: {missing}", cache.display())]
    Offline {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// The folder of the cache.
        cache: PathBuf,
        /// What is missing.
        missing: String,
    },
    /// The repository has no file of that name.
    #[error("{repo} has no file `{pattern}`")]
    NoFile {
        /// The repository.
        repo: String,
        /// The name or pattern.
        pattern: String,
        /// Files that there are.
        known: Vec<String>,
    },
    /// A content is not what the hub lists.
    #[error("{file} of {repo} is damaged: {what}")]
    Damaged {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
        /// What differs.
        what: String,
    },
    /// The hub's answer is not what its API says.
    #[error("{url}: an answer that cannot be understood: {what}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// A local file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl HubError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Setting { hint, .. } => (*hint).to_owned(),
            Self::Name { .. } => "a repository is named as `organisation/name`".to_owned(),
            Self::NotFound { .. } => "check the name and the revision; a private repository shows itself only to a token that may read it".to_owned(),
            Self::Refused { repo, with_token: false, .. } => {
                format!("give a token that may do this (the variable HF_TOKEN); for a gated repository first accept its terms on the page of {repo}")
            }
            Self::Refused { repo, .. } => format!("the token may not do this: check its rights, and whether the terms of {repo} are accepted"),
            Self::Unreachable { .. } => {
                "check the network; another hub or mirror is named by the variable HF_ENDPOINT; files that are in the cache already are used without a network".to_owned()
            }
            Self::Offline { .. } => "run once with a network, or put the files there by hand: `hf download REPO --include FILE`".to_owned(),
            Self::NoFile { known, .. } if known.is_empty() => "the repository is empty".to_owned(),
            Self::NoFile { known, .. } => format!("there are: {}", known.join(", ")),
            Self::Damaged { .. } => "the partial file was removed; try again, perhaps through another network".to_owned(),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free some space, or choose another cache folder with HF_HUB_CACHE; what was downloaded is kept".to_owned()
            }
            _ => return None,
        })
    }
}
