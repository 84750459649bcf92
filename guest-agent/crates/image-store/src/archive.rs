//! Archives of images as they are read: `docker save`'s of all times, and OCI layouts. Hostile.
//!
//! Names in the archive are keys in a map and never a path on disk; content goes to numbered files and is known by its digest.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
};

use engine::ports::images::Descriptor;
use errdefs::Result;
use oci::{Digest, Reference};
use serde::Deserialize;
use tar::EntryType;

use crate::{
    blobs::read_bounded,
    bounded::Bounded,
    document::{
        self, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, Document, Entry,
        IMAGE_NAME, LegacyImage, REF_NAME,
    },
    error::{invalid, system},
    stream::{CHUNK_BYTES, Compression, Hashing},
};

/// Most entries of an archive.
const MAX_ENTRIES: usize = 100_000;

/// Most bytes of all its names and of what its links lead to.
const MAX_NAMES_BYTES: usize = 64 << 20;

/// Longest name in one.
const MAX_NAME_BYTES: usize = 4096;

/// The version of the layout that is read. Spec: OCI image, image layout.
const LAYOUT_VERSION: &str = "1.0.0";

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const LEGACY: &str = "manifest.json";
const BLOBS: &str = "blobs/sha256/";

/// A file of an archive, on disk.
#[derive(Debug, Clone)]
struct Stored {
    path: PathBuf,
    digest: Digest,
    size: u64,
}

/// What an archive has.
#[derive(Debug)]
pub(crate) struct Archive {
    folder: PathBuf,
    files: BTreeMap<String, Stored>,
}

/// An image that an archive offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) target: Descriptor,
    /// None: known by its ID only.
    pub(crate) name: Option<Reference>,
}

impl Archive {
    /// Reads an uncompressed tar into an empty folder.
    pub(crate) fn read(tar: impl Read, folder: &Path) -> Result<Self> {
        let mut scan = Scan {
            archive: Self {
                folder: folder.to_owned(),
                files: BTreeMap::new(),
            },
            links: BTreeMap::new(),
            count: 0,
            names_left: MAX_NAMES_BYTES,
        };
        let (tar, bound) = Bounded::new(tar, 0);
        let mut tar = tar::Archive::new(tar);
        let mut entries = tar.entries().map_err(unread)?;
        while let Some(entry) = bound.next(&mut entries) {
            let mut entry = entry.map_err(unread)?;
            scan.take(&mut entry)?;
            io::copy(&mut entry, &mut io::sink()).map_err(unread)?;
        }
        scan.finish()
    }

    /// Where each blob is.
    pub(crate) fn blobs(&self) -> HashMap<Digest, PathBuf> {
        self.files
            .values()
            .map(|file| (file.digest.clone(), file.path.clone()))
            .collect()
    }

    /// The images it offers. Those of the old kind get a manifest, which is added to the blobs.
    pub(crate) fn offered(&mut self) -> Result<Vec<Offered>> {
        if self.files.contains_key(LAYOUT) {
            self.of_layout()
        } else if self.files.contains_key(LEGACY) {
            self.of_legacy()
        } else {
            Err(invalid("unrecognized image format"))
        }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let file = self
            .files
            .get(name)
            .ok_or_else(|| invalid(format!("missing {name} in the archive")))?;
        read_bounded(&file.path).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => invalid(format!("{name}: it is too large")),
            _ => system(format!("read {name}"), error),
        })
    }

    fn of_layout(&self) -> Result<Vec<Offered>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Layout {
            image_layout_version: String,
        }
        let layout: Layout = serde_json::from_slice(&self.document(LAYOUT)?)
            .map_err(|error| invalid(format!("{LAYOUT}: {error}")))?;
        if layout.image_layout_version != LAYOUT_VERSION {
            return Err(invalid(format!(
                "unsupported OCI version {}",
                layout.image_layout_version
            )));
        }
        let index = document::parse(&self.document(INDEX)?)
            .map_err(|error| invalid(format!("{INDEX}: {error}")))?;
        let Document::Index(entries) = index else {
            return Err(invalid(format!("{INDEX}: it is no index")));
        };
        entries.iter().map(|entry| self.offer(entry)).collect()
    }

    fn offer(&self, entry: &Entry) -> Result<Offered> {
        let mut target = entry.descriptor.clone();
        let bytes = self.document(&blob_name(&target.digest))?;
        let document = document::parse(&bytes)
            .map_err(|error| invalid(format!("{}: {error}", target.digest)))?;
        if bytes.len() as u64 != target.size {
            return Err(invalid(format!(
                "{}: it has {} bytes, and {INDEX} says {}",
                target.digest,
                bytes.len(),
                target.size
            )));
        }
        if target.media_type.is_empty() {
            target.media_type = document::guessed_media_type(&document).to_owned();
        }
        Ok(Offered {
            target,
            name: name_of(entry)?,
        })
    }

    fn of_legacy(&mut self) -> Result<Vec<Offered>> {
        let images = document::parse_legacy(&self.document(LEGACY)?)
            .map_err(|error| invalid(format!("{LEGACY}: {error}")))?;
        let mut offered = Vec::new();
        for image in images {
            let target = self.legacy_manifest(&image)?;
            let names = image.repo_tags.unwrap_or_default();
            for name in &names {
                let name: Reference = name
                    .parse()
                    .map_err(|error| invalid(format!("normalize image ref {name:?}: {error}")))?;
                offered.push(Offered {
                    target: target.clone(),
                    name: Some(name.or_latest()),
                });
            }
            if names.is_empty() {
                offered.push(Offered { target, name: None });
            }
        }
        Ok(offered)
    }

    /// Makes the manifest of an image that has only a config and layers.
    fn legacy_manifest(&mut self, image: &LegacyImage) -> Result<Descriptor> {
        let find = |what: &str, name: &str| {
            clean(Path::new(name))
                .and_then(|name| self.files.get(&name))
                .ok_or_else(|| invalid(format!("{what} {name:?} not found")))
        };
        let config = find("image config", &image.config)?;
        let config = describe(config, DOCKER_CONFIG);
        let mut layers = Vec::new();
        for name in image.layers.iter().flatten() {
            let layer = find("layer", name)?;
            let compression =
                head(&layer.path).map_err(|error| system(format!("read layer {name:?}"), error))?;
            let media_type = match compression {
                Compression::None => DOCKER_LAYER,
                Compression::Bzip2 | Compression::Gzip | Compression::Xz | Compression::Zstd => {
                    DOCKER_LAYER_GZIP
                }
            };
            layers.push(describe(layer, media_type));
        }
        let bytes = document::docker_manifest(&config, &layers);
        let stored = Stored {
            path: self.folder.join(self.files.len().to_string()),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        std::fs::write(&stored.path, &bytes)
            .map_err(|error| system("write the manifest", error))?;
        let descriptor = describe(&stored, DOCKER_MANIFEST);
        self.files.insert(blob_name(&stored.digest), stored);
        Ok(descriptor)
    }
}

struct Scan {
    archive: Archive,
    links: BTreeMap<String, String>,
    count: usize,
    names_left: usize,
}

impl Scan {
    fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<()> {
        let raw = entry.path_bytes().into_owned();
        let shown: String = String::from_utf8_lossy(&raw).chars().take(200).collect();
        let wrong = |reason: &str| invalid(format!("entry {shown:?} of the archive: {reason}"));
        self.count += 1;
        if self.count > MAX_ENTRIES {
            return Err(wrong("there are too many entries"));
        }
        let link_bytes = entry.link_name_bytes().map_or(0, |target| target.len());
        let left = self.names_left.checked_sub(raw.len() + link_bytes);
        self.names_left = left.ok_or_else(|| wrong("there are too many names"))?;
        if raw.len() > MAX_NAME_BYTES || link_bytes > MAX_NAME_BYTES {
            return Err(wrong("the name is too long"));
        }
        let name = entry
            .path()
            .ok()
            .and_then(|path| clean(&path))
            .ok_or_else(|| wrong("the name leads upward or is no text"))?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let stored = self.store(entry, &name)?;
                if let Some(hex) = name.strip_prefix(BLOBS)
                    && hex != stored.digest.hex()
                {
                    return Err(wrong(&format!("its content has digest {}", stored.digest)));
                }
                let digest = stored.digest.clone();
                if let Some(earlier) = self.archive.files.insert(name, stored)
                    && earlier.digest != digest
                {
                    return Err(wrong("it is there twice, with different content"));
                }
                Ok(())
            }
            EntryType::Symlink | EntryType::Link => {
                let target = entry
                    .link_name()
                    .ok()
                    .flatten()
                    .ok_or_else(|| wrong("the link leads nowhere"))?;
                // Links of old archives: `<id>/layer.tar` to the same of another image.
                let from = match entry.header().entry_type() {
                    EntryType::Link => Path::new(""),
                    _ => Path::new(&name).parent().unwrap_or(Path::new("")),
                };
                let target = joined(from, &target)
                    .ok_or_else(|| wrong("the link leads out of the archive"))?;
                self.links.insert(name, target);
                Ok(())
            }
            // Folders, and whatever else: nothing of an image.
            _ => Ok(()),
        }
    }

    fn store(&self, entry: &mut tar::Entry<'_, impl Read>, name: &str) -> Result<Stored> {
        let failed = |error: io::Error| system(format!("store {name:?} of the archive"), error);
        let expected = entry.size();
        // A file that comes twice is written twice: the count goes on, the name is free.
        let path = self.archive.folder.join(format!("f{}", self.count));
        let mut file = File::create_new(&path).map_err(failed)?;
        let mut reader = Hashing::new(entry);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = reader.read(&mut buffer).map_err(unread)?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(failed)?;
        }
        let (digest, size) = reader.finish().map_err(unread)?;
        if size != expected {
            return Err(unread(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Stored { path, digest, size })
    }

    /// Gives links what they lead to.
    fn finish(mut self) -> Result<Archive> {
        let mut linked = Vec::new();
        for (name, target) in &self.links {
            let Some(file) = self.archive.files.get(target) else {
                return Err(invalid(format!(
                    "no target for symlink layer from {name:?} to {target:?}"
                )));
            };
            linked.push((name.clone(), file.clone()));
        }
        self.archive.files.extend(linked);
        Ok(self.archive)
    }
}

fn unread(error: io::Error) -> errdefs::Error {
    match error.raw_os_error() {
        Some(_) => system("read the archive", error),
        None => invalid(format!("read the archive: {error}")),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("{BLOBS}{}", digest.hex())
}

fn describe(file: &Stored, media_type: &str) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: file.digest.clone(),
        size: file.size,
    }
}

fn head(path: &Path) -> io::Result<Compression> {
    let mut head = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut head)?;
    Ok(Compression::of(&head))
}

/// The name an index gives an image. A bare tag names none.
fn name_of(entry: &Entry) -> Result<Option<Reference>> {
    let refused = |name: &str, error| invalid(format!("normalize image ref {name:?}: {error}"));
    let annotation = |key| entry.annotations.get(key).filter(|name| !name.is_empty());
    if let Some(name) = annotation(IMAGE_NAME) {
        return match name.parse::<Reference>() {
            Ok(reference) => Ok(Some(reference.or_latest())),
            Err(error) => Err(refused(name, error)),
        };
    }
    // What other tools write there may be anything.
    Ok(annotation(REF_NAME)
        .filter(|name| name.contains([':', '/']))
        .and_then(|name| name.parse::<Reference>().ok())
        .map(Reference::or_latest))
}

/// A name without `.` and leading slashes. `None`: it has `..`, or is no text.
fn clean(path: &Path) -> Option<String> {
    joined(Path::new(""), path).filter(|_| {
        !path
            .components()
            .any(|part| matches!(part, Component::ParentDir))
    })
}

/// A path seen from a folder; `..` is worked out. `None`: it leads out, or is no text.
fn joined(folder: &Path, path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.components().chain(path.components()) {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_keys_and_lead_nowhere() {
        assert_eq!(clean(Path::new("./a//b")).as_deref(), Some("a/b"));
        assert_eq!(clean(Path::new("/a")).as_deref(), Some("a"));
        assert_eq!(clean(Path::new("a/../b")), None);
        assert_eq!(
            joined(Path::new("x"), Path::new("../y/z")).as_deref(),
            Some("y/z")
        );
        assert_eq!(joined(Path::new("x"), Path::new("../../z")), None);
    }

    #[test]
    fn an_index_names_images_in_several_ways() {
        let entry = |key: &str, name: &str| Entry {
            descriptor: Descriptor {
                media_type: String::new(),
                digest: Digest::of(b""),
                size: 0,
            },
            platform: None,
            annotations: [(key.to_owned(), name.to_owned())].into(),
            is_foreign: false,
        };
        let check = |key, name, expected: Option<&str>| {
            let reference = name_of(&entry(key, name)).expect("a name or none");
            assert_eq!(
                reference.map(|name| name.to_string()).as_deref(),
                expected,
                "{name}"
            );
        };
        check(
            IMAGE_NAME,
            "docker.io/library/a:1",
            Some("docker.io/library/a:1"),
        );
        check(IMAGE_NAME, "a", Some("docker.io/library/a:latest"));
        check(REF_NAME, "latest", None);
        check(REF_NAME, "a:1", Some("docker.io/library/a:1"));
        check(REF_NAME, "Not:A:Name", None);
        assert!(name_of(&entry(IMAGE_NAME, "Not A Name")).is_err());
    }
}
