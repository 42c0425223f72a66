#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    potstill_model_fuzz::fuzzing::template(bytes);
});
