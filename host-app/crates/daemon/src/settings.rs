//! Settings: what the user wrote (`settings.toml`), and what it comes to.
//!
//! ```toml
//! cpus = 2
//! memory_mib = 2048
//! disk_gib = 1024
//! backend = "auto"                      # auto, qemu-kvm, qemu-tcg
//! share_roots = ["~"]                   # folders that containers may mount
//! share_denied = ["~/.ssh", "~/.gnupg"] # refused all the same, unless a root names them
//! docker_context = true                 # make the docker context `berth`
//!
//! [engine]                              # daemon.json of the engine
//! debug = true
//!
//! [machines.work]                       # the same keys for one machine
//! cpus = 4
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use machine_api::Backend;
use serde::Deserialize;

/// Smallest memory a machine boots with.
const MIN_MEMORY_MIB: u64 = 256;
/// Smallest data disk.
const MIN_DISK_GIB: u64 = 1;
/// Largest data disk that ext4 with 4 KiB blocks takes in 32-bit block numbers.
const MAX_DISK_GIB: u64 = 16 << 10;

/// The file, as written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSettings {
    cpus: Option<u32>,
    memory_mib: Option<u64>,
    disk_gib: Option<u64>,
    backend: Option<String>,
    share_roots: Option<Vec<String>>,
    share_denied: Option<Vec<String>>,
    docker_context: Option<bool>,
    engine: Option<toml::Table>,
    #[serde(default)]
    machines: BTreeMap<String, RawMachine>,
}

/// Keys that one machine may set for itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMachine {
    cpus: Option<u32>,
    memory_mib: Option<u64>,
    disk_gib: Option<u64>,
    backend: Option<String>,
    share_roots: Option<Vec<String>>,
    share_denied: Option<Vec<String>>,
    engine: Option<toml::Table>,
}

/// What holds for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSettings {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory of the guest.
    pub memory_mib: u64,
    /// Size a new data disk appears to have.
    pub disk_bytes: u64,
    /// What runs it.
    pub backend: Backend,
    /// Folders that may be shared.
    pub share_roots: Vec<PathBuf>,
    /// Refused all the same.
    pub share_denied: Vec<PathBuf>,
    /// The engine's settings.
    pub daemon_json: String,
    /// Make the docker context.
    pub docker_context: bool,
}

/// What the machine that Berth runs on has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// The user's home folder, if there is one.
    pub home: Option<PathBuf>,
}

impl RawSettings {
    /// Reads the file; a missing one is empty.
    ///
    /// # Errors
    /// When it cannot be read or has a key or value that does not fit, with its line.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| {
                format!(
                    "settings file {} is broken: mend or remove it",
                    path.display()
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Parses the file's text.
    ///
    /// # Errors
    /// When it has a key or value that does not fit.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))
    }

    /// What holds for a machine: its own keys, then the general ones, then defaults that fit this host.
    ///
    /// # Errors
    /// When a value is out of its range.
    pub fn resolve(&self, machine: &str, host: &HostFacts) -> anyhow::Result<MachineSettings> {
        let own = self.machines.get(machine).cloned().unwrap_or_default();
        let cpus = own.cpus.or(self.cpus).unwrap_or(host.cpus.clamp(1, 8));
        if !(1..=255).contains(&cpus) {
            bail!("setting cpus is {cpus}: use 1 to 255");
        }
        let wished = own.memory_mib.or(self.memory_mib);
        let memory_mib = wished.unwrap_or((host.memory_mib / 2).clamp(1024, 8192));
        if memory_mib < MIN_MEMORY_MIB {
            bail!("setting memory_mib is {memory_mib}: a machine needs at least {MIN_MEMORY_MIB}");
        }
        if wished.is_some_and(|wished| wished > host.memory_mib) {
            bail!(
                "setting memory_mib is {memory_mib}: this host has {} MiB in all; use half of it or less",
                host.memory_mib
            );
        }
        let disk_gib = own.disk_gib.or(self.disk_gib).unwrap_or(1024);
        if !(MIN_DISK_GIB..=MAX_DISK_GIB).contains(&disk_gib) {
            bail!("setting disk_gib is {disk_gib}: use {MIN_DISK_GIB} to {MAX_DISK_GIB}");
        }
        let backend = match own
            .backend
            .as_ref()
            .or(self.backend.as_ref())
            .map(String::as_str)
        {
            None | Some("auto") => Backend::Auto,
            Some("qemu-kvm") => Backend::QemuKvm,
            Some("qemu-tcg") => Backend::QemuTcg,
            Some(other) => bail!("setting backend is {other:?}: use auto, qemu-kvm or qemu-tcg"),
        };
        let expand =
            |paths: Option<Vec<String>>, defaults: &[&str]| -> anyhow::Result<Vec<PathBuf>> {
                let paths =
                    paths.unwrap_or_else(|| defaults.iter().map(|&text| text.to_owned()).collect());
                paths
                    .iter()
                    .filter_map(|path| expand_home(path, host).transpose())
                    .collect()
            };
        let share_roots = expand(own.share_roots.or_else(|| self.share_roots.clone()), &["~"])?;
        let denied = expand(
            own.share_denied.or_else(|| self.share_denied.clone()),
            DENIED_BY_DEFAULT,
        )?;
        // Naming a folder as a root is the way to share one that is refused by default.
        let share_denied = denied
            .into_iter()
            .filter(|path| !share_roots.contains(path))
            .collect();
        let engine = own
            .engine
            .or_else(|| self.engine.clone())
            .unwrap_or_default();
        Ok(MachineSettings {
            cpus,
            memory_mib,
            disk_bytes: disk_gib << 30,
            backend,
            share_roots,
            share_denied,
            daemon_json: serde_json::to_string(&engine).context("write daemon.json")?,
            docker_context: self.docker_context.unwrap_or(true),
        })
    }
}

/// Folders with secrets that no container gets by mounting the home folder's parts by accident.
const DENIED_BY_DEFAULT: &[&str] = &[
    "~/.ssh",
    "~/.gnupg",
    "~/.aws",
    "~/.azure",
    "~/.kube",
    "~/.docker",
    "~/.berth",
    "~/.mozilla",
    "~/.config/google-chrome",
    "~/.config/chromium",
    "~/.local/share/keyrings",
    "~/Library/Keychains",
];

/// `~` and `~/x` are the user's home; without a home they are left out. Other paths must be absolute.
fn expand_home(path: &str, host: &HostFacts) -> anyhow::Result<Option<PathBuf>> {
    if let Some(rest) = path.strip_prefix('~') {
        let rest = rest.trim_start_matches('/');
        return Ok(host.home.as_ref().map(|home| {
            if rest.is_empty() {
                home.clone()
            } else {
                home.join(rest)
            }
        }));
    }
    if !Path::new(path).is_absolute() {
        bail!("shared folder {path:?} is not an absolute path: write /… or ~/…");
    }
    Ok(Some(PathBuf::from(path)))
}

impl HostFacts {
    /// Asks this host.
    pub fn read() -> Self {
        let memory_mib = rustix::system::sysinfo();
        let bytes = u64::from(memory_mib.mem_unit).saturating_mul(memory_mib.totalram);
        Self {
            cpus: std::thread::available_parallelism()
                .ok()
                .and_then(|n| u32::try_from(n.get()).ok())
                .unwrap_or(1),
            memory_mib: bytes >> 20,
            home: std::env::var_os("HOME")
                .filter(|home| !home.is_empty())
                .map(PathBuf::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostFacts {
        HostFacts {
            cpus: 4,
            memory_mib: 8000,
            home: Some(PathBuf::from("/home/u")),
        }
    }

    fn resolve(text: &str, machine: &str) -> anyhow::Result<MachineSettings> {
        RawSettings::parse(text)?.resolve(machine, &host())
    }

    #[test]
    fn an_empty_file_gives_defaults_that_fit_the_host() {
        let settings = resolve("", "default").expect("defaults");
        assert_eq!((settings.cpus, settings.memory_mib), (4, 4000));
        assert_eq!(settings.share_roots, [PathBuf::from("/home/u")]);
        assert!(
            settings
                .share_denied
                .contains(&PathBuf::from("/home/u/.ssh"))
        );
        assert_eq!(settings.daemon_json, "{}");
    }

    #[test]
    fn a_machines_own_keys_win() {
        let text = "cpus = 2\nmemory_mib = 512\n[engine]\ndebug = true\n[machines.work]\ncpus = 3";
        let settings = resolve(text, "work").expect("valid");
        assert_eq!((settings.cpus, settings.memory_mib), (3, 512));
        assert_eq!(settings.daemon_json, r#"{"debug":true}"#);
        assert_eq!(resolve(text, "default").expect("valid").cpus, 2);
    }

    #[test]
    fn naming_a_denied_folder_as_a_root_shares_it() {
        let settings = resolve(r#"share_roots = ["~/.ssh", "/srv"]"#, "default").expect("valid");
        assert!(
            !settings
                .share_denied
                .contains(&PathBuf::from("/home/u/.ssh"))
        );
    }

    #[test]
    fn every_bad_value_is_named() {
        for (text, word) in [
            ("cpu = 2", "cpu"),
            ("cpus = 0", "cpus"),
            ("memory_mib = 10", "memory_mib"),
            ("memory_mib = 8001", "this host has 8000 MiB"),
            ("disk_gib = 0", "disk_gib"),
            ("backend = \"xen\"", "xen"),
            ("share_roots = [\"rel\"]", "rel"),
            ("cpus = \"two\"", "cpus"),
            ("[machines.a]\nfoo = 1", "foo"),
            ("cpus = ", "cpus"),
        ] {
            let error = resolve(text, "a").expect_err(text);
            assert!(format!("{error:#}").contains(word), "{text}: {error:#}");
        }
    }
}
