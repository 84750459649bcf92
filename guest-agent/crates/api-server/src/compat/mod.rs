//! What differs between API versions: requests are brought to what the engine takes, answers to what a client of that version reads.
//!
//! The engine knows one API. Docker API: the version history in the API's documentation, and dockerd's answers version by version.

mod create;
mod shown;

pub(crate) use create::create;
pub(crate) use shown::{container, containers, event, image, images, info, measured_images};
