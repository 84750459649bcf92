//! What happened, as `GET /events` tells it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One event. The first three fields repeat the others for old clients and are only there for containers and images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventMessage {
    /// The action again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The actor's ID again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The container's image again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `network`, `volume`, `daemon`, `builder`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What was done, e.g. `start`.
    #[serde(rename = "Action")]
    pub action: String,
    /// Whom it was done to.
    #[serde(rename = "Actor")]
    pub actor: EventActor,
    /// `local`.
    pub scope: String,
    /// Seconds since 1970-01-01 UTC.
    pub time: i64,
    /// The same in nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// Whom an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventActor {
    /// ID, or name where the name is the ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels and what belongs to the action.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}
