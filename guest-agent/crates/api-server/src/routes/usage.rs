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
        // Before there were sums, what was not asked for was null.
        null: !sums,
        old: !verbose,
        sums,
        verbose,
    };
    if !verbose {
        shown.fields.insert("LayersSize".into(), json!(0));
    }
    let images = match wants("image") {
        true => Some(engine.usage_of_images().await?),
        false => None,
    };
    if let Some(usage) = images.as_ref().filter(|_| !verbose) {
        shown
            .fields
            .insert("LayersSize".into(), json!(usage.total_size));
    }
    let images = images.map(|usage| Usage {
        items: compat::measured_images(usage.items, call.version),
        ..usage
    });
    shown.add("Images", "ImageUsage", images);
    let containers = match wants("container") {
        true => Some(engine.usage_of_containers().await?),
        false => None,
    };
    let containers = containers.map(|usage| Usage {
        items: compat::containers(usage.items, call.version),
        ..usage
    });
    shown.add("Containers", "ContainerUsage", containers);
    let volumes = match wants("volume") {
        true => Some(engine.usage_of_volumes().await?),
        false => None,
    };
    shown.add("Volumes", "VolumeUsage", volumes);
    // No builder, no cache.
    let cache = wants("build-cache").then(Usage::<Value>::default);
    shown.add("BuildCache", "BuildCacheUsage", cache);
    answer_json(&shown.fields)
}

/// The answer as it grows.
struct Shown {
    fields: Map<String, Value>,
    null: bool,
    old: bool,
    sums: bool,
    verbose: bool,
}

impl Shown {
    /// Adds a kind in the forms that are shown.
    fn add<T: Serialize>(&mut self, old: &str, sum: &str, usage: Option<Usage<T>>) {
        let Some(mut usage) = usage else {
            if self.null {
                self.fields.insert(old.to_owned(), Value::Null);
            }
            return;
        };
        if self.old {
            self.fields.insert(old.to_owned(), json!(usage.items));
        }
        if self.sums {
            if !self.verbose {
                usage.items.clear();
            }
            self.fields.insert(sum.to_owned(), json!(usage));
        }
    }
}
