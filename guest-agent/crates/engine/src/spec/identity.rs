//! Users and groups by the image's own files: hostile, so lines that are not understood are skipped. Format: passwd(5), group(5).

use errdefs::Result;

use super::system;

/// Largest id, as Docker bounds them.
const MAX_ID: u32 = i32::MAX as u32;
/// Groups of one user.
const MAX_GROUPS: usize = 65_536;

/// Who runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn users(file: &str) -> impl Iterator<Item = User<'_>> {
    file.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields
            .next()
            .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(User {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or_default(),
        })
    })
}

fn groups(file: &str) -> impl Iterator<Item = Group<'_>> {
    file.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields
            .next()
            .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group {
            name,
            gid,
            members: fields.next().unwrap_or_default(),
        })
    })
}

/// Resolves `user[:group]`, names or numbers; empty is root. `added`: groups given by `--group-add`.
///
/// # Errors
/// In Docker's words: nobody of that name, or a number out of range.
pub(super) fn resolve(
    text: &str,
    added: &[String],
    passwd: Option<&[u8]>,
    group: Option<&[u8]>,
) -> Result<Identity> {
    let passwd = String::from_utf8_lossy(passwd.unwrap_or_default());
    let group = String::from_utf8_lossy(group.unwrap_or_default());
    let (user, wanted_group) = text.split_once(':').unwrap_or((text, ""));
    let number = user.parse::<i64>().ok();
    let found = users(&passwd).find(|entry| match (user, number) {
        ("", _) => entry.uid == 0,
        (_, Some(number)) => i64::from(entry.uid) == number,
        _ => entry.name == user,
    });
    let mut identity = match (&found, number) {
        (Some(entry), _) => Identity {
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            home: entry.home.to_owned(),
        },
        (None, Some(number)) => Identity {
            uid: id(number)?,
            gid: 0,
            groups: Vec::new(),
            home: String::new(),
        },
        (None, None) if user.is_empty() => Identity {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: String::new(),
        },
        (None, None) => {
            return Err(system(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    if wanted_group.is_empty() {
        if let Some(entry) = &found {
            let own = groups(&group)
                .filter(|group| group.members.split(',').any(|member| member == entry.name));
            identity.groups = own.map(|group| group.gid).take(MAX_GROUPS).collect();
        }
    } else {
        identity.gid = group_id(wanted_group, &group)?;
    }
    for wanted in added {
        identity.groups.push(group_id(wanted, &group)?);
    }
    // Docker puts the first group before the others.
    identity.groups.insert(0, identity.gid);
    if identity.uid > MAX_ID || identity.gid > MAX_ID {
        return Err(out_of_range());
    }
    if identity.home.is_empty() {
        identity.home = "/".to_owned();
    }
    Ok(identity)
}

fn group_id(wanted: &str, file: &str) -> Result<u32> {
    let number = wanted.parse::<i64>().ok();
    let found =
        groups(file).find(|group| group.name == wanted || number == Some(i64::from(group.gid)));
    match (found, number) {
        (Some(group), _) => Ok(group.gid),
        (None, Some(number)) => id(number),
        (None, None) => Err(system(format!(
            "unable to find group {wanted}: no matching entries in group file"
        ))),
    }
}

fn id(number: i64) -> Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id <= MAX_ID)
        .ok_or_else(out_of_range)
}

fn out_of_range() -> errdefs::Error {
    system(format!("uids and gids must be in range 0-{MAX_ID}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"# users\nroot:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\nbroken\n:x:1:1::/:\nbad:x:abc:1::/:\n\xff\xfe:x:5:5::/x:\n";
    const GROUP: &[u8] = b"root:x:0:root\nwww:x:33:\nextra:x:50:other,www\nbroken\n";

    fn of(text: &str, added: &[&str]) -> Result<Identity> {
        let added: Vec<String> = added.iter().map(|name| (*name).to_owned()).collect();
        resolve(text, &added, Some(PASSWD), Some(GROUP))
    }

    #[test]
    fn names_and_numbers_are_found_in_the_images_files() {
        let www = of("www", &[]).unwrap();
        assert_eq!(
            (www.uid, www.gid, www.groups, www.home.as_str()),
            (33, 33, vec![33, 50], "/var/www")
        );
        let root = of("", &[]).unwrap();
        assert_eq!(
            (root.uid, root.groups, root.home.as_str()),
            (0, vec![0, 0], "/root")
        );
        let by_number = of("7:8", &["extra", "9"]).unwrap();
        assert_eq!(
            (
                by_number.uid,
                by_number.gid,
                by_number.groups,
                by_number.home.as_str()
            ),
            (7, 8, vec![8, 50, 9], "/")
        );
        assert_eq!(of("33", &[]).unwrap().gid, 33);
        assert_eq!(of("www:root", &[]).unwrap().groups, [0]);
        assert_eq!(resolve("", &[], None, None).unwrap().uid, 0);
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (text, message) in [
            (
                "nope",
                "unable to find user nope: no matching entries in passwd file",
            ),
            (
                "www:nope",
                "unable to find group nope: no matching entries in group file",
            ),
            ("2147483648", "uids and gids must be in range 0-2147483647"),
            ("-1", "uids and gids must be in range 0-2147483647"),
        ] {
            assert_eq!(of(text, &[]).unwrap_err().message(), message);
        }
    }
}
