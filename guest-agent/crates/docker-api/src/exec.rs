//! Processes run in running containers. Docker API: POST /containers/{id}/exec, /exec/{id}/start, GET /exec/{id}/json.

use serde::{Deserialize, Serialize};

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecConfig {
    /// `user[:group]`; empty: the container's.
    pub user: String,
    /// With every capability.
    pub privileged: bool,
    /// With a terminal.
    pub tty: bool,
    /// Rows and columns of the terminal at first.
    pub console_size: Option<[u32; 2]>,
    /// Attach standard input.
    pub attach_stdin: bool,
    /// Attach standard error.
    pub attach_stderr: bool,
    /// Attach standard output.
    pub attach_stdout: bool,
    /// Keys that leave it running.
    pub detach_keys: String,
    /// `NAME=value` beside the container's.
    pub env: Option<Vec<String>>,
    /// Working folder; empty: the container's.
    pub working_dir: String,
    /// Program and arguments.
    pub cmd: Option<Vec<String>>,
}

/// How to start it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecStartConfig {
    /// Answer at once, without streams.
    pub detach: bool,
    /// With a terminal.
    pub tty: bool,
    /// Rows and columns of the terminal at first.
    pub console_size: Option<[u32; 2]>,
}

/// How it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecInspect {
    /// 64 hex digits.
    #[serde(rename = "ID")]
    pub id: String,
    /// It runs.
    pub running: bool,
    /// `null` until it ended.
    pub exit_code: Option<i32>,
    /// What is run.
    pub process_config: ExecProcessConfig,
    /// Standard input is attached.
    pub open_stdin: bool,
    /// Standard error is attached.
    pub open_stderr: bool,
    /// Standard output is attached.
    pub open_stdout: bool,
    /// Always false.
    pub can_remove: bool,
    /// Whose it is.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Keys that leave it running.
    pub detach_keys: String,
    /// Process; 0: none yet.
    pub pid: u32,
}

/// What is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExecProcessConfig {
    /// With a terminal.
    pub tty: bool,
    /// Program.
    pub entrypoint: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// With every capability.
    pub privileged: bool,
    /// As it was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}
