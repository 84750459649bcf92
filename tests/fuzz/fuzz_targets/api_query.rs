//! Paths, version prefixes, query strings and filters.
#![no_main]

use api_server::{query, route, version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &str| {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (asked, rest) = version::split_prefix(path);
    let _ = version::accept(asked);
    if let Some(found) = route::find("GET", rest) {
        assert!(rest.contains(found.name));
    }
    let query = query::Query::parse(query);
    let _ = query.filters();
});
