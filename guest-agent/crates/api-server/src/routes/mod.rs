//! The operations, one file per resource.

mod builds;
mod commit;
mod containers;
mod credentials;
mod events;
mod exec;
mod files;
mod images;
mod networks;
mod plugins;
mod stats;
mod streams;
mod system;
mod usage;
mod volumes;
mod websocket;

use axum::body::Body;
use engine::Engine;
use errdefs::{Error, ErrorKind, Result};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use std::sync::Arc;

use crate::{Api, call::Call, error, route};

const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

/// What an operation gives.
type Answer = Result<Response<Body>>;

/// Runs one operation.
pub(crate) async fn answer(api: &Api, call: Call) -> Response<Body> {
    let answer = match call.operation {
        "system_ping" | "system_ping_head" => Ok(system::ping()),
        "system_version" => Ok(system::version(api)),
        _ => match &api.engine {
            Some(engine) => of_engine(engine, call).await,
            None => Err(not_there(&call)),
        },
    };
    answer.unwrap_or_else(|error| error::response(&error))
}

async fn of_engine(engine: &Arc<Engine>, call: Call) -> Answer {
    if let "container_archive"
    | "container_archive_info"
    | "put_container_archive"
    | "container_changes"
    | "container_export" = call.operation
    {
        return files::answer(engine, call).await;
    }
    match call
        .operation
        .split_once('_')
        .map_or(call.operation, |(resource, _)| resource)
    {
        "container" => containers::answer(engine, call).await,
        "exec" => exec::answer(engine, call).await,
        "image" => images::answer(engine, call).await,
        "volume" => volumes::answer(engine, call).await,
        "network" => networks::answer(engine, call).await,
        "plugin" => plugins::answer(engine, call).await,
        "build" => builds::answer(call).await,
        "system" => system::answer(engine, call).await,
        "distribution" => {
            let credentials = credentials::of(&call.headers);
            let shown = engine.inspect_distribution(&call.name, credentials.as_ref());
            json(&shown.await?)
        }
        _ => Err(not_there(&call)),
    }
}

/// What is not served.
fn not_there(call: &Call) -> Error {
    if route::needs_swarm(call.pattern) {
        return Error::new(ErrorKind::Unavailable, NO_SWARM);
    }
    Error::new(
        ErrorKind::NotImplemented,
        format!(
            "{} is not implemented by this version of Berth",
            call.operation
        ),
    )
}

fn json<T: serde::Serialize>(value: &T) -> Answer {
    Ok(error::json(StatusCode::OK, value))
}

fn created<T: serde::Serialize>(value: &T) -> Answer {
    Ok(error::json(StatusCode::CREATED, value))
}

fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Ok(response)
}

fn no_content() -> Answer {
    empty(StatusCode::NO_CONTENT)
}

/// A stream that begins at once.
fn streaming(content_type: &'static str, body: Body) -> Answer {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// A JSON line.
fn line<T: serde::Serialize>(value: &T) -> bytes::Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
