//! Moments as text: RFC 3339 with up to nine digits of a second, in UTC. Pure.

use crate::ports::world::Timestamp;

const SECOND: i64 = 1_000_000_000;

/// What Docker shows for a moment that never was.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// A moment as [`write_rfc3339`] writes it.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    let mut out = Vec::with_capacity(30);
    write_rfc3339(at, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The same, and [`NEVER`] for the beginning of time.
#[must_use]
pub fn rfc3339_or_never(at: Timestamp) -> String {
    if at == Timestamp::default() {
        NEVER.to_owned()
    } else {
        rfc3339(at)
    }
}

/// Appends a moment as Go's `time.RFC3339Nano` writes it: zeros at the end of the fraction are left out.
pub fn write_rfc3339(at: Timestamp, out: &mut Vec<u8>) {
    use std::io::Write;
    let (seconds, nanoseconds) = (at.0.div_euclid(SECOND), at.0.rem_euclid(SECOND));
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    // Writing into a Vec cannot fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    if nanoseconds != 0 {
        let _ = write!(out, ".{nanoseconds:09}");
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// Reads `2026-01-02T03:04:05[.123456789](Z|+hh:mm|-hh:mm)`. None also for years a [`Timestamp`] cannot hold.
#[must_use]
pub fn parse_rfc3339(text: &[u8]) -> Option<Timestamp> {
    let (date_time, rest) = text.split_at_checked(19)?;
    for (index, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if date_time[index] != mark {
            return None;
        }
    }
    let field = |from: usize, to: usize| number(&date_time[from..to]);
    let (month, day) = (field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let (nanoseconds, zone) = fraction(rest)?;
    let days = days_from_civil(field(0, 4)?, month, day);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_seconds(zone)?;
    seconds
        .checked_mul(SECOND)?
        .checked_add(nanoseconds)
        .map(Timestamp)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, &digit| {
        Some(value * 10 + i64::from(char::from(digit).to_digit(10)?))
    })
}

fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let (digits, zone) = rest.split_at(length);
    let value = digits
        .iter()
        .chain(std::iter::repeat_n(&b'0', 9 - length))
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some((value, zone))
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, h1, h2, m1, m2) = match *zone {
        [b'Z'] => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, h1, h2, m1, m2),
        [b'-', h1, h2, b':', m1, m2] => (-1, h1, h2, m1, m2),
        _ => return None,
    };
    Some(sign * (number(&[h1, h2])? * 3600 + number(&[m1, m2])? * 60))
}

/// Days since 1970-01-01 of a date in the Gregorian calendar, years counted from March so that the leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (
        era * 400 + year_of_era + i64::from(month <= 2),
        month,
        day_of_year - (153 * shifted_month + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: i64, nanoseconds: i64, text: &str) {
        let at = Timestamp(seconds * SECOND + nanoseconds);
        let mut out = Vec::new();
        write_rfc3339(at, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), text);
        assert_eq!(parse_rfc3339(text.as_bytes()), Some(at));
    }

    #[test]
    fn moments_are_written_as_go_writes_them_and_read_back() {
        check(0, 0, "1970-01-01T00:00:00Z");
        check(951_782_400, 1, "2000-02-29T00:00:00.000000001Z");
        check(1_767_323_045, 600_000_000, "2026-01-02T03:04:05.6Z");
        check(-1, 999_999_999, "1969-12-31T23:59:59.999999999Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn offsets_are_taken_off() {
        assert_eq!(
            parse_rfc3339(b"1970-01-01T01:30:00+01:30"),
            Some(Timestamp(0))
        );
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "1970-01-01T00:00:00",
            "1970-13-01T00:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01 00:00:00Z",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text.as_bytes()), None, "{text}");
        }
    }
}
