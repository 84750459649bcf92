//! The networks every engine has. Their ids and creation times are durable.

use std::{collections::BTreeMap, io, path::Path, time::SystemTime};

use engine::{
    id::NetworkId,
    ports::{network::NetworkInfo, world::Timestamp},
};
use errdefs::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::{random, record};

/// What a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bridge,
    Host,
    None,
}

/// The networks with what they are.
#[derive(Debug)]
pub(crate) struct Table(Vec<(Kind, NetworkInfo)>);

/// Their durable part.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    id: String,
    created: i64,
}

/// What inspect shows of the bridge.
#[derive(Debug)]
pub(crate) struct BridgeFacts {
    pub(crate) name: String,
    pub(crate) subnet: String,
    pub(crate) gateway: String,
    pub(crate) mtu: u32,
}

impl Table {
    /// Reads the file, or writes it when it is missing.
    ///
    /// # Errors
    /// When it is damaged or cannot be read or written.
    pub(crate) fn open(path: &Path, bridge: &BridgeFacts) -> io::Result<Self> {
        let stored = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let (table, stored, changed) = Self::build(stored, bridge)?;
        if changed {
            record::store(path, &stored, true)?;
        }
        Ok(table)
    }

    fn build(
        mut stored: BTreeMap<String, Stored>,
        bridge: &BridgeFacts,
    ) -> io::Result<(Self, BTreeMap<String, Stored>, bool)> {
        let mut changed = false;
        let mut networks = Vec::new();
        for (kind, name, driver) in [
            (Kind::Bridge, "bridge", "bridge"),
            (Kind::Host, "host", "host"),
            (Kind::None, "none", "null"),
        ] {
            let entry = stored.entry(name.to_owned()).or_insert_with(|| {
                changed = true;
                Stored {
                    id: random::hex::<32>(),
                    created: now(),
                }
            });
            let id: NetworkId = entry.id.parse().map_err(io::Error::other)?;
            let is_bridge = kind == Kind::Bridge;
            networks.push((
                kind,
                NetworkInfo {
                    id,
                    name: name.to_owned(),
                    driver: driver.to_owned(),
                    subnets: is_bridge
                        .then(|| (bridge.subnet.clone(), Some(bridge.gateway.clone())))
                        .into_iter()
                        .collect(),
                    labels: BTreeMap::new(),
                    internal: false,
                    ipv6: false,
                    options: if is_bridge {
                        bridge.options()
                    } else {
                        BTreeMap::new()
                    },
                    created: Timestamp(entry.created),
                },
            ));
        }
        Ok((Self(networks), stored, changed))
    }

    pub(crate) fn list(&self) -> Vec<NetworkInfo> {
        self.0.iter().map(|(_, info)| info.clone()).collect()
    }

    /// By name, id, or the start of one id.
    ///
    /// # Errors
    /// Docker's texts.
    pub(crate) fn find(&self, name: &str) -> Result<(Kind, &NetworkInfo)> {
        let by = |matches: &dyn Fn(&NetworkInfo) -> bool| {
            let found = self.0.iter().filter(|(_, info)| matches(info));
            found.map(|(kind, info)| (*kind, info)).collect::<Vec<_>>()
        };
        let exact = by(&|info| info.name == name || info.id.as_str() == name);
        if let [found] = exact[..] {
            return Ok(found);
        }
        let begin = by(&|info| !name.is_empty() && info.id.as_str().starts_with(name));
        match begin[..] {
            [found] => Ok(found),
            [] => Err(Error::new(
                ErrorKind::NotFound,
                format!("network {name} not found"),
            )),
            _ => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!(
                    "network {name} is ambiguous ({} matches found based on ID prefix)",
                    begin.len()
                ),
            )),
        }
    }
}

impl BridgeFacts {
    fn options(&self) -> BTreeMap<String, String> {
        [
            ("com.docker.network.bridge.default_bridge", "true"),
            ("com.docker.network.bridge.enable_icc", "true"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
            ("com.docker.network.bridge.name", &self.name),
            ("com.docker.network.driver.mtu", &self.mtu.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> BridgeFacts {
        BridgeFacts {
            name: "docker0".to_owned(),
            subnet: "172.17.0.0/16".to_owned(),
            gateway: "172.17.0.1".to_owned(),
            mtu: 1500,
        }
    }

    #[test]
    fn networks_are_found_by_name_id_and_prefix() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("networks.json");
        let table = Table::open(&path, &facts()).expect("made");
        let (kind, bridge) = table.find("bridge").expect("found");
        assert_eq!(kind, Kind::Bridge);
        for name in [bridge.id.as_str(), bridge.id.short()] {
            assert_eq!(table.find(name).expect("found").1.name, "bridge");
        }
        for name in ["nope", ""] {
            let error = table.find(name).expect_err("unknown");
            assert_eq!(error.message(), format!("network {name} not found"));
        }
        let again = Table::open(&path, &facts()).expect("read");
        assert_eq!(again.list(), table.list());
    }

    #[test]
    fn a_prefix_of_two_ids_is_ambiguous() {
        let stored = |digit: &str| Stored {
            id: format!("ab{}", digit.repeat(62)),
            created: 0,
        };
        let ids = [("bridge", "1"), ("host", "2"), ("none", "3")];
        let ids = ids.map(|(name, digit)| (name.to_owned(), stored(digit)));
        let (table, _, changed) = Table::build(ids.into(), &facts()).expect("built");
        assert!(!changed);
        assert_eq!(table.find("ab2").expect("one").1.name, "host");
        assert_eq!(
            table.find("ab").expect_err("three").message(),
            "network ab is ambiguous (3 matches found based on ID prefix)"
        );
    }
}
