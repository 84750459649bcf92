//! Volumes.

use docker_api::volume::VolumeCreate;
use engine::Engine;

use super::{Answer, created, json, no_content, not_there};
use crate::{call::Call, version::ApiVersion};

/// Since then named volumes are pruned only when asked for.
const ALL_BY_WISH_SINCE: ApiVersion = ApiVersion::v1(42);

pub(super) async fn answer(engine: &Engine, mut call: Call) -> Answer {
    match call.operation {
        "volume_list" => json(&engine.list_volumes(&call.query.filters()?).await?),
        "volume_create" => {
            let wish: VolumeCreate = call.json_or_default().await?;
            created(&engine.create_volume(wish).await?)
        }
        "volume_inspect" => json(&engine.inspect_volume(&call.name).await?),
        "volume_delete" => {
            engine
                .remove_volume(&call.name, call.query.flag("force"))
                .await?;
            no_content()
        }
        "volume_prune" => {
            let mut filters = call.query.filters()?;
            if call.version < ALL_BY_WISH_SINCE {
                filters.insert("all".to_owned(), ["true".to_owned()].into());
            }
            json(&engine.prune_volumes(&filters).await?)
        }
        _ => Err(not_there(&call)),
    }
}
