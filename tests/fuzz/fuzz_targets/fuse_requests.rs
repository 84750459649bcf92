//! Whatever a guest sends as FUSE requests.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|requests: &[u8]| {
    let folder = std::env::temp_dir().join(format!("fuse-requests.{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    share_fs::hostile::feed(&folder, requests).expect("folders");
});
