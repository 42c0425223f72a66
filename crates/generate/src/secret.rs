//! A key that cannot be printed.

use std::fmt;

use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

/// What stands where a key would have stood.
pub(crate) const MASK: &str = "[key]";

/// An API key. It has no `Serialize`, its `Debug` and `Display` show a mask, and its bytes are overwritten on drop.
///
/// ```
/// let key = potstill_generate::SecretKey::new("sk-canary").unwrap();
/// assert_eq!(format!("{key} {key:?}"), "[key] [key]");
/// assert_eq!(key.mask("bad key sk-canary"), "bad key [key]");
/// ```
#[derive(Clone)]
pub struct SecretKey(Zeroizing<String>);

impl SecretKey {
    /// Takes the key's text, without the line end that a key file or a shell substitution leaves.
    ///
    /// # Errors
    /// A key that is empty, or holds bytes that no HTTP header can carry; the message does not show it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the key is empty");
        }
        if !text.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err("the key holds a space, a control character or a character outside ASCII");
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The key itself, for the one place that writes the `Authorization` header.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of an `Authorization` header, marked sensitive: its `Debug` shows nothing of the key.
    ///
    /// # Errors
    /// None for a key that was accepted: it holds what a header can carry.
    pub fn bearer(&self) -> Result<HeaderValue, &'static str> {
        let text = Zeroizing::new(format!("Bearer {}", self.reveal()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| "no header can carry the key")?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Whether `shown` is this key; how long that takes tells nothing about where they differ.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        blake3::hash(shown.as_bytes()) == blake3::hash(self.reveal().as_bytes())
    }

    /// `text` with every occurrence of the key replaced: servers echo it in their error messages, sometimes shortened
    /// to its head and tail, so long prefixes and suffixes are masked as well.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        let mut out = text.replace(self.reveal(), MASK);
        let length = self.0.len();
        // A quarter of a key, but at least eight characters: shorter pieces would mask ordinary words.
        let piece = (length / 4).max(8);
        if piece < length {
            out = out.replace(&self.0[..piece], MASK).replace(&self.0[length - piece..], MASK);
        }
        out
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_formats_shows_the_key() {
        let key = SecretKey::new("sk-canary-0123456789abcdef\n").unwrap();
        let shown = format!("{key} {key:?} {:?} {:#?}", Some(&key), vec![key.clone()]);
        assert!(!shown.contains("canary") && !shown.contains("abcdef"), "{shown}");
    }

    #[test]
    fn an_echoed_key_is_masked_whole_and_in_pieces() {
        let key = SecretKey::new("sk-canary-0123456789abcdef").unwrap();
        assert_eq!(key.mask("Incorrect API key: sk-canary-0123456789abcdef."), "Incorrect API key: [key].");
        assert_eq!(key.mask("Incorrect API key: sk-canar****89abcdef."), "Incorrect API key: [key]****[key].");
        assert_eq!(key.mask("nothing here"), "nothing here");
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_without_showing_it() {
        for bad in ["", "  \n", "two words", "schlüssel", "a\u{0}b"] {
            let message = SecretKey::new(bad).unwrap_err();
            assert!(bad.trim().is_empty() || !message.contains(bad.trim()));
        }
    }
}
