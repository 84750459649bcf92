//! The local volume driver: a folder for each volume, and what is known about it beside its content.
//!
//! ```text
//! <root>/web/_data         the content; what containers see
//! <root>/web/volume.json   labels, options, creation time
//! <root>/.new-…  .trash-…  on the way in or out; swept at start
//! ```
//!
//! A volume comes into being by one rename and goes by one, so a crash leaves a whole volume or none. A folder somebody made or damaged by
//! hand is still a volume as long as it holds `_data`: data is never hidden because its label is unreadable.
//!
//! This room refuses to know who uses a volume; `engine` asks containers before it removes one.

mod inside;
mod metadata;
mod mounting;
mod options;
mod size;
mod store;

pub use store::LocalVolumes;
