//! Debian packages: found and fetched by the machine's own apt with lists of our own, checked, unpacked, never installed.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::lock::Locked;

/// A guest architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Architecture {
    /// Debian's name.
    #[must_use]
    pub const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The one this program runs on, as far as there is an image for it.
    #[must_use]
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.debian())
    }
}

/// apt with a state of its own, on the mirror that the machine's own apt uses.
#[derive(Debug, Clone)]
pub struct Apt {
    state: PathBuf,
    say: fn(&str),
}

impl Apt {
    /// Keeps lists and packages in `state`; `say` takes warnings for people.
    #[must_use]
    pub fn new(state: PathBuf, say: fn(&str)) -> Self {
        Self { state, say }
    }

    /// The newest version of a package.
    ///
    /// # Errors
    /// apt fails or does not know it.
    pub fn newest(&self, suite: &str, package: &str, architecture: Architecture) -> Result<Locked> {
        self.update_once(suite)?;
        let shown = self.show(suite, package, architecture)?;
        Ok(Locked {
            package: package.to_owned(),
            suite: suite.to_owned(),
            version: field(&shown, "Version")
                .with_context(|| format!("{package} has no version"))?,
            sha256: field(&shown, "SHA256").with_context(|| format!("{package} has no SHA-256"))?,
        })
    }

    /// The newest kernel that a meta package points at.
    ///
    /// # Errors
    /// apt fails or does not know it.
    pub fn newest_kernel(
        &self,
        suite: &str,
        meta: &str,
        architecture: Architecture,
    ) -> Result<Locked> {
        self.update_once(suite)?;
        let shown = self.show(suite, meta, architecture)?;
        let depends = field(&shown, "Depends").unwrap_or_default();
        let package = depends
            .split([',', ' '])
            .find(|word| word.starts_with("linux-image-"))
            .with_context(|| format!("{meta} depends on no kernel"))?;
        self.newest(suite, package, architecture)
    }

    /// The `.deb` file of a locked package, from the cache or the mirror. When the mirror has dropped that version, the newest one with a
    /// warning. `kernel`: the package's name has its version in it, so a newer one has another name.
    ///
    /// # Errors
    /// apt fails, or what it fetched is not what the lock names.
    pub fn fetch(
        &self,
        locked: &Locked,
        architecture: Architecture,
        kernel: bool,
    ) -> Result<PathBuf> {
        if let Some(cached) = self.cached(locked)? {
            return Ok(cached);
        }
        self.update_once(&locked.suite)?;
        if self.download(locked, architecture).is_err() {
            let newest = if kernel {
                self.newest_kernel(
                    &locked.suite,
                    &crate::lock::kernel_meta_package(architecture),
                    architecture,
                )?
            } else {
                self.newest(&locked.suite, &locked.package, architecture)?
            };
            (self.say)(&format!(
                "{} {} is no longer on the mirror; taking {} {} (move the lock with `cargo xtask image --update-lock`)",
                locked.package, locked.version, newest.package, newest.version
            ));
            if let Some(cached) = self.cached(&newest)? {
                return Ok(cached);
            }
            self.download(&newest, architecture)?;
            return self
                .cached(&newest)?
                .context("a package vanished after its download");
        }
        self.cached(locked)?.with_context(|| {
            format!(
                "the mirror's {} {} is not the one with SHA-256 {}",
                locked.package, locked.version, locked.sha256
            )
        })
    }

    /// Unpacks a `.deb` file into a folder.
    ///
    /// # Errors
    /// `dpkg-deb` fails.
    pub fn unpack(&self, package: &Path, into: &Path) -> Result<()> {
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(into)).map(drop)
    }

    fn debs(&self) -> PathBuf {
        self.state.join("debs")
    }

    fn cached(&self, locked: &Locked) -> Result<Option<PathBuf>> {
        let path = self.debs().join(format!("{}.deb", locked.sha256));
        if !path.exists() {
            return Ok(None);
        }
        Ok((sha256_of(&path)? == locked.sha256).then_some(path))
    }

    fn download(&self, locked: &Locked, architecture: Architecture) -> Result<()> {
        fs::create_dir_all(self.debs()).context("make the package cache")?;
        let folder = tempfile::tempdir_in(self.debs()).context("make a folder for a download")?;
        let shown = self.show(&locked.suite, &locked.package, architecture)?;
        let of_all = field(&shown, "Architecture").as_deref() == Some("all");
        let wanted = if of_all {
            format!("{}={}", locked.package, locked.version)
        } else {
            format!("{}:{architecture}={}", locked.package, locked.version)
        };
        run(self
            .apt("apt-get", &locked.suite)?
            .args(["-qq", "download", &wanted])
            .current_dir(folder.path()))?;
        for entry in fs::read_dir(folder.path())? {
            let path = entry?.path();
            let digest = sha256_of(&path)?;
            fs::rename(&path, self.debs().join(format!("{digest}.deb")))
                .context("keep a package")?;
        }
        Ok(())
    }

    fn show(&self, suite: &str, package: &str, architecture: Architecture) -> Result<String> {
        // A package for all architectures goes under the machine's own one.
        for name in [format!("{package}:{architecture}"), package.to_owned()] {
            let shown =
                run(self
                    .apt("apt-cache", suite)?
                    .args(["show", "--no-all-versions", &name]))
                .unwrap_or_default();
            let of = field(&shown, "Architecture");
            if of.as_deref() == Some(architecture.debian()) || of.as_deref() == Some("all") {
                return Ok(shown);
            }
        }
        bail!("{suite} has no package {package} for {architecture}")
    }

    /// Fetches the lists of a suite when there are none of today.
    fn update_once(&self, suite: &str) -> Result<()> {
        let stamp = self.suite_folder(suite).join("updated");
        let fresh = fs::metadata(&stamp)
            .and_then(|stamp| stamp.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 24 * 3600));
        if fresh {
            return Ok(());
        }
        let updated = run(self.apt("apt-get", suite)?.args(["-qq", "update"]));
        match updated {
            Err(error) if error.to_string().contains("is expired") => {
                (self.say)(&format!(
                    "the mirror's lists of {suite} are old; they are signed, and taken all the same"
                ));
                run(self.apt("apt-get", suite)?.args([
                    "-o",
                    "Acquire::Check-Valid-Until=false",
                    "-qq",
                    "update",
                ]))?;
            }
            other => drop(other?),
        }
        fs::write(&stamp, "").context("note the update")
    }

    fn suite_folder(&self, suite: &str) -> PathBuf {
        self.state.join("apt").join(suite)
    }

    fn apt(&self, program: &str, suite: &str) -> Result<Command> {
        let folder = self.suite_folder(suite);
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(below)).context("make apt's folders")?;
        }
        let list = folder.join("sources.list");
        fs::write(
            &list,
            format!(
                "deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {} {suite} main\n",
                mirror()?
            ),
        )
        .context("write apt's sources")?;
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", list.display().to_string()),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
            (
                "Dir::State::lists",
                folder.join("lists").display().to_string(),
            ),
            ("Dir::Cache", folder.join("cache").display().to_string()),
            ("APT::Architectures", "amd64,arm64".to_owned()),
            ("APT::Get::List-Cleanup", "0".to_owned()),
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".to_owned(),
            ),
            (
                "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled",
                "false".to_owned(),
            ),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        Ok(command)
    }
}

/// The Debian mirror that the machine's own apt uses.
fn mirror() -> Result<String> {
    let targets = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Identifier: Packages",
    ]))?;
    match targets
        .lines()
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
    {
        Some(uri) => Ok(uri.to_owned()),
        None => bail!(
            "the machine's apt has no Debian mirror: add one to its sources and run `apt-get update`"
        ),
    }
}

/// The first value of a field in apt's stanzas.
fn field(shown: &str, name: &str) -> Option<String> {
    shown
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .map(ToOwned::to_owned)
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(sha256(&bytes))
}

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// It cannot be started or fails; its own words are in the error.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("start {program}; `cargo xtask setup` installs what is needed"))?;
    ensure!(
        output.status.success(),
        "{program} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_taken_whole_and_not_by_its_beginning() {
        let shown = "Package: a\nVersion-Of: 1\nVersion: 2.0-1\nSHA256: ab\n";
        assert_eq!(field(shown, "Version").as_deref(), Some("2.0-1"));
        assert_eq!(field(shown, "Depends"), None);
    }
}
