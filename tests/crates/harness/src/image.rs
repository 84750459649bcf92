//! Images for tests, made from Debian's packages, as archives for `docker load` and as parts for a registry.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::tools;

/// Packages of the second layer of [`debian`]: what a shell needs.
const SHELL_PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "dash",
    "grep",
    "libacl1",
    "libattr1",
    "libgmp10",
    "libpcre2-8-0",
    "libselinux1",
    "libssl3",
    "libtinfo6",
    "sed",
    "debianutils",
];

/// An image in parts: what goes into a registry.
#[derive(Debug, Clone)]
pub struct Image {
    /// The image config.
    pub config: Vec<u8>,
    /// Layers, base first, as gzipped tars.
    pub layers: Vec<Vec<u8>>,
    /// The manifest.
    pub manifest: Vec<u8>,
}

/// `sha256:…` of bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(bytes);
    format!(
        "sha256:{}",
        hash.iter().map(|b| format!("{b:02x}")).collect::<String>()
    )
}

impl Image {
    /// Media type of the manifest.
    pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

    /// From uncompressed layer tars, base first.
    ///
    /// # Errors
    /// When compression fails.
    pub fn new(tars: Vec<Vec<u8>>, settings: &Value) -> anyhow::Result<Self> {
        let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
        let config = serde_json::to_vec(&json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "berth tests"})).collect::<Vec<_>>(),
        }))?;
        let mut layers = Vec::new();
        for tar in tars {
            use std::io::Write;
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&tar)?;
            layers.push(gzip.finish()?);
        }
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": Self::MANIFEST_TYPE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
            "layers": layers.iter().map(|layer| json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(layer), "size": layer.len(),
            })).collect::<Vec<_>>(),
        }))?;
        Ok(Self {
            config,
            layers,
            manifest,
        })
    }

    /// The same layers with other settings.
    ///
    /// # Errors
    /// When the image's own documents cannot be read.
    pub fn with_settings(&self, settings: &Value) -> anyhow::Result<Self> {
        let mut config: Value = serde_json::from_slice(&self.config)?;
        config["config"] = settings.clone();
        let config = serde_json::to_vec(&config)?;
        let mut manifest: Value = serde_json::from_slice(&self.manifest)?;
        manifest["config"]["digest"] = json!(digest(&config));
        manifest["config"]["size"] = json!(config.len());
        Ok(Self {
            config,
            layers: self.layers.clone(),
            manifest: serde_json::to_vec(&manifest)?,
        })
    }

    /// Digest of the manifest: the image's ID.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Digest of the config.
    pub fn config_digest(&self) -> String {
        digest(&self.config)
    }

    /// Digest of a layer as it travels, base first.
    pub fn layer_digest(&self, index: usize) -> String {
        digest(&self.layers[index])
    }

    /// Writes an archive that `docker load` takes, named `name:tag`. Format: OCI image layout with Docker's manifest.json.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_archive(&self, name: &str, path: &Path) -> anyhow::Result<()> {
        let mut blobs: BTreeMap<String, &[u8]> = BTreeMap::new();
        for blob in self.layers.iter().chain([&self.config, &self.manifest]) {
            blobs.insert(blob_path(blob), blob);
        }
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [{
            "mediaType": Self::MANIFEST_TYPE, "digest": self.digest(), "size": self.manifest.len(),
            "annotations": {
                "io.containerd.image.name": format!("docker.io/{name}"),
                "org.opencontainers.image.ref.name": name.rsplit(':').next(),
            },
        }]}))?;
        let legacy = serde_json::to_vec(&json!([{
            "Config": blob_path(&self.config), "RepoTags": [name],
            "Layers": self.layers.iter().map(|layer| blob_path(layer)).collect::<Vec<_>>(),
        }]))?;
        let file =
            std::fs::File::create(path).with_context(|| format!("make {}", path.display()))?;
        let mut archive = tar::Builder::new(file);
        let parts = [
            ("index.json".to_owned(), &index[..]),
            ("manifest.json".to_owned(), &legacy[..]),
            (
                "oci-layout".to_owned(),
                &br#"{"imageLayoutVersion":"1.0.0"}"#[..],
            ),
        ];
        for (name, bytes) in parts.into_iter().chain(blobs) {
            append(&mut archive, &name, bytes)?;
        }
        archive.finish().context("end the archive")
    }
}

fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", &digest(bytes)["sha256:".len()..])
}

fn append(
    archive: &mut tar::Builder<impl std::io::Write>,
    name: &str,
    bytes: &[u8],
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, name, bytes)
        .with_context(|| format!("add {name}"))
}

/// busybox alone, with a link for each of its programs: one layer.
///
/// # Errors
/// When Debian's busybox-static is not installed.
pub fn busybox() -> anyhow::Result<Image> {
    busybox_with(&[])
}

/// The same with further files, which make its layer one that no other image has.
///
/// # Errors
/// As [`busybox`].
pub fn busybox_with(more: &[(&str, &[u8])]) -> anyhow::Result<Image> {
    let settings = json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]});
    Image::new(vec![busybox_layer(more)?], &settings)
}

/// The layer of [`busybox_with`], a tar.
///
/// # Errors
/// As [`busybox`].
pub fn busybox_layer(more: &[(&str, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let program =
        std::fs::read("/bin/busybox").context("read /bin/busybox (package busybox-static)")?;
    let names = Command::new("/bin/busybox")
        .arg("--list")
        .output()
        .context("run busybox")?
        .stdout;
    let mut archive = tar::Builder::new(Vec::new());
    for folder in [
        "bin", "dev", "etc", "proc", "root", "sys", "usr", "usr/bin", "var",
    ] {
        entry(
            &mut archive,
            tar::EntryType::Directory,
            folder,
            0o755,
            b"",
            None,
        )?;
    }
    entry(
        &mut archive,
        tar::EntryType::Directory,
        "tmp",
        0o1777,
        b"",
        None,
    )?;
    entry(
        &mut archive,
        tar::EntryType::Regular,
        "bin/busybox",
        0o755,
        &program,
        None,
    )?;
    for name in String::from_utf8_lossy(&names)
        .lines()
        .filter(|name| *name != "busybox")
    {
        entry(
            &mut archive,
            tar::EntryType::Link,
            &format!("bin/{name}"),
            0o755,
            b"",
            Some("bin/busybox"),
        )?;
    }
    let files: [(&str, &[u8]); 2] = [
        (
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/false\n",
        ),
        ("etc/group", b"root:x:0:\nwww:x:33:\nstaff:x:50:www\n"),
    ];
    for (name, bytes) in files.iter().chain(more) {
        entry(
            &mut archive,
            tar::EntryType::Regular,
            name,
            0o644,
            bytes,
            None,
        )?;
    }
    Ok(archive.into_inner()?)
}

fn entry(
    archive: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    name: &str,
    mode: u32,
    bytes: &[u8],
    link: Option<&str>,
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    match link {
        Some(target) => archive.append_link(&mut header, name, target)?,
        None => archive.append_data(&mut header, name, bytes)?,
    }
    Ok(())
}

/// A small Debian with bash in three layers, from packages of this machine's own release; unpacked once into the build folder.
///
/// # Errors
/// When a package cannot be had.
pub fn debian() -> anyhow::Result<Image> {
    let cache = tools::target().join("test-images");
    let folders = [
        layer_folder(
            &cache,
            "debian-base",
            &["base-files", "libc6", "libgcc-s1", "gcc-12-base"],
        )?,
        layer_folder(&cache, "debian-shell", SHELL_PACKAGES)?,
    ];
    let mut tars = Vec::new();
    for folder in folders {
        let tar = Command::new("tar")
            .args([
                "--sort=name",
                "--numeric-owner",
                "--owner=0",
                "--group=0",
                "--mtime=@0",
                "-C",
            ])
            .arg(&folder)
            .args(["-c", "."])
            .output()
            .context("run tar")?;
        if !tar.status.success() {
            bail!(
                "tar of {}: {}",
                folder.display(),
                String::from_utf8_lossy(&tar.stderr)
            );
        }
        tars.push(tar.stdout);
    }
    let mut top = tar::Builder::new(Vec::new());
    entry(
        &mut top,
        tar::EntryType::Directory,
        "tmp",
        0o1777,
        b"",
        None,
    )?;
    entry(
        &mut top,
        tar::EntryType::Directory,
        "root",
        0o700,
        b"",
        None,
    )?;
    entry(
        &mut top,
        tar::EntryType::Regular,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/bash\n",
        None,
    )?;
    entry(
        &mut top,
        tar::EntryType::Regular,
        "etc/group",
        0o644,
        b"root:x:0:\n",
        None,
    )?;
    tars.push(top.into_inner()?);
    let settings = json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"]});
    Image::new(tars, &settings)
}

/// Unpacks packages into a folder that is made once; several processes may ask at a time.
fn layer_folder(cache: &Path, name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = cache.join(name);
    std::fs::create_dir_all(cache).with_context(|| format!("make {}", cache.display()))?;
    let lock = std::fs::File::create(cache.join(format!("{name}.lock")))?;
    lock.lock().context("lock the image cache")?;
    if folder.exists() {
        return Ok(folder);
    }
    let work = tempfile::tempdir_in(cache)?;
    let downloaded = Command::new("apt-get")
        .args(["-o", "APT::Sandbox::User=root", "-qq", "download"])
        .args(packages)
        .current_dir(work.path())
        .output()
        .context("run apt-get")?;
    if !downloaded.status.success() {
        bail!(
            "apt-get download: {}",
            String::from_utf8_lossy(&downloaded.stderr)
        );
    }
    let root = work.path().join("root");
    std::fs::create_dir(&root)?;
    for package in std::fs::read_dir(work.path())?.filter_map(|entry| Some(entry.ok()?.path())) {
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            // The top folders are this release's merged ones: /bin and /lib are links into /usr.
            let status = Command::new("dpkg-deb")
                .arg("-x")
                .arg(&package)
                .arg(&root)
                .status()?;
            if !status.success() {
                bail!("dpkg-deb -x {}", package.display());
            }
        }
    }
    for heavy in ["doc", "man", "locale", "info"] {
        let _ = std::fs::remove_dir_all(root.join("usr/share").join(heavy));
    }
    std::fs::rename(&root, &folder)?;
    Ok(folder)
}
