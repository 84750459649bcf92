//! JSON bodies, refused with the texts of Docker's own server.

use errdefs::{Error, ErrorKind, Result};
use serde::de::{DeserializeOwned, IgnoredAny};

/// Checks the type of a body that must be JSON. Only where there is no body may the header be missing.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn check_content_type(header: Option<&str>, has_body: bool) -> Result<()> {
    let header = header.unwrap_or_default();
    if header.is_empty() {
        return if has_body {
            Err(invalid(
                "malformed Content-Type header (): mime: no media type",
            ))
        } else {
            Ok(())
        };
    }
    let media_type = header
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    if media_type == "application/json" {
        return Ok(());
    }
    Err(invalid(format!(
        "unsupported Content-Type header ({media_type}): must be 'application/json'"
    )))
}

/// Reads exactly one JSON value.
///
/// # Errors
/// `InvalidParameter` with the text Go's decoder has for it.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    if bytes.trim_ascii().is_empty() {
        return Err(invalid("invalid JSON: got EOF while reading request body"));
    }
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    match values.next() {
        Some(Ok(value)) => {
            let rest = bytes.get(values.byte_offset()..).unwrap_or_default();
            if rest.trim_ascii().is_empty() {
                Ok(value)
            } else {
                Err(invalid("unexpected content after JSON"))
            }
        }
        Some(Err(error)) => Err(invalid(format!("invalid JSON: {}", go_text(&error, bytes)))),
        None => Err(invalid("invalid JSON: got EOF while reading request body")),
    }
}

/// The bytes of the first JSON value.
///
/// # Errors
/// `System` with the text Go's decoder has for it, and no more.
pub fn first(bytes: &[u8]) -> Result<&[u8]> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    let text = match values.next() {
        Some(Ok(_)) => return Ok(bytes.get(..values.byte_offset()).unwrap_or_default()),
        Some(Err(error)) => go_text(&error, bytes),
        None => "EOF".to_owned(),
    };
    Err(Error::new(ErrorKind::System, text))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

/// The words Go's decoder has for a syntax error; ours for what Go has no words for.
fn go_text(error: &serde_json::Error, bytes: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    let text = error.to_string();
    let place = [
        (
            "key must be a string",
            "looking for beginning of object key string",
        ),
        ("expected value", "looking for beginning of value"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
    ];
    let place = place.iter().find(|(ours, _)| text.starts_with(ours));
    match (place, byte_at(error, bytes)) {
        (Some((_, place)), Some(byte)) => {
            format!("invalid character '{}' {place}", byte.escape_ascii())
        }
        _ => text,
    }
}

fn byte_at(error: &serde_json::Error, bytes: &[u8]) -> Option<u8> {
    let line = bytes
        .split(|b| *b == b'\n')
        .nth(error.line().checked_sub(1)?)?;
    line.get(error.column().checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use errdefs::Classify as _;
    use serde_json::Value;

    #[test]
    fn broken_bodies_get_gos_texts() {
        let table = [
            ("", "invalid JSON: got EOF while reading request body"),
            ("{}{}", "unexpected content after JSON"),
            (
                "{bad",
                "invalid JSON: invalid character 'b' looking for beginning of object key string",
            ),
            ("{", "invalid JSON: unexpected EOF"),
            (
                "[1 2]",
                "invalid JSON: invalid character '2' after array element",
            ),
        ];
        for (body, text) in table {
            assert_eq!(
                parse::<Value>(body.as_bytes()).unwrap_err().message(),
                text,
                "{body}"
            );
        }
        assert!(parse::<Value>(b" {} \n").is_ok());
    }

    #[test]
    fn the_first_value_is_read_and_nothing_after_it() {
        assert_eq!(first(b"1 x").unwrap(), b"1");
        for (body, text) in [("", "EOF"), (" ", "EOF"), ("{", "unexpected EOF")] {
            let error = first(body.as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::System, text));
        }
    }

    #[test]
    fn a_form_is_not_json() {
        let error =
            check_content_type(Some("application/x-www-form-urlencoded"), true).unwrap_err();
        assert_eq!(
            error.message(),
            "unsupported Content-Type header (application/x-www-form-urlencoded): must be 'application/json'"
        );
        assert!(check_content_type(None, false).is_ok());
        assert_eq!(
            check_content_type(None, true).unwrap_err().message(),
            "malformed Content-Type header (): mime: no media type"
        );
        assert!(check_content_type(Some("application/json; charset=utf-8"), true).is_ok());
    }
}
