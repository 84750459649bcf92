//! Filters of lists and events.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(filters) = api_server::query::parse_filters(text) {
        engine::hostile::filters(&filters);
    }
});
