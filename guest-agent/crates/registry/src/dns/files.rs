//! What the hosts file and resolv.conf say. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Servers that are asked at most. As in resolv.h, `MAXNS`.
const MAX_SERVERS: usize = 3;
/// Search domains that are tried at most.
const MAX_SEARCH: usize = 6;
/// The port of DNS.
const PORT: u16 = 53;

/// Settings of resolv.conf that count here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// Whom to ask, in order.
    pub(super) servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl ResolvConf {
    /// Reads it; unknown lines are passed over. No server: the one on this machine.
    pub(super) fn parse(text: &str) -> Self {
        let (mut servers, mut search, mut ndots) = (Vec::new(), Vec::new(), 1);
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    if let Some(address) = words.next().and_then(|word| word.parse().ok()) {
                        servers.push(SocketAddr::new(address, PORT));
                    }
                }
                Some("search" | "domain") => {
                    search = words
                        .map(|word| word.trim_matches('.').to_owned())
                        .collect();
                }
                Some("options") => {
                    let dots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    ndots = dots.unwrap_or(ndots);
                }
                _ => {}
            }
        }
        search.retain(|domain: &String| !domain.is_empty());
        search.truncate(MAX_SEARCH);
        servers.truncate(MAX_SERVERS);
        if servers.is_empty() {
            servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        Self {
            servers,
            search,
            ndots,
        }
    }

    /// The full names to ask for, in order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let plain = std::iter::once(name.to_owned());
        if name.matches('.').count() >= self.ndots {
            plain.chain(searched).collect()
        } else {
            searched.chain(plain).collect()
        }
    }
}

/// Addresses the hosts file gives a name, in its order.
pub(super) fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|word| word.eq_ignore_ascii_case(name))
                .then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_search_are_read() {
        let conf = ResolvConf::parse(
            "# a\nnameserver 10.0.2.3\nnameserver nonsense\nnameserver fd00::3\nsearch lan. corp.example\noptions timeout:1 ndots:2\n",
        );
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.2.3:53", "[fd00::3]:53"]);
        assert_eq!(
            conf.candidates("a.b"),
            ["a.b.lan", "a.b.corp.example", "a.b"]
        );
        assert_eq!(
            conf.candidates("a.b.c"),
            ["a.b.c", "a.b.c.lan", "a.b.c.corp.example"]
        );
        assert_eq!(conf.candidates("a."), ["a"]);
    }

    #[test]
    fn no_server_is_the_one_here() {
        assert_eq!(
            ResolvConf::parse("").servers,
            ["127.0.0.1:53".parse().unwrap()]
        );
    }

    #[test]
    fn the_hosts_file_is_searched_by_word() {
        let text = "127.0.0.1 localhost\n10.0.0.7\tReg.Example reg # reg2\n::7 reg\nx reg\n";
        assert_eq!(
            hosts(text, "reg"),
            [
                "10.0.0.7".parse::<IpAddr>().unwrap(),
                "::7".parse().unwrap()
            ]
        );
        assert_eq!(hosts(text, "reg.example").len(), 1);
        assert!(hosts(text, "reg2").is_empty());
    }
}
