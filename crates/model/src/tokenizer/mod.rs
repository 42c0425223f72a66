//! Text to tokens and back, over the `tokenizers` crate.

mod precheck;
mod train;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, OnceLock},
};

use tokenizers::EncodeInput;
pub(crate) use train::pattern;
pub use train::{DEFAULT_SPECIAL_TOKENS, Digits, TokenizerSpec};

use crate::{Error, Result, files};

/// Larger tokenizer files are refused unread (Gemma 3's has 33 MB).
const LARGEST_FILE: u64 = 256 << 20;

/// A tokenizer; clones share it.
///
/// `tokenizer.json` is foreign input: what can be checked is checked before it reaches the `tokenizers` crate, its files
/// are known to make that crate panic, and such a panic becomes an error.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// Reads special tokens in a text as plain text; made when first needed.
    ordinary: Arc<OnceLock<tokenizers::Tokenizer>>,
}

/// Token ids with the byte range of the text that each stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Per token the bytes `start..end` of the text.
    pub offsets: Vec<(usize, usize)>,
}

impl Tokenizer {
    fn new(mut inner: tokenizers::Tokenizer) -> Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(Self { inner: Arc::new(inner), ordinary: Arc::default() })
    }

    /// Reads a `tokenizer.json` from memory.
    ///
    /// # Errors
    /// When it is malformed, however maliciously.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        precheck::check(bytes)?;
        let tokenizer = guarded("reading tokenizer.json", || tokenizers::Tokenizer::from_bytes(bytes))?;
        let tokenizer = Self::new(tokenizer)?;
        let probe = tokenizer.encode("Ein Test: 12 + 3.5 = x²\n\n\tif (a != b) { return \"ok\"; }")?;
        tokenizer.decode(&probe, false)?;
        Ok(tokenizer)
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// When it cannot be read, is too large or is malformed.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = files::read_bounded(path, LARGEST_FILE)?;
        Self::from_json(&bytes).map_err(|error| match error {
            Error::Tokenizer(problem) => Error::Tokenizer(format!("{}: {problem}", path.display())),
            other => other,
        })
    }

    /// Writes a `tokenizer.json`, atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        files::write_atomically(path, self.to_json()?.as_bytes())
    }

    /// The text of a `tokenizer.json`.
    ///
    /// # Errors
    /// When the tokenizer cannot be serialised.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// Encodes a text in which special tokens mean themselves (a rendered conversation). None are added.
    ///
    /// # Errors
    /// When the tokenizer has no token for a character and no unknown token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded("encoding", || self.inner.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`encode`](Self::encode), with the bytes that each token stands for.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_offsets(&self, text: &str) -> Result<Encoded> {
        let encoding = guarded("encoding", || self.inner.encode(text, false))?;
        Ok(Encoded { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
    }

    /// Encodes a text in which special tokens are nothing special (what a user wrote).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_ordinary(&self, text: &str) -> Result<Vec<u32>> {
        let ordinary = self.ordinary.get_or_init(|| {
            let mut ordinary = (*self.inner).clone();
            ordinary.set_encode_special_tokens(true);
            ordinary
        });
        let encoding = guarded("encoding", || ordinary.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Encodes many texts on all cores, in order, special tokens meaning themselves.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Encoded>> {
        let inputs: Vec<EncodeInput<'_>> = texts.iter().map(|&text| text.into()).collect();
        let encodings = guarded("encoding", || self.inner.encode_batch(inputs, false))?;
        Ok(encodings
            .into_iter()
            .map(|encoding| Encoded { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
            .collect())
    }

    /// Tokens back to text; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When the decoder fails on these tokens.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        guarded("decoding", || self.inner.decode(ids, skip_special))
    }

    /// The id of a token, special or not.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token with this id as it stands in the vocabulary.
    #[must_use]
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One more than the largest id: the rows an embedding needs.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        let largest = self.inner.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }
}

/// Turns an error, and a panic, of the `tokenizers` crate into ours.
fn guarded<T>(doing: &str, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| Error::Tokenizer(format!("{doing}: {error}"))),
        Err(_) => Err(Error::Tokenizer(format!("{doing}: the file makes the tokenizer fail; it is damaged or crafted"))),
    }
}

#[cfg(test)]
mod tests;
