//! Where things are: everything of one user's Berth lies below one folder.

use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// Longest path a unix socket can have. Linux: include/uapi/linux/un.h, UNIX_PATH_MAX, less the final NUL.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// `BERTH_HOME`, by default `~/.berth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// From `BERTH_HOME` or `HOME`.
    ///
    /// # Errors
    /// When neither is set, or the folder is not absolute.
    pub fn from_env() -> anyhow::Result<Self> {
        match control_api::home_folder(env::var_os("BERTH_HOME"), env::var_os("HOME")) {
            Some(path) => Self::new(path),
            None => bail!(
                "neither BERTH_HOME nor HOME is set: set BERTH_HOME to a folder for Berth's data"
            ),
        }
    }

    /// A home at a given folder.
    ///
    /// # Errors
    /// When the path is not absolute, or so long that no socket fits below it.
    pub fn new(path: PathBuf) -> anyhow::Result<Self> {
        if !path.is_absolute() {
            bail!(
                "BERTH_HOME is {}: it must be an absolute path",
                path.display()
            );
        }
        let home = Self(path);
        let longest = home.machine("m".repeat(32).as_str()).socket();
        if longest.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
            bail!(
                "BERTH_HOME {} is too long for the sockets below it: choose a path of at most {} bytes",
                home.0.display(),
                MAX_SOCKET_PATH_BYTES - (longest.as_os_str().len() - home.0.as_os_str().len())
            );
        }
        Ok(home)
    }

    /// Makes the folders, for the user alone.
    ///
    /// # Errors
    /// What the file system says.
    pub fn ensure(&self) -> anyhow::Result<()> {
        for folder in [self.0.clone(), self.run_dir(), self.0.join("machines")] {
            private_folder(&folder)?;
        }
        Ok(())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Sockets and locks.
    pub fn run_dir(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Held by the one berthd.
    pub fn daemon_lock(&self) -> PathBuf {
        self.run_dir().join("berthd.lock")
    }

    /// Where the CLI and the UI connect.
    pub fn control_socket(&self) -> PathBuf {
        self.0.join(control_api::CONTROL_SOCKET)
    }

    /// The settings file.
    pub fn settings(&self) -> PathBuf {
        self.0.join("settings.toml")
    }

    /// A machine's places. The name has been checked.
    pub fn machine(&self, name: &str) -> MachineHome {
        MachineHome {
            name: name.to_owned(),
            folder: self.0.join("machines").join(name),
            home: self.clone(),
        }
    }

    /// Names of the machines that were made.
    pub fn machines(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.join("machines"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| check_machine_name(name).is_ok())
            .collect();
        names.sort();
        names
    }
}

/// Where one machine's things are.
#[derive(Debug, Clone)]
pub struct MachineHome {
    name: String,
    folder: PathBuf,
    home: Home,
}

impl MachineHome {
    /// The machine's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The home it is in.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Made anew at each start.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Held while anything uses the data disk.
    pub fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// What berth-vmm is told.
    pub fn spec(&self) -> PathBuf {
        self.folder.join("spec.json")
    }

    /// What berth-vmm says.
    pub fn vmm_log(&self) -> PathBuf {
        self.folder.join("vmm.log")
    }

    /// Where berth-vmm listens.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("vmm.sock")
    }

    /// The data disk.
    pub fn data_disk(&self) -> PathBuf {
        self.folder.join("data.raw")
    }

    /// The Docker socket: the default machine's is where tools look for it.
    pub fn docker_socket(&self) -> PathBuf {
        if self.name == control_api::DEFAULT_MACHINE {
            self.home.run_dir().join("docker.sock")
        } else {
            self.folder.join("docker.sock")
        }
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// What the file system says.
    pub fn ensure(&self) -> anyhow::Result<()> {
        private_folder(&self.folder)?;
        private_folder(&self.run_dir())
    }
}

/// `[a-z0-9][a-z0-9-]{0,31}`.
///
/// # Errors
/// When it is not.
pub fn check_machine_name(name: &str) -> anyhow::Result<()> {
    let good = (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !name.starts_with('-');
    if good {
        return Ok(());
    }
    bail!("invalid machine name {name:?}: use 1 to 32 of a-z, 0-9 and -, not starting with -")
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("make folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_names_are_plain() {
        for good in ["default", "a", "m-1", "0"] {
            assert!(check_machine_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a/b", "..", "a.b", &"a".repeat(33)] {
            assert!(check_machine_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_home_too_long_for_sockets_is_refused_with_its_bound() {
        let error = Home::new(PathBuf::from(format!("/{}", "x".repeat(90)))).expect_err("too long");
        assert!(error.to_string().contains("at most"), "{error}");
    }

    #[test]
    fn only_the_default_machine_has_the_well_known_docker_socket() {
        let home = Home::new(PathBuf::from("/h")).expect("short");
        assert_eq!(
            home.machine("default").docker_socket(),
            Path::new("/h/run/docker.sock")
        );
        assert_eq!(
            home.machine("other").docker_socket(),
            Path::new("/h/machines/other/docker.sock")
        );
    }
}
