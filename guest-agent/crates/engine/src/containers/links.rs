//! Links of the default bridge: a container that knows others by names, in its variables and in its hosts file.
//!
//! A link is kept with the container that has it (the *parent*, in Docker's words) and names the linked one (the *child*) by id, so names may
//! change. Docker API: HostConfig.Links; `DELETE /containers/{parent}/{alias}?link=1`.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use docker_api::{ContainerConfig, EndpointSettings, HostConfig};
use errdefs::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{container::Container, record::ContainerRecord};
use crate::{Engine, id::ContainerId, spec};

/// The network that links are for.
const NETWORK: &str = "bridge";

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The name the linked container is known by.
    pub alias: String,
    /// The linked container.
    pub child: ContainerId,
}

/// A linked container as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Linked {
    pub(crate) alias: String,
    pub(crate) name: String,
    pub(crate) end: EndpointSettings,
    pub(crate) config: ContainerConfig,
}

/// `name[:alias]`; an inspected one, `/name:/parent/alias`, is taken too.
///
/// # Errors
/// `System` in Docker's words: so it has it.
fn parse(text: &str) -> Result<(&str, &str)> {
    let invalid = |text: String| Error::new(ErrorKind::System, text);
    if text.is_empty() {
        return Err(invalid("empty string specified for links".to_owned()));
    }
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    if alias.contains(':') {
        return Err(invalid(format!("bad format for links: {text}")));
    }
    Ok(match name.strip_prefix('/') {
        Some(name) => (name, last_part(alias)),
        None => (name, alias),
    })
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What a container's program is told of a linked one. `parent`: the name of the container that has the link.
fn variables(parent: &str, linked: &Linked) -> Vec<String> {
    let Linked {
        alias, end, config, ..
    } = linked;
    let address = &end.ip_address;
    let name = alias.to_uppercase().replace('-', "_");
    let mut ports: Vec<(bool, String, u16)> = config
        .exposed_ports
        .iter()
        .flatten()
        .filter_map(|(port, _)| {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            // TCP comes first.
            Some((protocol != "tcp", protocol.to_owned(), number.parse().ok()?))
        })
        .collect();
    ports.sort();
    let mut lines = Vec::new();
    if let Some((_, protocol, number)) = ports.first() {
        lines.push(format!("{name}_PORT={protocol}://{address}:{number}"));
    }
    let prefix =
        |protocol: &str, number: u16| format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
    let mut place = 0;
    while let Some((_, protocol, first)) = ports.get(place) {
        // Ports that follow one another are also told as a range.
        let range = ports[place..].iter().zip(u32::from(*first)..);
        let range = range.take_while(|((_, other, number), wanted)| {
            other == protocol && u32::from(*number) == *wanted
        });
        let mut last = *first;
        for ((_, _, number), _) in range {
            let prefix = prefix(protocol, *number);
            lines.push(format!("{prefix}={protocol}://{address}:{number}"));
            lines.push(format!("{prefix}_ADDR={address}"));
            lines.push(format!("{prefix}_PORT={number}"));
            lines.push(format!("{prefix}_PROTO={protocol}"));
            last = *number;
            place += 1;
        }
        if last != *first {
            let prefix = prefix(protocol, *first);
            lines.push(format!("{prefix}_START={protocol}://{address}:{first}"));
            lines.push(format!("{prefix}_PORT_START={first}"));
            lines.push(format!("{prefix}_END={protocol}://{address}:{last}"));
            lines.push(format!("{prefix}_PORT_END={last}"));
        }
    }
    lines.push(format!("{name}_NAME=/{parent}/{alias}"));
    let own = config
        .env
        .iter()
        .flatten()
        .filter_map(|line| line.split_once('='));
    for (key, value) in own.filter(|(key, _)| !matches!(*key, "HOME" | "PATH")) {
        lines.push(format!("{name}_ENV_{key}={value}"));
    }
    lines
}

/// Adds the variables of all links before the container's own; those that it sets itself are its own.
pub(crate) fn add_variables(parent: &str, linked: &[Linked], config: &mut ContainerConfig) {
    if linked.is_empty() {
        return;
    }
    let own = config.env.take().unwrap_or_default();
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let set: Vec<String> = own.iter().map(|line| name(line)).collect();
    let told = linked.iter().flat_map(|linked| variables(parent, linked));
    let told = told.filter(|line| !set.contains(&name(line)));
    config.env = Some(told.chain(own).collect());
}

/// Lines of the hosts file: a linked container by its alias, its host name and its own name.
pub(crate) fn hosts_lines(linked: &Linked) -> String {
    let mut names = format!("{} {}", linked.alias, linked.config.hostname);
    if linked.alias != linked.name {
        let _ = write!(names, " {}", linked.name);
    }
    let mut text = String::new();
    for address in [&linked.end.ip_address, &linked.end.global_ipv6_address] {
        if !address.is_empty() {
            let _ = writeln!(text, "{address}\t{names}");
        }
    }
    text
}

/// The hosts file with other addresses for an alias, each in place of the one of its family.
fn with_address(hosts: &str, alias: &str, end: &EndpointSettings) -> String {
    let mut text = String::new();
    for line in hosts.lines() {
        let mut words = line.split_whitespace();
        let old = words.next().unwrap_or_default();
        let new = if old.contains(':') {
            &end.global_ipv6_address
        } else {
            &end.ip_address
        };
        match line.split_once(char::is_whitespace) {
            Some((_, names)) if !new.is_empty() && words.any(|word| word == alias) => {
                let _ = writeln!(text, "{new}\t{names}");
            }
            _ => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

impl Engine {
    /// The links a new container asks for. One that is asked for twice is one.
    ///
    /// # Errors
    /// In Docker's words: `InvalidParameter` for a container that is not there or has the machine's network.
    pub(super) fn new_links(&self, host: &HostConfig) -> Result<Vec<Link>> {
        let mut links: Vec<Link> = Vec::new();
        for text in host.links.iter().flatten() {
            let (name, alias) = parse(text)?;
            let mut name = name.to_owned();
            let child = loop {
                let child = self.containers.find(&name).map_err(|error| {
                    let text = format!("could not get container for {name}: {}", error.message());
                    Error::new(ErrorKind::InvalidParameter, text).with_source(error)
                })?;
                let record = child.record();
                match record.host.network_mode.strip_prefix("container:") {
                    Some(other) => other.clone_into(&mut name),
                    None if record.host.network_mode == "host" => {
                        return Err(Error::new(
                            ErrorKind::InvalidParameter,
                            spec::LINKS_WITH_HOST,
                        ));
                    }
                    None => break record.id.clone(),
                }
            };
            if !links.iter().any(|link| link.alias == alias) {
                let alias = alias.to_owned();
                links.push(Link { alias, child });
            }
        }
        Ok(links)
    }

    /// The linked containers as they stand, for a start.
    ///
    /// # Errors
    /// In Docker's words when one does not run, or is not where links are for.
    pub(crate) fn linked(&self, record: &ContainerRecord) -> Result<Vec<Linked>> {
        if !record.networks.contains_key(NETWORK) {
            return Ok(Vec::new());
        }
        let linked = record.links.iter().map(|link| {
            let failed = |text: String| Error::new(ErrorKind::System, text);
            let child = self.containers.by_id(&link.child);
            let name = child.as_ref().map_or_else(
                || link.child.short().to_owned(),
                |child| child.record().name.clone(),
            );
            let running = child.filter(|child| child.state().is_running());
            let running = running.ok_or_else(|| {
                failed(format!(
                    "Cannot link to a non running container: /{name} AS /{}/{}",
                    record.name, link.alias
                ))
            })?;
            let (_, end) = bridge_end(&running).ok_or_else(|| {
                failed(format!(
                    "Cannot link to /{name}, as it does not belong to the default network"
                ))
            })?;
            Ok(Linked {
                alias: link.alias.clone(),
                name,
                end,
                config: running.record().config.clone(),
            })
        });
        linked.collect()
    }

    /// Tells the containers that have a link to this one where it is now.
    pub(super) async fn tell_parents(&self, child: &Container) {
        let Some((_, end)) = bridge_end(child) else {
            return;
        };
        for (alias, parent) in self.parents(&child.id) {
            if !parent.state().is_running() || bridge_end(&parent).is_none() {
                continue;
            }
            let store = &self.ports.store;
            let written = match store.read_file(&parent.id, "hosts").await {
                Ok(hosts) => {
                    let hosts = with_address(&String::from_utf8_lossy(&hosts), &alias, &end);
                    store
                        .write_file(&parent.id, "hosts", hosts.as_bytes())
                        .await
                        .map(drop)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                tracing::warn!(id = parent.id.as_str(), %error, "tell a container its link's new address");
            }
        }
    }

    /// Containers that have a link to this one, each with the alias.
    fn parents(&self, child: &ContainerId) -> Vec<(String, Arc<Container>)> {
        let mut parents = Vec::new();
        for container in self.containers.all() {
            for link in &container.record().links {
                if link.child == *child {
                    parents.push((link.alias.clone(), Arc::clone(&container)));
                }
            }
        }
        parents
    }

    /// The names that links give to containers, `parent/alias` by the container's id.
    pub(super) fn link_names(&self) -> BTreeMap<ContainerId, Vec<String>> {
        let mut names: BTreeMap<ContainerId, Vec<String>> = BTreeMap::new();
        for container in self.containers.all() {
            let record = container.record();
            for link in &record.links {
                let name = format!("{}/{}", record.name, link.alias);
                names.entry(link.child.clone()).or_default().push(name);
            }
        }
        names
    }

    /// Links as they are shown: none, or `/child:/parent/alias` each.
    pub(super) fn shown_links(&self, record: &ContainerRecord) -> Option<Vec<String>> {
        let shown = record.links.iter().filter_map(|link| {
            let child = self.containers.by_id(&link.child)?;
            let (child, parent) = (&child.record().name, &record.name);
            Some(format!("/{child}:/{parent}/{}", link.alias))
        });
        let shown: Vec<String> = shown.collect();
        (!shown.is_empty()).then_some(shown)
    }

    /// Takes a link away, not the container. Docker API: `DELETE /containers/{parent}/{alias}?link=1`. Durable when it returns.
    ///
    /// # Errors
    /// In Docker's words when the name is not a link's.
    pub async fn remove_link(&self, name: &str) -> Result<()> {
        self.containers.find(name)?;
        let failed = |text: String| Error::new(ErrorKind::System, text);
        let path = name.strip_prefix('/').unwrap_or(name);
        let Some((parent, alias)) = path.rsplit_once('/') else {
            let text = "Conflict, cannot remove the default link name of the container";
            return Err(failed(text.to_owned()));
        };
        let parent = self
            .containers
            .find(parent)
            .map_err(|_| failed(format!("Cannot get parent /{parent} for link name /{path}")))?;
        let _run = parent.run.lock().await;
        let mut record = (*parent.record()).clone();
        record.links.retain(|link| link.alias != alias);
        self.ports.store.put(&record).await?;
        parent.set_record(record);
        Ok(())
    }
}

/// A container's end on the default bridge, while it has one.
fn bridge_end(container: &Container) -> Option<(String, EndpointSettings)> {
    let sandbox = container.sandbox()?;
    let end = sandbox.endpoints.iter().find(|(name, _)| name == NETWORK)?;
    Some(end.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(ports: &[&str], env: &[&str]) -> Linked {
        Linked {
            alias: "my-db".to_owned(),
            name: "db".to_owned(),
            end: EndpointSettings {
                ip_address: "172.17.0.2".to_owned(),
                ..EndpointSettings::default()
            },
            config: ContainerConfig {
                hostname: "dbhost".to_owned(),
                exposed_ports: Some(
                    ports
                        .iter()
                        .map(|port| ((*port).to_owned(), <_>::default()))
                        .collect(),
                ),
                env: Some(env.iter().map(|line| (*line).to_owned()).collect()),
                ..ContainerConfig::default()
            },
        }
    }

    #[test]
    fn a_link_is_a_name_and_an_alias() {
        for (text, wanted) in [
            ("db", ("db", "db")),
            ("db:alias", ("db", "alias")),
            ("/db:/web/alias", ("db", "alias")),
        ] {
            assert_eq!(parse(text).expect("a link"), wanted);
        }
        assert_eq!(
            parse("").unwrap_err().message(),
            "empty string specified for links"
        );
        assert_eq!(
            parse("a:b:c").unwrap_err().message(),
            "bad format for links: a:b:c"
        );
    }

    #[test]
    fn variables_are_dockers() {
        let lines = variables(
            "web",
            &linked(&["53/udp", "6379/tcp"], &["PATH=/bin", "A=b", "bare"]),
        );
        assert_eq!(
            lines,
            [
                "MY_DB_PORT=tcp://172.17.0.2:6379",
                "MY_DB_PORT_6379_TCP=tcp://172.17.0.2:6379",
                "MY_DB_PORT_6379_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_6379_TCP_PORT=6379",
                "MY_DB_PORT_6379_TCP_PROTO=tcp",
                "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
                "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_ENV_A=b",
            ]
        );
        let ranges = variables("web", &linked(&["7001/tcp", "7000/tcp", "9/tcp"], &[]));
        let range = [
            "MY_DB_PORT_7000_TCP_START=tcp://172.17.0.2:7000",
            "MY_DB_PORT_7000_TCP_PORT_START=7000",
            "MY_DB_PORT_7000_TCP_END=tcp://172.17.0.2:7001",
            "MY_DB_PORT_7000_TCP_PORT_END=7001",
        ];
        assert!(
            range
                .iter()
                .all(|line| ranges.iter().any(|own| own == line)),
            "{ranges:?}"
        );
        assert!(
            !ranges
                .iter()
                .any(|line| line.starts_with("MY_DB_PORT_9_TCP_START"))
        );
        assert_eq!(
            variables("web", &linked(&[], &[])),
            ["MY_DB_NAME=/web/my-db"]
        );
        let top = variables("web", &linked(&["65535/tcp"], &[]));
        assert_eq!(top.len(), 6);
    }

    #[test]
    fn the_hosts_file_follows_the_linked_container() {
        let linked = linked(&[], &[]);
        let lines = hosts_lines(&linked);
        assert_eq!(lines, "172.17.0.2\tmy-db dbhost db\n");
        let hosts = format!("127.0.0.1\tlocalhost\n{lines}10.0.0.1 mine # kept\n");
        let moved = EndpointSettings {
            ip_address: "172.17.0.9".to_owned(),
            ..EndpointSettings::default()
        };
        assert_eq!(
            with_address(&hosts, "my-db", &moved),
            "127.0.0.1\tlocalhost\n172.17.0.9\tmy-db dbhost db\n10.0.0.1 mine # kept\n"
        );
    }
}
