//! The fuzz corpus as ordinary input: nothing in it may panic, and no log is read otherwise than it was left.

use shim::hostile;

#[test]
fn logs_of_the_corpus_are_read_and_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    corpus::feed("log_files", |bytes| {
        hostile::logs(folder.path(), bytes).expect("files");
    });
}

#[test]
fn messages_of_the_corpus_are_taken_or_refused() {
    corpus::feed("shim_messages", hostile::messages);
}
