//! What can be set.

use std::{net::IpAddr, path::PathBuf, time::Duration};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `insecure-registries` of daemon.json: `host[:port]` or a network.
    pub insecure_registries: Vec<String>,
    /// Certificates that are trusted, as PEM. Missing: Mozilla's, as they were when this was built.
    pub trusted: PathBuf,
    /// A folder for each registry (`host[:port]`) with further trusted certificates, `*.crt`.
    pub certificates: PathBuf,
    /// Names that are known without asking.
    pub hosts: PathBuf,
    /// Whom to ask for names.
    pub resolv_conf: PathBuf,
    /// In a machine: where the host's loopback is reached. A registry on `localhost` is looked for here first and there then, since a user
    /// of the host means the host.
    pub host_loopback: Option<IpAddr>,
    /// Who we say we are.
    pub user_agent: String,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until one address is connected.
    pub connect: Duration,
    /// Until TLS is agreed on.
    pub handshake: Duration,
    /// Until the head of an answer is there, connecting included.
    pub answer: Duration,
    /// Without a byte of a body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            handshake: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            trusted: "/etc/ssl/certs/ca-certificates.crt".into(),
            certificates: "/etc/docker/certs.d".into(),
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            host_loopback: None,
            user_agent: concat!("berth/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
        }
    }
}
