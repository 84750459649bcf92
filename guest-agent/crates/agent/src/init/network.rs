//! The machine's own network: loopback, the one card to the host, name servers, sysctls.
//!
//! The host's user-mode network gives every machine the same addresses (it is the only one on its wire), so nothing is asked for.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context, Result};

use super::sys;

const CARD: &str = "eth0";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// What a machine that routes for containers needs; those that the kernel does not have are skipped.
const SYSCTLS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    // Router advertisements are taken although we forward.
    ("net/ipv6/conf/eth0/accept_ra", "2"),
    ("net/ipv4/conf/all/rp_filter", "2"),
    ("net/ipv4/ip_unprivileged_port_start", "1024"),
    ("net/netfilter/nf_conntrack_max", "262144"),
    ("net/core/somaxconn", "4096"),
    ("fs/inotify/max_user_instances", "8192"),
    ("fs/inotify/max_user_watches", "1048576"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("kernel/pid_max", "4194304"),
    ("kernel/keys/maxkeys", "20000"),
    ("kernel/keys/maxbytes", "400000"),
    ("vm/max_map_count", "1048576"),
    ("vm/overcommit_memory", "1"),
];

/// Brings it up.
pub(super) fn bring_up(machine: &str, name_servers: &[IpAddr]) -> Result<()> {
    rustix::system::sethostname(machine.as_bytes()).context("set the host name")?;
    sysctls();
    sys::interface_up("lo").context("bring lo up")?;
    if !std::path::Path::new("/sys/class/net").join(CARD).exists() {
        tracing::warn!("the machine has no network card");
        return names(machine, &[]);
    }
    sys::interface_address(CARD, ADDRESS, MASK).context("give eth0 its address")?;
    sys::interface_up(CARD).context("bring eth0 up")?;
    sys::default_route(GATEWAY).context("set the default route")?;
    let own = [IpAddr::V4(NAME_SERVER)];
    names(
        machine,
        if name_servers.is_empty() {
            &own
        } else {
            name_servers
        },
    )
}

fn sysctls() {
    for (name, value) in SYSCTLS {
        if let Err(error) = fs::write(format!("/proc/sys/{name}"), value) {
            tracing::debug!(name, value, %error, "sysctl not set");
        }
    }
}

/// `/etc/resolv.conf` and `/etc/hosts` are links into `/run` in the image.
fn names(machine: &str, name_servers: &[IpAddr]) -> Result<()> {
    let servers: String = name_servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    fs::write("/run/resolv.conf", servers).context("write resolv.conf")?;
    fs::write(
        "/run/hosts",
        format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {machine}\n"),
    )
    .context("write hosts")
}
