//! Attaching over a websocket, for clients in browsers.

use std::sync::Arc;

use engine::{Engine, containers::AttachOptions, ports::containers::AttachRequest};

use super::{Answer, streams};
use crate::{
    call::Call,
    keys,
    version::ApiVersion,
    websocket::{self, Plan},
};

/// Since then the client says which streams it wants; before it got all of them.
const CHOOSES_SINCE: ApiVersion = ApiVersion::v1(42);
/// Since then output travels in binary messages; before in text.
const BINARY_SINCE: ApiVersion = ApiVersion::v1(28);

/// `GET /containers/{id}/attach/ws`.
pub(super) async fn attach(engine: &Arc<Engine>, mut call: Call) -> Answer {
    let wants = |name: &str| call.version < CHOOSES_SINCE || call.query.flag(name);
    let streams = AttachRequest {
        stdin: wants("stdin"),
        stdout: wants("stdout"),
        stderr: wants("stderr"),
    };
    let keys = match call.query.get("detachKeys").filter(|keys| !keys.is_empty()) {
        Some(text) => Some(keys::parse(text)?),
        None => None,
    };
    let stream = call.query.flag("stream");
    let binary = call.version >= BINARY_SINCE;
    engine.may_attach(&call.name)?;
    let accept = websocket::accept(&call.headers)?;
    // Where it stands is known before the client is told that it is attached.
    let attachment = engine
        .attach_container(&call.name, AttachOptions { streams })
        .await?;
    let before = streams::said_before(engine, &call, streams).await?;
    let plan = Plan {
        attachment,
        stream,
        before,
        binary,
        keys,
    };
    websocket::take_over(call.upgrade.take(), &accept, plan)
}
