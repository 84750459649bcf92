//! The accepted range of API versions, and the prefix that asks for one. The only place that names the range.

use std::fmt;

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Before the dot.
    pub major: u16,
    /// After the dot.
    pub minor: u16,
}

impl ApiVersion {
    /// `1.minor`.
    pub const fn v1(minor: u16) -> Self {
        Self { major: 1, minor }
    }
}

/// Oldest version that is served.
pub const MIN: ApiVersion = ApiVersion::v1(24);
/// What a path without prefix gets, and what clients are offered that ask: the newest that is proven beside a dockerd. Later ones take away
/// fields that clients of today read.
pub const OFFERED: ApiVersion = ApiVersion::v1(51);
/// Newest version that is served to those who ask for it by name.
pub const MAX: ApiVersion = ApiVersion::v1(55);

/// Why a version is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Before [`MIN`]. Docker sends this one as plain text, for old clients to show it.
    #[error(
        "client version {0} is too old. Minimum supported API version is {MIN}, please upgrade your client to a newer version"
    )]
    TooOld(String),
    /// After [`MAX`].
    #[error("client version {0} is too new. Maximum supported API version is {MAX}")]
    TooNew(String),
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Splits `/v1.51/info` into `1.51` and `/info`. A first segment that is no version belongs to the path.
pub fn split_prefix(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/v") else {
        return (None, path);
    };
    let Some(end) = rest.find('/') else {
        return (None, path);
    };
    let (version, rest) = rest.split_at(end);
    let is_version =
        !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_version {
        (Some(version), rest)
    } else {
        (None, path)
    }
}

/// Checks the version a client asked for.
///
/// # Errors
/// When it is out of range.
pub fn accept(version: Option<&str>) -> Result<ApiVersion, VersionError> {
    let Some(text) = version else {
        return Ok(OFFERED);
    };
    let mut parts = text.split('.').map(|part| {
        part.parse()
            .unwrap_or(if part.is_empty() { 0 } else { u16::MAX })
    });
    let asked = ApiVersion {
        major: parts.next().unwrap_or(0),
        minor: parts.next().unwrap_or(0),
    };
    if asked < MIN {
        Err(VersionError::TooOld(text.to_owned()))
    } else if asked > MAX || parts.any(|part| part > 0 && asked == MAX) {
        Err(VersionError::TooNew(text.to_owned()))
    } else {
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_and_dots_make_a_prefix() {
        assert_eq!(split_prefix("/v1.51/info"), (Some("1.51"), "/info"));
        for path in ["/vfoo/info", "/v/info", "/volumes", "/volumes/a", "/v1.51"] {
            assert_eq!(split_prefix(path), (None, path));
        }
    }

    #[test]
    fn versions_out_of_range_get_dockers_texts() {
        assert_eq!(accept(None), Ok(OFFERED));
        assert_eq!(accept(Some("1.55")), Ok(MAX));
        assert_eq!(accept(Some("1.24")), Ok(MIN));
        assert_eq!(
            accept(Some("1.20")).unwrap_err().to_string(),
            "client version 1.20 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
        for version in ["1.99", "2.0", "1.999999999", "1.55.1"] {
            assert_eq!(
                accept(Some(version)).unwrap_err().to_string(),
                format!(
                    "client version {version} is too new. Maximum supported API version is 1.55"
                )
            );
        }
    }
}
