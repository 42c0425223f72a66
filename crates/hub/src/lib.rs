//! Files from and to a model hub that speaks the Hugging Face API.
//!
//! - [`Hub::fetch`] brings files of a repository into a local cache: pinned to a commit, several at once, resumed after an
//!   interruption, each checked against the hash that the hub lists. What the cache has needs no network.
//! - [`Hub::push`] makes one commit of a folder; large files go ahead by Git LFS.
//!
//! The cache has the layout of Python's `huggingface_hub`, so that both share what is downloaded:
//!
//! ```text
//! datasets--openai--gsm8k/refs/main                the commit that a revision stood for
//! datasets--openai--gsm8k/blobs/<hash>             contents
//! datasets--openai--gsm8k/snapshots/<commit>/…     links into blobs, under the files' names
//! datasets--openai--gsm8k/listings/<commit>.json   ours: what the commit holds, for work without a network
//! ```
//!
//! Why not the crate `hf-hub`: 0.5 takes the names of cache files from response headers unchecked, never compares a content with its
//! hash and appends to a partial file whatever the server sends; 1.0 neither resumes nor uploads other than through Xet, and brings
//! a second TLS library.
//!
//! Everything here is asynchronous and runs on the caller's tokio runtime. Nothing reads the environment or prints.

mod cache;
mod download;
mod error;
mod http;
mod lfs;
mod listing;
mod push;
mod repo;

use std::path::{Path, PathBuf};

pub use reqwest::header::HeaderValue;

pub use download::{Fetch, Fetched, Progress, Watch};
pub use error::HubError;
pub use push::{Push, Pushed};
pub use repo::{Repo, RepoKind, looks_like_repo};

/// The hub that is asked where none is named.
pub const ENDPOINT: &str = "https://huggingface.co";

/// Where a hub is, and how to speak to it.
#[derive(Clone)]
pub struct HubConfig {
    /// The hub's address, such as [`ENDPOINT`].
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// The `Authorization` header of the user, marked sensitive; private and gated repositories and pushes need one.
    pub authorization: Option<HeaderValue>,
    /// Never ask the network: what the cache has, or an error.
    pub offline: bool,
}

/// A hub with its cache.
#[derive(Clone)]
pub struct Hub {
    http: http::Http,
    cache: PathBuf,
    offline: bool,
}

impl Hub {
    /// Checks the settings; nothing is asked yet.
    ///
    /// # Errors
    /// The endpoint is no address, or would carry the token unencrypted to another machine.
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        Ok(Self { http: http::Http::new(&config.endpoint, config.authorization)?, cache: config.cache, offline: config.offline })
    }

    /// The hub's address.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.http.endpoint()
    }

    /// The same hub, of which the cache alone is used.
    #[must_use]
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// The folder of the cache.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }
}
