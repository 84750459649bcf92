//! Whom files belong to that are copied for a container's user.

use errdefs::{Error, ErrorKind, Result};

use super::identity::{Files, NO_GROUP, NO_USER, named_group, resolve};

/// The ids of `user[:group]`: names or numbers, with an empty one being root; the user's own group unless one is named.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub fn owner(user: &str, passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<(u32, u32)> {
    let files = Files { passwd, group };
    let (name, group_name) = user.split_once(':').unwrap_or((user, ""));
    let (uid, mut gid) = if name.is_empty() {
        (0, 0)
    } else {
        let found = resolve(name, files).map_err(|_| unknown("user", name, NO_USER))?;
        (found.uid, found.gid)
    };
    if !group_name.is_empty() {
        gid = named_group(group_name, group)
            .ok()
            .and_then(|gid| u32::try_from(gid).ok())
            .ok_or_else(|| unknown("group", group_name, NO_GROUP))?;
    }
    Ok((uid, gid))
}

fn unknown(what: &str, name: &str, why: &str) -> Error {
    let text = format!("failed to look up {what} {name:?} in container: {why}");
    Error::new(ErrorKind::InvalidParameter, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up_as_docker_does() {
        let passwd: &[u8] = b"root:x:0:0:r:/:/bin/sh\nwww:x:33:34:w:/:/bin/sh\n";
        let group: &[u8] = b"root:x:0:\nwww:x:34:\n";
        let ids = |user| owner(user, Some(passwd), Some(group)).map_err(|e| e.message().to_owned());
        for (user, expected) in [
            ("www", (33, 34)),
            ("33", (33, 34)),
            ("5", (5, 0)),
            ("www:root", (33, 0)),
            ("5:6", (5, 6)),
            (":34", (0, 34)),
            ("33:", (33, 34)),
        ] {
            assert_eq!(ids(user), Ok(expected), "{user}");
        }
        assert_eq!(
            ids("nosuch"),
            Err("failed to look up user \"nosuch\" in container: no matching entries in passwd file".into())
        );
        assert_eq!(
            ids("www:nosuch"),
            Err("failed to look up group \"nosuch\" in container: no matching entries in group file".into())
        );
    }
}
