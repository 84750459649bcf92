//! A container's settings as an image's, and what one takes over from another. Pure.

use docker_api::ContainerConfig;
use serde_json::{Map, Value, json};

/// What an image keeps of a container's settings. Spec: OCI image, config, with Docker's additions.
pub(crate) fn config_of(config: &ContainerConfig) -> Value {
    let mut kept = Map::new();
    let texts = [
        ("User", &config.user),
        ("WorkingDir", &config.working_dir),
        ("StopSignal", &config.stop_signal),
    ];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        kept.insert(key.to_owned(), text.clone().into());
    }
    let lists = [
        ("Env", &config.env),
        ("Cmd", &config.cmd),
        ("Entrypoint", &config.entrypoint),
        ("OnBuild", &config.on_build),
        ("Shell", &config.shell),
    ];
    for (key, list) in lists {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            kept.insert(key.to_owned(), json!(list));
        }
    }
    for (key, set) in [
        ("ExposedPorts", &config.exposed_ports),
        ("Volumes", &config.volumes),
    ] {
        if let Some(set) = set.as_ref().filter(|set| !set.is_empty()) {
            kept.insert(key.to_owned(), json!(set));
        }
    }
    if let Some(labels) = config.labels.as_ref().filter(|labels| !labels.is_empty()) {
        kept.insert("Labels".to_owned(), json!(labels));
    }
    if let Some(health) = &config.healthcheck {
        kept.insert("Healthcheck".to_owned(), json!(health));
    }
    if config.args_escaped {
        kept.insert("ArgsEscaped".to_owned(), true.into());
    }
    kept.into()
}

/// Fills in from other settings what these leave open.
pub(crate) fn complete(new: &mut ContainerConfig, old: &ContainerConfig) {
    let is_open = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    for (new, old) in [
        (&mut new.user, &old.user),
        (&mut new.working_dir, &old.working_dir),
        (&mut new.stop_signal, &old.stop_signal),
    ] {
        if new.is_empty() {
            new.clone_from(old);
        }
    }
    for (new, old) in [
        (&mut new.exposed_ports, &old.exposed_ports),
        (&mut new.volumes, &old.volumes),
    ] {
        for (key, value) in old.iter().flatten() {
            new.get_or_insert_default()
                .entry(key.clone())
                .or_insert(*value);
        }
    }
    for (key, value) in old.labels.iter().flatten() {
        let labels = new.labels.get_or_insert_default();
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let name_of = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let named: Vec<String> = new
        .env
        .iter()
        .flatten()
        .map(|entry| name_of(entry))
        .collect();
    for entry in old.env.iter().flatten() {
        if !named.contains(&name_of(entry)) {
            new.env.get_or_insert_default().push(entry.clone());
        }
    }
    if is_open(&new.entrypoint) {
        if is_open(&new.cmd) {
            new.cmd.clone_from(&old.cmd);
        }
        if new.entrypoint.is_none() {
            new.entrypoint.clone_from(&old.entrypoint);
        }
    }
    complete_health(new, old);
}

fn complete_health(new: &mut ContainerConfig, old: &ContainerConfig) {
    let Some(old) = &old.healthcheck else { return };
    let Some(new) = &mut new.healthcheck else {
        new.healthcheck = Some(old.clone());
        return;
    };
    if new.test.as_ref().is_none_or(Vec::is_empty) {
        new.test.clone_from(&old.test);
    }
    for (new, old) in [
        (&mut new.interval, old.interval),
        (&mut new.timeout, old.timeout),
        (&mut new.start_period, old.start_period),
        (&mut new.start_interval, old.start_interval),
        (&mut new.retries, old.retries),
    ] {
        if *new == 0 {
            *new = old;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Option<Vec<String>> {
        Some(items.iter().map(|item| (*item).to_owned()).collect())
    }

    #[test]
    fn what_is_open_is_taken_over_and_what_is_set_stays() {
        let old = ContainerConfig {
            user: "u".to_owned(),
            cmd: list(&["old"]),
            env: list(&["A=1", "B=2"]),
            ..ContainerConfig::default()
        };
        let mut new = ContainerConfig {
            env: list(&["B=3"]),
            ..ContainerConfig::default()
        };
        complete(&mut new, &old);
        assert_eq!((new.user.as_str(), new.cmd), ("u", list(&["old"])));
        assert_eq!(new.env, list(&["B=3", "A=1"]));
        let mut new = ContainerConfig {
            entrypoint: list(&["/e"]),
            ..ContainerConfig::default()
        };
        complete(&mut new, &old);
        assert_eq!(new.cmd, None);
    }

    #[test]
    fn an_image_keeps_no_empty_settings() {
        assert_eq!(config_of(&ContainerConfig::default()), json!({}));
        let config = ContainerConfig {
            hostname: "here".to_owned(),
            cmd: list(&["x"]),
            on_build: list(&["RUN y"]),
            ..ContainerConfig::default()
        };
        assert_eq!(
            config_of(&config),
            json!({"Cmd": ["x"], "OnBuild": ["RUN y"]})
        );
    }
}
