//! A guest that sends anything at all: what the fuzz target and the test of its corpus share.

use crate::{Action, HEADER_BYTES, Header, Mux, Next};

/// Room in a guest's buffer beside the header, as Linux' driver offers it.
const ROOM_BYTES: u32 = 3732;

/// Feeds bytes to a mux as packet headers one after the other, and plays a host that takes and sends whatever it may.
///
/// # Panics
/// When the mux breaks a promise: that is what it is for.
pub fn feed(packets: &[u8]) {
    let mut mux = Mux::new(3);
    let own = mux.connect(1024);
    for raw in packets.as_chunks::<HEADER_BYTES>().0 {
        let Ok(header) = Header::parse(raw) else {
            continue;
        };
        assert_eq!(
            &header.encode(),
            raw,
            "a header is not written as it was read"
        );
        match mux.guest_packet(&header) {
            // Every other one is taken, so that both ways are walked.
            Some(Action::Asked(connection)) if connection.host_port % 2 == 0 => {
                mux.accept(connection)
            }
            Some(Action::Asked(connection)) => mux.refuse(connection),
            Some(Action::Deliver(connection)) => {
                mux.delivered(connection, header.length);
                mux.readable(connection);
            }
            _ => {}
        }
        own.into_iter().for_each(|own| mux.readable(own));
        match mux.next(ROOM_BYTES) {
            Some(Next::Data { connection, most }) => {
                assert!(
                    most > 0 && most <= ROOM_BYTES,
                    "{most} bytes for a buffer of {ROOM_BYTES}"
                );
                let answer = if header.flags % 2 == 0 {
                    mux.sent(connection, most)
                } else {
                    mux.ended(connection)
                };
                assert!(answer.is_some(), "a connection that may send is not known");
            }
            Some(Next::Control(answer)) => {
                assert_eq!(answer.length, 0, "a control packet with a payload")
            }
            None => {}
        }
    }
}
