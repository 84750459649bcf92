//! Containers.

use std::sync::Arc;

use axum::body::Body;
use docker_api::{ContainerCreateRequest, ContainerCreateResponse, HostConfig, exec::ExecConfig};
use engine::{
    Engine,
    containers::{ListOptions, RemoveOptions, WaitCondition},
};
use errdefs::{Error, ErrorKind};
use http::StatusCode;
use serde_json::json;

use super::{
    Answer, created, empty, json, line, no_content, not_there, stats, streaming, streams, websocket,
};
use crate::{call::Call, compat, keys, version::ApiVersion};

/// Since then a limit of processes can be changed.
const PIDS_UPDATE_SINCE: ApiVersion = ApiVersion::v1(40);

pub(super) async fn answer(engine: &Arc<Engine>, mut call: Call) -> Answer {
    let name = call.name.clone();
    match call.operation {
        "container_list" => {
            let options = ListOptions {
                all: call.query.flag("all"),
                limit: call
                    .number("limit")?
                    .and_then(|limit| usize::try_from(limit).ok())
                    .unwrap_or(0),
                size: call.query.flag("size"),
                filters: call.query.filters()?,
            };
            let listed = engine.list_containers(&options).await?;
            json(&compat::containers(listed, call.version))
        }
        "container_create" => {
            let request: Option<ContainerCreateRequest> = call.json().await?;
            let mut request = request.ok_or_else(|| {
                let text = "config cannot be empty in order to create a container";
                Error::new(ErrorKind::InvalidParameter, text)
            })?;
            let read_only = compat::create(&mut request, call.version)?;
            let name = call.query.get("name").map(str::to_owned);
            let platform = call
                .query
                .get("platform")
                .filter(|text| !text.is_empty())
                .map(str::to_owned);
            let made = engine
                .create_container(name, platform, request, read_only)
                .await?;
            created(&ContainerCreateResponse {
                id: made.id.to_string(),
                warnings: made.warnings,
            })
        }
        "container_inspect" => {
            let shown = engine
                .inspect_container(&name, call.query.flag("size"))
                .await?;
            json(&compat::container(shown, call.version))
        }
        "container_start" => {
            if !hyper::body::Body::is_end_stream(&call.body)
                && call
                    .json_or_default::<serde_json::Value>()
                    .await
                    .is_ok_and(|body| body.as_object().is_some_and(|body| !body.is_empty()))
            {
                return Err(Error::new(
                    ErrorKind::InvalidParameter,
                    "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
                ));
            }
            if !call.query.get("checkpoint").unwrap_or_default().is_empty() {
                return Err(no_checkpoints(engine.settings().experimental));
            }
            engine.start_container(&name).await?;
            no_content()
        }
        "container_stop" => {
            engine
                .stop_container(&name, call.query.get("signal"), call.number("t")?)
                .await?;
            no_content()
        }
        "container_restart" => {
            engine
                .restart_container(&name, call.query.get("signal"), call.number("t")?)
                .await?;
            no_content()
        }
        "container_kill" => {
            engine
                .kill_container(&name, call.query.get("signal"))
                .await?;
            no_content()
        }
        "container_pause" => {
            engine.pause_container(&name).await?;
            no_content()
        }
        "container_unpause" => {
            engine.unpause_container(&name).await?;
            no_content()
        }
        "container_rename" => {
            engine
                .rename_container(&name, call.query.get("name").unwrap_or_default())
                .await?;
            no_content()
        }
        "container_delete" => {
            if call.query.flag("link") {
                engine.remove_link(&name).await?;
                return no_content();
            }
            let options = RemoveOptions {
                force: call.query.flag("force"),
                volumes: call.query.flag("v"),
            };
            engine.remove_container(&name, options).await?;
            no_content()
        }
        "container_wait" => {
            let condition: WaitCondition =
                call.query.get("condition").unwrap_or_default().parse()?;
            let waiting = engine.wait_for_container(&name, condition)?;
            // The head goes out at once: from then on the client knows that nothing is missed.
            let end = futures_util::stream::once(async move {
                Ok::<_, std::io::Error>(line(&waiting.end().await))
            });
            streaming("application/json", Body::from_stream(end))
        }
        "container_update" => {
            let mut asked: HostConfig = call.json_or_default().await?;
            if call.version < PIDS_UPDATE_SINCE {
                asked.pids_limit = None;
            }
            json(&engine.update_container(&name, asked).await?)
        }
        "container_top" => json(
            &engine
                .top_container(&name, call.query.get("ps_args").unwrap_or_default())
                .await?,
        ),
        "container_stats" => stats::stats(engine, &call).await,
        "container_attach_websocket" => websocket::attach(engine, call).await,
        "container_attach" => streams::attach(engine, call).await,
        "container_logs" => streams::logs(engine, call).await,
        "container_resize" => {
            let (rows, columns) = streams::size(&call)?;
            engine.resize_container(&name, rows, columns).await?;
            empty(StatusCode::OK)
        }
        "container_exec" => {
            let config: ExecConfig = call.json_or_default().await?;
            keys::parse(&config.detach_keys).map_err(|_| {
                // Docker's other words and status for the same fault.
                let text = format!("Invalid escape keys ({}) provided", config.detach_keys);
                Error::new(ErrorKind::System, text)
            })?;
            let id = engine.create_exec(&name, config).await?;
            created(&json!({"Id": id.to_string()}))
        }
        "container_prune" => json(&engine.prune_containers(&call.query.filters()?).await?),
        _ => Err(not_there(&call)),
    }
}

/// Docker has checkpoints only as an experiment, and we have none.
fn no_checkpoints(experimental: bool) -> Error {
    if experimental {
        let text = "checkpoints are not implemented by this version of Berth";
        return Error::new(ErrorKind::NotImplemented, text);
    }
    let text = "checkpoint is only supported in experimental mode";
    Error::new(ErrorKind::InvalidParameter, text)
}
