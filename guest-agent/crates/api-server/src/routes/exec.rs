//! Execs.

use std::sync::Arc;

use docker_api::exec::ExecStartConfig;
use engine::Engine;
use http::StatusCode;

use super::{Answer, empty, json, not_there, streams};
use crate::{call::Call, keys, splice::Output};

pub(super) async fn answer(engine: &Arc<Engine>, mut call: Call) -> Answer {
    match call.operation {
        "exec_start" => {
            let start: ExecStartConfig = call.json_or_default().await?;
            if start.detach {
                engine.start_exec_detached(&call.name, &start).await?;
                return empty(StatusCode::OK);
            }
            let shown = engine.inspect_exec(&call.name)?;
            let attachment = engine.start_exec(&call.name, &start)?;
            let watched = attachment.tty && shown.open_stdin;
            let keys = watched
                .then(|| keys::parse(&shown.detach_keys))
                .transpose()?;
            let output = match (attachment.tty, start.tty) {
                (true, false) => Output::Framed,
                (false, true) => Output::Bare,
                _ => Output::AsItComes,
            };
            streams::hand_over(call, attachment, keys, output)
        }
        "exec_resize" => {
            let (rows, columns) = streams::size(&call)?;
            engine.resize_exec(&call.name, rows, columns).await?;
            empty(StatusCode::OK)
        }
        "exec_inspect" => json(&engine.inspect_exec(&call.name)?),
        _ => Err(not_there(&call)),
    }
}
