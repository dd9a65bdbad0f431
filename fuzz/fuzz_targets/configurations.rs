//! Decoder configurations (AVCC, HVCC, OpusHead) and MP4 boxes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| media::hostile::configurations(data));
