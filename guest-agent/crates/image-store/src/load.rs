//! Taking in an archive: read, checked as a whole, unpacked, and only then kept.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    path::PathBuf,
    sync::Arc,
};

use engine::ports::images::{Descriptor, Loaded, ProgressSender};
use errdefs::{ErrorKind, Result};
use oci::Digest;

use crate::{
    archive::{Archive, Offered},
    blobs::{Content, ReadError},
    document::{Document, chain_ids},
    error::{invalid, system},
    image::{best, manifests},
    layers::Source,
    names::Target,
    store::{Held, Inner, now},
    stream::decoder,
};

/// Deepest nesting of indexes.
const MAX_DEPTH: u32 = 4;

struct Load<'a> {
    inner: &'a Arc<Inner>,
    staged: HashMap<Digest, PathBuf>,
    /// Blobs that the images need.
    needed: HashSet<Digest>,
    held: Held,
}

/// What was found of an image.
#[derive(Default)]
struct Tally {
    images: u32,
    /// Why another platform is none.
    reason: Option<String>,
}

impl Inner {
    /// Reads an archive and keeps its images.
    pub(crate) fn load(
        self: &Arc<Self>,
        archive: impl io::Read,
        progress: &ProgressSender,
    ) -> Result<Vec<Loaded>> {
        let draft = self.draft("load")?;
        let unread = |error: io::Error| invalid(format!("read the archive: {error}"));
        let (_, mut tar) = decoder(archive).map_err(unread)?;
        let mut archive = Archive::read(&mut tar, &draft.0)?;
        // What follows the archive's end has its checksum in it.
        io::copy(&mut tar, &mut io::sink()).map_err(unread)?;
        let offered = archive.offered()?;
        let mut load = Load {
            inner: self,
            staged: archive.blobs(),
            needed: HashSet::new(),
            held: self.hold(),
        };
        let mut checked = HashSet::new();
        for image in &offered {
            if checked.insert(&image.target.digest) {
                load.check(&image.target)?;
            }
        }
        {
            let _changes = self.changes();
            load.held.add(load.needed.iter().cloned(), []);
        }
        load.is_whole()?;
        for digest in checked {
            load.unpack(digest, &offered, progress)?;
        }
        load.keep(&offered)
    }
}

impl Load<'_> {
    fn content(&self) -> Content<'_> {
        Content {
            blobs: &self.inner.blobs,
            staged: Some(&self.staged),
        }
    }

    /// Every document of an image makes sense, and at least one platform is whole.
    fn check(&mut self, target: &Descriptor) -> Result<()> {
        let mut tally = Tally::default();
        self.check_document(target, MAX_DEPTH, &mut tally)?;
        if tally.images > 0 {
            return Ok(());
        }
        let reason = tally.reason.as_deref();
        Err(invalid(format!(
            "image {}: {}",
            target.digest,
            reason.unwrap_or("no platform of it is in the archive")
        )))
    }

    fn check_document(
        &mut self,
        descriptor: &Descriptor,
        depth: u32,
        tally: &mut Tally,
    ) -> Result<()> {
        let digest = &descriptor.digest;
        let Some(depth) = depth.checked_sub(1) else {
            return Err(invalid(format!("{digest}: indexes are nested too deeply")));
        };
        let document = match self.content().document(digest) {
            // A platform that was not saved.
            Err(ReadError::Missing) => return Ok(()),
            result => result.map_err(|error| refused(digest, error))?,
        };
        match document {
            Document::Index(entries) => {
                self.needed.insert(digest.clone());
                for entry in entries {
                    self.check_document(&entry.descriptor, depth, tally)?;
                }
            }
            Document::Manifest { config, layers } => {
                self.needed.insert(digest.clone());
                let missing = [&config]
                    .into_iter()
                    .chain(
                        layers
                            .iter()
                            .filter(|l| !l.is_foreign)
                            .map(|l| &l.descriptor),
                    )
                    .find(|blob| self.content().path(&blob.digest).is_none());
                if let Some(missing) = missing {
                    tally.reason = Some(format!("blob {} is missing", missing.digest));
                    return Ok(());
                }
                let blobs: Vec<&Descriptor> = [&config]
                    .into_iter()
                    .chain(layers.iter().map(|layer| &layer.descriptor))
                    .collect();
                for blob in blobs {
                    self.check_size(blob)?;
                    self.needed.insert(blob.digest.clone());
                }
                match self.content().config(&config.digest) {
                    // An attestation or another artifact.
                    Err(ReadError::Nonsense(message)) => {
                        tally.reason = Some(message);
                    }
                    result => {
                        let config = result.map_err(|error| refused(digest, error))?;
                        if config.platform.os == "unknown" {
                            return Ok(());
                        }
                        if config.diff_ids.len() != layers.len() {
                            return Err(invalid(format!(
                                "image {digest}: {} layers, and {} diff IDs",
                                layers.len(),
                                config.diff_ids.len()
                            )));
                        }
                        tally.images += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn check_size(&self, blob: &Descriptor) -> Result<()> {
        let Some(path) = self.content().path(&blob.digest) else {
            return Ok(());
        };
        let size = fs::metadata(&path)
            .map_err(|error| system(format!("look at blob {}", blob.digest), error))?
            .len();
        if size == blob.size {
            return Ok(());
        }
        Err(invalid(format!(
            "blob {}: it has {size} bytes, and its descriptor says {}",
            blob.digest, blob.size
        )))
    }

    /// Blobs that are not in the archive were in the store a moment ago; now they are held.
    fn is_whole(&self) -> Result<()> {
        match self
            .needed
            .iter()
            .find(|digest| self.content().path(digest).is_none())
        {
            None => Ok(()),
            Some(digest) => Err(invalid(format!("blob {digest} is missing"))),
        }
    }

    /// Unpacks the platform that this machine would run; others when a container wants them.
    fn unpack(
        &self,
        digest: &Digest,
        offered: &[Offered],
        progress: &ProgressSender,
    ) -> Result<()> {
        let Some(image) = offered.iter().find(|image| image.target.digest == *digest) else {
            return Ok(());
        };
        let manifests = manifests(self.content(), &image.target)
            .map_err(|error| refused(digest, error))?
            .into_iter()
            .filter(|manifest| {
                let is_here = |blob: &Digest| self.needed.contains(blob);
                is_here(&manifest.config.digest)
                    && manifest
                        .layers
                        .iter()
                        .all(|layer| is_here(&layer.descriptor.digest))
            })
            .collect();
        let Some(manifest) = best(manifests, &self.inner.host, None)
            .filter(|manifest| self.inner.host.preference(&manifest.platform).is_some())
        else {
            return Ok(());
        };
        {
            let _changes = self.inner.changes();
            self.held.add([], chain_ids(&manifest.diff_ids));
        }
        for (position, layer) in manifest.layers.iter().enumerate() {
            let digest = &layer.descriptor.digest;
            let Some(path) = self.content().path(digest) else {
                // Foreign, and not here: the image is kept, and cannot be run.
                return Ok(());
            };
            let source = Source {
                path: &path,
                digest,
                diff_ids: &manifest.diff_ids[..=position],
            };
            self.inner
                .unpack_layer(&source, Some(progress))
                .map_err(|error| error.into_error(ErrorKind::InvalidParameter))?;
        }
        Ok(())
    }

    /// Blobs into their place, then the names.
    fn keep(&self, offered: &[Offered]) -> Result<Vec<Loaded>> {
        let failed = |error: io::Error| system("keep the images", error);
        self.inner.sync().map_err(failed)?;
        let changes = self.inner.changes();
        for digest in &self.needed {
            if let Some(path) = self.staged.get(digest)
                && !self.inner.blobs.has(digest)
            {
                fs::rename(path, self.inner.blobs.path(digest)).map_err(failed)?;
            }
        }
        let tagged = now();
        self.inner.rename(&changes, |names| {
            for image in offered {
                let target = Target::new(image.target.clone(), tagged);
                match &image.name {
                    Some(name) => names.assign(name, target),
                    None => names.keep(target),
                }
            }
        })?;
        Ok(loaded(offered))
    }
}

/// One for each image, in the archive's order.
fn loaded(offered: &[Offered]) -> Vec<Loaded> {
    let mut order: Vec<&Digest> = Vec::new();
    let mut names: BTreeMap<&Digest, Vec<String>> = BTreeMap::new();
    for image in offered {
        let digest = &image.target.digest;
        if !order.contains(&digest) {
            order.push(digest);
        }
        let names = names.entry(digest).or_default();
        names.extend(image.name.as_ref().map(oci::Reference::familiar));
    }
    order
        .into_iter()
        .map(|digest| Loaded {
            id: digest.clone(),
            names: names.remove(digest).unwrap_or_default(),
        })
        .collect()
}

fn refused(digest: &Digest, error: ReadError) -> errdefs::Error {
    match error {
        ReadError::Missing => invalid(format!("blob {digest} is missing")),
        ReadError::Nonsense(message) => invalid(message),
        ReadError::Io(error) => system(format!("read {digest}"), error),
    }
}
