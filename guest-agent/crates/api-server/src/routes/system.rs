//! `_ping`, `version`, `info` and `auth`.

use std::sync::Arc;

use axum::body::Body;
use engine::{Engine, ports::registry::Credentials, system::reload::Reloadable, time::rfc3339};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, events, json as answer_json, not_there, usage};
use crate::{Api, call::Call, compat, error};

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
        "system_info" => answer_json(&compat::info(info(engine).await, call.version)),
        "system_data_usage" => usage::answer(engine, &call).await,
        "system_events" => events::events(engine, &call),
        "system_auth" => {
            let wish: Login = call.first_json().await?;
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

/// Docker Hub, and who need not prove who they are: hosts by their names, networks by their addresses.
fn registries(settings: &Reloadable) -> Value {
    let mirrors = &settings.registry_mirrors;
    let hub = json!({"Mirrors": mirrors, "Name": "docker.io", "Official": true, "Secure": true});
    let mut hosts = serde_json::Map::from_iter([("docker.io".to_owned(), hub)]);
    let mut networks = vec!["::1/128", "127.0.0.0/8"];
    for registry in &settings.insecure_registries {
        if registry.contains('/') {
            networks.push(registry);
            continue;
        }
        let host = json!({"Mirrors": [], "Name": registry, "Official": false, "Secure": false});
        hosts.insert(registry.clone(), host);
    }
    json!({
        "InsecureRegistryCIDRs": networks,
        "IndexConfigs": hosts,
        "Mirrors": if mirrors.is_empty() { Value::Null } else { json!(mirrors) },
    })
}

/// `GET /info`.
async fn info(engine: &Engine) -> Value {
    let (counts, settings, machine) = (engine.counts().await, engine.settings(), engine.machine());
    let now = engine.reloadable();
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
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null, "Log": engine::LOG_DRIVERS},
        "MemoryLimit": has("memory"),
        "SwapLimit": has("memory"),
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "CPUShares": has("cpu"),
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "IPv4Forwarding": true,
        "Debug": now.debug,
        "NFd": 0,
        "OomKillDisable": false,
        "NGoroutines": 0,
        "SystemTime": rfc3339(engine.now()),
        "LoggingDriver": match settings.defaults.log_config.driver.as_str() {
            "" => "json-file",
            driver => driver,
        },
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2",
        "NEventsListener": 0,
        "KernelVersion": settings.kernel,
        "OperatingSystem": "Berth",
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registries(&now),
        "NCPU": machine.cpus(),
        "MemTotal": machine.memory_bytes(),
        "GenericResources": null,
        "DockerRootDir": settings.root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": engine.host_name(),
        "Labels": now.labels,
        "ExperimentalBuild": settings.experimental,
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
        "FirewallBackend": {"Driver": "nftables"},
        "Warnings": warnings,
    })
}
