//! Where a domain's registry is, and how much it must prove. Pure.

use std::net::IpAddr;

use errdefs::{Error, ErrorKind};

/// The default registry serves from another name than the one in references.
const DEFAULT_REGISTRY: &str = "registry-1.docker.io";

/// A registry to talk to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// `host[:port]`.
    pub(crate) authority: String,
    /// It may speak plain HTTP, or show a certificate nobody knows.
    pub(crate) insecure: bool,
}

impl Endpoint {
    /// URL of something below `/v2/`. Always https: the transport falls back for those who may.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}/v2/{path}", self.authority)
    }
}

/// Which registries need not prove who they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Insecure {
    names: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl Insecure {
    /// From `insecure-registries`: names with or without a port, and networks (`10.0.0.0/8`). The loopback always is.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, Error> {
        let mut rules = Self::default();
        for entry in entries {
            let entry = entry
                .strip_prefix("http://")
                .or_else(|| entry.strip_prefix("https://"))
                .unwrap_or(entry);
            if let Some(network) = network(entry) {
                rules.networks.push(network);
            } else if is_authority(entry) {
                rules.names.push(entry.to_owned());
            } else {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!("insecure registry {entry} is not valid: invalid host \"{entry}\""),
                ));
            }
        }
        Ok(rules)
    }

    /// Where the registry of a reference's domain is.
    pub(crate) fn endpoint(&self, domain: &str) -> Endpoint {
        let authority = match domain {
            oci::DEFAULT_DOMAIN | "index.docker.io" => DEFAULT_REGISTRY,
            other => other,
        };
        Endpoint {
            authority: authority.to_owned(),
            insecure: self.matches(domain) || self.matches(authority),
        }
    }

    /// True: this authority need not prove who it is.
    pub(crate) fn matches(&self, authority: &str) -> bool {
        let host = host(authority);
        if is_localhost_name(host) || self.names.iter().any(|name| name == authority) {
            return true;
        }
        host.parse::<IpAddr>().is_ok_and(|address| {
            address.is_loopback()
                || self
                    .networks
                    .iter()
                    .any(|&(network, bits)| contains(network, bits, address))
        })
    }
}

/// `localhost` and all below it. Spec: RFC 6761, 6.3.
pub(crate) fn is_localhost_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// The host of `host[:port]`, without brackets.
pub(crate) fn host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    }
}

/// True for `host[:port]` and nothing more.
pub(crate) fn is_authority(text: &str) -> bool {
    text.parse::<http::uri::Authority>()
        .is_ok_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let shift = width - u32::from(bits);
        a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
    };
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_registry_has_another_name() {
        let rules = Insecure::default();
        for domain in ["docker.io", "index.docker.io"] {
            let endpoint = rules.endpoint(domain);
            assert_eq!(
                endpoint.url("library/a/manifests/b"),
                "https://registry-1.docker.io/v2/library/a/manifests/b"
            );
            assert!(!endpoint.insecure);
        }
    }

    #[test]
    fn the_loopback_and_what_is_listed_are_insecure() {
        let rules = Insecure::parse(&[
            "10.1.0.0/16".into(),
            "fd00::/8".into(),
            "reg.lan:5000".into(),
            "http://old.lan".into(),
        ])
        .unwrap();
        for good in [
            "localhost",
            "localhost:5000",
            "a.localhost",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:5000",
            "10.1.2.3:80",
            "[fd12::1]",
            "reg.lan:5000",
            "old.lan",
        ] {
            assert!(rules.matches(good), "{good}");
        }
        for bad in [
            "10.2.0.1",
            "reg.lan",
            "reg.lan:443",
            "[fe80::1]:1",
            "docker.io",
            "127.0.0.1.example",
        ] {
            assert!(!rules.matches(bad), "{bad}");
        }
        assert!(
            Insecure::parse(&["0.0.0.0/0".into()])
                .unwrap()
                .matches("9.9.9.9")
        );
    }

    #[test]
    fn nonsense_is_named() {
        for bad in ["", "a b", "user@host", "10.0.0.0/33"] {
            let error = Insecure::parse(&[bad.to_owned()]).expect_err(bad);
            assert!(error.message().contains("is not valid"), "{error}");
        }
    }
}
