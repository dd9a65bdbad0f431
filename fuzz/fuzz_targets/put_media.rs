//! What a producer puts, through to what is stored and what it is told.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| video::kvs::hostile::put_media(data));
