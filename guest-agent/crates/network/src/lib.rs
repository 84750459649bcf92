//! Network sandboxes for containers, and the host's ports when the engine runs natively.
//!
//! ```text
//! container ── eth0 ─ veth ── docker0 ── rules of our own nftables table ── the machine's links
//! ```
//! Everything on the start path speaks netlink in this process. A published port is one element of a map in the rules; what the rules cannot lead
//! on (IPv6 ends) is passed on by [`engine::ports::host::Host`]. Ready-made namespaces wait for containers.
//!
//! It refuses to know containers, processes and the API. Not here yet: networks that users make.

mod arp;
mod bridge;
mod local;
mod namespace;
mod native;
mod netlink;
mod networks;
mod ports;
mod publish;
mod random;
mod reaper;
mod record;
mod rules;
mod subnet;
mod sys;

pub use local::{Local, Options};
pub use native::{NativeHost, ipv6_listenable};
pub use subnet::{Subnet, SubnetError};
