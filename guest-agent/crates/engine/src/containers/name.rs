//! Names of containers: checked, or made up.

use errdefs::{Error, ErrorKind, Result};

const QUALITIES: &[&str] = &[
    "able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "civil",
    "clear", "clever", "crisp", "curious", "daring", "deft", "eager", "early", "fair", "famous",
    "fluent", "frank", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "honest",
    "humble", "ideal", "jolly", "keen", "kind", "lively", "loyal", "lucid", "merry", "mild",
    "modest", "neat", "nimble", "noble", "patient", "placid", "polite", "proud", "quick", "quiet",
    "rapid", "ready", "serene", "sharp", "silent", "smart", "steady", "sunny", "swift", "tidy",
    "vivid", "warm", "wise", "witty",
];
const THINGS: &[&str] = &[
    "anchor",
    "barge",
    "bay",
    "beacon",
    "boat",
    "bow",
    "breeze",
    "bridge",
    "brig",
    "buoy",
    "cabin",
    "canal",
    "canoe",
    "cape",
    "captain",
    "cargo",
    "clipper",
    "coast",
    "cove",
    "crane",
    "crew",
    "current",
    "cutter",
    "deck",
    "delta",
    "dinghy",
    "dock",
    "dory",
    "ferry",
    "fjord",
    "fleet",
    "galley",
    "gull",
    "harbor",
    "helm",
    "hull",
    "island",
    "jetty",
    "kayak",
    "keel",
    "ketch",
    "lagoon",
    "lantern",
    "lighthouse",
    "mast",
    "mooring",
    "oar",
    "ocean",
    "pier",
    "pilot",
    "port",
    "quay",
    "raft",
    "reef",
    "rigging",
    "rudder",
    "sail",
    "schooner",
    "shore",
    "sloop",
    "strait",
    "tide",
    "wave",
    "wharf",
];

/// Checks a name a client gave; the slash it may begin with is taken off.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub(crate) fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let mut rest = 0;
    let others = bytes.all(|b| {
        rest += 1;
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')
    });
    if first && others && rest > 0 {
        Ok(bare)
    } else {
        Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        ))
    }
}

/// A name from chance; later attempts get a number, which the names of most engines leave no room for.
pub(crate) fn make_up(random: [u8; 32], attempt: u32) -> String {
    let quality = QUALITIES[usize::from(random[0]) % QUALITIES.len()];
    let thing = THINGS[usize::from(random[1]) % THINGS.len()];
    if attempt == 0 {
        format!("{quality}_{thing}")
    } else {
        format!(
            "{quality}_{thing}{}",
            u16::from_le_bytes([random[2], random[3]])
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_docker_does() {
        for good in ["ab", "/ab", "A1_.-", "0a"] {
            assert_eq!(check(good).unwrap(), good.trim_start_matches('/'));
        }
        for bad in ["", "/", "a", "-bad", "_x", "a/b", "a b", "ä1"] {
            let error = check(bad).unwrap_err();
            assert!(
                error
                    .message()
                    .starts_with(&format!("Invalid container name ({bad})")),
                "{error}"
            );
        }
    }

    #[test]
    fn names_that_are_made_up_pass_the_check() {
        for byte in 0..=255 {
            for attempt in [0, 1] {
                check(&make_up([byte; 32], attempt)).unwrap();
            }
        }
    }
}
