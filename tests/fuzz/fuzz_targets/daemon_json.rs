//! The engine's settings.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The agent is a program, not a library: its file is read here as it is.
#[allow(dead_code, reason = "only the parser is wanted")]
#[path = "../../../guest-agent/crates/agent/src/engine/config.rs"]
mod config;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("daemon-json.{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a file");
    let flags = [("hosts", "[unix:///a]".to_owned())];
    let Ok(config) = config::load(Some(&path), &flags) else {
        return;
    };
    let _ = config.reloadable();
    // A profile would be read from wherever it says.
    if !bytes.windows(7).any(|word| word == b"seccomp") {
        let _ = config.defaults();
    }
});
