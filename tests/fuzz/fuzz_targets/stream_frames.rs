//! Headers of stream frames.
#![no_main]

use api_server::frames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: [u8; frames::HEADER_BYTES]| {
    if let Some((stream, length)) = frames::decode_header(header) {
        let again = frames::encode_header(stream, length as usize).expect("it came from 32 bits");
        assert_eq!(frames::decode_header(again), Some((stream, length)));
    }
});
