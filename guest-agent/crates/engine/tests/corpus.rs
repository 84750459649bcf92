//! The fuzz corpus as ordinary input: nothing in it may panic, nor make much of little.

use engine::hostile;

#[test]
fn users_of_the_corpus_are_looked_up_or_refused() {
    corpus::feed("users", hostile::users);
}

#[test]
fn words_of_the_corpus_are_read_or_refused() {
    corpus::feed("words", hostile::words);
}

#[test]
fn instructions_of_the_corpus_are_applied_or_refused() {
    corpus::feed("changes", hostile::changes);
}

#[test]
fn requests_of_the_corpus_are_checked_and_become_specs_or_are_refused() {
    corpus::feed("container_create", hostile::create);
}
