//! The fuzz corpus as ordinary input: frames are read or refused, and no more is read than came.

use agent_api::frame;

#[test]
fn frames_of_the_corpus_are_read_or_refused() {
    corpus::feed("agent_frames", |bytes| {
        let mut rest = bytes;
        while let Ok(Some(message)) = frame::read_from::<serde_json::Value>(&mut rest) {
            let again = frame::encode(&message).expect("it came in a frame of that bound");
            let read = frame::read_from::<serde_json::Value>(&mut &again[..]).expect("whole");
            assert_eq!(read, Some(message));
        }
    });
}
