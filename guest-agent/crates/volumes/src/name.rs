//! Names of volumes. Texts are Docker's.

use errdefs::{Classify, ErrorKind};

/// Longest name: a folder has it.
const MAX_NAME_BYTES: usize = 255;

/// The name cannot be a volume's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A character that names do not have.
    #[error(
        "{0:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    Characters(String),
    /// A single character.
    #[error("volume name is too short, names should be at least two alphanumeric characters")]
    TooShort,
    /// Longer than a folder's name can be.
    #[error("volume name is too long, names should be at most {MAX_NAME_BYTES} characters")]
    TooLong,
}

impl Classify for NameError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

/// Checks a name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn check(name: &str) -> Result<(), NameError> {
    if name.len() == 1 {
        return Err(NameError::TooShort);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    let good = name
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        Ok(())
    } else {
        Err(NameError::Characters(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["ab", "data", "a.b-c_D", "0x", &"a".repeat(255)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "a/b", "..", ".a", "-a", "a b", "ä", "a\n"] {
            assert!(
                matches!(check(bad), Err(NameError::Characters(_))),
                "{bad:?}"
            );
        }
        assert_eq!(check("a"), Err(NameError::TooShort));
        assert_eq!(check(&"a".repeat(256)), Err(NameError::TooLong));
        assert!(
            check("a/b")
                .expect_err("bad")
                .to_string()
                .starts_with("\"a/b\" includes invalid characters")
        );
    }
}
