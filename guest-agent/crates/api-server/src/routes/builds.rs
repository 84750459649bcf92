//! Builds. There is no builder yet, so its cache is empty.

use engine::containers::list::check_names;
use errdefs::{Error, ErrorKind};
use serde_json::json;

use super::{Answer, json as answer_json, not_there};
use crate::call::Call;

/// Filters of the build cache.
const FILTERS: &[&str] = &[
    "description",
    "id",
    "inuse",
    "label",
    "label!",
    "mutable",
    "parent",
    "parents",
    "private",
    "shared",
    "type",
    "unused-for",
    "until",
];

pub(super) async fn answer(call: Call) -> Answer {
    match call.operation {
        "build_prune" => {
            check_names(&call.query.filters()?, FILTERS).map_err(|error: Error| {
                Error::new(ErrorKind::InvalidParameter, error.message().to_owned())
                    .context("failed to prune build cache")
            })?;
            answer_json(&json!({"CachesDeleted": null, "SpaceReclaimed": 0}))
        }
        _ => Err(not_there(&call)),
    }
}
