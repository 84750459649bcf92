//! Signals by name and number. Linux: include/uapi/asm-generic/signal.h.

use errdefs::Result;

use super::invalid;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal by number, or by name with or without `SIG`.
///
/// # Errors
/// `InvalidParameter`: `invalid signal: NAME`.
pub fn parse_signal(text: &str) -> Result<i32> {
    let unknown = || invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(place) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(place + 1).map_err(|_| unknown());
    }
    if let Some((_, number)) = ALIASES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str| {
        if rest.is_empty() {
            Some(0)
        } else {
            rest.get(1..)?.parse::<i32>().ok()
        }
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest)
            .filter(|_| rest.is_empty() || rest.starts_with('+'))
            .map(|plus| RTMIN.saturating_add(plus))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest)
            .filter(|_| rest.is_empty() || rest.starts_with('-'))
            .map(|minus| RTMAX.saturating_sub(minus))
    } else {
        None
    };
    number
        .filter(|number| (RTMIN..=RTMAX).contains(number))
        .ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("KILL", 9),
            ("sigterm", 15),
            ("10", 10),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SYS", 31),
            ("WINCH", 28),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in ["BOGUS", "0", "65", "SIG", "", "RTMIN+99", "RTMINä", "-1"] {
            assert_eq!(
                parse_signal(text).unwrap_err().message(),
                format!("invalid signal: {text}")
            );
        }
    }
}
