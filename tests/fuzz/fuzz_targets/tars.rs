//! Archives as layers, as what is copied into containers and as images.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = std::env::temp_dir().join(format!("tars.{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    image_store::hostile::tars(&folder, bytes).expect("files");
});
