//! What a container uses, once or for as long as a client listens.

use std::sync::Arc;

use axum::body::Body;
use docker_api::stats::ContainerStats;
use engine::{Engine, stats::StatsWatch};
use errdefs::{Error, ErrorKind};
use http::Response;

use super::{Answer, json, line};
use crate::{call::Call, version::ApiVersion};

/// Since then a sample says which system it is of.
const OS_TYPE_SINCE: ApiVersion = ApiVersion::v1(52);
/// Since then a single sample can be had without a second one to compare with.
const ONE_SHOT_SINCE: ApiVersion = ApiVersion::v1(41);

/// `GET /containers/{id}/stats`.
pub(super) async fn stats(engine: &Arc<Engine>, call: &Call) -> Answer {
    let stream = call.query.flag_or("stream", true);
    let one_shot = call.version >= ONE_SHOT_SINCE && call.query.flag("one-shot");
    let version = call.version;
    if !stream {
        let sample = if one_shot {
            engine.container_stats_once(&call.name).await?
        } else {
            engine.container_stats_compared(&call.name).await?
        };
        return json(&shown(sample, version));
    }
    let watch = engine.watch_container_stats(&call.name)?;
    if one_shot {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "cannot have stream=true and one-shot=true",
        ));
    }
    let samples = futures_util::stream::unfold(watch, move |mut watch: StatsWatch| async move {
        let sample = watch.next().await?;
        Some((
            Ok::<_, std::io::Error>(line(&shown(sample, version))),
            watch,
        ))
    });
    Ok(Response::new(Body::from_stream(samples)))
}

fn shown(sample: ContainerStats, version: ApiVersion) -> ContainerStats {
    ContainerStats {
        os_type: if version >= OS_TYPE_SINCE {
            "linux".to_owned()
        } else {
            String::new()
        },
        ..sample
    }
}
