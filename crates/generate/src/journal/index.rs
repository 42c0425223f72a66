//! Where each key's record stands. 24 bytes a record, so that a million replies cost some 50 MB.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::RequestKey;

/// A segment's number (16 bits) and an offset in it (48 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

const OFFSET_BITS: u32 = 48;

impl Place {
    pub(super) fn new(segment: usize, offset: u64) -> Self {
        debug_assert!(segment < 1 << 16 && offset < 1 << OFFSET_BITS);
        Self((segment as u64) << OFFSET_BITS | offset)
    }

    pub(super) fn segment(self) -> usize {
        (self.0 >> OFFSET_BITS) as usize
    }

    pub(super) fn offset(self) -> u64 {
        self.0 & ((1 << OFFSET_BITS) - 1)
    }
}

/// Half of a key. Whoever reads a record compares the whole key, so that even a collision costs only a question.
type Half = [u8; 16];

/// The index of all segments.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<Half, Place, BuildHasherDefault<Prefix>>);

impl Index {
    /// The first record of a key stays: two processes may both have bought it, and rows must not depend on which
    /// segment is read last.
    pub(super) fn insert(&mut self, key: &RequestKey, place: Place) {
        self.0.entry(half(key)).or_insert(place);
    }

    /// The record of a key stands elsewhere now.
    pub(super) fn point(&mut self, key: &RequestKey, place: Place) {
        self.0.insert(half(key), place);
    }

    pub(super) fn get(&self, key: &RequestKey) -> Option<Place> {
        self.0.get(&half(key)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn half(key: &RequestKey) -> Half {
    let mut half = [0; 16];
    half.copy_from_slice(&key.0[..16]);
    half
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        let length = bytes.len().min(8);
        word[..length].copy_from_slice(&bytes[..length]);
        self.0 ^= u64::from_le_bytes(word);
    }

    fn write_usize(&mut self, _: usize) {}
}
