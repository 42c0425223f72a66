//! Unique ids: every problem once, every sample of a problem once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use super::mapping::Mapped;
use super::records::Seen;
use super::spec::Duplicates;
use crate::{Attempt, DataError, Result};

/// The first 16 bytes of a blake3 hash: a million ids then take some 60 MB, however long they are.
type Key = [u8; 16];

fn key(parts: &[&[u8]]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut key = Key::default();
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

/// A problem that has occurred.
struct Known {
    seen: Seen,
    prompt: Key,
    /// Samples so far, which number the next one.
    samples: u32,
}

/// The ids of a source so far.
pub(super) struct Ids {
    duplicates: Duplicates,
    problems: HashMap<Key, Known>,
    numbered: HashMap<Key, Seen>,
}

/// What becomes of a record.
pub(super) enum Fate {
    Keep(Vec<Attempt>),
    Duplicate,
}

impl Ids {
    pub(super) fn new(duplicates: Duplicates) -> Self {
        Self { duplicates, problems: HashMap::new(), numbered: HashMap::new() }
    }

    /// A problem of its own: its id must be new.
    pub(super) fn problem(&mut self, mapped: Mapped, seen: Seen, files: &[PathBuf]) -> Result<Fate> {
        let mut attempts = mapped.attempts;
        let Some(problem) = attempts.first_mut().map(|attempt| &mut attempt.problem) else {
            return Ok(Fate::Duplicate);
        };
        let prompt = key(&[problem.prompt.as_bytes()]);
        let known = match self.problems.entry(key(&[problem.problem_id.as_bytes()])) {
            Entry::Vacant(vacant) => {
                vacant.insert(Known { seen, prompt, samples: 1 });
                return Ok(Fate::Keep(attempts));
            }
            Entry::Occupied(known) => known.into_mut(),
        };
        match self.duplicates {
            Duplicates::First => Ok(Fate::Duplicate),
            Duplicates::Error => Err(duplicate(&problem.problem_id, known.seen, seen, files)),
            Duplicates::Suffix => {
                let mut number = known.samples;
                loop {
                    number += 1;
                    let renamed = format!("{}-{number}", problem.problem_id);
                    if let Entry::Vacant(vacant) = self.problems.entry(key(&[renamed.as_bytes()])) {
                        vacant.insert(Known { seen, prompt, samples: 1 });
                        if let Some(known) = self.problems.get_mut(&key(&[problem.problem_id.as_bytes()])) {
                            known.samples = number;
                        }
                        problem.problem_id = renamed;
                        return Ok(Fate::Keep(attempts));
                    }
                }
            }
        }
    }

    /// Replies: a second row with the same id and prompt is another sample of that problem.
    pub(super) fn attempts(&mut self, mapped: Mapped, seen: Seen, files: &[PathBuf]) -> Result<Fate> {
        let Some(problem) = mapped.attempts.first().map(|attempt| &attempt.problem) else {
            return Ok(Fate::Duplicate);
        };
        let prompt = key(&[problem.prompt.as_bytes()]);
        let id = key(&[problem.problem_id.as_bytes()]);
        let known = self.problems.entry(id).or_insert(Known { seen, prompt, samples: 0 });
        if known.prompt != prompt {
            return match self.duplicates {
                Duplicates::Error => Err(duplicate(&problem.problem_id, known.seen, seen, files)),
                Duplicates::First => Ok(Fate::Duplicate),
                Duplicates::Suffix => self.problem(mapped, seen, files),
            };
        }
        let mut attempts = mapped.attempts;
        for attempt in &mut attempts {
            if !mapped.numbered {
                attempt.sample_index = known.samples;
            }
            known.samples += 1;
        }
        if mapped.numbered {
            return self.numbered(attempts, seen, files);
        }
        Ok(Fate::Keep(attempts))
    }

    fn numbered(&mut self, mut attempts: Vec<Attempt>, seen: Seen, files: &[PathBuf]) -> Result<Fate> {
        let mut unique = Vec::with_capacity(attempts.len());
        for attempt in attempts.drain(..) {
            let attempt_id = attempt.attempt_id();
            match self.numbered.entry(key(&[attempt_id.as_bytes()])) {
                Entry::Vacant(vacant) => {
                    vacant.insert(seen);
                    unique.push(attempt);
                }
                Entry::Occupied(_) if self.duplicates == Duplicates::First => {}
                Entry::Occupied(first) => {
                    return Err(duplicate(&attempt_id, *first.get(), seen, files));
                }
            }
        }
        Ok(if unique.is_empty() { Fate::Duplicate } else { Fate::Keep(unique) })
    }
}

fn duplicate(id: &str, first: Seen, second: Seen, files: &[PathBuf]) -> DataError {
    DataError::Duplicate { id: id.into(), first: first.place(files), second: second.place(files) }
}
