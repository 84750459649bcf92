//! The port, served.

use std::sync::Arc;

use async_trait::async_trait;
use engine::ports::{
    ByteReader,
    images::Descriptor,
    registry::{Credentials, Registry},
};
use errdefs::Result;
use oci::Reference;

use crate::{
    Settings, auth::Grants, blob, endpoint::Insecure, login, manifest, transport::Transport,
};

/// Talks to registries.
#[derive(Debug)]
pub struct RegistryClient {
    pub(crate) transport: Transport,
    pub(crate) grants: Grants,
    pub(crate) insecure: Arc<Insecure>,
}

impl RegistryClient {
    /// Nothing is asked or read yet.
    ///
    /// # Errors
    /// `InvalidParameter`: an entry of `insecure_registries` is neither a name nor a network.
    pub fn new(settings: &Settings) -> Result<Self> {
        let insecure = Arc::new(Insecure::parse(&settings.insecure_registries)?);
        Ok(Self {
            transport: Transport::new(settings, Arc::clone(&insecure))?,
            grants: Grants::default(),
            insecure,
        })
    }
}

#[async_trait]
impl Registry for RegistryClient {
    async fn manifest(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<(Descriptor, Vec<u8>)> {
        manifest::fetch(self, reference, credentials).await
    }

    async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        offset: u64,
        credentials: Option<&Credentials>,
    ) -> Result<(ByteReader, u64)> {
        blob::open(self, reference, descriptor, offset, credentials).await
    }

    async fn login(&self, server: &str, credentials: &Credentials) -> Result<String> {
        login::login(self, server, credentials).await
    }
}
