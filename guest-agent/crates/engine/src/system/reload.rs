//! Settings that change while the engine runs, as dockerd reads them again on SIGHUP.

use std::{collections::BTreeMap, sync::PoisonError};

use crate::Engine;

/// What may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloadable {
    /// More is written to the engine's log.
    pub debug: bool,
    /// Containers go on while the engine is away.
    pub live_restore: bool,
    /// Labels of the engine.
    pub labels: Vec<String>,
    /// Registries that need not prove who they are.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub.
    pub registry_mirrors: Vec<String>,
    /// Seconds for containers to end when the engine does.
    pub shutdown_timeout: i64,
    /// Layers that are fetched at once.
    pub max_concurrent_downloads: i64,
    /// Layers that are pushed at once.
    pub max_concurrent_uploads: i64,
    /// Attempts at a layer.
    pub max_download_attempts: i64,
    /// What is switched on or off.
    pub features: BTreeMap<String, bool>,
}

impl Engine {
    /// The settings as they are now.
    pub fn reloadable(&self) -> Reloadable {
        let current = self.reloadable.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes new settings and tells them.
    pub fn reload(&self, new: Reloadable) {
        let mut attributes = attributes(&new);
        let defaults = &self.settings.defaults;
        let or =
            |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
        let shm = if defaults.shm_size == 0 {
            64 << 20
        } else {
            defaults.shm_size
        };
        attributes.extend([
            ("default-shm-size", shm.to_string()),
            ("default-ipc-mode", or(&defaults.ipc_mode, "private")),
            (
                "default-cgroupns-mode",
                or(&defaults.cgroupns_mode, "private"),
            ),
            ("default-runtime", "runc".to_owned()),
            ("runtimes", String::new()),
            ("name", self.host_name()),
        ]);
        *self
            .reloadable
            .write()
            .unwrap_or_else(PoisonError::into_inner) = new;
        let attributes: Vec<(&str, &str)> = attributes
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.tell("daemon", "reload", &self.settings.id, &attributes);
    }
}

/// As dockerd tells them.
fn attributes(settings: &Reloadable) -> BTreeMap<&'static str, String> {
    let list = |all: &[String]| serde_json::to_string(all).unwrap_or_default();
    let features: Vec<String> = settings
        .features
        .iter()
        .map(|(name, on)| format!("{name}:{on}"))
        .collect();
    BTreeMap::from([
        ("debug", settings.debug.to_string()),
        ("features", format!("map[{}]", features.join(" "))),
        ("insecure-registries", list(&settings.insecure_registries)),
        ("labels", list(&settings.labels)),
        ("live-restore", settings.live_restore.to_string()),
        (
            "max-concurrent-downloads",
            settings.max_concurrent_downloads.to_string(),
        ),
        (
            "max-concurrent-uploads",
            settings.max_concurrent_uploads.to_string(),
        ),
        (
            "max-download-attempts",
            settings.max_download_attempts.to_string(),
        ),
        ("registry-mirrors", list(&settings.registry_mirrors)),
        ("shutdown-timeout", settings.shutdown_timeout.to_string()),
    ])
}
