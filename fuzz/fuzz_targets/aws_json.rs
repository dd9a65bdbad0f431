//! A body in AWS's JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::aws::hostile::json(data));
