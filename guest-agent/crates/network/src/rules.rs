//! The rule set, loaded once by the `nft` program; published ports are elements of its maps.

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

use crate::{netlink::Socket, subnet::Subnet};

/// What the rules depend on.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) bridge: &'a str,
    pub(crate) subnet: Subnet,
    /// The machine was no router before us, and stays none between its other links.
    pub(crate) only_router_for_us: bool,
}

impl Rules<'_> {
    fn text(&self) -> String {
        let Self { bridge, subnet, .. } = self;
        let others = if self.only_router_for_us {
            "iifname != @bridges drop"
        } else {
            ""
        };
        // nft 1.0.6 knows no name for the priority of destination NAT in the output hook: it is -100.
        format!(
            "add table inet berth
delete table inet berth
table inet berth {{
    set bridges {{ type ifname; elements = {{ \"{bridge}\" }} }}
    set within {{ type ifname . ifname; elements = {{ \"{bridge}\" . \"{bridge}\" }} }}
    set subnets4 {{ type ipv4_addr; flags interval; elements = {{ {subnet} }} }}
    map publish4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map publish4at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        iifname @bridges ip daddr 127.0.0.0/8 drop
        iifname @bridges ip saddr 127.0.0.0/8 drop
        iifname != @bridges iifname != \"lo\" ip daddr @subnets4 drop
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump published
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump published
    }}
    chain published {{
        dnat ip to ip daddr . meta l4proto . th dport map @publish4at
        dnat ip to meta l4proto . th dport map @publish4
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr @subnets4 oifname != @bridges masquerade
        ip saddr 127.0.0.0/8 oifname @bridges masquerade
        ct status dnat ip saddr @subnets4 oifname @bridges masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        iifname . oifname @within accept
        oifname @bridges ct status dnat accept
        oifname @bridges drop
        {others}
    }}
}}
"
        )
    }

    /// Loads the rules unless these very ones are there: an engine that comes back leaves published ports alone. `record` is where the text
    /// of what was loaded since boot is kept.
    ///
    /// # Errors
    /// When `nft` is missing or refuses.
    pub(crate) fn ensure(&self, netfilter: &mut Socket, record: &Path) -> io::Result<bool> {
        let text = self.text();
        let same = std::fs::read_to_string(record).is_ok_and(|loaded| loaded == text);
        if same && netfilter.has_table()? {
            return Ok(false);
        }
        load(&text)?;
        std::fs::write(record, text)?;
        Ok(true)
    }
}

fn load(text: &str) -> io::Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = nft.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("nft: {}", said.trim())))
}
