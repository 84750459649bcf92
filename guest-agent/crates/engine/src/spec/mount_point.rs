//! What users write as mounts: `-v`, `--mount`, `--tmpfs`, and volumes of images.

use std::collections::BTreeMap;

use docker_api::{ContainerConfig, HostConfig, Mount};
use errdefs::Result;
use serde::{Deserialize, Serialize};

use super::{invalid, mounts::tmpfs_options};

/// What a mount is backed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A folder or file of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
}

/// A mount as it is kept with its container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What backs it.
    pub kind: MountKind,
    /// Volume; empty until one is made for it.
    pub name: String,
    /// Path on the host; of a volume filled in when it is made.
    pub source: String,
    /// Absolute path in the container.
    pub destination: String,
    /// Volume driver; empty: local.
    pub driver: String,
    /// Options as they were written.
    pub mode: String,
    /// Writable.
    pub read_write: bool,
    /// `rprivate` and the like; empty for volumes.
    pub propagation: String,
    /// A new volume gets what the image has there.
    pub copy_up: bool,
    /// A missing source is made.
    pub create_source: bool,
    /// With what is mounted below the source.
    pub recursive: bool,
    /// What is mounted below stays writable in a read-only mount.
    pub read_only_non_recursive: bool,
    /// Folder inside the volume.
    pub subpath: String,
    /// As it was asked for, when in the long form.
    pub wish: Option<Mount>,
    /// Labels of a volume that is made.
    pub volume_labels: BTreeMap<String, String>,
    /// Driver options of a volume that is made.
    pub volume_options: BTreeMap<String, String>,
    /// Options of a tmpfs.
    pub tmpfs_options: Vec<String>,
}

impl MountPoint {
    fn new(kind: MountKind, destination: String) -> Self {
        Self {
            kind,
            name: String::new(),
            source: String::new(),
            destination,
            driver: String::new(),
            mode: String::new(),
            read_write: true,
            propagation: String::new(),
            copy_up: kind == MountKind::Volume,
            create_source: false,
            recursive: true,
            read_only_non_recursive: false,
            subpath: String::new(),
            wish: None,
            volume_labels: BTreeMap::new(),
            volume_options: BTreeMap::new(),
            tmpfs_options: Vec::new(),
        }
    }
}

const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// Every mount of a request: inherited ones, then binds, the long form, tmpfs, and volumes of the settings for places that are still free.
///
/// # Errors
/// In Docker's words.
pub fn mount_points(
    config: &ContainerConfig,
    host: &HostConfig,
    inherited: Vec<MountPoint>,
) -> Result<Vec<MountPoint>> {
    let mut points = inherited;
    let mut asked: Vec<MountPoint> = Vec::new();
    let mut ask = |point: MountPoint| {
        if asked
            .iter()
            .any(|other| other.destination == point.destination)
        {
            return Err(invalid(format!(
                "Duplicate mount point: {}",
                point.destination
            )));
        }
        asked.push(point);
        Ok(())
    };
    for text in host.binds.iter().flatten() {
        ask(parse_bind(text, &host.volume_driver)?)?;
    }
    for mount in host.mounts.iter().flatten() {
        ask(parse_mount(mount)?)?;
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        let destination = check_target(target, "tmpfs")?;
        let mut point = MountPoint::new(MountKind::Tmpfs, destination);
        point.tmpfs_options =
            tmpfs_options(options.split(',').filter(|option| !option.is_empty()))?;
        point.read_write = !point.tmpfs_options.iter().any(|option| option == "ro");
        point.mode.clone_from(options);
        ask(point)?;
    }
    points.retain(|point| {
        !asked
            .iter()
            .any(|other| other.destination == point.destination)
    });
    points.extend(asked);
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        let destination = check_target(target, "volume")?;
        if !points.iter().any(|point| point.destination == destination) {
            let mut point = MountPoint::new(MountKind::Volume, destination);
            point.driver.clone_from(&host.volume_driver);
            points.push(point);
        }
    }
    Ok(points)
}

/// Makes a path absolute and without `.`, `..` and double slashes.
fn check_target(target: &str, kind: &str) -> Result<String> {
    let about = |what: String| invalid(format!("invalid mount config for type \"{kind}\": {what}"));
    if target.is_empty() {
        return Err(about("field Target must not be empty".to_owned()));
    }
    if !target.starts_with('/') {
        return Err(about(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    match clean(target).as_str() {
        "/" => Err(about(
            "invalid specification: destination can't be '/'".to_owned(),
        )),
        path => Ok(path.to_owned()),
    }
}

pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `[source:]target[:options]`.
fn parse_bind(text: &str, volume_driver: &str) -> Result<MountPoint> {
    let in_bind =
        |error: errdefs::Error| error.context(format!("invalid volume specification: '{text}'"));
    let bad = || invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] if target.starts_with('/') || !is_mode(target) => (source, target, ""),
        [target, mode] => ("", target, mode),
        [source, target, mode] => (source, target, mode),
        _ => return Err(bad()),
    };
    if parts.len() > 1 && (parts[0].is_empty() || target.is_empty()) {
        return Err(bad());
    }
    let kind = if source.starts_with('/') {
        MountKind::Bind
    } else {
        MountKind::Volume
    };
    let word = if kind == MountKind::Bind {
        "bind"
    } else {
        "volume"
    };
    let mut point = MountPoint::new(kind, check_target(target, word).map_err(in_bind)?);
    mode.clone_into(&mut point.mode);
    apply_mode(&mut point, mode).map_err(in_bind)?;
    if kind == MountKind::Bind {
        point.source = clean(source);
        point.create_source = true;
        if point.propagation.is_empty() {
            "rprivate".clone_into(&mut point.propagation);
        }
    } else {
        if !source.is_empty() {
            check_volume_name(source)?;
        }
        source.clone_into(&mut point.name);
        volume_driver.clone_into(&mut point.driver);
        if point.mode.is_empty() && !source.is_empty() {
            // Docker shows named volumes of `-v` so.
            "z".clone_into(&mut point.mode);
        }
    }
    Ok(point)
}

fn is_mode(text: &str) -> bool {
    !text.is_empty()
        && text.split(',').all(|word| {
            matches!(
                word,
                "ro" | "rw" | "z" | "Z" | "nocopy" | "consistent" | "cached" | "delegated"
            ) || PROPAGATIONS.contains(&word)
        })
}

fn apply_mode(point: &mut MountPoint, mode: &str) -> Result<()> {
    if mode.is_empty() {
        return Ok(());
    }
    let bind = point.kind == MountKind::Bind;
    if !is_mode(mode) {
        return Err(invalid(format!("invalid mode: {mode}")));
    }
    for word in mode.split(',') {
        match word {
            "ro" => point.read_write = false,
            "nocopy" if !bind => point.copy_up = false,
            "nocopy" => return Err(invalid(format!("invalid mode: {mode}"))),
            word if PROPAGATIONS.contains(&word) => {
                if !bind {
                    return Err(invalid(format!("invalid mode: {mode}")));
                }
                word.clone_into(&mut point.propagation);
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_volume_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.len() > 1
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        return Ok(());
    }
    Err(invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

/// The long form.
fn parse_mount(mount: &Mount) -> Result<MountPoint> {
    let about = |what: &str| {
        invalid(format!(
            "invalid mount config for type \"{}\": {what}",
            mount.kind
        ))
    };
    let kind = match mount.kind.as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" | "cluster" | "npipe" => {
            return Err(errdefs::Error::new(
                errdefs::ErrorKind::NotImplemented,
                format!(
                    "mounts of type {} are not implemented by this version of Berth",
                    mount.kind
                ),
            ));
        }
        _ => return Err(about("mount type unknown")),
    };
    let mut point = MountPoint::new(kind, check_target(&mount.target, &mount.kind)?);
    point.read_write = !mount.read_only;
    point.wish = Some(mount.clone());
    match kind {
        MountKind::Bind => {
            if mount.source.is_empty() {
                return Err(about("field Source must not be empty"));
            }
            if !mount.source.starts_with('/') {
                return Err(about(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            if mount.volume_options.is_some() {
                return Err(about("field VolumeOptions must not be specified"));
            }
            point.source = clean(&mount.source);
            "rprivate".clone_into(&mut point.propagation);
            if let Some(options) = &mount.bind_options {
                if !options.propagation.is_empty() {
                    if !PROPAGATIONS.contains(&options.propagation.as_str()) {
                        return Err(about(&format!(
                            "invalid propagation mode: {}",
                            options.propagation
                        )));
                    }
                    point.propagation.clone_from(&options.propagation);
                }
                point.recursive = !options.non_recursive;
                point.read_only_non_recursive = options.read_only_non_recursive;
                point.create_source = options.create_mountpoint;
            }
        }
        MountKind::Volume => {
            if mount.bind_options.is_some() {
                return Err(about("field BindOptions must not be specified"));
            }
            if !mount.source.is_empty() {
                check_volume_name(&mount.source)?;
            }
            point.name.clone_from(&mount.source);
            if mount.source.is_empty() && mount.read_only {
                return Err(about(
                    "must not set ReadOnly mode when using anonymous volumes",
                ));
            }
            "z".clone_into(&mut point.mode);
            if let Some(options) = &mount.volume_options {
                point.copy_up = !options.no_copy;
                point.subpath.clone_from(&options.subpath);
                point.volume_labels = options.labels.clone().unwrap_or_default();
                if let Some(driver) = &options.driver_config {
                    point.driver.clone_from(&driver.name);
                    point.volume_options = driver.options.clone().unwrap_or_default();
                }
            }
        }
        MountKind::Tmpfs => {
            if !mount.source.is_empty() {
                return Err(about("field Source must not be specified"));
            }
            let mut options = Vec::new();
            if let Some(wish) = &mount.tmpfs_options {
                if wish.size_bytes > 0 {
                    options.push(format!("size={}", wish.size_bytes));
                }
                if wish.mode > 0 {
                    options.push(format!("mode={:o}", wish.mode));
                }
                options.extend(wish.options.iter().flatten().map(|pair| pair.join("=")));
            }
            if mount.read_only {
                options.push("ro".to_owned());
            }
            point.tmpfs_options = tmpfs_options(options.iter().map(String::as_str))?;
        }
    }
    Ok(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Result<MountPoint> {
        parse_bind(text, "")
    }

    #[test]
    fn binds_are_read_in_all_their_forms() {
        let point = bind("/a/../b:/c/:ro,rslave").unwrap();
        assert_eq!(
            (
                point.source.as_str(),
                point.destination.as_str(),
                point.read_write,
                point.propagation.as_str()
            ),
            ("/b", "/c", false, "rslave")
        );
        let point = bind("data:/v:nocopy").unwrap();
        assert_eq!(
            (point.kind, point.name.as_str(), point.copy_up),
            (MountKind::Volume, "data", false)
        );
        let point = bind("/v").unwrap();
        assert_eq!(
            (point.kind, point.name.as_str(), point.destination.as_str()),
            (MountKind::Volume, "", "/v")
        );
    }

    #[test]
    fn bad_mounts_are_refused_in_dockers_words() {
        for (text, message) in [
            (
                "/etc:rel",
                "invalid volume specification: '/etc:rel': invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute",
            ),
            (
                "/etc:/",
                "invalid volume specification: '/etc:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
            (
                "/a:/b:bogus",
                "invalid volume specification: '/a:/b:bogus': invalid mode: bogus",
            ),
            ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
        ] {
            assert_eq!(bind(text).unwrap_err().message(), message);
        }
        assert!(
            bind("a/b:/c")
                .unwrap_err()
                .message()
                .contains("includes invalid characters for a local volume name")
        );
    }

    #[test]
    fn two_mounts_at_one_place_are_refused_and_images_give_way() {
        let mut host = HostConfig {
            binds: Some(vec!["/a:/x".into(), "/b:/x/".into()]),
            ..HostConfig::default()
        };
        let config = ContainerConfig {
            volumes: Some(
                [
                    ("/x".to_owned(), docker_api::Empty {}),
                    ("/y".to_owned(), docker_api::Empty {}),
                ]
                .into(),
            ),
            ..ContainerConfig::default()
        };
        assert_eq!(
            mount_points(&config, &host, Vec::new())
                .unwrap_err()
                .message(),
            "Duplicate mount point: /x"
        );
        host.binds = Some(vec!["/a:/x".into()]);
        let points = mount_points(&config, &host, Vec::new()).unwrap();
        assert_eq!(
            points
                .iter()
                .map(|point| (point.kind, point.destination.as_str()))
                .collect::<Vec<_>>(),
            [(MountKind::Bind, "/x"), (MountKind::Volume, "/y")]
        );
    }
}
