//! Names to addresses, without the C library: a static binary has no working `getaddrinfo`.
//!
//! A stub resolver in the old order: an address is itself, `localhost` is the loopback, then the hosts file, then the servers of resolv.conf. It asks a
//! recursive server for A and AAAA and believes it; who the other side is, TLS proves. Spec: RFC 1035, RFC 6761 (localhost).

mod files;
mod lookup;
mod message;

pub use lookup::resolve;
pub(crate) use lookup::{LookupError, Resolver};
