//! Names and driver options, checked the way Docker's local driver does.

use std::collections::BTreeMap;

use errdefs::{Error, ErrorKind, Result};
use rustix::mount::MountFlags;

const NAME_CHARACTERS: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// Longest name: what a folder's name may have, less our own prefixes.
const MAX_NAME_BYTES: usize = 230;

/// Refuses what cannot be a volume's name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let invalid = |message: String| {
        Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("create {name}: {message}"),
        ))
    };
    if name.len() == 1 {
        return invalid(
            "volume name is too short, names should be at least two alphanumeric characters"
                .to_owned(),
        );
    }
    if !is_name(name) {
        return invalid(format!(
            "{name:?} includes invalid characters for a local volume name, only {NAME_CHARACTERS:?} are allowed. If you intended to pass a host directory, use absolute path"
        ));
    }
    if name.len() > MAX_NAME_BYTES {
        return invalid(format!(
            "volume name is too long, names should be at most {MAX_NAME_BYTES} characters"
        ));
    }
    Ok(())
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]+`; never a path, never hidden.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// What to mount over `_data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountOptions {
    pub(crate) device: String,
    pub(crate) fs_type: String,
    pub(crate) flags: MountFlags,
    pub(crate) data: String,
}

/// Reads `type`, `device`, `o`. None: an ordinary folder.
pub(crate) fn parse(
    name: &str,
    options: &BTreeMap<String, String>,
) -> Result<Option<MountOptions>> {
    let refuse = |message: String| {
        Error::new(
            ErrorKind::InvalidParameter,
            format!("create {name}: {message}"),
        )
    };
    let known = ["type", "o", "device", "size"];
    if let Some(unknown) = options.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(refuse(format!("invalid option: {unknown:?}")));
    }
    if options.contains_key("size") {
        return Err(refuse(
            "quota size requested but no quota support".to_owned(),
        ));
    }
    let value = |key: &str| options.get(key).map_or("", String::as_str);
    let required: &[&str] = match (options.contains_key("o"), options.is_empty()) {
        (_, true) => return Ok(None),
        (true, _) => &["device", "type"],
        _ => &["type", "device"],
    };
    if let Some(missing) = required.iter().find(|key| value(key).is_empty()) {
        return Err(refuse(format!("missing required option: {missing:?}")));
    }
    let (flags, data) = split_flags(value("o"));
    check_server(&data, value("type")).map_err(refuse)?;
    Ok(Some(MountOptions {
        device: value("device").to_owned(),
        fs_type: value("type").to_owned(),
        flags,
        data,
    }))
}

/// There is no resolver on this path: the kernel wants the server as an address.
fn check_server(data: &str, fs_type: &str) -> std::result::Result<(), String> {
    let server = data.split(',').find_map(|part| part.strip_prefix("addr="));
    match server {
        Some(address) if address.parse::<std::net::IpAddr>().is_err() => Err(format!(
            "error resolving passed in network volume address {address:?}: give it as an IP address"
        )),
        None if fs_type.starts_with("nfs") => Err(
            "missing the server's address in the option \"o\", e.g. o=addr=192.0.2.1,rw".to_owned(),
        ),
        _ => Ok(()),
    }
}

fn split_flags(options: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "atime" | "diratime" => {}
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            "dirsync" => flags |= MountFlags::DIRSYNC,
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "strictatime" => flags |= MountFlags::STRICTATIME,
            "bind" => flags |= MountFlags::BIND,
            "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        parse("v1", &options(pairs))
            .expect_err("refused")
            .message()
            .to_owned()
    }

    #[test]
    fn names_are_refused_in_dockers_words() {
        assert_eq!(
            check_name("v/1").expect_err("refused").message(),
            "create v/1: \"v/1\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        );
        assert_eq!(
            check_name("x").expect_err("refused").message(),
            "create x: volume name is too short, names should be at least two alphanumeric characters"
        );
        for bad in ["", "..", ".a", "-a", "a b", "a\0", "ä1"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["ab", "a.", "A_b-9.c", &"f".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good:?}");
        }
        assert!(check_name(&"a".repeat(231)).is_err());
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        assert_eq!(refusal(&[("x", "y")]), "create v1: invalid option: \"x\"");
        assert_eq!(
            refusal(&[("type", "tmpfs")]),
            "create v1: missing required option: \"device\""
        );
        assert_eq!(
            refusal(&[("device", "tmpfs")]),
            "create v1: missing required option: \"type\""
        );
        assert_eq!(
            refusal(&[("o", "ro")]),
            "create v1: missing required option: \"device\""
        );
    }

    #[test]
    fn mount_options_split_into_flags_and_data() {
        let parsed = parse(
            "v1",
            &options(&[
                ("type", "tmpfs"),
                ("device", "tmpfs"),
                ("o", "size=100m,ro,uid=1000,nosuid"),
            ]),
        )
        .expect("valid")
        .expect("a mount");
        assert_eq!(parsed.flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!(parsed.data, "size=100m,uid=1000");
        assert_eq!(parse("v1", &BTreeMap::new()).expect("valid"), None);
    }

    #[test]
    fn a_network_volume_wants_an_address() {
        let nfs = |o: &str| {
            parse(
                "v1",
                &options(&[("type", "nfs"), ("device", ":/export"), ("o", o)]),
            )
        };
        assert!(nfs("addr=192.0.2.1,rw").is_ok());
        assert!(nfs("addr=server.example").is_err());
        assert!(nfs("rw").is_err());
    }
}
