//! Talks to registries: documents by name, blobs by digest, logins.
//!
//! [`RegistryClient`] serves [`engine::ports::registry::Registry`]. It knows nothing of what the bytes mean or where they are kept.
//!
//! ```text
//!   client ──► exchange ──► transport ──► dns, TCP, TLS
//!   (manifest,  (401 → auth,   (one pool; plain HTTP only
//!    blob,       redirects,      for who may speak it)
//!    login)      one retry)
//! ```
//!
//! A registry is hostile: heads, documents, tokens and errors have bounds, a blob gives as many bytes as its descriptor says, a document is checked
//! against its digest, credentials go to the registry and to the token server it names and never to where a blob is redirected.
//!
//! Only what is asked by GET is asked twice. Nothing here calls `getaddrinfo`, which a static binary does not have.
//!
//! Spec: OCI distribution 1.1; distribution's token authentication. Texts are those of dockerd 28.5 with the containerd image store.

mod auth;
mod blob;
mod body;
mod client;
mod dns;
mod endpoint;
mod exchange;
mod failure;
mod login;
mod manifest;
mod reply;
mod settings;
mod transport;

pub use client::RegistryClient;
pub use dns::resolve;
pub use settings::{Settings, Timeouts};
