//! A body in AWS's CBOR.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::aws::hostile::cbor(data));
