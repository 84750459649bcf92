//! The vsock device's thoughts: packets in, actions out.
//!
//! [`Mux`] knows connections, credit and half-close; it knows no guest memory, no file descriptor and no clock. A device copies each packet out
//! of guest memory, asks the mux what it means, moves the bytes, and tells the mux what it moved.
//!
//! ```text
//! guest ── packet ──► Mux::guest_packet ──► Action (open, deliver, end, close)
//! guest ◄─ packet ─── Mux::next ◄── Mux::{connect, accept, refuse, readable, sent, ended, delivered, close}
//! ```
//! Everything the guest sends is hostile: a packet that fits no rule is ignored or answered with a reset, and every amount has a bound.
//!
//! Spec: virtio 1.2, 5.10 (Socket Device).

pub mod hostile;
mod mux;
mod packet;

pub use mux::{Action, Connection, Mux, Next};
pub use packet::{HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, Operation, PacketError};

/// The host's context id.
pub const HOST_CID: u64 = 2;
