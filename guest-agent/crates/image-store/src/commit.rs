//! New images: what a container changed as a layer on its image, or one layer of a tar that came from outside.
//!
//! Spec: OCI image, config and manifest.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use engine::{
    id::ContainerId,
    ports::{
        ByteReader,
        commits::{Commits, NewImage},
        files::ChangeKind,
        images::Descriptor,
    },
};
use errdefs::{ErrorKind, Result};
use flate2::write::GzEncoder;
use oci::{Digest, Platform, Reference};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    blobs::Content,
    document::{OCI_MANIFEST, chain_ids, parse_config},
    error::{damaged, invalid, system},
    files::{
        changes::{Difference, whiteout},
        read::Reader,
        tarball::{self, Head},
    },
    image::unreadable,
    layers::Source,
    names::{Target, canonical},
    store::{Held, ImageStore, Inner, now},
    stream::{Blocking, CHUNK_BYTES, Compression, Hashing, decoder},
};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A layer as a blob.
struct Layer {
    descriptor: Descriptor,
    diff_id: Digest,
}

/// What a new image stands on.
#[derive(Default)]
struct Parent {
    /// Its ID; none: there is none.
    image: Option<Digest>,
    /// Its config, as it was written.
    config: Map<String, Value>,
    /// Descriptors of its layers, as they were written.
    layers: Vec<Value>,
    diff_ids: Vec<Digest>,
}

#[async_trait]
impl Commits for ImageStore {
    async fn commit(&self, container: &ContainerId, image: NewImage) -> Result<Digest> {
        let container = container.clone();
        self.blocking(move |inner| inner.commit(&container, &image))
            .await
    }

    async fn import(&self, archive: ByteReader, image: NewImage) -> Result<Digest> {
        self.blocking(move |inner| {
            let archive = BufReader::with_capacity(CHUNK_BYTES, Blocking::new(archive));
            inner.import(archive, &image)
        })
        .await
    }
}

impl Inner {
    fn commit(self: &Arc<Self>, id: &ContainerId, image: &NewImage) -> Result<Digest> {
        let held = self.hold();
        let (base, manifest) = {
            let _changes = self.changes();
            let state = self.state();
            let container = state.container(id)?;
            let (base, manifest) = (container.image.clone(), container.manifest.clone());
            let chains = container.chains.clone();
            drop(state);
            held.add([manifest.clone()], chains);
            (base, manifest)
        };
        let parent = self.parent(&held, base, &manifest)?;
        let differences = self.differences(id)?;
        let layer = if differences.is_empty() {
            None
        } else {
            let written =
                self.store_layer(&held, |sink| self.write_changes(id, &differences, sink));
            Some(written.map_err(|error| system(format!("commit container {id}"), error))?)
        };
        self.make_image(&held, parent, layer, image)
    }

    fn import(self: &Arc<Self>, archive: impl Read, image: &NewImage) -> Result<Digest> {
        let held = self.hold();
        let layer = self.take_layer(&held, archive)?;
        self.make_image(&held, Parent::default(), Some(layer), image)
    }

    fn parent(&self, held: &Held, image: Digest, manifest: &Digest) -> Result<Parent> {
        let content = Content::stored(&self.blobs);
        let read = |digest: &Digest| -> Result<(Vec<u8>, Map<String, Value>)> {
            let bytes = content
                .read(digest)
                .map_err(|error| unreadable(digest, error))?;
            let value = serde_json::from_slice(&bytes)
                .map_err(|error| damaged(format!("image {digest}: {error}")))?;
            Ok((bytes, value))
        };
        let (_, mut document) = read(manifest)?;
        let no_config = || damaged(format!("image {manifest}: it has no config"));
        let config: Digest = document
            .get("config")
            .and_then(|config| config.get("digest"))
            .and_then(Value::as_str)
            .and_then(|digest| digest.parse().ok())
            .ok_or_else(no_config)?;
        let layers = match document.remove("layers") {
            Some(Value::Array(layers)) => layers,
            _ => Vec::new(),
        };
        let blobs = layers
            .iter()
            .filter_map(|layer| layer.get("digest")?.as_str()?.parse().ok());
        {
            let _changes = self.changes();
            held.add(blobs.chain([config.clone()]), []);
        }
        let (bytes, config_value) = read(&config)?;
        let parsed =
            parse_config(&bytes).map_err(|error| damaged(format!("image {config}: {error}")))?;
        Ok(Parent {
            image: Some(image),
            config: config_value,
            layers,
            diff_ids: parsed.diff_ids,
        })
    }

    /// Writes what a container changed as a layer's tar.
    fn write_changes(
        &self,
        id: &ContainerId,
        differences: &[Difference],
        sink: &mut dyn Write,
    ) -> io::Result<()> {
        let whole = self.view(id).map_err(io::Error::other)?;
        let mut tar = Reader::new(sink);
        for difference in differences {
            let path = &difference.path;
            if difference.kind == ChangeKind::Deleted {
                tar.plain(&Head {
                    name: whiteout(path),
                    kind: tarball::FILE,
                    ..Head::default()
                })?;
                continue;
            }
            let folder = whole.folder(path.parent().unwrap_or(Path::new("/")))?;
            let name = path.strip_prefix("/").unwrap_or(path).as_os_str();
            let base = Path::new(path.file_name().unwrap_or_default());
            use std::os::{fd::AsFd, unix::ffi::OsStrExt};
            tar.one(folder.as_fd(), base, name.as_bytes())?;
        }
        tar.finish()?.flush()
    }

    /// Packs what is written and keeps it as a blob.
    fn store_layer(
        &self,
        held: &Held,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Layer> {
        let draft = self.draft("commit").map_err(io::Error::other)?;
        let path = draft.0.join("layer");
        let packed = Digesting::new(File::create_new(&path)?);
        let packed = GzEncoder::new(packed, flate2::Compression::default());
        let mut plain = BufWriter::with_capacity(CHUNK_BYTES, Digesting::new(packed));
        write(&mut plain)?;
        let plain = plain.into_inner().map_err(io::IntoInnerError::into_error)?;
        let (diff_id, _, packed) = plain.finish();
        let (digest, size, file) = packed.finish()?.finish();
        file.sync_data()?;
        self.keep(held, &path, &digest)?;
        let descriptor = Descriptor {
            media_type: LAYER_GZIP.to_owned(),
            digest,
            size,
        };
        Ok(Layer {
            descriptor,
            diff_id,
        })
    }

    /// Keeps a layer that comes from outside: packed as it came, if images may have it like that.
    fn take_layer(&self, held: &Held, mut archive: impl Read) -> Result<Layer> {
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(_) => system("import an image", error),
            None => invalid(error),
        };
        let mut head = Vec::new();
        Read::take(&mut archive, 4)
            .read_to_end(&mut head)
            .map_err(failed)?;
        let compression = Compression::of(&head);
        let mut whole = Read::chain(&head[..], archive);
        let media_type = match compression {
            Compression::Gzip => LAYER_GZIP,
            Compression::Zstd => LAYER_ZSTD,
            _ => {
                let (_, mut plain) = decoder(whole).map_err(failed)?;
                let layer = self.store_layer(held, |sink| io::copy(&mut plain, sink).map(drop));
                return layer.map_err(failed);
            }
        };
        let draft = self.draft("import")?;
        let path = draft.0.join("layer");
        let mut packed = Digesting::new(File::create_new(&path).map_err(failed)?);
        io::copy(&mut whole, &mut packed).map_err(failed)?;
        let (digest, size, file) = packed.finish();
        file.sync_data().map_err(failed)?;
        let again = File::open(&path).map_err(failed)?;
        let (_, plain) = decoder(again).map_err(failed)?;
        let (diff_id, _) = Hashing::new(plain).finish().map_err(failed)?;
        self.keep(held, &path, &digest).map_err(failed)?;
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
        };
        Ok(Layer {
            descriptor,
            diff_id,
        })
    }

    /// Moves a file to where blobs are.
    fn keep(&self, held: &Held, path: &Path, digest: &Digest) -> io::Result<()> {
        let _changes = self.changes();
        held.add([digest.clone()], []);
        fs::rename(path, self.blobs.path(digest))
    }

    fn keep_document(&self, held: &Held, media_type: &str, document: &Value) -> Result<Descriptor> {
        let failed = |error: io::Error| system("write an image", error);
        let bytes = serde_json::to_vec(document).map_err(|error| failed(error.into()))?;
        let digest = Digest::of(&bytes);
        let draft = self.draft("document")?;
        let path: PathBuf = draft.0.join("document");
        let mut file = File::create_new(&path).map_err(failed)?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(failed)?;
        self.keep(held, &path, &digest).map_err(failed)?;
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len() as u64,
        })
    }

    fn make_image(
        self: &Arc<Self>,
        held: &Held,
        mut parent: Parent,
        layer: Option<Layer>,
        image: &NewImage,
    ) -> Result<Digest> {
        let is_empty = layer.is_none();
        if let Some(layer) = layer {
            parent.diff_ids.push(layer.diff_id);
            {
                let _changes = self.changes();
                held.add([], chain_ids(&parent.diff_ids));
            }
            let source = Source {
                path: &self.blobs.path(&layer.descriptor.digest),
                digest: &layer.descriptor.digest,
                diff_ids: &parent.diff_ids,
            };
            self.unpack_layer(&source, None)
                .map_err(|error| error.into_error(ErrorKind::InvalidParameter))?;
            parent.layers.push(described(&layer.descriptor));
        }
        let config = config_of(&parent, image, is_empty, &self.host)?;
        let config = self.keep_document(held, CONFIG, &config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described(&config),
            "layers": parent.layers,
        });
        let descriptor = self.keep_document(held, OCI_MANIFEST, &manifest)?;
        let id = descriptor.digest.clone();
        let target = Target {
            parent: parent.image,
            ..Target::new(descriptor, now())
        };
        let name: Option<Reference> = image.name.as_ref().map(canonical);
        let changes = self.changes();
        self.rename(&changes, |names| match &name {
            Some(name) => names.assign(name, target),
            None => names.keep(target),
        })?;
        Ok(id)
    }
}

fn described(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest.to_string(),
        "size": descriptor.size,
    })
}

/// The config of a new image, on the one below it.
fn config_of(parent: &Parent, image: &NewImage, is_empty: bool, host: &Platform) -> Result<Value> {
    let text = |key: &str| {
        parent
            .config
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let platform = match &image.platform {
        Some(platform) => Platform::parse(platform)?,
        None if text("os").is_empty() => host.clone(),
        None => Platform::new(text("os"), text("architecture"), text("variant")),
    };
    let author = if image.author.is_empty() {
        text("author")
    } else {
        &image.author
    };
    let mut step = Map::new();
    step.insert("created".to_owned(), image.created.clone().into());
    for (key, value) in [
        ("created_by", image.created_by.as_str()),
        ("author", author),
        ("comment", &image.comment),
    ] {
        if !value.is_empty() {
            step.insert(key.to_owned(), value.into());
        }
    }
    if is_empty {
        step.insert("empty_layer".to_owned(), true.into());
    }
    let mut history = match parent.config.get("history") {
        Some(Value::Array(history)) => history.clone(),
        _ => Vec::new(),
    };
    history.push(step.into());
    let diff_ids: Vec<String> = parent.diff_ids.iter().map(Digest::to_string).collect();
    let mut config = json!({
        "created": image.created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    for (key, value) in [("author", author), ("variant", platform.variant.as_str())] {
        if !value.is_empty() {
            config[key] = value.into();
        }
    }
    Ok(config)
}

/// Hashes and counts what is written through it.
struct Digesting<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Digesting<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    fn finish(self) -> (Digest, u64, W) {
        let digest = Digest::from_sha256(&self.hash.finalize().into());
        (digest, self.bytes, self.inner)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
