//! User mounts: from `Binds`, `Mounts`, `Tmpfs` and `Volumes` to one list, with dockerd's texts for what is wrong.
//!
//! Whether the source of a bind exists is the engine's to find out, when the host grants it.

use std::collections::{BTreeMap, BTreeSet};

use docker_api::{BindOptions, ContainerConfig, HostConfig, Mount, TmpfsOptions, VolumeOptions};
use errdefs::Result;
use serde::{Deserialize, Serialize};

use super::{
    invalid,
    paths::{clean, is_local},
};

/// Options that every tmpfs of a user starts with; the user's come after and win.
pub(super) const TMPFS_DEFAULTS: [&str; 4] = ["noexec", "nosuid", "nodev", DEFAULT_PROPAGATION];

const DEFAULT_PROPAGATION: &str = "rprivate";

const PROPAGATION: [&str; 6] = [
    "private", "rprivate", "slave", "rslave", "shared", "rshared",
];

/// What a mount point is backed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A file or folder of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
}

/// How read-only binds treat the mounts below them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadOnlyRecursive {
    /// They are read-only too, when the kernel can do that.
    #[default]
    Enabled,
    /// They stay writable.
    Disabled,
    /// They are read-only too, or the start fails.
    Forced,
}

/// A user's mount as it is kept with the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What it is backed by.
    pub kind: MountKind,
    /// Volume name; empty for others and for an anonymous volume that has yet to get one.
    pub name: String,
    /// Host path of a bind; for volumes filled in by the engine at mount time.
    pub source: String,
    /// Cleaned absolute path in the container.
    pub destination: String,
    /// Volume driver; empty: the default (local).
    pub driver: String,
    /// Mode as inspect shows it: ``, `z`, `ro`, `rw,nocopy`, ….
    pub mode: String,
    /// Writable.
    pub read_write: bool,
    /// ``, `rprivate`, `rslave`, …; binds have `rprivate` unless told otherwise, volumes nothing.
    pub propagation: String,
    /// Copy the image's content into a new volume.
    pub copy_up: bool,
    /// A missing source of a bind is made (`-v`) or refused (`--mount`).
    pub create_source: bool,
    /// Mounts below the source come along.
    pub recursive: bool,
    /// What read-only means for them.
    pub read_only_recursive: ReadOnlyRecursive,
    /// Folder inside the volume.
    pub subpath: String,
    /// The wish in long form, when it came as `Mount`. Inspect lists a tmpfs only with it.
    pub wish: Option<Mount>,
    /// Labels of a volume that is made for it.
    pub volume_labels: BTreeMap<String, String>,
    /// Driver options of a volume that is made for it.
    pub volume_options: BTreeMap<String, String>,
    /// tmpfs: options, the defaults first and then the user's; opposites are resolved when the spec is built.
    pub tmpfs_options: Vec<String>,
}

impl MountPoint {
    fn new(kind: MountKind, destination: &str) -> Self {
        Self {
            kind,
            name: String::new(),
            source: String::new(),
            destination: clean(destination),
            driver: String::new(),
            mode: String::new(),
            read_write: true,
            propagation: String::new(),
            copy_up: kind == MountKind::Volume,
            create_source: false,
            recursive: true,
            read_only_recursive: ReadOnlyRecursive::Enabled,
            subpath: String::new(),
            wish: None,
            volume_labels: BTreeMap::new(),
            volume_options: BTreeMap::new(),
            tmpfs_options: Vec::new(),
        }
    }
}

/// All user mounts of a request, one for each target: `inherited` (`VolumesFrom`), then `Binds`, then `Mounts`, which take the place of earlier
/// ones, then `Tmpfs`, then anonymous volumes for the targets of `Volumes` that are still free.
///
/// # Errors
/// `InvalidParameter`, e.g. `Duplicate mount point: /x` or `invalid volume specification: 'x'`.
pub fn mount_points(
    config: &ContainerConfig,
    host: &HostConfig,
    inherited: Vec<MountPoint>,
) -> Result<Vec<MountPoint>> {
    let mut points = Points::default();
    let mut named = BTreeSet::new();
    let tmpfs: BTreeMap<String, &str> = host
        .tmpfs
        .iter()
        .flatten()
        .map(|(target, options)| (clean(target), options.as_str()))
        .collect();
    inherited.into_iter().for_each(|point| points.put(point));
    for raw in host.binds.iter().flatten() {
        let point = parse_bind(raw, &host.volume_driver)?;
        if tmpfs.contains_key(&point.destination) || !named.insert(point.destination.clone()) {
            return Err(duplicate(&point.destination));
        }
        points.put(point);
    }
    for wish in host.mounts.iter().flatten() {
        let point = parse_mount(wish)?;
        if !named.insert(point.destination.clone()) {
            return Err(duplicate(&wish.target));
        }
        points.put(point);
    }
    for (target, options) in tmpfs {
        check_tmpfs_target(&target)?;
        let mut point = MountPoint::new(MountKind::Tmpfs, &target);
        point.tmpfs_options = tmpfs_options(options);
        points.put(point);
    }
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        // A relative one starts at the root, as dockerd has it.
        let mut point = MountPoint::new(MountKind::Volume, &format!("/{target}"));
        check_tmpfs_target(&point.destination)?;
        if !points.has(&point.destination) {
            point.driver = host.volume_driver.clone();
            points.put(point);
        }
    }
    Ok(points.all)
}

/// Sees that no container keeps mounts of the engine's own folder to itself: what is bound from inside it, or has it inside, follows what the
/// engine unmounts.
///
/// # Errors
/// `InvalidParameter` when another propagation was asked for.
pub fn keep_root_free(points: &mut [MountPoint], root: &str) -> Result<()> {
    let binds = points.iter_mut().filter(|one| one.kind == MountKind::Bind);
    for point in binds.filter(|one| one.source.starts_with(root) || root.starts_with(&one.source)) {
        let asked = match &point.wish {
            Some(wish) => wish
                .bind_options
                .as_ref()
                .map(|options| options.propagation.as_str()),
            None => Mode::parse(&point.mode).and_then(|mode| mode.propagation),
        };
        match asked.unwrap_or_default() {
            "" => "rslave".clone_into(&mut point.propagation),
            "rslave" | "rshared" => {}
            other => {
                return Err(invalid(format!(
                    "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the daemon root, daemon root: {root:?}, bind mount source: {:?}, propagation: {other:?}",
                    point.source
                )));
            }
        }
    }
    Ok(())
}

/// Mount points, one for each target, in the order they came.
#[derive(Default)]
struct Points {
    all: Vec<MountPoint>,
    places: BTreeMap<String, usize>,
}

impl Points {
    fn has(&self, destination: &str) -> bool {
        self.places.contains_key(destination)
    }

    fn put(&mut self, point: MountPoint) {
        match self.places.get(&point.destination) {
            Some(&place) => self.all[place] = point,
            None => {
                self.places
                    .insert(point.destination.clone(), self.all.len());
                self.all.push(point);
            }
        }
    }
}

fn duplicate(target: &str) -> errdefs::Error {
    invalid(format!("Duplicate mount point: {target}"))
}

/// Container and whether its mounts are taken writable, from a line of `VolumesFrom`.
///
/// # Errors
/// `InvalidParameter`: `invalid mode: x`.
pub fn volumes_from(text: &str) -> Result<(&str, bool)> {
    if text.is_empty() {
        return Err(invalid(
            "volumes-from specification cannot be an empty string",
        ));
    }
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    let read = Mode::parse(mode)
        .filter(|mode| mode.propagation.is_none() && !mode.no_copy)
        .ok_or_else(|| invalid(format!("invalid mode: {mode}")))?;
    Ok((container, !read.read_only))
}

/// The third part of a bind, taken apart.
#[derive(Debug, Default)]
struct Mode<'a> {
    read_only: bool,
    no_copy: bool,
    propagation: Option<&'a str>,
}

impl<'a> Mode<'a> {
    /// None: an unknown word, or two of a kind.
    fn parse(text: &'a str) -> Option<Self> {
        let mut mode = Self::default();
        let (mut access, mut label, mut consistency) = (0, 0, 0);
        if text.is_empty() {
            return Some(mode);
        }
        for word in text.split(',') {
            match word {
                "rw" => access += 1,
                "ro" => (access, mode.read_only) = (access + 1, true),
                "z" | "Z" => label += 1,
                "nocopy" if mode.no_copy => return None,
                "nocopy" => mode.no_copy = true,
                "consistent" | "cached" | "delegated" => consistency += 1,
                word if PROPAGATION.contains(&word) && mode.propagation.is_none() => {
                    mode.propagation = Some(word);
                }
                _ => return None,
            }
        }
        [access, label, consistency]
            .iter()
            .all(|&count| count <= 1)
            .then_some(mode)
    }
}

/// Parses `source:target[:mode]`, `volume:target[:mode]` or `target`.
fn parse_bind(raw: &str, volume_driver: &str) -> Result<MountPoint> {
    let specification = || format!("invalid volume specification: '{raw}'");
    let parts: Vec<&str> = raw.splitn(4, ':').collect();
    let (source, target, text) = match parts.as_slice() {
        ["", ..] => return Err(invalid(specification())),
        [target] => ("", *target, ""),
        // A target with a mode is no mount.
        [_, mode] if Mode::parse(mode).is_some() => return Err(invalid(specification())),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(invalid(specification())),
    };
    let mode = Mode::parse(text).ok_or_else(|| invalid(format!("invalid mode: {text}")))?;
    let bind = source.starts_with('/');
    let mut wish = Mount {
        kind: if bind { "bind" } else { "volume" }.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: mode.read_only,
        ..Mount::default()
    };
    if mode.no_copy {
        wish.volume_options = Some(VolumeOptions {
            no_copy: true,
            ..VolumeOptions::default()
        });
    }
    if let Some(propagation) = mode.propagation {
        wish.bind_options = Some(BindOptions {
            propagation: propagation.to_owned(),
            ..BindOptions::default()
        });
    }
    let mut point = parse_wish(&wish).map_err(|error| error.context(specification()))?;
    point.mode = text.to_owned();
    point.create_source = bind;
    if !bind {
        point.driver = volume_driver.to_owned();
        finish_volume(&mut point)?;
    }
    Ok(point)
}

fn parse_mount(wish: &Mount) -> Result<MountPoint> {
    let mut point = parse_wish(wish)?;
    if point.kind == MountKind::Volume {
        finish_volume(&mut point)?;
    }
    point.wish = Some(wish.clone());
    Ok(point)
}

/// Local volumes have a label mode in inspect, and a name that is safe as a folder's.
fn finish_volume(point: &mut MountPoint) -> Result<()> {
    if !matches!(point.driver.as_str(), "" | "local") {
        return Ok(());
    }
    if point.mode.is_empty() {
        point.mode = "z".to_owned();
    }
    check_volume_name(&point.name)
}

/// Docker: volume/local, name rules.
fn check_volume_name(name: &str) -> Result<()> {
    const ALLOWED: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";
    if name.is_empty() {
        return Ok(());
    }
    if name.len() == 1 {
        return Err(invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if good {
        return Ok(());
    }
    Err(invalid(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only {ALLOWED:?} are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

/// Checks a mount in its long form, without a look at the host.
///
/// # Errors
/// `InvalidParameter`: `invalid mount config for type "bind": …`.
pub(super) fn check_mount(wish: &Mount) -> Result<()> {
    parse_wish(wish).map(|_| ())
}

fn parse_wish(wish: &Mount) -> Result<MountPoint> {
    let wrong = |text: &str| {
        invalid(format!(
            "invalid mount config for type {:?}: {text}",
            wish.kind
        ))
    };
    if wish.target.is_empty() {
        return Err(wrong("field Target must not be empty"));
    }
    if clean(&wish.target.replace('\\', "/")) == "/" {
        return Err(wrong(NOT_ROOT));
    }
    check_absolute(&wish.target).map_err(|text| wrong(&text))?;
    match wish.kind.as_str() {
        "bind" => parse_bind_wish(wish),
        "volume" => parse_volume_wish(wish),
        "tmpfs" => parse_tmpfs_wish(wish),
        _ => Err("mount type unknown".to_owned()),
    }
    .map(|mut point| {
        point.read_write = !wish.read_only;
        point
    })
    .map_err(|text| wrong(&text))
}

const NOT_ROOT: &str = "invalid specification: destination can't be '/'";

fn check_absolute(path: &str) -> std::result::Result<(), String> {
    if path.starts_with('/') || path.starts_with('\\') {
        Ok(())
    } else {
        Err(format!(
            "invalid mount path: '{path}' mount path must be absolute"
        ))
    }
}

/// The target of a tmpfs.
///
/// # Errors
/// `InvalidParameter`: `invalid mount path: 'x' mount path must be absolute`.
pub(super) fn check_tmpfs_target(target: &str) -> Result<()> {
    if clean(target) == "/" {
        return Err(invalid(NOT_ROOT));
    }
    check_absolute(target).map_err(invalid)
}

fn extra(name: &str) -> String {
    format!("field {name} must not be specified")
}

fn parse_bind_wish(wish: &Mount) -> std::result::Result<MountPoint, String> {
    if wish.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    let options = wish.bind_options.clone().unwrap_or_default();
    if !options.propagation.is_empty() && !PROPAGATION.contains(&options.propagation.as_str()) {
        return Err(format!("invalid propagation mode: {}", options.propagation));
    }
    if wish.volume_options.is_some() {
        return Err(extra("VolumeOptions"));
    }
    check_absolute(&wish.source)?;
    let mut point = MountPoint::new(MountKind::Bind, &wish.target);
    point.source = clean(&wish.source);
    point.propagation = match options.propagation.as_str() {
        "" => DEFAULT_PROPAGATION.to_owned(),
        named => named.to_owned(),
    };
    point.create_source = options.create_mountpoint;
    point.recursive = !options.non_recursive;
    point.read_only_recursive = match (
        options.read_only_non_recursive,
        options.read_only_force_recursive,
    ) {
        (true, _) => ReadOnlyRecursive::Disabled,
        (false, true) => ReadOnlyRecursive::Forced,
        (false, false) => ReadOnlyRecursive::Enabled,
    };
    Ok(point)
}

fn parse_volume_wish(wish: &Mount) -> std::result::Result<MountPoint, String> {
    if wish.bind_options.is_some() {
        return Err(extra("BindOptions"));
    }
    let options = wish.volume_options.clone().unwrap_or_default();
    let anonymous = wish.source.is_empty();
    if !options.subpath.is_empty() {
        if anonymous {
            return Err("must not set Subpath when using anonymous volumes".to_owned());
        }
        if !is_local(&options.subpath) {
            return Err("subpath must be a relative path within the volume".to_owned());
        }
    }
    if wish.read_only && anonymous {
        return Err("must not set ReadOnly mode when using anonymous volumes".to_owned());
    }
    let driver = options.driver_config.unwrap_or_default();
    let mut point = MountPoint::new(MountKind::Volume, &wish.target);
    point.name = wish.source.clone();
    point.driver = driver.name;
    point.copy_up = !options.no_copy;
    point.subpath = options.subpath;
    point.volume_labels = options.labels.unwrap_or_default();
    point.volume_options = driver.options.unwrap_or_default();
    Ok(point)
}

fn parse_tmpfs_wish(wish: &Mount) -> std::result::Result<MountPoint, String> {
    if wish.bind_options.is_some() {
        return Err(extra("BindOptions"));
    }
    if !wish.source.is_empty() {
        return Err(extra("Source"));
    }
    let options = wish.tmpfs_options.clone().unwrap_or_default();
    let mut point = MountPoint::new(MountKind::Tmpfs, &wish.target);
    point.tmpfs_options = tmpfs_options(&tmpfs_text(&options, wish.read_only)?);
    Ok(point)
}

/// Options of a tmpfs in long form, as a mount's option text.
fn tmpfs_text(options: &TmpfsOptions, read_only: bool) -> std::result::Result<String, String> {
    let mut words = Vec::new();
    if read_only {
        words.push("ro".to_owned());
    }
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    if options.size_bytes != 0 {
        let size = options.size_bytes;
        let unit = [(30, "g"), (20, "m"), (10, "k")]
            .into_iter()
            .find(|(bits, _)| size % (1_i64 << bits) == 0);
        words.push(match unit {
            Some((bits, suffix)) => format!("size={}{suffix}", size / (1_i64 << bits)),
            None => format!("size={size}"),
        });
    }
    for option in options.options.iter().flatten() {
        let [name, value @ ..] = option.as_slice() else {
            return Err("invalid option array length".to_owned());
        };
        if value.len() > 1 {
            return Err("invalid option array length".to_owned());
        }
        if !matches!(name.as_str(), "exec" | "noexec") {
            return Err(format!("invalid option: {name}"));
        }
        words.push(match value.first() {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        });
    }
    Ok(words.join(","))
}

fn tmpfs_options(text: &str) -> Vec<String> {
    let user = text.split(',').filter(|_| !text.is_empty());
    TMPFS_DEFAULTS
        .into_iter()
        .chain(user)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
