//! Registries. Served by `registry`. Spec: OCI distribution 1.1.

use async_trait::async_trait;
use errdefs::Result;
use oci::Reference;

use super::{ByteReader, images::Descriptor};

/// What a client gave in `X-Registry-Auth`, decoded. Never logged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Token that stands for both.
    pub identity_token: String,
    /// Bearer token given by the client.
    pub registry_token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Talks to registries.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The document a name points at: an index or a manifest, checked against its digest.
    ///
    /// # Errors
    /// Docker's texts, e.g. `NotFound`: `failed to resolve reference "localhost:5000/a:b": localhost:5000/a:b: not found`; `System` when the
    /// registry cannot be reached, with its address and the cause.
    async fn manifest(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<(Descriptor, Vec<u8>)>;

    /// A blob's bytes from `offset` on. The second part is where they really begin: 0 when the registry cannot resume.
    async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        offset: u64,
        credentials: Option<&Credentials>,
    ) -> Result<(ByteReader, u64)>;

    /// Whether credentials are good for a server (`host[:port]`, with or without scheme and path; empty: Docker Hub). Answers with a token that
    /// stands for them from now on, or with nothing when the registry has none.
    ///
    /// # Errors
    /// Docker's texts, e.g. `login attempt to https://reg.example/v2/ failed with status: 401 Unauthorized`.
    async fn login(&self, server: &str, credentials: &Credentials) -> Result<String>;
}
