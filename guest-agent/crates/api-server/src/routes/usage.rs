//! `GET /system/df`.

use docker_api::usage::Usage;
use engine::Engine;
use errdefs::{Error, ErrorKind};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Answer, json as answer_json};
use crate::{call::Call, compat, version::ApiVersion};

/// Since then a client may choose what is looked at.
const TYPES_SINCE: ApiVersion = ApiVersion::v1(42);
/// Since then there is a sum of each kind, and the old form only for clients that do not say `verbose`.
const SUMS_SINCE: ApiVersion = ApiVersion::v1(52);

const KINDS: [&str; 4] = ["image", "container", "volume", "build-cache"];

pub(super) async fn answer(engine: &Engine, call: &Call) -> Answer {
    let mut wanted: Vec<&str> = call.query.all("type").collect();
    if call.version < TYPES_SINCE || wanted.is_empty() {
        wanted = KINDS.to_vec();
    }
    if let Some(unknown) = wanted.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("unknown object type: {unknown}"),
        ));
    }
    let wants = |kind: &str| wanted.contains(&kind);
    let sums = call.version >= SUMS_SINCE;
    let verbose = sums && call.query.flag("verbose");
    let mut shown = Shown {
        fields: Map::new(),
        sums,
        verbose,
    };
    if !verbose {
        shown.fields.insert("LayersSize".into(), json!(0));
    }
    if !sums {
        // What is not asked for.
        for old in ["Images", "Containers", "Volumes", "BuildCache"] {
            shown.fields.insert(old.into(), Value::Null);
        }
    }
    if wants("image") {
        let mut usage = engine.usage_of_images().await?;
        usage.items = compat::measured_images(usage.items, call.version);
        if !verbose {
            let size = json!(usage.total_size);
            shown.fields.insert("LayersSize".into(), size);
        }
        shown.add("Images", "ImageUsage", usage);
    }
    if wants("container") {
        let mut usage = engine.usage_of_containers().await?;
        usage.items = compat::containers(usage.items, call.version);
        shown.add("Containers", "ContainerUsage", usage);
    }
    if wants("volume") {
        let usage = engine.usage_of_volumes().await?;
        shown.add("Volumes", "VolumeUsage", usage);
    }
    if wants("build-cache") {
        // No builder, no cache.
        shown.add("BuildCache", "BuildCacheUsage", Usage::<Value>::default());
    }
    answer_json(&shown.fields)
}

/// The answer as it grows.
struct Shown {
    fields: Map<String, Value>,
    sums: bool,
    verbose: bool,
}

impl Shown {
    /// Adds a kind in the forms that are shown.
    fn add<T: Serialize>(&mut self, old: &str, sum: &str, mut usage: Usage<T>) {
        if !self.verbose {
            self.fields.insert(old.to_owned(), json!(usage.items));
            usage.items.clear();
        }
        if self.sums {
            self.fields.insert(sum.to_owned(), json!(usage));
        }
    }
}
