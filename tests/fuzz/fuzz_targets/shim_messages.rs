//! Messages of shims and the file they leave behind.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| shim::hostile::messages(bytes));
