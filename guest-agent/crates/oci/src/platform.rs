//! Platforms: what an image is made for. Spec: OCI image, index, `platform`; Docker's text form `os/arch[/variant]`.

use std::fmt;

use errdefs::{Error, ErrorKind, Result};
use serde::Deserialize;

/// Operating systems that a platform of one word may mean.
const SYSTEMS: &[&str] = &[
    "linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "plan9", "wasip1",
];

/// Processors that a platform of one word may mean.
const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// What an image runs on, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// `v7`; empty: none.
    #[serde(default)]
    pub variant: String,
}

impl Platform {
    /// A platform in its usual words.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = (
            architecture.to_ascii_lowercase(),
            variant.to_ascii_lowercase(),
        );
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// This machine's.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// `os/arch[/variant]`, `os` or `arch`; what is not said is this machine's.
    ///
    /// # Errors
    /// `InvalidParameter` for what is no platform.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        if text.len() > 255 || !parts.iter().all(is_word) {
            return Err(invalid(format!(
                "{text:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
            )));
        }
        let host = Self::host();
        match parts[..] {
            [os] if SYSTEMS.contains(&os.to_ascii_lowercase().as_str()) => {
                Ok(Self::new(os, &host.architecture, &host.variant))
            }
            [architecture] => {
                let platform = Self::new(&host.os, architecture, "");
                if !ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    return Err(invalid(format!(
                        "{text:?}: unknown operating system or architecture: invalid argument"
                    )));
                }
                Ok(platform)
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(invalid(format!(
                "{text:?}: cannot parse platform specifier: invalid argument"
            ))),
        }
    }

    /// The same in its usual words.
    pub fn normalized(&self) -> Self {
        Self::new(&self.os, &self.architecture, &self.variant)
    }

    /// How well this machine runs images of a platform: less is better; none: not at all.
    pub fn preference(&self, image: &Self) -> Option<u8> {
        if self.os != image.os {
            return None;
        }
        if self == image {
            return Some(0);
        }
        let level = |variant: &str| variant.trim_start_matches('v').parse::<u8>().ok();
        match (self.architecture.as_str(), image.architecture.as_str()) {
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => Some(100 + 8_u8.saturating_sub(level(&image.variant)?)),
            ("arm" | "arm64" | "amd64", other) if other == self.architecture => {
                let base = if self.architecture == "arm64" { 8 } else { 1 };
                let own = level(&self.variant).unwrap_or(base);
                own.checked_sub(level(&image.variant).unwrap_or(base))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        let platform = Platform::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(platform.to_string(), shown, "{text}");
    }

    #[test]
    fn platforms_are_read_in_all_their_forms() {
        check("linux/x86_64", "linux/amd64");
        check("Linux/AMD64/v1", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/armhf", "linux/arm/v7");
        check("s390x", "linux/s390x");
        check("windows/amd64", "windows/amd64");
        for bad in ["", "/", "linux/", "linux/a/b/c", "lin ux/amd64", "bogus"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_machine_prefers_its_own_and_takes_what_it_can_run() {
        let machine = Platform::new("linux", "arm64", "");
        let rank = |text: &str| machine.preference(&Platform::parse(text).expect("platform"));
        assert_eq!(rank("linux/arm64"), Some(0));
        assert!(rank("linux/arm/v7") < rank("linux/arm/v6"));
        assert_eq!(rank("linux/amd64"), None);
        assert_eq!(rank("windows/arm64"), None);
        let amd64 = Platform::new("linux", "amd64", "");
        assert_eq!(
            amd64.preference(&Platform::new("linux", "amd64", "v3")),
            None
        );
        assert!(
            amd64
                .preference(&Platform::new("linux", "386", ""))
                .is_some()
        );
    }
}
