//! What a client says to the push server.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::hostile::rtsp(data));
