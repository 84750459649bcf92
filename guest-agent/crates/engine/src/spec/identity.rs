//! Who a process is: `user[:group]` looked up in the image's passwd and group files.
//!
//! The files are the image's, so anything can be in them. A line is taken apart by its colons and a number that is none counts as 0, as Go's
//! programs have it; what is out of range is refused.

use std::collections::{BTreeMap, BTreeSet};

use errdefs::Result;

use super::system;

/// Most bytes that are looked at in one of the files; a bigger file is refused.
const MAX_FILE_BYTES: usize = 16 << 20;

/// Most groups of one process. Linux: include/uapi/linux/limits.h, NGROUPS_MAX.
const MAX_GROUPS: usize = 65536;

/// Largest id. Go: github.com/moby/sys/user, maxID.
const MAX_ID: i64 = 2_147_483_647;

pub(super) const NO_USER: &str = "no matching entries in passwd file";
pub(super) const NO_GROUP: &str = "no matching entries in group file";

/// The root's files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Files<'a> {
    pub(crate) passwd: Option<&'a [u8]>,
    pub(crate) group: Option<&'a [u8]>,
}

/// A user who was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Groups that list the user; none when a group was named.
    pub(crate) groups: Vec<u32>,
}

/// Looks a user up: `name`, `name:group`, numbers for either; empty is root.
///
/// # Errors
/// `System`: `unable to find user x: no matching entries in passwd file` and the like.
pub(crate) fn resolve(user: &str, files: Files<'_>) -> Result<Identity> {
    let mut words = user.split(':');
    let wanted = words.next().unwrap_or_default();
    let group = words.next().unwrap_or_default();
    let number: Option<i64> = wanted.parse().ok();
    let entry = entries(files.passwd)?.find(|line| match (wanted, number) {
        ("", _) => line.number(2) == 0,
        (_, Some(uid)) => line.number(2) == uid,
        (name, None) => line.field(0) == name.as_bytes(),
    });
    let (uid, mut gid, name) = match (&entry, number) {
        (Some(line), _) => (line.number(2), line.number(3), line.field(0)),
        (None, Some(uid)) => (uid, 0, &b""[..]),
        (None, None) if wanted.is_empty() => (0, 0, &b""[..]),
        (None, None) => return Err(system(format!("unable to find user {wanted}: {NO_USER}"))),
    };
    let mut groups = Vec::new();
    if !group.is_empty() {
        gid = named_group(group, files.group)?;
    } else if !name.is_empty() {
        for line in entries(files.group)? {
            let listed = line.field(3).split(|&b| b == b',').any(|one| one == name);
            if listed {
                groups.push(in_range(line.number(2))?);
            }
        }
    }
    bounded(&groups)?;
    Ok(Identity {
        uid: in_range(uid)?,
        gid: in_range(gid)?,
        groups,
    })
}

pub(crate) fn named_group(group: &str, file: Option<&[u8]>) -> Result<i64> {
    let number: Option<i64> = group.parse().ok();
    let entry = entries(file)?.find(|line| match number {
        Some(gid) => line.number(2) == gid,
        None => line.field(0) == group.as_bytes(),
    });
    match (entry, number) {
        (Some(line), _) => Ok(line.number(2)),
        (None, Some(gid)) => Ok(gid),
        (None, None) => Err(system(format!("unable to find group {group}: {NO_GROUP}"))),
    }
}

/// Numbers of `GroupAdd`, each once.
///
/// # Errors
/// `System`: `unable to find group x: no matching entries in group file`.
pub(crate) fn additional_groups(wanted: &[String], file: Option<&[u8]>) -> Result<Vec<u32>> {
    // One look at the file, however many groups are wanted.
    let mut known: BTreeMap<&[u8], Option<i64>> = wanted
        .iter()
        .map(|group| (group.as_bytes(), None))
        .collect();
    for line in entries(file)? {
        let gid = line.number(2);
        for key in [line.field(0), gid.to_string().as_bytes()] {
            if let Some(first @ None) = known.get_mut(key) {
                *first = Some(gid);
            }
        }
    }
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for group in wanted {
        let entry = known.get(group.as_bytes()).copied().flatten();
        let gid = match (entry, group.parse::<i64>()) {
            (Some(gid), _) | (None, Ok(gid)) => gid,
            (None, Err(_)) => {
                return Err(system(format!("unable to find group {group}: {NO_GROUP}")));
            }
        };
        let gid = in_range(gid)?;
        if seen.insert(gid) {
            found.push(gid);
        }
    }
    bounded(&found)?;
    Ok(found)
}

/// The home of a user, `/` when passwd does not say.
///
/// # Errors
/// When passwd is too large.
pub(crate) fn home(uid: u32, passwd: Option<&[u8]>) -> Result<String> {
    let entry = entries(passwd)?.find(|line| line.number(2) == i64::from(uid));
    let home = entry.map(|line| String::from_utf8_lossy(line.field(5)).into_owned());
    Ok(home
        .filter(|home| !home.is_empty())
        .unwrap_or_else(|| "/".to_owned()))
}

fn in_range(id: i64) -> Result<u32> {
    u32::try_from(id)
        .ok()
        .filter(|_| id <= MAX_ID)
        .ok_or_else(|| system(format!("uids and gids must be in range 0-{MAX_ID}")))
}

fn bounded(groups: &[u32]) -> Result<()> {
    if groups.len() > MAX_GROUPS {
        return Err(system(format!(
            "a user in more than {MAX_GROUPS} groups is not supported"
        )));
    }
    Ok(())
}

/// One line of either file.
#[derive(Debug, Clone, Copy)]
struct Line<'a>(&'a [u8]);

impl<'a> Line<'a> {
    /// The field at an index; empty when it is not there.
    fn field(self, index: usize) -> &'a [u8] {
        self.0.split(|&b| b == b':').nth(index).unwrap_or_default()
    }

    /// The field as a number; 0 when it is none, the nearest when it is too large.
    fn number(self, index: usize) -> i64 {
        let text = std::str::from_utf8(self.field(index)).unwrap_or_default();
        text.parse()
            .unwrap_or_else(|error: std::num::ParseIntError| match error.kind() {
                std::num::IntErrorKind::PosOverflow => i64::MAX,
                std::num::IntErrorKind::NegOverflow => i64::MIN,
                _ => 0,
            })
    }
}

fn entries(file: Option<&[u8]>) -> Result<impl Iterator<Item = Line<'_>>> {
    let file = file.unwrap_or_default();
    if file.len() > MAX_FILE_BYTES {
        return Err(system(format!(
            "a passwd or group file of more than {MAX_FILE_BYTES} bytes is not supported"
        )));
    }
    Ok(file
        .split(|&b| b == b'\n')
        .map(|line| line.trim_ascii())
        .filter(|line| !line.is_empty())
        .map(Line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: Files<'_> = Files {
        passwd: Some(b"root:x:0:0:root:/root:/bin/sh\n\nbad\nfoo:x:1000:1001:Foo:/home/foo:/bin/sh\nbig:x:4294967296:0::/:\n"),
        group: Some(b"root:x:0:\nfoo:x:1001:\naudio:x:29:foo,bar\nvideo:x:44:foo\n"),
    };

    fn resolved(user: &str) -> (u32, u32, Vec<u32>) {
        let found = resolve(user, FILES).unwrap();
        (found.uid, found.gid, found.groups)
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(resolved(""), (0, 0, vec![]));
        assert_eq!(resolved("foo"), (1000, 1001, vec![29, 44]));
        assert_eq!(resolved("1000"), (1000, 1001, vec![29, 44]));
        assert_eq!(resolved("1234"), (1234, 0, vec![]));
        assert_eq!(resolved("foo:audio"), (1000, 29, vec![]));
        assert_eq!(resolved("foo:77"), (1000, 77, vec![]));
        assert_eq!(resolved(":audio"), (0, 29, vec![]));
        assert_eq!(resolved("foo:"), (1000, 1001, vec![29, 44]));
    }

    #[test]
    fn without_files_numbers_do() {
        let none = Files::default();
        assert_eq!(resolve("7:8", none).unwrap().gid, 8);
        assert_eq!(resolve("", none).unwrap().uid, 0);
        assert!(resolve("root", none).is_err());
    }

    #[test]
    fn who_is_not_there_is_told_with_dockers_texts() {
        let check = |user: &str, want: &str| {
            assert_eq!(resolve(user, FILES).unwrap_err().message(), want);
        };
        check(
            "nosuch",
            "unable to find user nosuch: no matching entries in passwd file",
        );
        check(
            "foo:nosuch",
            "unable to find group nosuch: no matching entries in group file",
        );
        for user in ["2147483648", "-1", "0:2147483648", "big"] {
            check(user, "uids and gids must be in range 0-2147483647");
        }
        let groups = ["nosuch".to_owned()];
        assert_eq!(
            additional_groups(&groups, FILES.group)
                .unwrap_err()
                .message(),
            "unable to find group nosuch: no matching entries in group file"
        );
    }

    #[test]
    fn additional_groups_are_names_or_numbers_once() {
        let wanted = ["audio", "44", "77", "audio"].map(str::to_owned);
        assert_eq!(
            additional_groups(&wanted, FILES.group).unwrap(),
            [29, 44, 77]
        );
    }

    #[test]
    fn the_home_is_passwds() {
        assert_eq!(home(1000, FILES.passwd).unwrap(), "/home/foo");
        assert_eq!(home(5, FILES.passwd).unwrap(), "/");
        assert_eq!(home(0, None).unwrap(), "/");
    }

    #[test]
    fn nonsense_does_not_panic() {
        for bytes in [
            &b":::::::"[..],
            b"\xff\xfe:\x00:9999999999999999999999:-9999999999999999999999",
            b"a:b",
        ] {
            let files = Files {
                passwd: Some(bytes),
                group: Some(bytes),
            };
            let _ = (
                resolve("a", files),
                resolve("0:0", files),
                home(0, Some(bytes)),
            );
        }
    }
}
