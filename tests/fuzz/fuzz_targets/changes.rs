//! Instructions of `docker commit --change`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| engine::hostile::changes(bytes));
