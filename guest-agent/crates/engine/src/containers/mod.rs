//! Containers: what they are, how they stand, and everything that can be done with them.
//!
//! ```text
//!   record  what was asked for, durable          ┐
//!   state   how it stands, pure transitions      ├─ container: one of each, a lock for its life, a watch for who waits
//!   life    state + how often it ended           ┘
//!   create ─► start ─► exit (restart | remove)   each use case in a file of its own
//! ```

pub mod archive;
pub mod attach;
mod changes;
mod clients;
pub(crate) mod container;
mod create;
pub(crate) mod exit;
mod export;
pub mod health;
mod index;
mod inspect;
mod joined;
pub(crate) mod links;
pub mod list;
mod logs;
pub(crate) mod merge;
pub(crate) mod mounts;
pub(crate) mod name;
mod network_events;
mod network_files;
mod paths;
pub mod prune;
pub mod record;
mod recover;
mod remove;
mod rename;
pub(crate) mod signals;
mod start;
pub mod state;
mod status;
mod steps;
mod tree;
mod update;
mod wait;

pub use archive::{NamedStat, PutOptions};
pub use attach::{AttachOptions, Attachment};
pub use create::Created;
pub use index::Index;
pub use list::ListOptions;
pub use remove::RemoveOptions;
pub use wait::{WaitCondition, Waiting};
