//! Writing an archive that is an OCI layout and `docker save`'s at once, as Docker's containerd store writes it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    sync::Arc,
};

use engine::ports::{ByteReader, images::Descriptor};
use errdefs::{Error, ErrorKind, Result};
use oci::{Digest, Reference};
use serde::Serialize;
use tar::{EntryType, Header};

use crate::{
    blobs::{Content, ReadError},
    document::{Document, IMAGE_NAME, LegacyImage, OCI_INDEX, REF_NAME, RawDescriptor},
    error::{invalid, system},
    image::{Found, Parsed, best, manifests, parse, unknown, unreadable},
    names::is_nameless,
    store::{Held, Inner},
    stream::{CHUNK_BYTES, Hashing, PipeWriter, pipe},
};

/// Deepest nesting of indexes.
const MAX_DEPTH: u32 = 4;

/// What stands under a name in the archive.
enum Record {
    Folder,
    Bytes(Vec<u8>, u32),
    Blob(Digest, u64),
}

struct Save<'a> {
    inner: &'a Inner,
    held: &'a Held,
    platform: Option<&'a str>,
    records: BTreeMap<String, Record>,
    index: Vec<RawDescriptor>,
    /// By the manifest that stands for the image; in the order they came.
    legacy: Vec<(Digest, LegacyImage)>,
}

impl Inner {
    pub(crate) fn save(
        self: &Arc<Self>,
        references: &[String],
        platform: Option<&str>,
    ) -> Result<ByteReader> {
        let held = self.hold();
        let mut save = Save {
            inner: self,
            held: &held,
            platform: platform.filter(|platform| !platform.is_empty()),
            records: BTreeMap::new(),
            index: Vec::new(),
            legacy: Vec::new(),
        };
        {
            let _changes = self.changes();
            for text in references {
                save.add(text)?;
            }
        }
        let records = save.finish()?;
        let (writer, reader) = pipe();
        let inner = Arc::clone(self);
        // Ends when all is written or the reader is gone.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&inner, &records, &writer) {
                writer.fail(error);
            }
            drop(held);
        });
        Ok(reader)
    }
}

impl Save<'_> {
    /// One reference as `docker save` reads it: a repository without tag means all its tags.
    fn add(&mut self, text: &str) -> Result<()> {
        let parsed = parse(text)?;
        let found = self.inner.resolve(text);
        let is_by_digest = match &parsed {
            Parsed::Id(_) => true,
            Parsed::Name(name) => {
                let digits = text.strip_prefix("sha256:").unwrap_or(text);
                let is_prefix = |found: &Found| found.descriptor.digest.hex().starts_with(digits);
                name.digest().is_some() || found.as_ref().is_ok_and(is_prefix)
            }
        };
        match &parsed {
            Parsed::Name(name) if name.tag().is_none() && !is_by_digest => {
                self.add_repository(name, &parsed)
            }
            Parsed::Name(name) if !is_by_digest => {
                let name = name.clone();
                self.add_image(found?, Some(&name))
            }
            _ => self.add_image(found?, None),
        }
    }

    fn add_repository(&mut self, repository: &Reference, parsed: &Parsed) -> Result<()> {
        let tags: Vec<(Reference, Descriptor)> = {
            let state = self.inner.state();
            let named = state.names.iter().filter(|(name, _)| !is_nameless(name));
            named
                .filter_map(|(name, target)| {
                    let name: Reference = name.parse().ok()?;
                    let is_same = name.tag().is_some()
                        && (name.domain(), name.path()) == (repository.domain(), repository.path());
                    is_same.then(|| (name, target.descriptor.clone()))
                })
                .collect()
        };
        if tags.is_empty() {
            return Err(unknown(parsed));
        }
        for (name, descriptor) in tags {
            let found = Found {
                descriptor,
                name: Some(name.to_string()),
            };
            self.add_image(found, Some(&name))?;
        }
        Ok(())
    }

    fn add_image(&mut self, found: Found, name: Option<&Reference>) -> Result<()> {
        let target = match self.platform {
            Some(platform) => self.inner.manifest(&found, Some(platform))?.descriptor,
            None => found.descriptor,
        };
        let content = Content::stored(&self.inner.blobs);
        let is_index = self.add_document(&target, MAX_DEPTH, true)?;
        let manifests =
            manifests(content, &target).map_err(|error| unreadable(&target.digest, error))?;
        let whole = manifests
            .into_iter()
            .filter(|manifest| {
                let layers = &manifest.layers;
                layers.iter().all(|layer| {
                    layer.is_foreign || content.path(&layer.descriptor.digest).is_some()
                })
            })
            .collect();
        match best(whole, &self.inner.host, None) {
            Some(manifest) => {
                let image = LegacyImage {
                    config: blob_name(&manifest.config.digest),
                    repo_tags: None,
                    layers: Some(
                        manifest
                            .layers
                            .iter()
                            .map(|layer| blob_name(&layer.descriptor.digest))
                            .collect(),
                    ),
                };
                self.add_legacy(&manifest.descriptor.digest, image, name);
            }
            None if is_index => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    "no manifest found for platform: not found",
                ));
            }
            None => {}
        }
        let mut descriptor = RawDescriptor::from(&target);
        descriptor.annotations = name.map(|name| {
            let short = name.tag().map_or_else(|| name.to_string(), str::to_owned);
            [(IMAGE_NAME, name.to_string()), (REF_NAME, short)]
                .map(|(key, value)| (key.to_owned(), value))
                .into()
        });
        self.index.push(descriptor);
        Ok(())
    }

    fn add_legacy(&mut self, manifest: &Digest, image: LegacyImage, name: Option<&Reference>) {
        let position = self
            .legacy
            .iter()
            .position(|(digest, _)| digest == manifest)
            .unwrap_or_else(|| {
                self.legacy.push((manifest.clone(), image));
                self.legacy.len() - 1
            });
        if let Some(name) = name {
            let tags = self.legacy[position].1.repo_tags.get_or_insert_default();
            tags.push(name.familiar());
        }
    }

    /// A document and what it leads to. Platforms that were not taken are left out; what an image itself needs must be there. True: an index.
    fn add_document(
        &mut self,
        descriptor: &Descriptor,
        depth: u32,
        is_wanted: bool,
    ) -> Result<bool> {
        let digest = &descriptor.digest;
        let Some(depth) = depth.checked_sub(1) else {
            return Err(invalid(format!("{digest}: indexes are nested too deeply")));
        };
        let content = Content::stored(&self.inner.blobs);
        let document = match content.document(digest) {
            Err(ReadError::Missing) if !is_wanted => return Ok(false),
            result => result.map_err(|error| unreadable(digest, error))?,
        };
        self.add_blob(digest)?;
        match document {
            Document::Index(entries) => {
                for entry in entries {
                    self.add_document(&entry.descriptor, depth, false)?;
                }
                Ok(true)
            }
            Document::Manifest { config, layers } => {
                let blobs: Vec<Digest> = layers
                    .into_iter()
                    .filter(|layer| !layer.is_foreign)
                    .map(|layer| layer.descriptor.digest)
                    .chain([config.digest])
                    .collect();
                let is_whole = blobs.iter().all(|blob| content.path(blob).is_some());
                if is_wanted || is_whole {
                    for blob in &blobs {
                        self.add_blob(blob)?;
                    }
                }
                Ok(false)
            }
        }
    }

    fn add_blob(&mut self, digest: &Digest) -> Result<()> {
        let path = self.inner.blobs.path(digest);
        let size = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::new(
                ErrorKind::NotFound,
                format!("content digest {digest}: not found"),
            )),
            Err(error) => Err(system(format!("look at blob {digest}"), error)),
            Ok(metadata) => Ok(metadata.len()),
        }?;
        self.held.add([digest.clone()], []);
        let record = Record::Blob(digest.clone(), size);
        self.records.insert(blob_name(digest), record);
        Ok(())
    }

    fn finish(mut self) -> Result<BTreeMap<String, Record>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Index {
            schema_version: u8,
            media_type: &'static str,
            manifests: Vec<RawDescriptor>,
        }
        let failed = |error| system("write the archive's index", error);
        let index = Index {
            schema_version: 2,
            media_type: OCI_INDEX,
            manifests: self.index,
        };
        let index = serde_json::to_vec(&index).map_err(failed)?;
        let legacy: Vec<LegacyImage> = self.legacy.into_iter().map(|(_, image)| image).collect();
        let legacy = serde_json::to_vec(&legacy).map_err(failed)?;
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        let records = [
            ("blobs/", Record::Folder),
            ("blobs/sha256/", Record::Folder),
            ("index.json", Record::Bytes(index, 0o644)),
            ("manifest.json", Record::Bytes(legacy, 0o644)),
            ("oci-layout", Record::Bytes(layout, 0o444)),
        ];
        self.records
            .extend(records.map(|(name, record)| (name.to_owned(), record)));
        Ok(self.records)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn write(inner: &Inner, records: &BTreeMap<String, Record>, to: &PipeWriter) -> io::Result<()> {
    let mut tar = tar::Builder::new(BufWriter::with_capacity(CHUNK_BYTES, to));
    for (name, record) in records {
        let mut header = Header::new_ustar();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        match record {
            Record::Folder => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                tar.append_data(&mut header, name, io::empty())?;
            }
            Record::Bytes(bytes, mode) => {
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, name, &bytes[..])?;
            }
            Record::Blob(digest, size) => {
                header.set_mode(0o444);
                header.set_size(*size);
                let mut blob = Hashing::new(File::open(inner.blobs.path(digest))?);
                tar.append_data(&mut header, name, &mut blob)?;
                let (actual, bytes) = blob.finish()?;
                if actual != *digest || bytes != *size {
                    return Err(io::Error::other(format!("blob {digest} is damaged")));
                }
            }
        }
    }
    tar.into_inner()?.flush()
}
