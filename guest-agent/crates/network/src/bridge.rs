//! The default bridge: made once, found again by the next engine.

use std::{io, net::Ipv4Addr, path::Path};

use crate::{
    netlink::{Socket, route},
    random,
    subnet::{Subnet, candidates},
};

/// Ethernet's.
pub(crate) const MTU: u32 = 1500;

/// The bridge as it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) subnet: Subnet,
    pub(crate) gateway: Ipv4Addr,
}

/// Makes the bridge, or takes the one that is there with its address. `wanted`: the subnet of a new one; without, one that nothing else here uses.
///
/// # Errors
/// When the kernel refuses, or every subnet is in use.
pub(crate) fn ensure(route: &mut Socket, name: &str, wanted: Option<Subnet>) -> io::Result<Link> {
    match route.ask(route::new_bridge(name, random::mac())) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let index = route.link(name)?.index;
    let (gateway, subnet) = match route.address(index)? {
        Some(found) => found,
        None => {
            let subnet = match wanted {
                Some(subnet) => subnet,
                None => free_subnet(&route.routed(Some(index))?)?,
            };
            route.ask(route::new_address(index, subnet.gateway(), subnet))?;
            (subnet.gateway(), subnet)
        }
    };
    route.ask(route::set_up(index))?;
    // Lets connections to a published port of 127.0.0.1 through; the rules keep containers from using it.
    set(name, "route_localnet", "1")?;
    Ok(Link {
        index,
        subnet,
        gateway,
    })
}

fn free_subnet(used: &[Subnet]) -> io::Result<Subnet> {
    let free = |candidate: &Subnet| !used.iter().any(|used| used.overlaps(*candidate));
    candidates().find(free).ok_or_else(|| {
        io::Error::other(
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        )
    })
}

fn set(link: &str, key: &str, value: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/sys/net/ipv4/conf/{link}/{key}"), value)
}

/// Makes the machine a router. Returns whether it was none before; `mark` remembers that for the next engine of this boot.
///
/// # Errors
/// What the system says.
pub(crate) fn ensure_forwarding(mark: &Path) -> io::Result<bool> {
    const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
    if std::fs::read_to_string(FORWARD)?.trim_end() == "0" {
        std::fs::write(mark, "")?;
        std::fs::write(FORWARD, "1")?;
    }
    mark.try_exists()
}

/// Is it a name for a link, and for rules?
pub(crate) fn is_link_name(name: &str) -> bool {
    (1..16).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_subnet_is_chosen() {
        let used = |texts: &[&str]| {
            let parse = |text: &&str| text.parse().expect("a subnet");
            texts.iter().map(parse).collect::<Vec<Subnet>>()
        };
        let choose = |texts: &[&str]| free_subnet(&used(texts)).map(|subnet| subnet.to_string());
        assert_eq!(choose(&[]).expect("free"), "172.17.0.0/16");
        assert_eq!(
            choose(&["10.0.0.0/8", "172.17.42.0/24"]).expect("free"),
            "172.18.0.0/16"
        );
        assert_eq!(choose(&["172.16.0.0/12"]).expect("free"), "192.168.0.0/20");
        assert!(choose(&["172.16.0.0/12", "192.168.0.0/16"]).is_err());
    }

    #[test]
    fn names_cannot_say_more_than_a_name() {
        assert!(is_link_name("docker0"));
        for name in ["", "a b", "x\"; }", "-x", "abcdefghijklmnop", "../x"] {
            assert!(!is_link_name(name), "{name}");
        }
    }
}
