//! What lies outside of the machine: shared folders and published ports.
//!
//! Native Linux answers every grant with the path itself and reserves by binding; in the VM `agent` asks berth-vmm over vsock.

use std::{net::IpAddr, path::PathBuf};

use async_trait::async_trait;
use errdefs::Result;

/// TCP, UDP or SCTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A host port that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReserveRequest {
    /// Protocol.
    pub protocol: Protocol,
    /// Address on the host; unspecified: all of its family.
    pub host_address: IpAddr,
    /// First and last acceptable port, `0..=0` for any free one.
    pub host_ports: std::ops::RangeInclusive<u16>,
    /// Where connections go: the container's address as seen from the machine.
    pub target: std::net::SocketAddr,
}

/// A host port that is held until it is released. Dropping the process releases it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Names it when released.
    pub id: u64,
    /// The port that was taken.
    pub host_port: u16,
}

/// Services of the host.
#[async_trait]
pub trait Host: Send + Sync {
    /// Makes a folder or file of the host reachable and says where it is in the machine. `create`: make a missing folder (as `-v` does).
    ///
    /// # Errors
    /// `Forbidden` when policy refuses it: the text says how to share it. `InvalidParameter` when it is missing and `create` is false
    /// (`invalid mount config for type "bind": bind source path does not exist: /x`).
    async fn grant(&self, path: &str, read_only: bool, create: bool) -> Result<PathBuf>;

    /// Takes a port before the container starts.
    ///
    /// # Errors
    /// Docker's text, e.g. `failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use`.
    async fn reserve(&self, request: ReserveRequest) -> Result<Reservation>;

    /// Gives a port back. Idempotent.
    async fn release(&self, reservation: u64);

    /// Gives back what an earlier engine had reserved, all but these. A host that forgets with the process has nothing to do.
    async fn keep(&self, reservations: &[u64]) {
        let _ = reservations;
    }
}
