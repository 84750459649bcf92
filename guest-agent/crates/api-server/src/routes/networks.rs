//! Networks.

use engine::Engine;

use super::{Answer, json, no_content, not_there};
use crate::call::Call;

pub(super) async fn answer(engine: &Engine, call: Call) -> Answer {
    match call.operation {
        "network_list" => json(&engine.list_networks(&call.query.filters()?).await?),
        "network_inspect" => json(&engine.inspect_network(&call.name).await?),
        "network_delete" => {
            engine.remove_network(&call.name).await?;
            no_content()
        }
        "network_prune" => json(&engine.prune_networks(&call.query.filters()?)?),
        _ => Err(not_there(&call)),
    }
}
