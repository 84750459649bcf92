//! The fuzz corpus as ordinary input: nothing in it may panic.

use std::{fs, path::Path};

use api_server::{
    frames, json,
    query::{self, Query},
    route, version,
};

/// Every file of a target's corpus.
#[expect(clippy::unwrap_used, reason = "part of the tests")]
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/fuzz/corpus")
        .join(target);
    let files = fs::read_dir(folder).unwrap();
    let inputs: Vec<_> = files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty());
    inputs
}

#[test]
fn paths_and_queries_of_the_corpus_are_read() {
    for input in inputs("api_query") {
        let text = String::from_utf8(input).unwrap();
        let (path, query) = text.split_once('?').unwrap();
        let (asked, rest) = version::split_prefix(path);
        let accepted = version::accept(asked).is_ok();
        let filters = Query::parse(query).filters();
        assert_eq!(
            accepted,
            filters.is_ok(),
            "only the whole one has both right: {text}"
        );
        assert!(route::find("GET", rest).is_some());
    }
}

#[test]
fn bodies_of_the_corpus_are_read_or_refused() {
    for input in inputs("api_json") {
        if let Err(error) = json::parse::<serde_json::Value>(&input) {
            assert!(error.message().starts_with("invalid JSON: "), "{error}");
        }
    }
}

#[test]
fn frame_headers_of_the_corpus_are_written_again() {
    for input in inputs("stream_frames") {
        if let Some((stream, length)) = frames::decode_header(input.try_into().unwrap()) {
            let again = frames::encode_header(stream, length as usize).unwrap();
            assert_eq!(frames::decode_header(again), Some((stream, length)));
        }
    }
}

#[test]
fn filters_of_the_corpus_are_read_or_refused() {
    corpus::feed("filters", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match query::parse_filters(&text) {
            Ok(filters) => engine::hostile::filters(&filters),
            Err(error) => assert_eq!(error.message(), "invalid filter"),
        }
    });
}
