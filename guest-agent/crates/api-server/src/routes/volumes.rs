//! Volumes.

use docker_api::volume::VolumeCreate;
use engine::Engine;

use super::{Answer, created, json, no_content, not_there};
use crate::call::Call;

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
        "volume_prune" => json(&engine.prune_volumes(&call.query.filters()?).await?),
        _ => Err(not_there(&call)),
    }
}
