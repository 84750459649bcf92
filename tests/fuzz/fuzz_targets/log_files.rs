//! Whatever stands in the log files of a container.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = std::env::temp_dir().join(format!("log_files.{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    shim::hostile::logs(&folder, bytes).expect("files");
});
