//! Whatever stands in the documents of an image.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| image_store::hostile::feed(bytes));
