//! The docker context `berth`: made when missing, selected only where the user has made no choice of their own.
//!
//! Format: docker CLI, `contexts/meta/<sha256 of the name>/meta.json` below the CLI's settings folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::{Value, json};

/// Name of the context.
pub const NAME: &str = "berth";

/// SHA-256 of [`NAME`]: the folder the docker CLI looks for.
const FOLDER: &str = "5c2f64c7f21efd5fb5e3d6a499abe5eacb248ae6f6f0085387c9a056d10ef5fd";

/// The docker CLI's settings folder: `DOCKER_CONFIG`, or `~/.docker`.
pub fn docker_folder() -> Option<PathBuf> {
    match std::env::var_os("DOCKER_CONFIG").filter(|text| !text.is_empty()) {
        Some(folder) => Some(PathBuf::from(folder)),
        None => std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")),
    }
}

/// Makes the context point at a socket, and selects it when `may_select` and no context was chosen.
///
/// # Errors
/// When the CLI's files cannot be read or written; they are left as they were.
pub fn ensure(docker_folder: &Path, socket: &Path, may_select: bool) -> anyhow::Result<()> {
    let folder = docker_folder.join("contexts/meta").join(FOLDER);
    let meta = json!({
        "Name": NAME,
        "Metadata": {"Description": "Berth"},
        "Endpoints": {"docker": {"Host": format!("unix://{}", socket.display()), "SkipTLSVerify": false}},
    });
    let file = folder.join("meta.json");
    let wanted = serde_json::to_string(&meta)?;
    if fs::read_to_string(&file).ok().as_deref() != Some(&wanted) {
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        replace(&file, &wanted)?;
    }
    if may_select {
        select(docker_folder)
    } else {
        Ok(())
    }
}

fn select(docker_folder: &Path) -> anyhow::Result<()> {
    let file = docker_folder.join("config.json");
    let mut config: Value = match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON: mend it", file.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    let Some(map) = config.as_object_mut() else {
        return Ok(());
    };
    if map.contains_key("currentContext") {
        return Ok(());
    }
    map.insert("currentContext".to_owned(), json!(NAME));
    replace(&file, &serde_json::to_string_pretty(&config)?)
}

fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let new = file.with_extension("berth-new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, file))
        .with_context(|| format!("write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current(folder: &Path) -> Option<String> {
        let text = fs::read_to_string(folder.join("config.json")).ok()?;
        let config: Value = serde_json::from_str(&text).ok()?;
        config["currentContext"].as_str().map(str::to_owned)
    }

    #[test]
    fn it_is_selected_only_without_a_choice_and_other_keys_stay() {
        let folder = tempfile::tempdir().expect("temp folder");
        fs::write(folder.path().join("config.json"), r#"{"auths":{"r":{}}}"#).expect("written");
        ensure(folder.path(), Path::new("/h/docker.sock"), true).expect("made");
        assert_eq!(current(folder.path()).as_deref(), Some("berth"));
        let text = fs::read_to_string(folder.path().join("config.json")).expect("there");
        assert!(text.contains("auths"));

        fs::write(
            folder.path().join("config.json"),
            r#"{"currentContext":"mine"}"#,
        )
        .expect("written");
        ensure(folder.path(), Path::new("/h/docker.sock"), true).expect("made");
        assert_eq!(current(folder.path()).as_deref(), Some("mine"));
    }

    #[test]
    fn a_broken_config_is_left_alone() {
        let folder = tempfile::tempdir().expect("temp folder");
        fs::write(folder.path().join("config.json"), "{oops").expect("written");
        assert!(ensure(folder.path(), Path::new("/s"), true).is_err());
        assert_eq!(
            fs::read_to_string(folder.path().join("config.json")).expect("there"),
            "{oops"
        );
    }
}
