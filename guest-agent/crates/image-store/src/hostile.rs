//! The parsers of what strangers write, for fuzzing.

use oci::Platform;

use crate::document::{Document, chain_ids, parse, parse_config, parse_legacy};

/// Feeds bytes to every parser of documents. None may panic, and what they make is bounded.
pub fn feed(bytes: &[u8]) {
    if let Ok(
        Document::Index(entries)
        | Document::Manifest {
            layers: entries, ..
        },
    ) = parse(bytes)
    {
        assert!(entries.len() <= bytes.len());
    }
    if let Ok(config) = parse_config(bytes) {
        assert_eq!(chain_ids(&config.diff_ids).len(), config.diff_ids.len());
    }
    let _ = parse_legacy(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(platform) = Platform::parse(text)
    {
        assert_eq!(platform.normalized(), platform);
    }
}
