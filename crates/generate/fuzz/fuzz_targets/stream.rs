//! Any bytes as a stream of server-sent events, in pieces of any size.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, u8)| potstill_generate::openai::fuzz::stream(&input.0, input.1.into()));
