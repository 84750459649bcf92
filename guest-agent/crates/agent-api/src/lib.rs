//! Messages between host and guest, both directions.
//!
//! The guest listens on vsock port [`GUEST_PORT`]; the host dials. Every connection starts with a [`Hello`] frame that names version, secret
//! and [`Service`]; the guest answers [`HelloReply`], then the connection belongs to the service. Once, at boot, the guest dials the host's
//! [`READY_PORT`], says [`BootEvent::Listening`], receives [`BootSettings`] (with the secret that later hellos must show) and goes on to report
//! boot events on the same connection.
//!
//! ```text
//! guest ── READY_PORT ──► host    BootEvent::Listening        host ── GUEST_PORT ──► guest   Hello{Docker}        → raw bytes
//! guest ◄──────────────── host    BootSettings                host ── GUEST_PORT ──► guest   Hello{Control}       → ControlRequest / ControlReply
//! guest ────────────────► host    BootEvent::… EngineReady    host ── GUEST_PORT ──► guest   Hello{HostServices}  ← HostRequest / HostReply →
//! ```
//!
//! Frames: a little-endian `u32` length (≤ [`MAX_FRAME_BYTES`]) and that many bytes of JSON. What arrives is hostile on either side.

pub mod frame;
mod messages;

pub use messages::*;

/// Version of this contract; both sides must have the same.
pub const VERSION: u32 = 1;

/// vsock port the guest listens on.
pub const GUEST_PORT: u32 = 1024;

/// vsock port at the host (CID 2) that the guest dials once at boot.
pub const READY_PORT: u32 = 1025;

/// Longest frame, in bytes without its length.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
