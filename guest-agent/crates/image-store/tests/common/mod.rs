//! Images made by hand, in all the forms they travel in.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::{io::Write, path::Path, sync::Arc};

use engine::{
    id::ContainerId,
    ports::{
        ByteReader,
        images::{Descriptor, Images, Loaded},
    },
};
use image_store::ImageStore;
use oci::Digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// This machine, in Docker's words.
pub(crate) const ARCH: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// Layers on others need overlayfs.
pub(crate) fn needs_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: needs root to mount an overlay");
    }
    !is_root
}

/// A file, folder (name ends in a slash) or link (`name -> target`) of a layer.
pub(crate) fn layer(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_mtime(1_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if let Some((name, target)) = name.split_once(" -> ") {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, name, target).expect("link");
        } else if let Some(name) = name.strip_suffix('/') {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(u32::from_str_radix(content, 8).unwrap_or(0o755));
            tar.append_data(&mut header, name, std::io::empty())
                .expect("folder");
        } else {
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes())
                .expect("file");
        }
    }
    tar.into_inner().expect("tar")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    Plain,
    Gzip,
    Zstd,
}

pub(crate) fn pack(bytes: &[u8], packed: Packed) -> Vec<u8> {
    match packed {
        Packed::Plain => bytes.to_vec(),
        Packed::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).expect("packed");
            gzip.finish().expect("packed")
        }
        Packed::Zstd => zstd::encode_all(bytes, 1).expect("packed"),
    }
}

/// One platform of an image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    /// As they travel.
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) manifest: Vec<u8>,
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

pub(crate) fn raw(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).as_str(), "size": bytes.len()})
}

impl Image {
    pub(crate) fn new(tars: &[Vec<u8>]) -> Self {
        Self::with(tars, Packed::Plain, ARCH)
    }

    pub(crate) fn with(tars: &[Vec<u8>], packed: Packed, architecture: &str) -> Self {
        let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
        let texts: Vec<&str> = diff_ids.iter().map(Digest::as_str).collect();
        let config = serde_json::to_vec(&json!({
            "architecture": architecture, "os": "linux", "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": texts},
        }))
        .expect("json");
        let layers = tars.iter().map(|tar| pack(tar, packed)).collect();
        Self::from_parts(config, layers, diff_ids)
    }

    pub(crate) fn from_parts(config: Vec<u8>, layers: Vec<Vec<u8>>, diff_ids: Vec<Digest>) -> Self {
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": raw(CONFIG, &config),
            "layers": layers.iter().map(|layer| raw(LAYER, layer)).collect::<Vec<_>>(),
        }))
        .expect("json");
        Self {
            config,
            layers,
            diff_ids,
            manifest,
        }
    }

    pub(crate) fn id(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub(crate) fn blobs(&self) -> Vec<(String, Vec<u8>)> {
        let mut blobs = vec![blob(&self.config), blob(&self.manifest)];
        blobs.extend(self.layers.iter().map(|layer| blob(layer)));
        blobs
    }

    /// An OCI layout with Docker's names.
    pub(crate) fn archive(&self, names: &[&str]) -> Vec<u8> {
        layout(&[(MANIFEST, &self.manifest, names)], self.blobs())
    }

    /// What `docker save` wrote before version 25.
    pub(crate) fn legacy_archive(&self, names: &[&str]) -> Vec<u8> {
        let config = format!("{}.json", Digest::of(&self.config).hex());
        let mut files = vec![(config.clone(), self.config.clone())];
        let mut layers = Vec::new();
        for (position, layer) in self.layers.iter().enumerate() {
            layers.push(format!("layer{position}/layer.tar"));
            files.push((layers[position].clone(), layer.clone()));
            files.push((format!("layer{position}/VERSION"), b"1.0".to_vec()));
        }
        let manifest = json!([{"Config": config, "RepoTags": names, "Layers": layers}]);
        files.push((
            "manifest.json".to_owned(),
            serde_json::to_vec(&manifest).expect("json"),
        ));
        files.push(("repositories".to_owned(), b"{}".to_vec()));
        files_tar(&files)
    }
}

pub(crate) fn blob(bytes: &[u8]) -> (String, Vec<u8>) {
    (
        format!("blobs/sha256/{}", Digest::of(bytes).hex()),
        bytes.to_vec(),
    )
}

/// An index of platforms, as a document.
pub(crate) fn index(images: &[&Image], more: &[Value]) -> Vec<u8> {
    let mut manifests: Vec<Value> = images
        .iter()
        .map(|image| raw(MANIFEST, &image.manifest))
        .collect();
    manifests.extend(more.iter().cloned());
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
        .expect("json")
}

/// An OCI layout of targets with their names.
pub(crate) fn layout(
    targets: &[(&str, &[u8], &[&str])],
    mut files: Vec<(String, Vec<u8>)>,
) -> Vec<u8> {
    let mut manifests = Vec::new();
    for (media_type, bytes, names) in targets {
        let plain = raw(media_type, bytes);
        if names.is_empty() {
            manifests.push(plain.clone());
        }
        for name in *names {
            let mut named = plain.clone();
            named["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name.rsplit(':').next(),
            });
            manifests.push(named);
        }
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    files.push((
        "index.json".to_owned(),
        serde_json::to_vec(&index).expect("json"),
    ));
    files.push((
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    ));
    files_tar(&files)
}

pub(crate) fn files_tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in files {
        append(&mut tar, name, bytes);
    }
    tar.into_inner().expect("tar")
}

/// Names are written raw: the builder would refuse the hostile ones.
pub(crate) fn append(tar: &mut Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    tar.append(&header, bytes).expect("appended");
}

/// A store in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Arc<ImageStore>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let store = ImageStore::open(folder.path()).expect("opened");
        Self { folder, store }
    }

    /// As after a crash or an orderly end.
    pub(crate) fn reopened(self) -> Self {
        let Self { folder, store } = self;
        drop(Arc::into_inner(store).expect("nobody else has it"));
        let store = ImageStore::open(folder.path()).expect("opened");
        Self { folder, store }
    }

    pub(crate) async fn try_load(&self, archive: Vec<u8>) -> errdefs::Result<Vec<Loaded>> {
        let reader: ByteReader = Box::new(std::io::Cursor::new(archive));
        self.store.load(reader, nobody()).await
    }

    pub(crate) async fn load(&self, archive: Vec<u8>) -> Vec<Loaded> {
        self.try_load(archive).await.expect("loaded")
    }

    /// Names of everything in a folder of the store, sorted.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        names_in(&self.folder.path().join(folder))
    }

    /// Nothing of a failed attempt is left.
    pub(crate) fn is_empty(&self) -> bool {
        ["blobs/sha256", "l", "ingest", "trash", "containers"]
            .iter()
            .all(|folder| self.files(folder).is_empty())
    }
}

pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("readable")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    names
}

/// Nobody who listens.
pub(crate) fn nobody() -> engine::ports::images::ProgressSender {
    tokio::sync::mpsc::channel(1).0
}

pub(crate) fn container(digit: char) -> ContainerId {
    digit.to_string().repeat(64).parse().expect("an id")
}
