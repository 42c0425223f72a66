//! Any bytes as the body of a 200.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| potstill_generate::openai::fuzz::reply(body));
