//! Images made here: of containers, and of archives of files.

use std::sync::Arc;

use docker_api::{ContainerConfig, message::ProgressMessage};
use engine::{Engine, images::CommitRequest};
use errdefs::{Error, ErrorKind};
use serde_json::json;

use super::{Answer, created, images::platform, line, streaming};
use crate::{call::Call, rest::relay};

/// `POST /commit`.
pub(super) async fn commit(engine: &Arc<Engine>, mut call: Call) -> Answer {
    let config: Option<ContainerConfig> = call.json_or_default().await?;
    // Without a word about it, it is frozen meanwhile.
    let pause = call.query.get("pause").unwrap_or_default().is_empty() || call.query.flag("pause");
    let container = call.query.get("container").unwrap_or_default();
    let request = request(&call, "comment");
    let id = engine
        .commit_container(container, config, pause, request)
        .await?;
    created(&json!({"Id": id.to_string()}))
}

/// `POST /images/create` without `fromImage`.
pub(super) async fn import(engine: &Arc<Engine>, call: Call) -> Answer {
    let source = call.query.get("fromSrc").unwrap_or_default().to_owned();
    if source != "-" {
        return Err(Error::new(
            ErrorKind::NotImplemented,
            "importing an image from an address is not implemented by this version of Berth: fetch the archive and import it from standard input",
        ));
    }
    let platform = platform(call.query.get("platform").unwrap_or_default());
    let mut request = request(&call, "message");
    if request.comment.is_empty() {
        request.comment = format!("Imported from {source}");
    }
    let id = relay(call.reader(), |archive| {
        engine.import_image(request, platform, Box::new(archive))
    })
    .await?;
    let told = ProgressMessage {
        status: id.to_string(),
        ..ProgressMessage::default()
    };
    streaming("application/json", line(&told).into())
}

fn request(call: &Call, comment: &str) -> CommitRequest {
    let text = |name: &str| call.query.get(name).unwrap_or_default().to_owned();
    CommitRequest {
        repository: text("repo"),
        tag: text("tag"),
        author: text("author"),
        comment: text(comment),
        changes: call.query.all("changes").map(str::to_owned).collect(),
    }
}
