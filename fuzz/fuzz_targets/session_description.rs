//! Session descriptions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::hostile::description(data));
