//! What a container is asked to be. Docker API: definitions ContainerConfig, HealthConfig; POST /containers/create.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EmptyMap, HostConfig, NetworkingConfig};

/// The portable part of a container's settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// Host name inside the container; empty: the short id.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `user[:group]`, names or numbers; empty: root.
    pub user: String,
    /// Attach to standard input at start.
    pub attach_stdin: bool,
    /// Attach to standard output at start.
    pub attach_stdout: bool,
    /// Attach to standard error at start.
    pub attach_stderr: bool,
    /// Ports the container listens on, `port[/protocol]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<EmptyMap>,
    /// Give the process a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// Close standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// `NAME=value`; a bare `NAME` removes the image's value.
    pub env: Option<Vec<String>>,
    /// Arguments of the entrypoint.
    pub cmd: Option<Vec<String>>,
    /// How health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// The command is already escaped (Windows only).
    #[serde(skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// The image as the user named it.
    pub image: String,
    /// Mount points of anonymous volumes.
    pub volumes: Option<EmptyMap>,
    /// Working folder; empty: `/`.
    pub working_dir: String,
    /// What is run; empty list or absent: the image's.
    pub entrypoint: Option<Vec<String>>,
    /// No network at all.
    #[serde(skip_serializing_if = "is_false")]
    pub network_disabled: bool,
    /// Hardware address (API < 1.44; newer ones use the endpoint's).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Build triggers, kept for inspect.
    pub on_build: Option<Vec<String>>,
    /// User labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that asks the container to stop; empty: SIGTERM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds to wait after the stop signal; absent: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell for the shell form of commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// How a container's health is checked. Durations are nanoseconds; 0 inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthConfig {
    /// `[]` inherits, `["NONE"]` turns off, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Between two checks, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Bound of one check, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Grace after the start, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks in the grace, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// Body of POST /containers/create.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerCreateRequest {
    /// The portable part, on the top level of the body; absent: the body has nothing of it.
    pub config: Option<ContainerConfig>,
    /// The part that belongs to this host.
    pub host_config: HostConfig,
    /// Networks to join.
    pub networking_config: NetworkingConfig,
}

impl<'de> Deserialize<'de> for ContainerCreateRequest {
    /// Both are read from the same object: names of a flattened field would have to come as they are written here.
    fn deserialize<D: serde::Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Rest {
            host_config: HostConfig,
            networking_config: NetworkingConfig,
        }
        let body = serde_json::Value::deserialize(body)?;
        let is_rest = |name: &String| {
            ["HostConfig", "NetworkingConfig"]
                .iter()
                .any(|rest| name.eq_ignore_ascii_case(rest))
        };
        let says_nothing = body
            .as_object()
            .is_some_and(|body| body.keys().all(is_rest));
        let config = if says_nothing {
            None
        } else {
            Some(crate::json::from_value(body.clone()).map_err(serde::de::Error::custom)?)
        };
        let Rest {
            host_config,
            networking_config,
        } = crate::json::from_value(body).map_err(serde::de::Error::custom)?;
        Ok(Self {
            config,
            host_config,
            networking_config,
        })
    }
}

/// Answer of POST /containers/create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerCreateResponse {
    /// 64 hex digits.
    pub id: String,
    /// What the engine could not honour.
    pub warnings: Vec<String>,
}

/// Answer of POST /containers/{id}/update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerUpdateResponse {
    /// What the engine could not honour; `null`: nothing.
    pub warnings: Option<Vec<String>>,
}

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

pub(crate) fn is_zero(value: &i64) -> bool {
    *value == 0
}
