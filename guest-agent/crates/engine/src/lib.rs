//! The engine's use cases: pure decisions over small ports.
//!
//! This room knows no socket, file, clock or process. What it needs of the world comes in through the traits in [`ports`], each served by a
//! room of layer 2 or 3 and put together by `agent`. Use cases are grouped by resource, one folder each; every one is a method that
//! `api-server` calls with parsed, typed input.
//!
//! tokio is here for its `sync` types and the `AsyncRead`/`AsyncWrite` traits only; nothing in this room needs its runtime.

pub mod containers;
mod defaults;
pub mod duration;
mod engine;
pub mod events;
pub mod exec;
pub mod hostile;
pub mod id;
pub mod images;
mod logging;
pub mod networks;
pub mod ports;
pub mod spec;
pub mod stats;
pub mod system;
pub mod time;
mod top;
pub mod volumes;

pub use defaults::Defaults;
pub use engine::{Engine, Ports, Settings};
pub use logging::{DRIVERS as LOG_DRIVERS, check_defaults as check_log_config, parse_memory};
