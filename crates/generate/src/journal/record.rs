//! A reply as the payload of a frame: zstd over a version byte, a tag, the latency, and the reply's bytes.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Mutex;

use zstd::bulk::Compressor;

use super::JournalError;
use super::frame::MAX_PAYLOAD;
use crate::request::Record;

const VERSION: u8 = 1;
const RAW: u8 = 0;
const PARSED: u8 = 1;
const HEAD: usize = 6;

/// The most bytes a stored reply may unpack to.
const MAX_UNPACKED: u64 = 1 << 30;

/// Compressors are large (hundreds of KB) and slow to make; there are never more of them than threads that compress.
static COMPRESSORS: Mutex<Vec<Compressor<'static>>> = Mutex::new(Vec::new());

/// The payload of a record.
pub(super) fn encode(record: &Record<'_>) -> Result<Vec<u8>, JournalError> {
    let (tag, latency_ms, body) = match record {
        Record::Raw { body, latency_ms } => (RAW, *latency_ms, Cow::Borrowed(body.as_ref())),
        Record::Parsed(completion) => (PARSED, 0, Cow::Owned(serde_json::to_vec(completion).unwrap_or_default())),
    };
    if body.len() > MAX_PAYLOAD {
        return Err(JournalError::TooLarge { limit: MAX_PAYLOAD, found: body.len() });
    }
    let mut plain = Vec::with_capacity(HEAD + body.len());
    plain.extend_from_slice(&[VERSION, tag]);
    plain.extend_from_slice(&latency_ms.to_le_bytes());
    plain.extend_from_slice(&body);
    Ok(compress(&plain))
}

fn compress(plain: &[u8]) -> Vec<u8> {
    let pooled = COMPRESSORS.lock().ok().and_then(|mut pool| pool.pop());
    // Level 1: replies are compressed once and hardly ever read.
    let compressor = pooled.or_else(|| Compressor::new(1).ok());
    let packed = compressor.and_then(|mut compressor| {
        let packed = compressor.compress(plain).ok();
        if let Ok(mut pool) = COMPRESSORS.lock() {
            pool.push(compressor);
        }
        packed
    });
    // zstd fails only for want of memory; `decode` tells plain bytes from packed ones by zstd's magic number.
    packed.unwrap_or_else(|| plain.to_vec())
}

/// The record of a payload; `None` when it is not one.
pub(super) fn decode(payload: &[u8]) -> Option<Record<'static>> {
    const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let plain = if payload.starts_with(&ZSTD_MAGIC) {
        let mut plain = Vec::new();
        zstd::stream::read::Decoder::new(payload).ok()?.take(MAX_UNPACKED).read_to_end(&mut plain).ok()?;
        plain
    } else {
        payload.to_vec()
    };
    let (head, body) = plain.split_at_checked(HEAD)?;
    let latency_ms = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
    match (head[0], head[1]) {
        (VERSION, RAW) => Some(Record::Raw { body: Cow::Owned(body.to_vec()), latency_ms }),
        (VERSION, PARSED) => Some(Record::Parsed(serde_json::from_slice(body).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Completion;

    #[test]
    fn records_come_back_as_they_were() {
        let raw = Record::Raw { body: Cow::Owned(b"{\"choices\":[]}".repeat(100)), latency_ms: 217 };
        let parsed = Record::Parsed(Box::new(Completion { response: "42".into(), cost_usd: Some(0.1), ..Completion::default() }));
        for record in [raw, parsed] {
            assert_eq!(decode(&encode(&record).unwrap()).unwrap(), record);
        }
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"\x02\x00\x00\x00\x00\x00of a later version"), None);
        assert_eq!(decode(&[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]), None);
    }
}
