//! The Docker Engine API's messages, as they travel.
//!
//! Words only: each struct has the schema's name and fields, and serialises the way Docker's own server does it: a list that was never
//! set is `null`, a field Docker marks as omitted-when-empty is left out. Absent fields and `null` read as the default.
//!
//! The container settings double as the *raw settings* of a container: the engine keeps what the user wrote, shows it on inspect, and
//! derives its own resolved types from it. They are therefore also what the state database stores.
//!
//! Source of truth: Docker API 1.51 and 1.55 (OpenAPI description), definitions.

pub mod container;
pub mod event;
pub mod exec;
pub mod files;
pub mod host_config;
pub mod image;
pub mod image_config;
pub mod inspect;
pub mod json;
pub mod message;
pub mod network;
pub mod stats;
pub mod system;
pub mod usage;
pub mod volume;

pub use container::{
    ContainerConfig, ContainerCreateRequest, ContainerCreateResponse, HealthConfig,
};
pub use event::{EventActor, EventMessage};
pub use host_config::{
    BindOptions, DeviceMapping, DeviceRequest, HostConfig, LogConfig, Mount, PortBinding, PortMap,
    RestartPolicy, ThrottleDevice, TmpfsOptions, Ulimit, VolumeOptions, WeightDevice,
};
pub use image_config::ImageConfiguration;
pub use network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
pub use system::{ComponentVersion, ErrorResponse, Platform, SystemVersion};

/// A set written as an object with empty values, e.g. `{"80/tcp": {}}`.
pub type EmptyMap = std::collections::BTreeMap<String, Empty>;

/// An empty object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Empty {}
