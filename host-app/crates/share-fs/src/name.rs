//! Names in FUSE requests. A request names one entry of a folder that the guest holds by its node id, so a name that is more than that is an
//! attempt to leave the share, and is refused before it reaches any file system. Spec: Linux, include/uapi/linux/fuse.h (names end with NUL).

/// Longest name. Linux: include/uapi/linux/limits.h, NAME_MAX.
pub const MAX_NAME_BYTES: usize = 255;

/// A name that no entry can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, `.` or `..`.
    #[error("the name is empty, . or ..")]
    NoEntry,
    /// It has a slash or a NUL.
    #[error("the name has a slash or a NUL in it")]
    Separator,
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
}

impl NameError {
    /// The error number that a file system answers with.
    pub fn errno(self) -> i32 {
        match self {
            Self::NoEntry | Self::Separator => libc::EINVAL,
            Self::TooLong => libc::ENAMETOOLONG,
        }
    }
}

/// Checks a name without its ending NUL.
///
/// # Errors
/// [`NameError`].
pub fn check(name: &[u8]) -> Result<(), NameError> {
    if matches!(name, b"" | b"." | b"..") {
        return Err(NameError::NoEntry);
    }
    if name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(NameError::Separator);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in [
            &b"a"[..],
            b"...",
            b".hidden",
            b"a b",
            b"\xff\xfe",
            &[b'x'; 255],
        ] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for (bad, why) in [
            (&b""[..], NameError::NoEntry),
            (b".", NameError::NoEntry),
            (b"..", NameError::NoEntry),
            (b"../x", NameError::Separator),
            (b"/etc", NameError::Separator),
            (b"a/b", NameError::Separator),
            (b"a\0b", NameError::Separator),
            (&[b'x'; 256], NameError::TooLong),
        ] {
            assert_eq!(check(bad), Err(why), "{bad:?}");
        }
    }
}
