//! What a container takes over from its image. Pure.

use std::collections::BTreeMap;

use docker_api::{ContainerConfig, Empty, HealthConfig, ImageConfiguration};
use errdefs::{Error, ErrorKind, Result};

/// Fills in what the user left open. The user's program or arguments replace both of the image's.
pub(crate) fn merge(config: &mut ContainerConfig, image: &ImageConfiguration) {
    let image = &image.config;
    if config.user.is_empty() {
        config.user = image.user.clone();
    }
    if let Some(ports) = image
        .exposed_ports
        .as_ref()
        .filter(|ports| !ports.is_empty())
    {
        let exposed = config.exposed_ports.get_or_insert_default();
        for port in ports.keys() {
            exposed.entry(port.clone()).or_insert(Empty {});
        }
    }
    merge_environment(config, image.env.as_deref());
    let labels = config.labels.get_or_insert_default();
    for (name, value) in image.labels.iter().flatten() {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        // An empty entrypoint that was given takes the image's away, and its arguments with it.
        let cleared = config.entrypoint.as_ref().is_some_and(Vec::is_empty);
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = image.cmd.clone();
        }
        if !cleared {
            config.entrypoint = image.entrypoint.clone();
        }
    }
    if config.working_dir.is_empty() {
        config.working_dir = image.working_dir.clone();
    }
    match config.volumes.as_mut().filter(|own| !own.is_empty()) {
        Some(own) => {
            for volume in image.volumes.iter().flatten().map(|(name, _)| name) {
                own.entry(volume.clone()).or_insert(Empty {});
            }
        }
        None => config.volumes.clone_from(&image.volumes),
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if let Some(health) = &image.healthcheck {
        merge_health(config.healthcheck.get_or_insert_default(), health);
    }
    // One empty word is how the CLI says that there is to be no entrypoint.
    config
        .entrypoint
        .take_if(|entrypoint| matches!(&entrypoint[..], [only] if only.is_empty()));
    // Docker takes over neither `Shell` nor `OnBuild`.
}

/// What the user left open, field by field.
fn merge_health(own: &mut HealthConfig, image: &HealthConfig) {
    if own.test.as_ref().is_none_or(Vec::is_empty) {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

fn merge_environment(config: &mut ContainerConfig, image: Option<&[String]>) {
    let Some(image) = image else { return };
    let own = config.env.get_or_insert_default();
    let named: Vec<String> = own.iter().map(|entry| name_of(entry).to_owned()).collect();
    for entry in image {
        if !named.iter().any(|name| name == name_of(entry)) {
            own.push(entry.clone());
        }
    }
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Sees that there is something to run. The empty word alone is how the docker CLI says that there is no entrypoint.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub(crate) fn settle_command(config: &mut ContainerConfig) -> Result<()> {
    if config.entrypoint.as_deref() == Some(&[String::new()]) {
        config.entrypoint = None;
    }
    let empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if empty(&config.entrypoint) && empty(&config.cmd) {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "no command specified",
        ));
    }
    Ok(())
}

/// Labels are shown as an object, never as `null`.
pub(crate) fn fill_in(config: &mut ContainerConfig) {
    config.labels.get_or_insert_with(BTreeMap::new);
    config.volumes.take_if(|volumes| volumes.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageConfiguration {
        serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
            "config":{"User":"www","Env":["PATH=/bin","A=image"],"Entrypoint":["/entry"],"Cmd":["arg"],
            "WorkingDir":"/srv","Labels":{"a":"image","b":"image"},"ExposedPorts":{"80":{}},"Volumes":{"/v":{}},"StopSignal":"SIGQUIT"}}"#,
        )
        .unwrap()
    }

    #[test]
    fn what_is_open_comes_from_the_image() {
        let mut config = ContainerConfig::default();
        merge(&mut config, &image());
        assert_eq!(config.user, "www");
        assert_eq!(config.entrypoint.unwrap(), ["/entry"]);
        assert_eq!(config.cmd.unwrap(), ["arg"]);
        assert_eq!(config.env.unwrap(), ["PATH=/bin", "A=image"]);
        assert_eq!(config.working_dir, "/srv");
        assert!(config.exposed_ports.unwrap().contains_key("80"));
        assert!(config.volumes.unwrap().contains_key("/v"));
        assert_eq!(config.stop_signal, "SIGQUIT");
    }

    #[test]
    fn a_health_check_is_taken_over_field_by_field() {
        let mut image = image();
        image.config.healthcheck = Some(HealthConfig {
            test: Some(vec!["CMD".to_owned(), "x".to_owned()]),
            interval: 5,
            retries: 2,
            ..HealthConfig::default()
        });
        let mut config = ContainerConfig {
            healthcheck: Some(HealthConfig {
                interval: 7,
                ..HealthConfig::default()
            }),
            ..ContainerConfig::default()
        };
        merge(&mut config, &image);
        let health = config.healthcheck.unwrap();
        assert_eq!((health.interval, health.retries), (7, 2));
        assert_eq!(health.test.unwrap(), ["CMD", "x"]);
        let mut config = ContainerConfig::default();
        merge(&mut config, &image);
        assert_eq!(config.healthcheck, image.config.healthcheck);
    }

    #[test]
    fn what_the_user_says_wins() {
        let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
        let mut config = ContainerConfig {
            entrypoint: list(&["/mine"]),
            env: list(&["A=mine"]),
            labels: Some([("a".to_owned(), "mine".to_owned())].into()),
            ..ContainerConfig::default()
        };
        merge(&mut config, &image());
        assert_eq!(config.entrypoint.unwrap(), ["/mine"]);
        assert_eq!(
            config.cmd, None,
            "another entrypoint does not get the image's arguments"
        );
        assert_eq!(config.env.unwrap(), ["A=mine", "PATH=/bin"]);
        assert_eq!(config.labels.unwrap()["a"], "mine");
        let mut config = ContainerConfig {
            cmd: list(&["x"]),
            ..ContainerConfig::default()
        };
        merge(&mut config, &image());
        assert_eq!(
            (config.entrypoint.unwrap(), config.cmd.unwrap()),
            (vec!["/entry".to_owned()], vec!["x".to_owned()])
        );
    }
}
