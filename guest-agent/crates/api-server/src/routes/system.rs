//! `_ping`, `version`, `info`, `events` and `auth`.

use std::{collections::VecDeque, sync::Arc};

use axum::body::Body;
use docker_api::EventMessage;
use engine::{
    Engine,
    containers::prune::moment,
    ports::{registry::Credentials, world::Timestamp},
    time::rfc3339,
};
use errdefs::{Error, ErrorKind, Result};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, json as answer_json, line, not_there, streaming};
use crate::{Api, call::Call, error, query::Filters};

/// `GET` and `HEAD /_ping`. For `HEAD` the server leaves the body out and keeps its length.
pub(super) fn ping() -> Response<Body> {
    let mut response = Response::new(Body::from("OK"));
    let headers = response.headers_mut();
    // The classic builder: a client then posts to `/build` and shows that answer's text, instead of opening a BuildKit session.
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// `GET /version`.
pub(super) fn version(api: &Api) -> Response<Body> {
    error::json(StatusCode::OK, &api.version)
}

pub(super) async fn answer(engine: &Arc<Engine>, mut call: Call) -> Answer {
    match call.operation {
        "system_info" => answer_json(&info(engine).await),
        "system_events" => events(engine, &call),
        "system_auth" => {
            let wish: Login = call.json().await?;
            let token = engine
                .login(&wish.serveraddress, &wish.credentials())
                .await?;
            answer_json(&json!({"IdentityToken": token, "Status": "Login Succeeded"}))
        }
        _ => Err(not_there(&call)),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Login {
    username: String,
    password: String,
    serveraddress: String,
    identitytoken: String,
    registrytoken: String,
}

impl Login {
    fn credentials(&self) -> Credentials {
        Credentials {
            username: self.username.clone(),
            password: self.password.clone(),
            identity_token: self.identitytoken.clone(),
            registry_token: self.registrytoken.clone(),
        }
    }
}

/// `GET /info`.
async fn info(engine: &Engine) -> Value {
    let (counts, settings, machine) = (engine.counts().await, engine.settings(), engine.machine());
    let has = |name: &str| machine.controller(name);
    let mut warnings = Vec::new();
    for (name, text) in [
        ("memory", "WARNING: No memory limit support"),
        ("cpu", "WARNING: No cpu cfs quota support"),
        ("cpuset", "WARNING: No cpuset support"),
    ] {
        if !has(name) {
            warnings.push(text);
        }
    }
    json!({
        "ID": settings.id,
        "Containers": counts.containers,
        "ContainersRunning": counts.running,
        "ContainersPaused": counts.paused,
        "ContainersStopped": counts.stopped,
        "Images": counts.images,
        "Driver": "overlayfs",
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null, "Log": ["json-file", "none"]},
        "MemoryLimit": has("memory"),
        "SwapLimit": has("memory"),
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "CPUShares": has("cpu"),
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "IPv4Forwarding": true,
        "Debug": false,
        "NFd": 0,
        "OomKillDisable": false,
        "NGoroutines": 0,
        "SystemTime": rfc3339(engine.now()),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2",
        "NEventsListener": 0,
        "KernelVersion": settings.kernel,
        "OperatingSystem": "Berth",
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": {"docker.io": {"Mirrors": [], "Name": "docker.io", "Official": true, "Secure": true}},
            "Mirrors": null,
        },
        "NCPU": machine.cpus(),
        "MemTotal": machine.memory_bytes(),
        "GenericResources": null,
        "DockerRootDir": settings.root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": engine.host_name(),
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": settings.version,
        "Runtimes": {"runc": {"path": "berth"}},
        "DefaultRuntime": "runc",
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "", "RemoteManagers": null},
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "docker-init",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "CDISpecDirs": [],
        "Warnings": warnings,
    })
}

/// `GET /events`.
fn events(engine: &Arc<Engine>, call: &Call) -> Answer {
    let now = engine.now();
    let time = |name: &str| -> Result<Option<Timestamp>> {
        match call.query.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => moment(text, now).map(Some).ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidParameter,
                    format!("invalid value for \"{name}\": {text:?} is no time"),
                )
            }),
        }
    };
    let (since, until, filters) = (time("since")?, time("until")?, call.query.filters()?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        let seconds = |at: Timestamp| at.0.div_euclid(1_000_000_000);
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "`since` time ({}) cannot be after `until` time ({})",
                seconds(since),
                seconds(until)
            ),
        ));
    }
    let mut listener = engine.events().listen();
    let kept = std::mem::take(&mut listener.kept);
    let kept: VecDeque<_> = kept
        .into_iter()
        .filter(|event| since.is_some_and(|since| event.time_nano >= since.0))
        .collect();
    let engine = Arc::clone(engine);
    let fits = move |event: &EventMessage| {
        fits(&filters, event) && until.is_none_or(|until| event.time_nano <= until.0)
    };
    let stream = futures_util::stream::unfold(
        (listener, kept, engine),
        move |(mut listener, mut kept, engine)| {
            let fits = fits.clone();
            async move {
                loop {
                    let event = match kept.pop_front() {
                        Some(event) => event,
                        None => engine.next_event(&mut listener, until).await?,
                    };
                    if fits(&event) {
                        return Some((
                            Ok::<_, std::io::Error>(line(&*event)),
                            (listener, kept, engine),
                        ));
                    }
                }
            }
        },
    );
    streaming("application/json", Body::from_stream(stream))
}

/// Each filter that is named must fit in one of its values.
fn fits(filters: &Filters, event: &EventMessage) -> bool {
    let attribute = |name: &str| event.actor.attributes.get(name).map_or("", String::as_str);
    let of = |kind: &str, wanted: &str| {
        event.kind == kind
            && (event.actor.id == wanted
                || event.actor.id.starts_with(wanted) && wanted.len() >= 12
                || attribute("name") == wanted)
    };
    filters.iter().all(|(name, values)| {
        let mut values = values.iter().map(String::as_str);
        match name.as_str() {
            // A filter by action fits its longer forms, as in `exec_start: …`.
            "event" => values.any(|value| {
                event.action == value || event.action.split(':').next() == Some(value)
            }),
            "type" => values.any(|value| event.kind == value),
            "scope" => values.any(|value| event.scope == value),
            "container" | "volume" | "network" | "daemon" | "plugin" => {
                values.any(|value| of(name, value))
            }
            "image" => values.any(|value| {
                of("image", value)
                    || attribute("image") == value
                    || attribute("image").split(':').next() == Some(value)
            }),
            "label" => values.all(|value| {
                let (label, wanted) = value
                    .split_once('=')
                    .map_or((value, None), |(label, wanted)| (label, Some(wanted)));
                event
                    .actor
                    .attributes
                    .get(label)
                    .is_some_and(|own| wanted.is_none_or(|wanted| own == wanted))
            }),
            _ => false,
        }
    })
}
