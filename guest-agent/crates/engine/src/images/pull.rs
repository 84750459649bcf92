//! Brings an image from a registry.
//!
//! ```text
//!   name ─► document (index ─► manifest of the platform) ─► config ─► layers, some at a time ─► unpacked base first ─► named
//! ```

use std::sync::Arc;

use errdefs::{Error, ErrorKind, Result};
use futures_util::{StreamExt, future::BoxFuture, stream};
use oci::{Digest, Platform, Reference};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::reference;
use crate::{
    Engine,
    ports::{
        images::{Descriptor, Ingest, Progress, ProgressSender},
        registry::Credentials,
    },
};

/// Layers that are fetched at a time.
const AT_A_TIME: usize = 3;
/// Tries of one layer; each goes on where the last one ended.
const TRIES: u32 = 5;
/// One read of a layer.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes between two steps of progress.
const STEP_BYTES: u64 = 512 << 10;
/// Entries of one document.
const MAX_ENTRIES: usize = 4096;

/// What to pull. Docker API: POST /images/create.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// `fromImage`.
    pub name: String,
    /// `tag`: a tag or a digest; empty: the name's own, or `latest`.
    pub tag: String,
    /// `platform`; none: this machine's.
    pub platform: Option<String>,
    /// The client's credentials for the registry.
    pub credentials: Option<Credentials>,
}

#[derive(Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) manifests: Vec<Entry>,
    pub(super) config: Option<Entry>,
    #[serde(default)]
    layers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    pub(super) platform: Option<Platform>,
}

impl Entry {
    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

/// One pull under way.
struct Pull {
    engine: Arc<Engine>,
    name: Reference,
    credentials: Option<Credentials>,
    ingest: Box<dyn Ingest>,
    progress: ProgressSender,
}

impl PullRequest {
    /// The full name, and the part of it that is told as the id of the first line.
    ///
    /// # Errors
    /// `InvalidParameter` in Docker's words.
    pub fn reference(&self) -> Result<Reference> {
        let text = match self.tag.as_str() {
            "" => self.name.clone(),
            digest if digest.contains(':') => format!("{}@{digest}", self.name),
            tag => format!("{}:{tag}", self.name),
        };
        Ok(reference(&text)?.or_latest())
    }
}

impl Engine {
    /// Pulls it; what happens is told line by line, as Docker does.
    ///
    /// # Errors
    /// In Docker's words, before or after the first line. What was fetched is kept for the next try, but no image.
    pub async fn pull_image(
        self: &Arc<Self>,
        request: PullRequest,
        progress: ProgressSender,
    ) -> Result<()> {
        let name = request.reference()?;
        let platform = request
            .platform
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(Platform::parse)
            .transpose()?;
        let registry = &self.ports.registry;
        let (target, document) = registry
            .manifest(&name, request.credentials.as_ref())
            .await?;
        let tag = name
            .tag()
            .map(str::to_owned)
            .or_else(|| name.digest().map(ToString::to_string));
        let before = self
            .ports
            .images
            .get(&name.familiar(), None)
            .await
            .ok()
            .map(|image| image.target.digest);
        let pull = Pull {
            engine: Arc::clone(self),
            ingest: self.ports.images.ingest().await?,
            credentials: request.credentials,
            progress,
            name,
        };
        pull.tell(
            tag.as_deref().unwrap_or_default(),
            &format!("Pulling from {}", pull.repository()),
        )
        .await;
        let manifest = pull.fetch(&target, &document, platform.as_ref()).await?;
        pull.ingest.finish(&pull.name, &target, &manifest).await?;
        pull.tell("", &format!("Digest: {}", target.digest)).await;
        let familiar = pull.name.familiar();
        let status = if before.as_ref() == Some(&target.digest) {
            format!("Status: Image is up to date for {familiar}")
        } else {
            format!("Status: Downloaded newer image for {familiar}")
        };
        pull.tell("", &status).await;
        self.tell(
            "image",
            "pull",
            &familiar,
            &[("name", &pull.name.familiar_name())],
        );
        Ok(())
    }
}

impl Pull {
    /// The path as Docker tells it: without the registry.
    fn repository(&self) -> &str {
        self.name.path()
    }

    async fn tell(&self, id: &str, status: &str) {
        let step = Progress {
            id: id.to_owned(),
            status: status.to_owned(),
            bytes: None,
        };
        // Nobody listening is fine.
        let _ = self.progress.send(step).await;
    }

    /// Everything below the target; gives the manifest of the platform.
    async fn fetch(
        &self,
        target: &Descriptor,
        bytes: &[u8],
        platform: Option<&Platform>,
    ) -> Result<Digest> {
        let mut document = parse(bytes, &target.digest)?;
        self.keep(target, bytes).await?;
        let mut manifest = target.digest.clone();
        if document.config.is_none() {
            let entry = choose(&document.manifests, platform)?.descriptor();
            let child = match self.ingest.document(&entry.digest).await? {
                Some(bytes) => bytes,
                None => {
                    let at = self.name.at(entry.digest.clone());
                    let (_, bytes) = self
                        .engine
                        .ports
                        .registry
                        .manifest(&at, self.credentials.as_ref())
                        .await?;
                    self.keep(&entry, &bytes).await?;
                    bytes
                }
            };
            manifest = entry.digest;
            document = parse(&child, &manifest)?;
        }
        let config = document
            .config
            .ok_or_else(|| damaged(format!("manifest {manifest} has no config")))?;
        self.blob(&config.descriptor(), None).await?;
        let config_bytes = self.ingest.document(&config.digest).await?;
        let config_bytes = config_bytes
            .ok_or_else(|| damaged(format!("config {} is too large", config.digest)))?;
        let config: Config = serde_json::from_slice(&config_bytes)
            .map_err(|error| damaged(format!("image config cannot be read: {error}")))?;
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != document.layers.len() {
            return Err(damaged(format!(
                "manifest {manifest} has {} layers and its config {}",
                document.layers.len(),
                diff_ids.len()
            )));
        }
        self.layers(&document.layers, &diff_ids).await?;
        Ok(manifest)
    }

    /// Fetches some at a time and unpacks each on what is below it as soon as both are there.
    async fn layers(&self, layers: &[Entry], diff_ids: &[Digest]) -> Result<()> {
        let mut missing = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let there = self.ingest.has_layer(&diff_ids[..=index]).await?;
            let id = short(&layer.digest);
            self.tell(
                &id,
                if there {
                    "Already exists"
                } else {
                    "Pulling fs layer"
                },
            )
            .await;
            if !there {
                missing.push((index, layer.descriptor()));
            }
        }
        let mut fetched = stream::iter(missing)
            .map(|(index, layer)| self.fetch_layer(index, layer))
            .buffered(AT_A_TIME);
        while let Some(next) = fetched.next().await {
            let (index, layer) = next?;
            self.ingest
                .unpack(&layer, &diff_ids[..=index], self.progress.clone())
                .await?;
            self.tell(&short(&layer.digest), "Pull complete").await;
        }
        Ok(())
    }

    fn fetch_layer(
        &self,
        index: usize,
        layer: Descriptor,
    ) -> BoxFuture<'_, Result<(usize, Descriptor)>> {
        Box::pin(async move {
            self.blob(&layer, Some(&short(&layer.digest))).await?;
            Ok((index, layer))
        })
    }

    async fn keep(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let Some(mut writer) = self.ingest.blob(descriptor).await? else {
            return Ok(());
        };
        if writer.offset() > 0 {
            writer.restart().await?;
        }
        writer.write(bytes).await?;
        writer.commit().await
    }

    /// Fetches a blob unless it is there; a connection that breaks is taken up where it ended.
    async fn blob(&self, descriptor: &Descriptor, id: Option<&str>) -> Result<()> {
        let mut failed = None;
        for _ in 0..TRIES {
            let Some(mut writer) = self.ingest.blob(descriptor).await? else {
                return Ok(());
            };
            match self.fill(writer.as_mut(), descriptor, id).await {
                Ok(()) => {
                    writer.commit().await?;
                    if let Some(id) = id {
                        self.tell(id, "Download complete").await;
                    }
                    return Ok(());
                }
                Err(Broken::ForGood(error)) => return Err(error),
                Err(Broken::Connection(error)) => {
                    tracing::info!(digest = %descriptor.digest, %error, "a download broke off");
                    failed = Some(error);
                }
            }
        }
        let cause = failed.map_or_else(|| "no try was made".to_owned(), |error| error.to_string());
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "download of {} broke off {TRIES} times: {cause}",
                descriptor.digest
            ),
        ))
    }

    async fn fill(
        &self,
        writer: &mut dyn crate::ports::images::BlobWriter,
        descriptor: &Descriptor,
        id: Option<&str>,
    ) -> Result<(), Broken> {
        let registry = &self.engine.ports.registry;
        let offset = writer.offset();
        let opened = registry.blob(&self.name, descriptor, offset, self.credentials.as_ref());
        let (mut body, begins) = opened.await.map_err(Broken::ForGood)?;
        if begins != offset {
            writer.restart().await.map_err(Broken::ForGood)?;
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut told = 0;
        loop {
            let read = body.read(&mut chunk).await.map_err(Broken::Connection)?;
            if read == 0 {
                break;
            }
            writer
                .write(&chunk[..read])
                .await
                .map_err(Broken::ForGood)?;
            let done = writer.offset();
            if let Some(id) = id.filter(|_| done >= told + STEP_BYTES) {
                told = done;
                let bytes = Some((done, Some(descriptor.size)));
                // A slow listener loses a step.
                let _ = self.progress.try_send(Progress {
                    id: id.to_owned(),
                    status: "Downloading".to_owned(),
                    bytes,
                });
            }
        }
        if writer.offset() < descriptor.size {
            return Err(Broken::Connection(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

/// Why a blob is not whole.
enum Broken {
    Connection(std::io::Error),
    ForGood(Error),
}

pub(super) fn parse(bytes: &[u8], digest: &Digest) -> Result<Document> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| damaged(format!("manifest {digest} cannot be read: {error}")))?;
    if document.manifests.len().max(document.layers.len()) > MAX_ENTRIES {
        return Err(damaged(format!(
            "manifest {digest} has more than {MAX_ENTRIES} entries"
        )));
    }
    Ok(document)
}

/// The manifest for a platform, or the one this machine runs best.
fn choose<'a>(manifests: &'a [Entry], platform: Option<&Platform>) -> Result<&'a Entry> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let ranked = manifests.iter().filter_map(|entry| {
        let own = entry.platform.as_ref()?.normalized();
        Some((wanted.preference(&own)?, entry))
    });
    ranked
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("no matching manifest for {wanted} in the manifest list entries"),
            )
        })
}

fn damaged(message: String) -> Error {
    Error::new(ErrorKind::DataLoss, message)
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
