//! Saying who asks.
//!
//! A registry answers 401 with challenges. `Bearer` means: get a token from the server it names; `Basic`: name and password with each request. What
//! was found is kept for the repository and these credentials, so that the next request says it at once.

mod base64;
mod cache;
mod challenge;
mod token;

pub(crate) use base64::basic;
pub(crate) use cache::{Grant, Grants, Key};
pub(crate) use challenge::{Challenge, Scheme, challenges};
pub(crate) use token::{Purpose, fetch as fetch_token};
