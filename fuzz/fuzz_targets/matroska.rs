//! Matroska as it comes, in pieces of any size.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| media::hostile::matroska(data));
