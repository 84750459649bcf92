//! Kernel settings: Docker's own for a network of the container's, then the user's; only those that belong to one of its namespaces.

use std::collections::HashMap;

use errdefs::Result;

use super::{NamespaceOf, SpecInput, system};

/// Settings of the IPC namespace, besides `fs.mqueue.*`. Linux: Documentation/admin-guide/sysctl/kernel.rst.
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Settings by name.
///
/// # Errors
/// `System`: `sysctl "x" is not in a separate kernel namespace` and the like; runc's texts.
pub(super) fn sysctls(input: &SpecInput<'_>) -> Result<HashMap<String, String>> {
    let mut all = HashMap::new();
    let mut set = |name: &str, value: &str| all.insert(name.to_owned(), value.to_owned());
    if !input.config.domainname.is_empty() {
        set("kernel.domainname", &input.config.domainname);
    }
    let is_joined = input.host.network_mode.starts_with("container:");
    if input.network != NamespaceOf::Host && !is_joined {
        // No CAP_NET_RAW for ping, no CAP_NET_BIND_SERVICE for port 80.
        set("net.ipv4.ping_group_range", "0 2147483647");
        set("net.ipv4.ip_unprivileged_port_start", "0");
    }
    for (name, value) in input.host.sysctls.iter().flatten() {
        set(&with_dots(name), value);
    }
    let mut names: Vec<&String> = all.keys().collect();
    names.sort_unstable();
    for name in names {
        check(name, input)?;
    }
    Ok(all)
}

/// `net/ipv4/conf/eth0.1/x` as `net.ipv4.conf.eth0/1.x`: when a slash comes first, slashes and dots change places. Linux: sysctl(8).
fn with_dots(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn check(name: &str, input: &SpecInput<'_>) -> Result<()> {
    let own = |namespace: &NamespaceOf| *namespace != NamespaceOf::Host;
    let refused = |why: &str| Err(system(format!("sysctl {name:?} {why}")));
    if OF_IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        if own(&input.ipc) {
            return Ok(());
        }
        return refused("is not allowed in the hosts ipc namespace");
    }
    if name.starts_with("net.") {
        if own(&input.network) {
            return Ok(());
        }
        return refused("not allowed in host network namespace");
    }
    match name {
        "kernel.domainname" if own(&input.uts) => Ok(()),
        "kernel.hostname" if own(&input.uts) => {
            refused("is not allowed as it conflicts with the OCI \"hostname\" field")
        }
        _ => refused("is not in a separate kernel namespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Case;

    #[test]
    fn a_network_of_its_own_gets_dockers_settings_and_the_users_win() {
        let mut case = Case::new();
        case.config.domainname = "example.org".to_owned();
        case.host.sysctls = Some(
            [("net/ipv4/ip_unprivileged_port_start", "99")]
                .map(own)
                .into(),
        );
        let all = super::sysctls(&case.input()).unwrap();
        assert_eq!(all["kernel.domainname"], "example.org");
        assert_eq!(all["net.ipv4.ping_group_range"], "0 2147483647");
        assert_eq!(all["net.ipv4.ip_unprivileged_port_start"], "99");
        case.network = super::NamespaceOf::Host;
        case.host.sysctls = None;
        assert_eq!(super::sysctls(&case.input()).unwrap().len(), 1);
    }

    #[test]
    fn settings_of_the_machine_are_refused() {
        let check = |name: &str, want: &str| {
            let mut case = Case::new();
            case.network = super::NamespaceOf::Host;
            case.ipc = super::NamespaceOf::Host;
            case.host.sysctls = Some([(name, "1")].map(own).into());
            let error = super::sysctls(&case.input()).unwrap_err();
            assert_eq!(error.message(), want);
        };
        check(
            "net.ipv4.ip_forward",
            "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace",
        );
        check(
            "kernel.shmmax",
            "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace",
        );
        check(
            "vm.swappiness",
            "sysctl \"vm.swappiness\" is not in a separate kernel namespace",
        );
        check(
            "kernel.hostname",
            "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        );
    }

    fn own((name, value): (&str, &str)) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }
}
