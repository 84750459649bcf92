//! Signals by name or number. Linux: arch/x86/include/uapi/asm/signal.h; arm64 has the same.

use errdefs::Result;

use super::invalid;

/// First and last real-time signal as libc leaves them to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// How far from each end the real-time signals in between have names. Docker: github.com/moby/sys/signal.
const MAX_ABOVE_RTMIN: i32 = 15;
const MAX_BELOW_RTMAX: i32 = 14;

const NAMES: [(&str, i32); 34] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
];

/// A signal's number, from `TERM`, `SIGTERM`, `sigterm`, `15` or `RTMIN+3`. A number need not be a signal of this machine.
///
/// # Errors
/// `InvalidParameter`: `invalid signal: SIGNONE`.
pub fn parse_signal(text: &str) -> Result<i32> {
    let wrong = || invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if number == 0 {
            Err(wrong())
        } else {
            Ok(number)
        };
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, number)| *number)
        .or_else(|| real_time(name))
        .ok_or_else(wrong)
}

/// Whether this system has a signal of that number.
pub fn is_supported(signal: i32) -> bool {
    NAMES.iter().any(|(_, number)| *number == signal) || (RTMIN..=RTMAX).contains(&signal)
}

fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char, most: i32| match rest {
        "" => Some(0),
        rest => rest
            .strip_prefix(sign)
            .filter(|digits| !digits.starts_with(['0', '+', '-']))
            .and_then(|digits| digits.parse::<i32>().ok())
            .filter(|offset| (1..=most).contains(offset)),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+', MAX_ABOVE_RTMIN).map(|offset| RTMIN + offset);
    }
    offset(name.strip_prefix("RTMAX")?, '-', MAX_BELOW_RTMAX).map(|offset| RTMAX - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, want) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMIN+15", 49),
            ("RTMAX-14", 50),
            ("rtmax", 64),
        ] {
            assert_eq!(parse_signal(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn only_signals_of_linux_are_supported() {
        for signal in [1, 9, 16, 31, 34, 64] {
            assert!(is_supported(signal), "{signal}");
        }
        for signal in [-1, 0, 32, 33, 65, 99] {
            assert!(!is_supported(signal), "{signal}");
        }
    }

    #[test]
    fn what_is_none_is_told_with_dockers_text() {
        for text in [
            "SIGNONE", "0", "", "RTMIN+16", "RTMAX-15", "RTMIN+0", "RTMIN+03",
        ] {
            let error = parse_signal(text).unwrap_err();
            assert_eq!(error.message(), format!("invalid signal: {text}"));
        }
    }
}
