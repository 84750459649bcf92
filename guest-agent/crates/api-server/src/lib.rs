//! The Docker Engine API over HTTP/1.1.
//!
//! This room turns requests into typed input, calls one use case of `engine`, and turns its result into Docker's answer. It decides
//! nothing about containers. Everything a client sends is read by the pure functions in [`version`], [`query`], [`json`], [`route`] and
//! [`frames`]; every error becomes a status in [`error`].
//!
//! What is not served yet answers `501`, what belongs to a swarm `503`.

#![recursion_limit = "256"] // one JSON object of 60 fields

mod call;
mod compat;
pub mod error;
pub mod frames;
mod head;
pub mod json;
mod keys;
pub mod query;
mod rest;
pub mod route;
mod routes;
mod server;
mod spare;
mod splice;
mod sys;
pub mod version;
mod websocket;

use std::sync::Arc;

use docker_api::SystemVersion;
use engine::Engine;

pub use server::{Accept, serve};

/// What the operations are served from.
#[derive(Debug)]
pub struct Api {
    version: SystemVersion,
    engine: Option<Arc<Engine>>,
}

impl Api {
    /// An API that only says who it is. The served range of API versions is filled in here.
    pub fn new(mut version: SystemVersion) -> Self {
        version.api_version = version::OFFERED.to_string();
        version.min_api_version = version::MIN.to_string();
        Self {
            version,
            engine: None,
        }
    }

    /// The same, with everything an engine can do.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<Engine>) -> Self {
        self.engine = Some(engine);
        self
    }
}
