//! Images.

use std::sync::Arc;

use axum::body::Body;
use docker_api::message::{ProgressDetail, ProgressMessage};
use engine::{Engine, images::PullRequest, ports::images::Progress};
use errdefs::{Error, ErrorKind};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Answer, commit, credentials, empty, json, line, not_there, streaming};
use crate::{
    call::{Call, body_of},
    compat,
    rest::relay,
    version::ApiVersion,
};

/// Steps of progress that wait for a slow client.
const STEPS: usize = 256;

/// Since then a list says what images share.
const SHARED_SIZE_SINCE: ApiVersion = ApiVersion::v1(42);

pub(super) async fn answer(engine: &Arc<Engine>, call: Call) -> Answer {
    let name = call.name.clone();
    let platform = platform(call.query.get("platform").unwrap_or_default());
    if let "image_get" | "image_get_all" | "image_load" = call.operation
        && call.query.all("platform").nth(1).is_some()
    {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "multiple platform parameters not supported",
        ));
    }
    match call.operation {
        "image_list" => {
            let shared = call.version >= SHARED_SIZE_SINCE && call.query.flag("shared-size");
            let listed = engine.list_images(&call.query.filters()?, shared).await?;
            json(&compat::images(listed, call.version))
        }
        "image_inspect" => {
            let shown = engine.inspect_image(&name, platform.as_deref()).await?;
            json(&compat::image(shown, call.version))
        }
        "image_history" => json(&engine.image_history(&name, platform.as_deref()).await?),
        "image_tag" => {
            let (repository, tag) = (
                call.query.get("repo").unwrap_or_default(),
                call.query.get("tag").unwrap_or_default(),
            );
            engine.tag_image(&name, repository, tag).await?;
            empty(StatusCode::CREATED)
        }
        "image_delete" => json(&engine.remove_image(&name, call.query.flag("force")).await?),
        "image_prune" => json(&engine.prune_images(&call.query.filters()?).await?),
        "image_get" => save(engine, &[name], platform.as_deref()).await,
        "image_get_all" => {
            let names: Vec<String> = call
                .query
                .all("names")
                .flat_map(|names| names.split(','))
                .map(str::to_owned)
                .collect();
            save(engine, &names, platform.as_deref()).await
        }
        "image_load" => load(engine, call),
        "image_commit" => commit::commit(engine, call).await,
        "image_create" if call.query.get("fromImage").unwrap_or_default().is_empty() => {
            commit::import(engine, call).await
        }
        "image_create" => pull(engine, &call).await,
        _ => Err(not_there(&call)),
    }
}

/// `linux/amd64`, or the object newer clients send.
pub(super) fn platform(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        os: String,
        architecture: String,
        #[serde(default)]
        variant: String,
    }
    if text.is_empty() {
        return None;
    }
    match serde_json::from_str::<Object>(text) {
        Ok(object) if object.variant.is_empty() => {
            Some(format!("{}/{}", object.os, object.architecture))
        }
        Ok(object) => Some(format!(
            "{}/{}/{}",
            object.os, object.architecture, object.variant
        )),
        Err(_) => Some(text.to_owned()),
    }
}

async fn save(engine: &Engine, names: &[String], platform: Option<&str>) -> Answer {
    let archive = engine.save_images(names, platform).await?;
    streaming("application/x-tar", body_of(archive))
}

fn load(engine: &Arc<Engine>, call: Call) -> Answer {
    let engine = Arc::clone(engine);
    let quiet = call.query.flag("quiet");
    let (progress, steps) = mpsc::channel::<Progress>(STEPS);
    let reader = call.reader();
    let loading = async move {
        let loaded = relay(reader, |archive| {
            engine.load_images(Box::new(archive), progress)
        })
        .await;
        let lines = match loaded {
            Ok(images) => {
                let each = images.into_iter().flat_map(|image| {
                    if image.names.is_empty() {
                        vec![format!("Loaded image ID: {}\n", image.id)]
                    } else {
                        image
                            .names
                            .into_iter()
                            .map(|name| format!("Loaded image: {name}\n"))
                            .collect()
                    }
                });
                each.map(|text| ProgressMessage {
                    stream: text,
                    ..ProgressMessage::default()
                })
                .collect()
            }
            Err(error) => vec![ProgressMessage::failed(error.message())],
        };
        stream::iter(lines)
    };
    let told = steps_stream(steps).filter(move |_| std::future::ready(!quiet));
    let lines = stream::select(told, stream::once(loading).flatten());
    streaming(
        "application/json",
        Body::from_stream(lines.map(|message| Ok::<_, std::io::Error>(line(&message)))),
    )
}

fn steps_stream(
    mut steps: mpsc::Receiver<Progress>,
) -> impl futures_util::Stream<Item = ProgressMessage> + Send {
    stream::poll_fn(move |context| steps.poll_recv(context)).map(message)
}

fn message(step: Progress) -> ProgressMessage {
    // Docker gives an empty detail with every step of a layer.
    let detail = (!step.id.is_empty() && is_layer(&step.id)).then(|| {
        let (current, total) = step
            .bytes
            .map_or((None, None), |(done, all)| (Some(done), all));
        ProgressDetail { current, total }
    });
    ProgressMessage {
        status: step.status,
        id: step.id,
        detail,
        ..ProgressMessage::default()
    }
}

fn is_layer(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

async fn pull(engine: &Arc<Engine>, call: &Call) -> Answer {
    let name = call.query.get("fromImage").unwrap_or_default().to_owned();
    let request = PullRequest {
        name,
        tag: call.query.get("tag").unwrap_or_default().to_owned(),
        platform: platform(call.query.get("platform").unwrap_or_default()),
        credentials: credentials::of(&call.headers),
    };
    let (progress, mut steps) = mpsc::channel::<Progress>(STEPS);
    let engine = Arc::clone(engine);
    let pulling = tokio::spawn(async move { engine.pull_image(request, progress).await });
    // Until the first line, an error is the answer itself. Without a line the sender is gone, so the pull has ended.
    let Some(first) = steps.recv().await else {
        pulling
            .await
            .map_err(|error| Error::new(ErrorKind::System, error.to_string()))??;
        return empty(StatusCode::OK);
    };
    let last = stream::once(async move {
        match pulling.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(ProgressMessage::failed(error.message())),
            Err(error) => Some(ProgressMessage::failed(error.to_string())),
        }
    });
    let lines = stream::once(std::future::ready(message(first)))
        .chain(steps_stream(steps))
        .chain(last.filter_map(std::future::ready));
    streaming(
        "application/json",
        Body::from_stream(lines.map(|message| Ok::<_, std::io::Error>(line(&message)))),
    )
}
