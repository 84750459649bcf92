//! Names, mounts, times, sizes and log options, as clients write them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| engine::hostile::words(bytes));
