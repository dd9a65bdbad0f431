//! What the log reads from its disk and its store: journal frames, segments' footers, sealed blocks and their insides.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| log::hostile::stored(data));
