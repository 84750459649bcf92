//! Whatever a guest sends through vsock.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|packets: &[u8]| vsock::hostile::feed(packets));
