//! The fuzz corpus as ordinary input: nothing in it may panic.

use std::path::Path;

#[test]
fn documents_of_the_corpus_are_read_or_refused() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fuzz/corpus/image_documents");
    let files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(!files.is_empty());
    for file in files {
        image_store::hostile::feed(&std::fs::read(file).expect("readable"));
    }
}

#[test]
fn tars_of_the_corpus_stay_in_their_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    corpus::feed("tars", |bytes| {
        image_store::hostile::tars(folder.path(), bytes).expect("folders");
    });
}
