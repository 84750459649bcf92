//! `POST /containers/create` of older clients.

use docker_api::ContainerCreateRequest;
use engine::spec::ReadOnlyRecursive;
use errdefs::{Error, ErrorKind, Result};

use crate::version::ApiVersion;

/// Turns a request of an older version into one of the newest, and says what its read-only binds mean.
///
/// # Errors
/// `InvalidParameter`, in Docker's words, for what that version did not have.
pub(crate) fn create(
    request: &mut ContainerCreateRequest,
    version: ApiVersion,
) -> Result<ReadOnlyRecursive> {
    let host = &mut request.host_config;
    if version < ApiVersion::v1(25) {
        // The client removes the container itself.
        host.auto_remove = false;
    }
    if version < ApiVersion::v1(40) && host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".to_owned();
    }
    for mount in host.mounts.iter_mut().flatten() {
        if version < ApiVersion::v1(42) {
            mount.volume_options.take_if(|_| mount.kind != "volume");
            mount.tmpfs_options.take_if(|_| mount.kind != "tmpfs");
        }
        if let Some(options) = &mut mount.bind_options {
            options.non_recursive &= version >= ApiVersion::v1(40);
            options.create_mountpoint &= version >= ApiVersion::v1(42);
            if version < ApiVersion::v1(44)
                && mount.kind == "bind"
                && options.read_only_force_recursive
            {
                return Err(invalid(
                    "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
                ));
            }
        }
        let subpath = mount
            .volume_options
            .as_ref()
            .map(|options| &options.subpath);
        if version < ApiVersion::v1(45) && subpath.is_some_and(|path| !path.is_empty()) {
            return Err(invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
        if version < ApiVersion::v1(48) && mount.kind == "image" {
            return Err(invalid("Mount type \"Image\" needs API v1.48 or newer"));
        }
    }
    if version < ApiVersion::v1(42) {
        host.console_size = [0, 0];
    }
    if version < ApiVersion::v1(43) {
        host.annotations = None;
    }
    if version >= ApiVersion::v1(44) {
        return Ok(ReadOnlyRecursive::Enabled);
    }
    if let Some(config) = &mut request.config
        && let Some(health) = &mut config.healthcheck
    {
        health.start_interval = 0;
    }
    let networks = request.networking_config.endpoints_config.iter().flatten();
    let names: Vec<&str> = networks.map(|(name, _)| name.as_str()).collect();
    if names.len() > 1 {
        return Err(invalid(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    Ok(ReadOnlyRecursive::Disabled)
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> ContainerCreateRequest {
        docker_api::json::from_slice(body.as_bytes()).expect("a request")
    }

    #[test]
    fn old_clients_get_the_defaults_of_their_time() {
        let body = r#"{"Healthcheck":{"StartInterval":7},"HostConfig":{"Annotations":{"a":"b"},"ConsoleSize":[1,2],
            "Mounts":[{"Type":"bind","ReadOnly":true,"BindOptions":{"CreateMountpoint":true},"VolumeOptions":{"NoCopy":true}}]}}"#;
        let mut old = asked(body);
        create(&mut old, ApiVersion::v1(39)).expect("served");
        assert_eq!(old.host_config.ipc_mode, "shareable");
        assert_eq!(
            (old.host_config.annotations, old.host_config.console_size),
            (None, [0, 0])
        );
        assert_eq!(
            old.config
                .expect("kept")
                .healthcheck
                .expect("kept")
                .start_interval,
            0
        );
        let mount = &old.host_config.mounts.expect("kept")[0];
        let options = mount.bind_options.as_ref().expect("kept");
        assert!(mount.volume_options.is_none() && !options.create_mountpoint);

        let (mut new, untouched) = (asked(body), asked(body));
        create(&mut new, ApiVersion::v1(51)).expect("served");
        assert_eq!(new.host_config, untouched.host_config);
    }

    #[test]
    fn what_a_version_cannot_do_is_refused_in_words() {
        let subpath =
            r#"{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"Subpath":"a"}}]}}"#;
        for (minor, body, text) in [
            (
                44,
                subpath,
                "VolumeOptions.Subpath needs API v1.45 or newer",
            ),
            (
                47,
                r#"{"HostConfig":{"Mounts":[{"Type":"image"}]}}"#,
                "Mount type \"Image\" needs API v1.48 or newer",
            ),
            (
                43,
                r#"{"NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}}"#,
                "Container cannot be created with multiple network endpoints: a, b",
            ),
        ] {
            let error = create(&mut asked(body), ApiVersion::v1(minor)).unwrap_err();
            assert_eq!(error.message(), text);
            assert!(
                create(&mut asked(body), ApiVersion::v1(minor + 1)).is_ok(),
                "{body}"
            );
        }
    }
}
