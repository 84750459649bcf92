//! Frames between host and guest.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some(_)) = agent_api::frame::read_from::<serde_json::Value>(&mut rest) {}
});
