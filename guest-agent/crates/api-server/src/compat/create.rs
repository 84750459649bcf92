//! `POST /containers/create` of older clients.

use docker_api::{ContainerCreateRequest, Mount};
use errdefs::{Error, ErrorKind, Result};

use crate::version::ApiVersion;

/// Drops what a version does not know, and gives it the defaults of its time.
///
/// # Errors
/// `InvalidParameter`: what is refused rather than dropped.
pub(crate) fn create(request: &mut ContainerCreateRequest, version: ApiVersion) -> Result<()> {
    let before = |minor| version < ApiVersion::v1(minor);
    let host = &mut request.host_config;
    let mounts = host.mounts.as_deref_mut().unwrap_or_default();
    if before(40) {
        for options in mounts
            .iter_mut()
            .filter_map(|mount| mount.bind_options.as_mut())
        {
            options.non_recursive = false;
        }
        if host.ipc_mode.is_empty() {
            "shareable".clone_into(&mut host.ipc_mode);
        }
    }
    if before(42) {
        for mount in mounts.iter_mut() {
            forget_options_of_other_kinds(mount);
        }
        host.console_size = [0, 0];
    }
    if before(43) {
        host.annotations = None;
    }
    if before(44) {
        let config = request.config.as_mut();
        if let Some(health) = config.and_then(|config| config.healthcheck.as_mut()) {
            health.start_interval = 0;
        }
        let forced = |mount: &Mount| {
            let options = mount.bind_options.as_ref();
            options.is_some_and(|options| options.read_only_force_recursive)
        };
        if mounts.iter().any(forced) {
            return refuse("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
        }
        for mount in mounts
            .iter_mut()
            .filter(|mount| mount.kind == "bind" && mount.read_only)
        {
            let options = mount.bind_options.get_or_insert_default();
            options.read_only_non_recursive = true;
        }
        let networks = request.networking_config.endpoints_config.as_ref();
        if let Some(networks) = networks.filter(|networks| networks.len() > 1) {
            let names: Vec<&str> = networks.keys().map(String::as_str).collect();
            return refuse(&format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            ));
        }
    }
    let in_part = |mount: &Mount| {
        let options = mount.volume_options.as_ref();
        options.is_some_and(|options| !options.subpath.is_empty())
    };
    if before(45) && mounts.iter().any(in_part) {
        return refuse("VolumeOptions.Subpath needs API v1.45 or newer");
    }
    if before(48) && mounts.iter().any(|mount| mount.kind == "image") {
        return refuse("Mount type \"Image\" needs API v1.48 or newer");
    }
    Ok(())
}

/// They were not looked at then.
fn forget_options_of_other_kinds(mount: &mut Mount) {
    if let Some(options) = &mut mount.bind_options {
        options.create_mountpoint = false;
    }
    if mount.kind != "volume" {
        mount.volume_options = None;
    }
    if mount.kind != "tmpfs" {
        mount.tmpfs_options = None;
    }
}

fn refuse(text: &str) -> Result<()> {
    Err(Error::new(ErrorKind::InvalidParameter, text))
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
        assert!(
            mount.volume_options.is_none()
                && !options.create_mountpoint
                && options.read_only_non_recursive
        );

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
