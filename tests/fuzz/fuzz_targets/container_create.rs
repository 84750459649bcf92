//! Bodies of requests that make containers, up to the runtime's spec.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| engine::hostile::create(bytes));
