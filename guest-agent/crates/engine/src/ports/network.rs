//! Network sandboxes: a namespace with its links, addresses and published ports. Served by `network`.

use std::{net::IpAddr, path::PathBuf};

use async_trait::async_trait;
use docker_api::{EndpointSettings, PortMap};
use errdefs::Result;

use crate::id::{ContainerId, NetworkId};

/// A container's wish to be connected.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectRequest {
    /// Who.
    pub container: ContainerId,
    /// Name without the slash, for DNS and messages.
    pub name: String,
    /// Networks by name or id with what was asked for there; the default bridge is `bridge`.
    pub networks: Vec<(String, EndpointSettings)>,
    /// Ports to publish: `80/tcp` to host ends.
    pub ports: PortMap,
    /// Exposed ports, published at random host ports when `publish_all`.
    pub exposed: Vec<String>,
    /// `-P`.
    pub publish_all: bool,
}

/// A connected sandbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    /// 64 hex digits; Docker's SandboxID.
    pub id: String,
    /// Path of the network namespace for the runtime (`/run/docker/netns/<12>` in Docker).
    pub path: PathBuf,
    /// What it got, by network name.
    pub endpoints: Vec<(String, EndpointSettings)>,
    /// What was published really (every exposed port is a key; unpublished ones have none).
    pub ports: PortMap,
    /// Name servers for /etc/resolv.conf when the user gave none; empty: the host's.
    pub dns: Vec<IpAddr>,
    /// Its loopback has an IPv6 address.
    pub loopback_ipv6: bool,
}

/// A network as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkInfo {
    /// Id.
    pub id: NetworkId,
    /// `bridge`, `host`, `none`, or the user's.
    pub name: String,
    /// `bridge`, `host`, `null`.
    pub driver: String,
    /// Subnets with gateways, `172.17.0.0/16`, `172.17.0.1`.
    pub subnets: Vec<(String, Option<String>)>,
    /// User labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// No way out of it.
    pub internal: bool,
    /// It has IPv6 addresses.
    pub ipv6: bool,
    /// Driver options.
    pub options: std::collections::BTreeMap<String, String>,
    /// Creation time.
    pub created: super::world::Timestamp,
}

/// Networks and sandboxes.
#[async_trait]
pub trait Networks: Send + Sync {
    /// All networks.
    async fn list(&self) -> Result<Vec<NetworkInfo>>;
    /// Resolves a network by name, id or id prefix.
    ///
    /// # Errors
    /// `NotFound`: `network NAME not found`.
    async fn get(&self, name: &str) -> Result<NetworkInfo>;
    /// Makes the sandbox: namespace, links, addresses, routes, published ports. On the start path: no helper programs.
    /// `networks` empty: a namespace with only loopback (`none`).
    ///
    /// # Errors
    /// Docker's texts, also [`super::host::Host::reserve`]'s. Nothing is left behind on error.
    async fn connect(&self, request: ConnectRequest) -> Result<Sandbox>;
    /// The sandbox of a container that is connected, e.g. after the engine came back.
    async fn sandbox(&self, container: &ContainerId) -> Result<Option<Sandbox>>;
    /// Takes everything down and gives addresses and ports back. Idempotent.
    async fn disconnect(&self, container: &ContainerId) -> Result<()>;
    /// After a restart of the engine: keeps the sandboxes of `running` (ports are reserved again), removes every other one.
    async fn recover(&self, running: &[ContainerId]) -> Result<()>;
}
