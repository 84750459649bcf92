//! The lines of a progress stream (`docker pull`, `docker load`).

use serde::Serialize;

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProgressMessage {
    /// Text of an engine's own output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// What is done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// How far it is.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub detail: Option<ProgressDetail>,
    /// What it is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Why it ended early, in long form.
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// How far something is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProgressDetail {
    /// Bytes done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// All bytes, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// An error in the middle of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ErrorDetail {
    /// For people.
    pub message: String,
}

impl ProgressMessage {
    /// The line that ends a stream with an error.
    pub fn failed(message: impl Into<String>) -> Self {
        let error = message.into();
        let error_detail = Some(ErrorDetail {
            message: error.clone(),
        });
        Self {
            error_detail,
            error,
            ..Self::default()
        }
    }
}
