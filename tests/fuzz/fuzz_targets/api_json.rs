//! JSON bodies.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Err(error) = api_server::json::parse::<serde_json::Value>(body) {
        assert!(!error.message().is_empty());
    }
});
