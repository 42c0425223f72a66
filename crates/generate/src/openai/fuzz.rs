//! Doors for fuzzers to the readers of what servers send.

use super::{reply, stream};

/// Reads a body in every way that the client does.
pub fn reply(body: &[u8]) {
    let _ = reply::read(body);
    for part in reply::split_choices(body).into_iter().flatten() {
        let _ = reply::read(&part);
    }
}

/// Reads a stream that arrives in pieces of `size` bytes, then the reply that it stands for.
pub fn stream(bytes: &[u8], size: usize) {
    let mut assembler = stream::Assembler::default();
    for piece in bytes.chunks(size.max(1)) {
        if assembler.push(piece).is_err() {
            return;
        }
    }
    if let Ok(body) = assembler.finish() {
        reply(&body);
    }
}
