//! Whom `--user` names in the passwd and group files of images.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| engine::hostile::users(bytes));
