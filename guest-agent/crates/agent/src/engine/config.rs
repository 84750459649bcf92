//! `daemon.json`: Docker's keys. Each is honoured, taken because it asks for what is so anyway, or refused by name; none is passed over in silence.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use docker_api::{LogConfig, Ulimit};
use engine::{Defaults, system::reload::Reloadable};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Config {
    pub(super) debug: bool,
    pub(super) log_level: String,
    pub(super) hosts: Vec<String>,
    pub(super) data_root: Option<String>,
    pub(super) exec_root: Option<String>,
    pub(super) tls: Option<bool>,
    pub(super) tlsverify: Option<bool>,
    pub(super) tlscacert: String,
    pub(super) tlscert: String,
    pub(super) tlskey: String,
    log_driver: String,
    log_opts: BTreeMap<String, String>,
    default_ulimits: BTreeMap<String, Limit>,
    default_shm_size: Option<Value>,
    default_ipc_mode: String,
    default_cgroupns_mode: String,
    pub(super) cgroup_parent: String,
    init: bool,
    no_new_privileges: bool,
    seccomp_profile: String,
    dns: Vec<String>,
    dns_opts: Vec<String>,
    dns_search: Vec<String>,
    pub(super) bip: String,
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
    labels: Vec<String>,
    live_restore: bool,
    shutdown_timeout: i64,
    max_concurrent_downloads: i64,
    max_concurrent_uploads: i64,
    max_download_attempts: i64,
    features: BTreeMap<String, bool>,
    exec_opts: Vec<String>,
    mtu: i64,
    pub(super) experimental: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Limit {
    name: String,
    hard: i64,
    soft: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            debug: false,
            log_level: String::new(),
            hosts: Vec::new(),
            data_root: None,
            exec_root: None,
            tls: None,
            tlsverify: None,
            tlscacert: String::new(),
            tlscert: String::new(),
            tlskey: String::new(),
            log_driver: String::new(),
            log_opts: BTreeMap::new(),
            default_ulimits: BTreeMap::new(),
            default_shm_size: None,
            default_ipc_mode: String::new(),
            default_cgroupns_mode: String::new(),
            cgroup_parent: String::new(),
            init: false,
            no_new_privileges: false,
            seccomp_profile: String::new(),
            dns: Vec::new(),
            dns_opts: Vec::new(),
            dns_search: Vec::new(),
            bip: String::new(),
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            labels: Vec::new(),
            live_restore: false,
            shutdown_timeout: 15,
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            max_download_attempts: 5,
            features: BTreeMap::new(),
            exec_opts: Vec::new(),
            mtu: 0,
            experimental: false,
        }
    }
}

/// Keys that do something.
const HONOURED: &[&str] = &[
    "debug",
    "log-level",
    "hosts",
    "data-root",
    "exec-root",
    "tls",
    "tlsverify",
    "tlscacert",
    "tlscert",
    "tlskey",
    "log-driver",
    "log-opts",
    "default-ulimits",
    "default-shm-size",
    "default-ipc-mode",
    "default-cgroupns-mode",
    "cgroup-parent",
    "init",
    "no-new-privileges",
    "seccomp-profile",
    "dns",
    "dns-opts",
    "dns-search",
    "bip",
    "insecure-registries",
    "labels",
    "exec-opts",
    "experimental",
    "features",
];
/// Keys that are taken and shown, with a word in the log of what they do not do.
const NO_EFFECT: &[(&str, &str)] = &[
    (
        "live-restore",
        "containers always go on while the engine is away",
    ),
    (
        "shutdown-timeout",
        "containers are not stopped with the engine",
    ),
    (
        "max-concurrent-downloads",
        "the engine picks how many layers it fetches at once",
    ),
    ("max-concurrent-uploads", "images cannot be pushed yet"),
    (
        "max-download-attempts",
        "a layer is asked for again as often as it makes sense",
    ),
    ("registry-mirrors", "mirrors are not asked yet"),
    (
        "userland-proxy",
        "published ports never need a helper program",
    ),
    (
        "userland-proxy-path",
        "published ports never need a helper program",
    ),
    ("pidfile", "a lock on the data root stands for it"),
    ("group", "the socket belongs to whoever started the engine"),
    ("raw-logs", "the engine's log has no colours"),
    ("log-format", "the engine's log is text"),
    ("deprecated-key-path", "it is Docker's own past"),
    (
        "allow-nondistributable-artifacts",
        "it is Docker's own past",
    ),
    ("builder", "there is no builder yet"),
    ("swarm-default-advertise-addr", "there is no swarm"),
    ("swarm-raft-heartbeat-tick", "there is no swarm"),
    ("swarm-raft-election-tick", "there is no swarm"),
];
/// Keys that are refused unless they ask for what is so anyway.
const FIXED: &[(&str, &str)] = &[
    ("storage-driver", r#""overlayfs""#),
    ("iptables", "true"),
    ("ip6tables", "true"),
    ("ip-forward", "true"),
    ("ip-masq", "true"),
    ("icc", "true"),
    ("ipv6", "false"),
    ("ip", r#""0.0.0.0""#),
    ("mtu", "1500"),
    ("selinux-enabled", "false"),
    ("rootless", "false"),
    ("cri-containerd", "false"),
    ("default-runtime", r#""runc""#),
    ("bridge", r#""docker0""#),
    ("storage-opts", "[]"),
    ("authorization-plugins", "[]"),
    ("node-generic-resources", "[]"),
    ("runtimes", "{}"),
    ("default-network-opts", "{}"),
    ("default-address-pools", "[]"),
    ("cdi-spec-dirs", "[]"),
    ("proxies", "{}"),
    ("userns-remap", r#""""#),
    ("metrics-addr", r#""""#),
    ("init-path", r#""""#),
    ("default-init", r#""""#),
    ("fixed-cidr", r#""""#),
    ("fixed-cidr-v6", r#""""#),
    ("bip6", r#""""#),
    ("default-gateway", r#""""#),
    ("default-gateway-v6", r#""""#),
    ("resolv-conf", r#""""#),
    ("containerd", r#""""#),
    ("containerd-namespace", r#""""#),
    ("containerd-plugin-namespace", r#""""#),
    ("host-gateway-ip", r#""""#),
    ("host-gateway-ips", "[]"),
    ("network-control-plane-mtu", "1500"),
    ("network-diagnostic-port", "0"),
    ("cpu-rt-period", "0"),
    ("cpu-rt-runtime", "0"),
    ("api-cors-header", r#""""#),
];

/// Reads it; no file is no settings. `flags` are settings given on the command line, by their keys: a key may stand in one of the two only.
pub(super) fn load(path: Option<&Path>, flags: &[(&str, String)]) -> Result<Config> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let shown = path.display();
    let wrong = || format!("unable to configure the Docker daemon with file {shown}");
    let bytes = read(path).with_context(wrong)?;
    parse(&bytes, flags).with_context(wrong)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("the file is over {MAX_BYTES} bytes");
    }
    Ok(bytes)
}

fn parse(bytes: &[u8], flags: &[(&str, String)]) -> Result<Config> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Ok(Config::default());
    }
    let keys: Map<String, Value> =
        serde_json::from_slice(bytes).context("it is not a JSON object")?;
    check_keys(&keys)?;
    let twice: Vec<String> = flags
        .iter()
        .filter_map(|(name, flag)| {
            let value = keys.get(*name)?;
            let shown = go(value);
            Some(format!("{name}: (from flag: {flag}, from file: {shown})"))
        })
        .collect();
    if !twice.is_empty() {
        bail!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            twice.join(", ")
        );
    }
    let config: Config =
        serde_json::from_value(Value::Object(keys)).context("a value does not fit its key")?;
    config.check()?;
    Ok(config)
}

fn check_keys(keys: &Map<String, Value>) -> Result<()> {
    let no_effect = |name: &str| NO_EFFECT.iter().find(|(key, _)| *key == name);
    let fixed = |name: &str| FIXED.iter().find(|(key, _)| *key == name);
    let unknown: Vec<&str> = keys
        .keys()
        .map(String::as_str)
        .filter(|key| !HONOURED.contains(key) && no_effect(key).is_none() && fixed(key).is_none())
        .collect();
    if !unknown.is_empty() {
        bail!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        );
    }
    for (key, value) in keys {
        if let Some((_, only)) = fixed(key) {
            let only: Value = serde_json::from_str(only).unwrap_or_default();
            let zero = matches!(value, Value::Number(number) if number.as_i64() == Some(0));
            if *value != only && !(zero && only.is_number()) {
                bail!(
                    "the setting {key} is not supported by this version of Berth: only {only} is"
                );
            }
        }
        if let Some((_, why)) = no_effect(key) {
            // Before the log is set up: whoever starts the engine reads it here.
            eprintln!("berth-agent engine: the setting {key} has no effect: {why}");
        }
    }
    Ok(())
}

/// A value as Go's `%v` shows it.
fn go(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(all) => {
            let pairs = all
                .iter()
                .map(|(key, value)| format!("{key}:{}", go(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

impl Config {
    /// What dockerd checks, in its words.
    fn check(&self) -> Result<()> {
        let level = self.log_level.to_lowercase();
        if !level.is_empty() && self.level().is_none() {
            bail!("invalid logging level: {}", self.log_level);
        }
        for label in &self.labels {
            if !label.contains('=') {
                bail!("bad attribute format: {label}");
            }
        }
        for (what, number) in [
            ("default MTU", self.mtu),
            ("max concurrent downloads", self.max_concurrent_downloads),
            ("max concurrent uploads", self.max_concurrent_uploads),
            ("max download attempts", self.max_download_attempts),
        ] {
            if number < 0 {
                bail!("invalid {what}: {number}");
            }
        }
        for option in &self.exec_opts {
            match option.split_once('=') {
                Some(("native.cgroupdriver", "cgroupfs")) => {}
                Some(("native.cgroupdriver", driver)) => bail!(
                    "the cgroup driver {driver} is not supported by this version of Berth: only cgroupfs is"
                ),
                _ => bail!("invalid exec-opt ({option}): unknown option"),
            }
        }
        if !matches!(self.default_ipc_mode.as_str(), "" | "private" | "shareable") {
            bail!(
                "IPC mode {:?} is not supported as default value; must be one of \"private\", \"shareable\"",
                self.default_ipc_mode
            );
        }
        if !matches!(self.default_cgroupns_mode.as_str(), "" | "private" | "host") {
            bail!(
                "default cgroup namespace mode ({}) is invalid; use \"host\" or \"private\"",
                self.default_cgroupns_mode
            );
        }
        if self.features.get("containerd-snapshotter") == Some(&false) {
            bail!(
                "the feature containerd-snapshotter cannot be switched off in this version of Berth"
            );
        }
        for server in &self.dns {
            if server.parse::<std::net::IpAddr>().is_err() {
                bail!("ip address is not correctly formatted: {server:?}");
            }
        }
        Ok(())
    }

    /// How much is written to the engine's log; none: no such level.
    pub(super) fn level(&self) -> Option<tracing::Level> {
        Some(match self.log_level.to_lowercase().as_str() {
            "" if self.debug => tracing::Level::DEBUG,
            "info" if self.debug => tracing::Level::DEBUG,
            "" | "info" => tracing::Level::INFO,
            "panic" | "fatal" | "error" => tracing::Level::ERROR,
            "warn" => tracing::Level::WARN,
            "debug" => tracing::Level::DEBUG,
            "trace" => tracing::Level::TRACE,
            _ => return None,
        })
    }

    /// Defaults for containers. Reads the seccomp profile.
    pub(super) fn defaults(&self) -> Result<Defaults> {
        let seccomp_profile = match self.seccomp_profile.as_str() {
            "" | "builtin" => String::new(),
            "unconfined" => "unconfined".to_owned(),
            path => std::fs::read_to_string(path)
                .with_context(|| format!("opening seccomp profile ({path}) failed"))?,
        };
        let log_config = LogConfig {
            driver: self.log_driver.clone(),
            config: self.log_opts.clone(),
        };
        engine::check_log_config(&log_config).context("failed to set log opts")?;
        Ok(Defaults {
            log_config,
            shm_size: self.shm_size()?,
            ipc_mode: self.default_ipc_mode.clone(),
            cgroupns_mode: self.default_cgroupns_mode.clone(),
            ulimits: self
                .default_ulimits
                .iter()
                .map(|(key, limit)| Ulimit {
                    name: if limit.name.is_empty() {
                        key.clone()
                    } else {
                        limit.name.clone()
                    },
                    hard: limit.hard,
                    soft: limit.soft,
                })
                .collect(),
            init: self.init,
            no_new_privileges: self.no_new_privileges,
            seccomp_profile,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_opts.clone(),
        })
    }

    fn shm_size(&self) -> Result<i64> {
        Ok(match &self.default_shm_size {
            None => 0,
            Some(Value::Number(number)) => number.as_i64().unwrap_or(0),
            Some(Value::String(text)) => {
                let bytes = engine::parse_memory(text).map_err(anyhow::Error::msg)?;
                i64::try_from(bytes)?
            }
            Some(other) => bail!("invalid size: '{other}'"),
        })
    }

    /// What SIGHUP reads anew.
    pub(super) fn reloadable(&self) -> Reloadable {
        Reloadable {
            debug: self.debug,
            live_restore: self.live_restore,
            labels: self.labels.clone(),
            insecure_registries: self.insecure_registries.clone(),
            registry_mirrors: self.registry_mirrors.clone(),
            shutdown_timeout: self.shutdown_timeout,
            max_concurrent_downloads: self.max_concurrent_downloads,
            max_concurrent_uploads: self.max_concurrent_uploads,
            max_download_attempts: self.max_download_attempts,
            features: self.features.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_corpus_are_read_or_refused() {
        let flags = [("hosts", "[unix:///a]".to_owned())];
        corpus::feed("daemon_json", |bytes| {
            for flags in [&flags[..], &[]] {
                if let Ok(mut config) = parse(bytes, flags) {
                    config.seccomp_profile.clear();
                    let _ = config.defaults();
                    let _ = config.reloadable();
                }
            }
        });
    }

    fn fails(text: &str) -> String {
        format!("{:#}", parse(text.as_bytes(), &[]).expect_err("wrong"))
    }

    #[test]
    fn known_keys_are_taken_and_unknown_ones_named() {
        assert!(parse(br#"{"debug": true}"#, &[]).expect("valid").debug);
        assert_eq!(parse(b" ", &[]).expect("empty"), Config::default());
        assert_eq!(
            fails(r#"{"debug": true, "bogus": 1}"#),
            "the following directives don't match any configuration option: bogus"
        );
    }

    #[test]
    fn a_broken_file_is_an_error_that_says_where() {
        for bad in ["{", "[]", r#"{"debug": 1}"#] {
            fails(bad);
        }
    }

    #[test]
    fn a_key_may_not_be_a_flag_too() {
        let flags = [("hosts", "[unix:///a]".to_owned())];
        let error = parse(br#"{"hosts": ["unix:///b", "x"]}"#, &flags).expect_err("twice");
        assert_eq!(
            error.to_string(),
            "the following directives are specified both as a flag and in the configuration file: hosts: (from flag: [unix:///a], from file: [unix:///b x])"
        );
    }

    #[test]
    fn values_are_checked_in_dockers_words() {
        for (text, error) in [
            (r#"{"log-level": "x"}"#, "invalid logging level: x"),
            (r#"{"labels": ["x"]}"#, "bad attribute format: x"),
            (
                r#"{"max-concurrent-downloads": -1}"#,
                "invalid max concurrent downloads: -1",
            ),
            (
                r#"{"default-ipc-mode": "host"}"#,
                "IPC mode \"host\" is not supported as default value; must be one of \"private\", \"shareable\"",
            ),
            (
                r#"{"default-cgroupns-mode": "x"}"#,
                "default cgroup namespace mode (x) is invalid; use \"host\" or \"private\"",
            ),
            (
                r#"{"iptables": false}"#,
                "the setting iptables is not supported by this version of Berth: only true is",
            ),
        ] {
            assert_eq!(fails(text), error);
        }
        for fine in [
            r#"{"iptables": true, "storage-driver": "overlayfs", "mtu": 0}"#,
            r#"{"live-restore": true, "exec-opts": ["native.cgroupdriver=cgroupfs"]}"#,
        ] {
            parse(fine.as_bytes(), &[]).expect("fine");
        }
    }

    #[test]
    fn defaults_for_containers_come_out() {
        let config = parse(br#"{"log-driver": "local", "log-opts": {"max-size": "1m"}, "default-shm-size": "1m", "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 2, "Soft": 1}}}"#, &[]).expect("fine");
        let defaults = config.defaults().expect("fine");
        assert_eq!(defaults.log_config.driver, "local");
        assert_eq!(defaults.shm_size, 1 << 20);
        assert_eq!(defaults.ulimits[0].soft, 1);
        let config =
            parse(br#"{"log-driver": "local", "log-opts": {"x": "1m"}}"#, &[]).expect("fine");
        assert_eq!(
            format!("{:#}", config.defaults().expect_err("wrong")),
            "failed to set log opts: unknown log opt 'x' for log driver local"
        );
    }
}
