//! RTP and RTCP packets of every payload format, through to what a sink is told.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capture::hostile::packets(data));
