//! What a container is: kept durably from its creation to its removal.

use std::collections::BTreeMap;

use docker_api::{ContainerConfig, EndpointSettings, HostConfig, inspect::OciDescriptor};
use oci::Digest;
use serde::{Deserialize, Serialize};

use super::links::Link;
use crate::{id::ContainerId, ports::world::Timestamp, spec::MountPoint};

/// A container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Who.
    pub id: ContainerId,
    /// Name without the slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// What was asked for, with the image's settings merged in.
    pub config: ContainerConfig,
    /// What was asked of this host, checked and with defaults.
    pub host: HostConfig,
    /// Networks that were asked for, with what was asked there.
    pub networks: BTreeMap<String, EndpointSettings>,
    /// Image ID; none: made without an image.
    pub image: Option<Digest>,
    /// The platform's manifest it runs from; none: made by a Berth that did not keep it.
    #[serde(default)]
    pub image_manifest: Option<OciDescriptor>,
    /// Canonical name the image was found by.
    pub image_name: Option<String>,
    /// Links to others on the default bridge.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
}

impl ContainerRecord {
    /// One that nobody has wished anything of yet.
    pub fn new(id: ContainerId, name: &str, created: Timestamp) -> Self {
        Self {
            id,
            name: name.to_owned(),
            created,
            config: ContainerConfig::default(),
            host: HostConfig::default(),
            networks: BTreeMap::new(),
            image: None,
            image_manifest: None,
            image_name: None,
            links: Vec::new(),
            mounts: Vec::new(),
        }
    }

    /// Whether the first process has a terminal.
    pub fn tty(&self) -> bool {
        self.config.tty
    }

    /// Path of its cgroup below the root of the hierarchy.
    pub fn cgroup(&self, default_parent: &str) -> std::path::PathBuf {
        let parent = if self.host.cgroup_parent.is_empty() {
            default_parent
        } else {
            &self.host.cgroup_parent
        };
        std::path::Path::new("/")
            .join(parent.trim_start_matches('/'))
            .join(self.id.as_str())
    }

    /// The image as people see it: as it was named at creation.
    pub fn image_label(&self) -> &str {
        &self.config.image
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(name: &str) -> ContainerRecord {
        ContainerRecord::new(ContainerId::from_random([7; 32]), name, Timestamp(1))
    }

    #[test]
    fn the_cgroup_is_below_its_parent() {
        let mut record = record("a");
        let id = record.id.to_string();
        assert_eq!(
            record.cgroup("docker"),
            std::path::Path::new("/docker").join(&id)
        );
        record.host.cgroup_parent = "/mine/deep".into();
        assert_eq!(
            record.cgroup("docker"),
            std::path::Path::new("/mine/deep").join(&id)
        );
    }
}
