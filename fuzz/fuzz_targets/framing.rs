//! NAL units in every framing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| media::hostile::framing(data));
