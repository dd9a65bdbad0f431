//! The head of a signed request.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::aws::hostile::signature(data));
