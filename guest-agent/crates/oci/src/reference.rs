//! Image references: what a user types, and what it means.
//!
//! ```text
//!   [domain/]path[:tag][@digest]        ubuntu  ──►  docker.io/library/ubuntu:latest
//! ```
//! Spec: OCI distribution, pulling manifests (names and tags); Docker's rule for the domain: the part before the first slash is one when it has
//! a dot, a colon or an upper-case letter, or is `localhost`.

use std::{fmt, str::FromStr};

use errdefs::{Classify, ErrorKind};

use crate::Digest;

/// The registry that is meant when none is named.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// Its old name, still typed.
const LEGACY_DOMAIN: &str = "index.docker.io";

/// Where the default registry keeps names without a slash.
const OFFICIAL_PREFIX: &str = "library/";

/// The tag that is meant when neither tag nor digest is named.
pub const DEFAULT_TAG: &str = "latest";

/// Longest repository name, domain included.
const MAX_NAME_BYTES: usize = 255;

/// Longest tag.
const MAX_TAG_BYTES: usize = 128;

/// A repository with what was said about which of its images: tag, digest, both or neither.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The text is not a reference. Texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The path has an upper-case letter.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    /// It looks like an image's id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Id(String),
    /// Over 255 bytes.
    #[error("repository name must not be more than {MAX_NAME_BYTES} characters")]
    TooLong,
}

impl Classify for ReferenceError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::Id(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(digest.parse().map_err(|_| ReferenceError::Format)?),
            ),
            None => (text, None),
        };
        let (domain, rest) = split_domain(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some(_) => return Err(ReferenceError::Format),
            None => (rest, None),
        };
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        if !is_domain(domain) {
            return Err(ReferenceError::Format);
        }
        if !path.split('/').all(is_path_component) {
            let lower = path.to_ascii_lowercase();
            let only_case = lower != path && lower.split('/').all(is_path_component);
            return Err(if only_case {
                ReferenceError::UpperCase(path)
            } else {
                ReferenceError::Format
            });
        }
        if domain.len() + 1 + path.len() > MAX_NAME_BYTES {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag,
            digest,
        })
    }
}

fn split_domain(text: &str) -> (&str, &str) {
    let (domain, rest) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    (
        if domain == LEGACY_DOMAIN {
            DEFAULT_DOMAIN
        } else {
            domain
        },
        rest,
    )
}

/// `host[:port]`, where a host is a name, an address, or an IPv6 address in brackets.
fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let host_is_good = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }
        None => host.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        }),
    };
    host_is_good
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let bytes = component.as_bytes();
    let good_ends =
        bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    good_ends
        && bytes
            .chunk_by(|a, b| alphanumeric(a) == alphanumeric(b))
            .all(|run| {
                alphanumeric(&run[0])
                    || run == b"."
                    || run == b"_"
                    || run == b"__"
                    || run.iter().all(|b| *b == b'-')
            })
}

/// `[\w][\w.-]{0,127}`.
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    (1..=MAX_TAG_BYTES).contains(&bytes.len())
        && word(bytes[0])
        && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-')
}

impl Reference {
    /// Registry: host and port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository in the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Tag, if one was named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Digest, if one was named.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// With the default tag when neither tag nor digest was named.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository by another digest, without a tag.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The repository as people read it: without the default domain and prefix.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// All of it as people read it.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    fn suffix(&self) -> String {
        let tag = self
            .tag
            .as_ref()
            .map(|tag| format!(":{tag}"))
            .unwrap_or_default();
        let digest = self
            .digest
            .as_ref()
            .map(|digest| format!("@{digest}"))
            .unwrap_or_default();
        format!("{tag}{digest}")
    }
}

/// All of it, domain included.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, full: &str, familiar: &str) {
        let reference: Reference = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let reference = reference.or_latest();
        assert_eq!(reference.to_string(), full, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
    }

    #[test]
    fn names_are_completed_and_shortened() {
        check("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest");
        check(
            "ubuntu:24.04",
            "docker.io/library/ubuntu:24.04",
            "ubuntu:24.04",
        );
        check("me/app", "docker.io/me/app:latest", "me/app:latest");
        check(
            "docker.io/ubuntu",
            "docker.io/library/ubuntu:latest",
            "ubuntu:latest",
        );
        check(
            "index.docker.io/ubuntu:1",
            "docker.io/library/ubuntu:1",
            "ubuntu:1",
        );
        check(
            "library/ubuntu",
            "docker.io/library/ubuntu:latest",
            "ubuntu:latest",
        );
        check(
            "docker.io/library/a/b",
            "docker.io/library/a/b:latest",
            "library/a/b:latest",
        );
        check("localhost/x", "localhost/x:latest", "localhost/x:latest");
        check(
            "localhost:5000/x",
            "localhost:5000/x:latest",
            "localhost:5000/x:latest",
        );
        check("Host/x", "Host/x:latest", "Host/x:latest");
        check("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y");
        check(
            "a.b-c/d__e.f-g--h/i",
            "a.b-c/d__e.f-g--h/i:latest",
            "a.b-c/d__e.f-g--h/i:latest",
        );
        let digest = Digest::of(b"");
        check(
            &format!("x@{digest}"),
            &format!("docker.io/library/x@{digest}"),
            &format!("x@{digest}"),
        );
        check(
            &format!("x:1@{digest}"),
            &format!("docker.io/library/x:1@{digest}"),
            &format!("x:1@{digest}"),
        );
    }

    #[test]
    fn what_is_none_is_refused_in_dockers_words() {
        let refused = |text: &str| text.parse::<Reference>().expect_err(text);
        for bad in [
            "",
            ":tag",
            "a:",
            "a:b:c",
            "a//b",
            "/a",
            "a/",
            "a b",
            "a:-b",
            "a..b",
            "a___b",
            "-a",
            "a@sha256:0",
            "a.b:x/y",
            "a\n",
            "a/_b",
        ] {
            assert_eq!(refused(bad), ReferenceError::Format, "{bad:?}");
        }
        assert_eq!(
            refused("Upper").to_string(),
            "invalid reference format: repository name (library/Upper) must be lowercase"
        );
        assert_eq!(
            refused("me/App"),
            ReferenceError::UpperCase("me/App".to_owned())
        );
        let id = Digest::of(b"").hex().to_owned();
        assert_eq!(refused(&id), ReferenceError::Id(id.clone()));
        assert_eq!(refused(&"a".repeat(300)), ReferenceError::TooLong);
        assert_eq!(
            refused(&format!("a:{}", "t".repeat(129))),
            ReferenceError::Format
        );
    }

    proptest! {
        #[test]
        fn what_parses_is_written_and_read_the_same(text in "[a-zA-Z0-9./:@_-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference.clone()));
                prop_assert_eq!(reference.familiar().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}") {
            let _ = text.parse::<Reference>();
        }
    }
}
