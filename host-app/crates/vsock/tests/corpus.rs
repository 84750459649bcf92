//! The fuzz corpus as ordinary input: nothing in it may panic.

use std::{fs, path::Path};

#[test]
fn packets_of_the_corpus_are_survived() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fuzz/corpus/vsock_packets");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the corpus is there") {
        vsock::hostile::feed(&fs::read(entry.expect("an entry").path()).expect("readable"));
        count += 1;
    }
    assert!(count >= 4, "only {count} files in the corpus");
}
