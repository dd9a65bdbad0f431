//! Packets for a WebRTC session.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rtc::hostile::packets(data));
