//! Parameter sets, headers and supplemental information of H.264, H.265, AAC and Opus.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| media::hostile::parameter_sets(data));
