//! A message of a signaling client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rtc::hostile::signaling(data));
