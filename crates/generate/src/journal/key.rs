//! The content key of a request.

use std::fmt;

use crate::request::ChatRequest;

/// What a request asks, as 32 bytes: blake3 of the generator's identity, the messages, the sampling with its seed, and
/// the sample index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey(pub [u8; 32]);

impl RequestKey {
    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl RequestKey {
    /// Reads [`RequestKey::to_hex`] back.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        blake3::Hash::from_hex(hex).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Makes the keys of one generator's requests.
#[derive(Debug, Clone)]
pub struct KeyMaker(blake3::Hasher);

impl KeyMaker {
    /// Keys of the generator with this [`crate::Generator::identity`].
    #[must_use]
    pub fn new(identity: &serde_json::Value) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("potstill 2026 request key v1");
        field(&mut hasher, identity.to_string().as_bytes());
        Self(hasher)
    }

    /// The key of a request.
    #[must_use]
    pub fn key(&self, request: &ChatRequest) -> RequestKey {
        let mut hasher = self.0.clone();
        hasher.update(&(request.messages.len() as u64).to_le_bytes());
        for message in request.messages.iter() {
            field(&mut hasher, message.role.as_bytes());
            field(&mut hasher, message.content.as_bytes());
            field(&mut hasher, message.reasoning.as_deref().unwrap_or_default().as_bytes());
        }
        // Absent settings are left out of the JSON, so that a setting added later changes no key that does not use it.
        field(&mut hasher, serde_json::to_string(&*request.sampling).unwrap_or_default().as_bytes());
        hasher.update(&request.sample_index.to_le_bytes());
        RequestKey(*hasher.finalize().as_bytes())
    }
}

/// Length first, so that no two different lists of fields hash alike.
fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use potstill_data::{Message, Problem};

    use super::*;
    use crate::request::Sampling;

    fn request(messages: &[(&str, &str)], sampling: Sampling, sample_index: u32) -> ChatRequest {
        ChatRequest {
            problem: Arc::new(Problem::default()),
            messages: messages.iter().map(|(role, content)| Message::new(role, *content)).collect(),
            sampling: Arc::new(sampling),
            sample_index,
            budget: None,
        }
    }

    #[test]
    fn whatever_decides_the_answer_decides_the_key() {
        let hot = Sampling { temperature: Some(1.0), ..Sampling::default() };
        let seeded = Sampling { seed: Some(1), ..Sampling::default() };
        let requests = [
            request(&[("user", "ab")], Sampling::default(), 0),
            request(&[("user", "ab")], Sampling::default(), 1),
            request(&[("user", "ab")], hot, 0),
            request(&[("user", "ab")], seeded, 0),
            request(&[("use", "rab")], Sampling::default(), 0),
            request(&[("user", "a"), ("user", "b")], Sampling::default(), 0),
            request(&[("system", "a"), ("user", "b")], Sampling::default(), 0),
        ];
        let models = [serde_json::json!({"model": "a"}), serde_json::json!({"model": "b"})];
        let keys: HashSet<RequestKey> =
            models.iter().flat_map(|model| requests.iter().map(|request| KeyMaker::new(model).key(request))).collect();
        assert_eq!(keys.len(), 14);
    }

    #[test]
    fn keys_stay_as_they_are_between_versions() {
        let key = KeyMaker::new(&serde_json::json!({"kind": "openai", "model": "m"})).key(&request(
            &[("system", "think"), ("user", "1+1?")],
            Sampling { temperature: Some(0.7), seed: Some(42), ..Sampling::default() },
            3,
        ));
        // A change here makes everybody pay again for what they have: change it only with a reason that is worth that.
        assert_eq!(key.to_hex(), "f79497ba9c4274fda70cebcef24258daf2858943c027e635d693958fc6bfc331");
    }
}
