//! Published ports: what was asked for, and who has what.

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive};

use docker_api::{PortBinding, PortMap};
use engine::ports::{host::Protocol, network::ConnectRequest};
use errdefs::{Error, ErrorKind, Result};

/// One wish for a host port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// As in Docker's maps, `80/tcp`.
    pub(crate) key: String,
    pub(crate) protocol: Protocol,
    pub(crate) container_port: u16,
    /// `None`: all addresses of the host, of both families.
    pub(crate) address: Option<IpAddr>,
    /// `None`: any free one.
    pub(crate) ports: Option<RangeInclusive<u16>>,
}

/// The wishes of a request in the order of their container ports, and every port that is published or only exposed.
///
/// # Errors
/// `InvalidParameter` when a port or an address is none.
pub(crate) fn wishes(request: &ConnectRequest) -> Result<(Vec<Wish>, PortMap)> {
    let mut wanted: PortMap = PortMap::new();
    for key in &request.exposed {
        wanted.insert(normal_key(key)?, None);
    }
    for (key, bindings) in &request.ports {
        let all = wanted.entry(normal_key(key)?).or_default();
        if let Some(bindings) = bindings.as_ref().filter(|bindings| !bindings.is_empty()) {
            all.get_or_insert_default().extend(bindings.iter().cloned());
        }
    }
    let mut wishes = Vec::new();
    for (key, bindings) in &wanted {
        let (container_port, protocol) = parse_key(key)?;
        let any = [PortBinding::default()];
        let bindings: &[PortBinding] = match bindings {
            Some(bindings) => bindings,
            None if request.publish_all => &any,
            None => &[],
        };
        for binding in bindings {
            wishes.push(Wish {
                key: key.clone(),
                protocol,
                container_port,
                address: parse_address(&binding.host_ip)?,
                ports: parse_ports(&binding.host_port)?,
            });
        }
    }
    wishes.sort_by_key(|wish| (wish.container_port, wish.protocol));
    let keys = wanted.into_keys().map(|key| (key, None)).collect();
    Ok((wishes, keys))
}

fn normal_key(key: &str) -> Result<String> {
    let (port, protocol) = parse_key(key)?;
    Ok(format!("{port}/{}", protocol_name(protocol)))
}

fn parse_key(key: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(invalid(format!("invalid proto: {protocol}"))),
    };
    Ok((parse_port(port)?, protocol))
}

/// As in Docker's maps and texts.
pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn parse_port(text: &str) -> Result<u16> {
    let port = text.parse().ok().filter(|_| !text.starts_with('+'));
    port.ok_or_else(|| invalid(format!("invalid port specification: {text:?}")))
}

fn parse_ports(text: &str) -> Result<Option<RangeInclusive<u16>>> {
    let (first, last) = match text {
        "" | "0" => return Ok(None),
        _ => text.split_once('-').unwrap_or((text, text)),
    };
    let range = parse_port(first)?..=parse_port(last)?;
    if range.is_empty() || *range.start() == 0 {
        return Err(invalid(format!("invalid port specification: {text:?}")));
    }
    Ok(Some(range))
}

/// An address that is none must not open a port to the world, so it is refused; Docker takes it for all addresses.
fn parse_address(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.parse();
    address
        .map(Some)
        .map_err(|_| invalid(format!("invalid IP address: {text}")))
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, text)
}

/// A port that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Where, for the text.
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

impl Taken {
    /// In Docker's words.
    pub(crate) fn error(self) -> Error {
        let Self { address, port } = self;
        Error::new(
            ErrorKind::System,
            format!("Bind for {address}:{port} failed: port is already allocated"),
        )
    }
}

/// The ports our sandboxes have.
#[derive(Debug)]
pub(crate) struct Ports {
    taken: HashMap<(Protocol, u16), Vec<IpAddr>>,
    ephemeral: RangeInclusive<u16>,
    next: HashMap<Protocol, u16>,
}

impl Ports {
    /// `ephemeral`: where ports come from that nobody named.
    pub(crate) fn new(ephemeral: RangeInclusive<u16>) -> Self {
        Self {
            taken: HashMap::new(),
            ephemeral,
            next: HashMap::new(),
        }
    }

    /// Takes one port at all addresses, or none.
    ///
    /// # Errors
    /// Who has it.
    pub(crate) fn take(
        &mut self,
        protocol: Protocol,
        addresses: &[IpAddr],
        port: u16,
    ) -> Result<(), Taken> {
        let held = self.taken.entry((protocol, port)).or_default();
        for wanted in addresses {
            if let Some(address) = conflict(held, *wanted) {
                return Err(Taken { address, port });
            }
        }
        held.extend_from_slice(addresses);
        Ok(())
    }

    /// Takes the first free one of `range`.
    pub(crate) fn take_from(
        &mut self,
        protocol: Protocol,
        addresses: &[IpAddr],
        mut range: RangeInclusive<u16>,
    ) -> Option<u16> {
        range.find(|port| self.take(protocol, addresses, *port).is_ok())
    }

    /// Takes a free one that nobody named; they are given in turn.
    pub(crate) fn take_any(&mut self, protocol: Protocol, addresses: &[IpAddr]) -> Option<u16> {
        let (first, last) = (*self.ephemeral.start(), *self.ephemeral.end());
        let next = self.next.get(&protocol).copied().unwrap_or(first);
        let port = self
            .take_from(protocol, addresses, next..=last)
            .or_else(|| self.take_from(protocol, addresses, first..=next))?;
        let after = if port >= last { first } else { port + 1 };
        self.next.insert(protocol, after);
        Some(port)
    }

    pub(crate) fn free(&mut self, protocol: Protocol, addresses: &[IpAddr], port: u16) {
        if let Some(held) = self.taken.get_mut(&(protocol, port)) {
            for address in addresses {
                if let Some(place) = held.iter().position(|held| held == address) {
                    held.swap_remove(place);
                }
            }
            if held.is_empty() {
                self.taken.remove(&(protocol, port));
            }
        }
    }
}

/// The address that stands in the way of `wanted`.
fn conflict(held: &[IpAddr], wanted: IpAddr) -> Option<IpAddr> {
    let family = |a: &&IpAddr| a.is_ipv4() == wanted.is_ipv4();
    let mut same = held.iter().filter(family);
    if wanted.is_unspecified() {
        return same.next().copied();
    }
    same.find(|a| a.is_unspecified() || **a == wanted).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    const ALL6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);

    fn request(ports: &[(&str, &[(&str, &str)])], exposed: &[&str], all: bool) -> ConnectRequest {
        let binding = |(ip, port): &(&str, &str)| PortBinding {
            host_ip: (*ip).to_owned(),
            host_port: (*port).to_owned(),
        };
        ConnectRequest {
            container: engine::id::ContainerId::from_random([1; 32]),
            name: "c".to_owned(),
            networks: Vec::new(),
            ports: ports
                .iter()
                .map(|(key, list)| ((*key).to_owned(), Some(list.iter().map(binding).collect())))
                .collect(),
            exposed: exposed.iter().map(|&key| key.to_owned()).collect(),
            publish_all: all,
        }
    }

    fn shown(request: &ConnectRequest) -> Vec<String> {
        let (wishes, _) = wishes(request).expect("good wishes");
        let show = |w: &Wish| format!("{} {:?} {:?}", w.key, w.address, w.ports);
        wishes.iter().map(show).collect()
    }

    #[test]
    fn bindings_become_wishes_in_the_order_of_container_ports() {
        let request = request(
            &[
                ("443", &[("", "")]),
                ("80/TCP", &[("127.0.0.1", "8080"), ("", "90-92")]),
            ],
            &["7/udp", "80/tcp"],
            false,
        );
        assert_eq!(
            shown(&request),
            [
                "80/tcp Some(127.0.0.1) Some(8080..=8080)",
                "80/tcp None Some(90..=92)",
                "443/tcp None None",
            ]
        );
        let (_, keys) = wishes(&request).expect("good wishes");
        assert_eq!(
            keys.keys().collect::<Vec<_>>(),
            ["443/tcp", "7/udp", "80/tcp"]
        );
    }

    #[test]
    fn publish_all_means_the_exposed_ones_without_a_binding() {
        let request = request(
            &[("80/tcp", &[("", "1")])],
            &["70", "80/tcp", "90/udp"],
            true,
        );
        assert_eq!(
            shown(&request),
            [
                "70/tcp None None",
                "80/tcp None Some(1..=1)",
                "90/udp None None"
            ]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, ip, port, text) in [
            (
                "80/tcp",
                "",
                "70000",
                "invalid port specification: \"70000\"",
            ),
            ("80/tcp", "", "9-8", "invalid port specification: \"9-8\""),
            ("80/tcp", "x", "1", "invalid IP address: x"),
            ("80/x", "", "1", "invalid proto: x"),
            ("70-72", "", "1", "invalid port specification: \"70-72\""),
        ] {
            let error = wishes(&request(&[(key, &[(ip, port)])], &[], false)).expect_err(key);
            assert_eq!(error.message(), text);
        }
    }

    #[test]
    fn an_address_conflicts_with_itself_and_with_all_of_its_family() {
        let mut ports = Ports::new(32768..=60999);
        let local: IpAddr = "127.0.0.1".parse().expect("an address");
        let mut take = |addresses: &[IpAddr], port| {
            ports
                .take(Protocol::Tcp, addresses, port)
                .map_err(|taken| taken.error().message().to_owned())
        };
        assert_eq!(take(&[ALL4, ALL6], 80), Ok(()));
        let taken = |text: &str| Err(format!("Bind for {text} failed: port is already allocated"));
        assert_eq!(take(&[ALL4], 80), taken("0.0.0.0:80"));
        assert_eq!(take(&[local], 80), taken("0.0.0.0:80"));
        assert_eq!(take(&[ALL6], 80), taken(":::80"));
        assert_eq!(take(&[local], 81), Ok(()));
        assert_eq!(take(&[local], 81), taken("127.0.0.1:81"));
        assert_eq!(take(&[ALL4], 81), taken("127.0.0.1:81"));
        assert_eq!(take(&[ALL6], 81), Ok(()));
        assert_eq!(ports.take(Protocol::Udp, &[ALL4], 80), Ok(()));
        ports.free(Protocol::Tcp, &[ALL4, ALL6], 80);
        assert_eq!(ports.take(Protocol::Tcp, &[local], 80), Ok(()));
    }

    #[test]
    fn unnamed_ports_are_given_in_turn() {
        let mut ports = Ports::new(10..=12);
        let any = |ports: &mut Ports| ports.take_any(Protocol::Tcp, &[ALL4]);
        assert_eq!(any(&mut ports), Some(10));
        ports.free(Protocol::Tcp, &[ALL4], 10);
        assert_eq!(any(&mut ports), Some(11));
        assert_eq!(any(&mut ports), Some(12));
        assert_eq!(any(&mut ports), Some(10));
        assert_eq!(any(&mut ports), None);
        assert_eq!(ports.take_from(Protocol::Tcp, &[ALL4], 9..=10), Some(9));
    }
}
