//! What of a sandbox outlives the engine: one JSON file each in the run folder, replaced by rename. They go with the boot, as sandboxes do.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use docker_api::{EndpointSettings, PortBinding, PortMap};
use engine::{
    id::ContainerId,
    ports::{host::Protocol, network::Sandbox},
};
use serde::{Deserialize, Serialize};

use crate::netlink::nft::Element;

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) container: String,
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    /// Our end of its pair.
    pub(crate) link: Option<String>,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) endpoints: Vec<(String, EndpointSettings)>,
    /// Every published or exposed port.
    pub(crate) exposed: Vec<String>,
    pub(crate) published: Vec<Published>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// `80/tcp`.
    pub(crate) key: String,
    #[serde(with = "protocol")]
    pub(crate) protocol: Protocol,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) target: SocketAddr,
    /// The host's; worth nothing to the next engine.
    #[serde(skip)]
    pub(crate) reservation: Option<u64>,
}

mod protocol {
    use engine::ports::host::Protocol;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::ports::protocol_name;

    pub(super) fn serialize<S: Serializer>(value: &Protocol, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(protocol_name(*value))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Protocol, D::Error> {
        match String::deserialize(from)?.as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            other => Err(D::Error::custom(format!("unknown protocol {other:?}"))),
        }
    }
}

impl Published {
    /// The rules' element for it; IPv6 is the host's alone.
    pub(crate) fn element(&self) -> Option<Element> {
        match (self.address, self.target) {
            (IpAddr::V4(address), SocketAddr::V4(target)) => Some(Element {
                protocol: self.protocol,
                address,
                port: self.port,
                target,
            }),
            _ => None,
        }
    }
}

impl Record {
    pub(crate) fn container(&self) -> Option<ContainerId> {
        self.container.parse().ok()
    }

    pub(crate) fn elements(&self) -> Vec<Element> {
        self.published
            .iter()
            .filter_map(Published::element)
            .collect()
    }

    pub(crate) fn sandbox(&self) -> Sandbox {
        let mut ports: PortMap = self.exposed.iter().map(|key| (key.clone(), None)).collect();
        for published in &self.published {
            let bindings = ports.entry(published.key.clone()).or_default();
            bindings.get_or_insert_default().push(PortBinding {
                host_ip: published.address.to_string(),
                host_port: published.port.to_string(),
            });
        }
        Sandbox {
            id: self.id.clone(),
            path: self.path.clone(),
            endpoints: self.endpoints.clone(),
            ports,
            dns: Vec::new(),
            loopback_ipv6: crate::namespace::has_ipv6(),
        }
    }

    pub(crate) fn path_in(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", &self.id))
    }

    /// # Errors
    /// What the file system says.
    pub(crate) fn store(&self, folder: &Path) -> io::Result<()> {
        store(&self.path_in(folder), self, false)
    }
}

/// Replaces a file by a value as JSON.
///
/// # Errors
/// What the file system says.
pub(crate) fn store(path: &Path, value: &impl Serialize, durable: bool) -> io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(value)?)?;
    if durable {
        std::fs::File::open(&temporary)?.sync_all()?;
    }
    std::fs::rename(&temporary, path)?;
    if durable && let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Every record in a folder; damaged ones are reported and left out.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn load_all(folder: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bytes = std::fs::read(&path)?;
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if record.container().is_some() => records.push(record),
            Ok(_) => tracing::warn!(path = %path.display(), "the record names no container"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "damaged record"),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let published = |address: &str| Published {
            key: "80/tcp".to_owned(),
            protocol: Protocol::Tcp,
            address: address.parse().expect("an address"),
            port: 8080,
            target: "172.17.0.2:80".parse().expect("an address"),
            reservation: None,
        };
        Record {
            container: "ab".repeat(32),
            name: "web".to_owned(),
            id: "cd".repeat(32),
            path: "/run/netns/cdcdcdcdcdcd".into(),
            link: Some("veth1234567".to_owned()),
            address: Some(Ipv4Addr::new(172, 17, 0, 2)),
            endpoints: vec![("bridge".to_owned(), EndpointSettings::default())],
            exposed: vec!["80/tcp".to_owned(), "90/udp".to_owned()],
            published: vec![published("0.0.0.0"), published("::")],
        }
    }

    #[test]
    fn a_record_survives_and_a_damaged_one_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        record().store(folder.path()).expect("stored");
        std::fs::write(folder.path().join("x.json"), "{").expect("written");
        assert_eq!(load_all(folder.path()).expect("loaded"), [record()]);
    }

    #[test]
    fn ports_are_shown_as_docker_shows_them() {
        let ports = serde_json::to_value(record().sandbox().ports).expect("json");
        assert_eq!(
            ports,
            serde_json::json!({
                "80/tcp": [
                    {"HostIp": "0.0.0.0", "HostPort": "8080"},
                    {"HostIp": "::", "HostPort": "8080"},
                ],
                "90/udp": null,
            })
        );
        assert_eq!(record().elements().len(), 1);
    }
}
