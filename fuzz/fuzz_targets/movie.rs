//! A `moov` with its sample tables, and a `moof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| media::hostile::movie(data));
