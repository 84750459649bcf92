//! What a client must know to find berthd.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Where berthd listens, below its home.
pub const CONTROL_SOCKET: &str = "run/berthd.sock";

/// berthd's log, below its home.
pub const DAEMON_LOG: &str = "berthd.log";

/// What berthd prints, with a line end, once its control socket takes connections.
pub const READY_LINE: &str = "ready";

/// The home that the environment names: `BERTH_HOME`, else `.berth` below `HOME`. `None`: neither is set.
pub fn home_folder(berth_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let set = |value: Option<OsString>| value.filter(|text| !text.is_empty());
    match set(berth_home) {
        Some(folder) => Some(PathBuf::from(folder)),
        None => set(home).map(|home| Path::new(&home).join(".berth")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_as_good_as_none() {
        let home = |a: &str, b: &str| home_folder(Some(a.into()), Some(b.into()));
        assert_eq!(home("/b", "/h"), Some(PathBuf::from("/b")));
        assert_eq!(home("", "/h"), Some(PathBuf::from("/h/.berth")));
        assert_eq!(home("", ""), None);
    }
}
