//! One record of a segment: marker, payload length, crc32, key, payload.

use super::{JournalError, RequestKey};

/// First bytes of a segment: what it is, and its version.
pub(super) const MAGIC: &[u8; 8] = b"psjrnl\x00\x01";

/// Starts each frame, so that a reader can find the next one behind a damaged place.
const MARKER: [u8; 4] = [0xd1, 0x57, 0x11, 0xed];

/// Bytes before the payload: marker, length, crc32 (each 4), key (32).
pub(super) const HEADER: usize = 44;

/// The most bytes of one compressed reply; a length beyond it is damage.
pub(super) const MAX_PAYLOAD: usize = 256 << 20;

/// A frame's header as read from the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) key: RequestKey,
    pub(super) payload: usize,
    crc: u32,
}

impl Header {
    /// `None` when these bytes begin no frame.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let payload = word(4) as usize;
        if bytes[..4] != MARKER || payload > MAX_PAYLOAD {
            return None;
        }
        let mut key = [0; 32];
        key.copy_from_slice(&bytes[12..]);
        Some(Self { key: RequestKey(key), payload, crc: word(8) })
    }

    /// Whether `payload` is what was written under this header.
    pub(super) fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload && checksum(&self.key, payload) == self.crc
    }
}

/// A whole frame.
pub(super) fn encode(key: &RequestKey, payload: &[u8]) -> Result<Vec<u8>, JournalError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(JournalError::TooLarge { limit: MAX_PAYLOAD, found: payload.len() });
    }
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&MARKER);
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&checksum(key, payload).to_le_bytes());
    frame.extend_from_slice(&key.0);
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// Where the next marker stands in `bytes`.
pub(super) fn find_marker(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARKER.len()).position(|window| window == MARKER)
}

/// The length is part of it: a header whose length was damaged must not match.
fn checksum(key: &RequestKey, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(payload.len() as u32).to_le_bytes());
    hasher.update(&key.0);
    hasher.update(payload);
    hasher.finalize()
}
