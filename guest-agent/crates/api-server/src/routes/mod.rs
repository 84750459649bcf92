//! The operations, one file per resource.

pub(crate) mod system;

use axum::body::Body;
use errdefs::{Error, ErrorKind};
use http::Response;

use crate::{
    Api, error,
    route::{self, Found},
};

const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

/// Runs one operation.
pub(crate) fn call(api: &Api, found: Found<'_>) -> Response<Body> {
    match found.route.operation {
        "system_ping" | "system_ping_head" => system::ping(),
        "system_version" => system::version(api),
        _ if route::needs_swarm(found.route.pattern) => {
            error::response(&Error::new(ErrorKind::Unavailable, NO_SWARM))
        }
        operation => error::response(&Error::new(
            ErrorKind::NotImplemented,
            format!("{operation} is not implemented by this version of Berth"),
        )),
    }
}
