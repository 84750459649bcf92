//! The port of images, served.

use std::io::BufReader;

use async_trait::async_trait;
use engine::ports::{
    ByteReader,
    images::{Image, Images, Ingest, Loaded, ProgressSender, Removed},
};
use errdefs::Result;
use oci::Reference;

use crate::{
    store::ImageStore,
    stream::{Blocking, CHUNK_BYTES},
};

#[async_trait]
impl Images for ImageStore {
    async fn list(&self) -> Result<Vec<Image>> {
        self.blocking(|inner| inner.list()).await
    }

    async fn get(&self, reference: &str, platform: Option<&str>) -> Result<Image> {
        let (reference, platform) = (reference.to_owned(), platform.map(str::to_owned));
        self.blocking(move |inner| inner.get(&reference, platform.as_deref()))
            .await
    }

    async fn tag(&self, reference: &str, name: &Reference) -> Result<()> {
        let (reference, name) = (reference.to_owned(), name.clone());
        self.blocking(move |inner| inner.tag(&reference, &name))
            .await
    }

    async fn remove(&self, reference: &str, force: bool) -> Result<Vec<Removed>> {
        let reference = reference.to_owned();
        self.blocking(move |inner| inner.remove(&reference, force))
            .await
    }

    async fn load(&self, archive: ByteReader, progress: ProgressSender) -> Result<Vec<Loaded>> {
        self.blocking(move |inner| {
            let archive = BufReader::with_capacity(CHUNK_BYTES, Blocking::new(archive));
            inner.load(archive, &progress)
        })
        .await
    }

    async fn save(&self, references: &[String], platform: Option<&str>) -> Result<ByteReader> {
        let (references, platform) = (references.to_vec(), platform.map(str::to_owned));
        self.blocking(move |inner| inner.save(&references, platform.as_deref()))
            .await
    }

    async fn ingest(&self) -> Result<Box<dyn Ingest>> {
        Ok(Box::new(crate::ingest::Session::new(&self.inner)))
    }
}
