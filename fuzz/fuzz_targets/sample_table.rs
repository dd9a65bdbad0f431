//! The stored sample table, and MP4 made from what it says.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| media::hostile::sample_table(data));
