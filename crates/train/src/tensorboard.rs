//! TensorBoard event files: the curves of a run for those who watch them there.
//!
//! A file is a sequence of framed records (length, masked CRC-32C of it, payload, masked CRC-32C of that), each payload a
//! protobuf `Event` with a wall time, a step and scalar values (tensorflow/core/util/event.proto and
//! tensorflow/core/lib/io/record_writer.cc describe the format).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Result, TrainError};
use crate::observe::TrainEvent;

/// Writes the events of a run as TensorBoard scalars.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: BufWriter<File>,
}

impl TensorBoard {
    /// Creates an event file in `folder`. Its name carries `started`, the Unix time in seconds at which the run (or its
    /// continuation) began: TensorBoard joins the files of a folder in that order.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the file cannot be written.
    pub fn create(folder: &Path, started: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("cannot create", folder))?;
        let path = folder.join(format!("events.out.tfevents.{started:010}.potstill"));
        let file = BufWriter::new(File::create(&path).map_err(TrainError::io("cannot write", &path))?);
        let mut board = Self { path, file };
        let mut version = Message::default();
        version.double(1, started as f64);
        version.bytes(3, b"brain.Event:2");
        board.record(&version.0)?;
        Ok(board)
    }

    /// Writes the scalars of an event that happened at `wall_time` (Unix seconds); events without scalars write nothing.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the file cannot be written.
    pub fn write(&mut self, event: &TrainEvent, wall_time: f64) -> Result<()> {
        let (step, scalars) = match event {
            // What an earlier file of the folder tells of later steps was lost with them.
            TrainEvent::Started { step, .. } if *step > 0 => return self.record(&restart(wall_time, step + 1)),
            TrainEvent::Step { step, .. } => (*step, of_step(event)),
            TrainEvent::Eval { step, loss, token_accuracy } => {
                (*step, vec![("eval/loss", *loss), ("eval/token_accuracy", *token_accuracy)])
            }
            TrainEvent::Answers { step, accuracy: Some(accuracy), .. } => (*step, vec![("eval/answers_right", *accuracy)]),
            _ => return Ok(()),
        };
        self.record(&scalar_event(wall_time, step, &scalars))
    }

    fn record(&mut self, payload: &[u8]) -> Result<()> {
        let length = (payload.len() as u64).to_le_bytes();
        let mut write = || {
            self.file.write_all(&length)?;
            self.file.write_all(&masked_crc(&length).to_le_bytes())?;
            self.file.write_all(payload)?;
            self.file.write_all(&masked_crc(payload).to_le_bytes())?;
            self.file.flush()
        };
        write().map_err(TrainError::io("cannot write", &self.path))
    }
}

fn of_step(event: &TrainEvent) -> Vec<(&'static str, f64)> {
    let TrainEvent::Step {
        epoch, loss, grad_norm, learning_rate, tokens_per_second, trained_tokens_per_second, tflops, mfu, memory, ..
    } = event
    else {
        return Vec::new();
    };
    let mut scalars = vec![
        ("train/loss", *loss),
        ("train/grad_norm", *grad_norm),
        ("train/learning_rate", *learning_rate),
        ("train/epoch", *epoch),
        ("speed/tokens_per_second", *tokens_per_second),
        ("speed/trained_tokens_per_second", *trained_tokens_per_second),
        ("speed/tflops", *tflops),
    ];
    scalars.extend(mfu.map(|share| ("speed/mfu", share)));
    scalars.extend(memory.map(|bytes| ("speed/memory_gb", bytes as f64 / 1e9)));
    scalars
}

/// Tells the reader to forget what it has of this step and later ones: the session log's `START`.
fn restart(wall_time: f64, step: u64) -> Vec<u8> {
    let mut session = Message::default();
    session.varint_field(1, 1);
    let mut event = Message::default();
    event.double(1, wall_time);
    event.varint_field(2, step);
    event.bytes(7, &session.0);
    event.0
}

fn scalar_event(wall_time: f64, step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Message::default();
    for (tag, value) in scalars {
        let mut scalar = Message::default();
        scalar.bytes(1, tag.as_bytes());
        scalar.float(2, *value as f32);
        summary.bytes(1, &scalar.0);
    }
    let mut event = Message::default();
    event.double(1, wall_time);
    event.varint_field(2, step);
    event.bytes(5, &summary.0);
    event.0
}

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint_field(&mut self, field: u8, value: u64) {
        self.0.push(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u8, value: f64) {
        self.0.push(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, value: &[u8]) {
        self.0.push(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u8, value: f32) {
        self.0.push(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }
}

/// CRC-32C (Castagnoli), rotated and shifted as the record format wants it.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_published_test_vector() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn records_are_framed_and_carry_the_scalars() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(folder.path(), 1_700_000_000).unwrap();
        board.write(&TrainEvent::Eval { step: 300, loss: 0.5, token_accuracy: 0.25 }, 1.0).unwrap();
        board.write(&TrainEvent::TimeLimit { step: 300 }, 2.0).unwrap();
        let bytes = std::fs::read(folder.path().join("events.out.tfevents.1700000000.potstill")).unwrap();
        let mut rest = &bytes[..];
        let mut payloads = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let size = u64::from_le_bytes(*length) as usize;
            assert_eq!(after[..4], masked_crc(length).to_le_bytes());
            let payload = &after[4..4 + size];
            assert_eq!(after[4 + size..8 + size], masked_crc(payload).to_le_bytes());
            payloads.push(payload);
            rest = &after[8 + size..];
        }
        assert_eq!(payloads.len(), 2);
        assert!(payloads[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        // Step 300 as a varint, then the summary with a tag and 0.5 as a float.
        let expected = b"\x10\xac\x02\x2a\x2e\x0a\x10\x0a\x09eval/loss\x15\x00\x00\x00\x3f";
        assert_eq!(&payloads[1][9..9 + expected.len()], expected);
    }
}
