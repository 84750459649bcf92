//! The Docker Engine API over HTTP/1.1.
//!
//! This room turns requests into typed input, calls one use case of `engine`, and turns its result into Docker's answer. It decides
//! nothing about containers. Everything a client sends is read by the pure functions in [`version`], [`query`], [`json`], [`route`] and
//! [`frames`]; every error becomes a status in [`error`].
//!
//! So far `_ping` and `version` are served; every other operation of API 1.51 answers `501`, those of a swarm `503`.

pub mod error;
pub mod frames;
pub mod json;
pub mod query;
pub mod route;
mod routes;
mod server;
pub mod splice;
pub mod version;

use docker_api::SystemVersion;

pub use server::{Accept, serve};

/// What the operations are served from.
#[derive(Debug)]
pub struct Api {
    version: SystemVersion,
}

impl Api {
    /// An API of the engine that calls itself so. The served range of API versions is filled in here.
    pub fn new(mut engine: SystemVersion) -> Self {
        engine.api_version = version::MAX.to_string();
        engine.min_api_version = version::MIN.to_string();
        Self { version: engine }
    }
}
