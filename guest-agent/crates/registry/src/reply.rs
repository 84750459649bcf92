//! What a registry says when it refuses, and what Docker makes of it. Pure; the bodies are hostile.
//!
//! Spec: OCI distribution, error codes; `{"details": "…"}` is what older token servers say.

use errdefs::{Error, ErrorKind};
use http::StatusCode;
use serde::Deserialize;

/// Longest message that is passed on.
const MAX_MESSAGE_CHARS: usize = 1024;
/// Most errors of one answer that are passed on.
const MAX_ERRORS: usize = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    errors: Vec<Item>,
    details: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    code: String,
    message: String,
    detail: serde_json::Value,
}

/// The error for an answer that is no success. `text` says what was tried and what the status was.
pub(crate) fn translate(status: StatusCode, body: &[u8], text: &str) -> Error {
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        return Error::new(ErrorKind::System, format!("unknown: {text}"));
    };
    let Some(first) = body.errors.first() else {
        return details(status, &body.details).unwrap_or_else(|| {
            Error::new(ErrorKind::System, format!("error from registry: {text}"))
        });
    };
    let messages: Vec<String> = body.errors.iter().take(MAX_ERRORS).map(message).collect();
    Error::new(
        kind(&first.code),
        format!("error from registry: {}", messages.join("\n")),
    )
}

/// What a token server says in its own words, if anything: for logins.
pub(crate) fn refusal(body: &[u8]) -> Option<String> {
    let body: Body = serde_json::from_slice(body).ok()?;
    match body.errors.first() {
        Some(first) => Some(message(first)),
        None => (!body.details.is_empty()).then(|| bounded(&body.details)),
    }
}

fn details(status: StatusCode, details: &str) -> Option<Error> {
    if details.is_empty() {
        return None;
    }
    let code = match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        _ => return None,
    };
    let text = format!("{} - {}", default_message(code), bounded(details));
    Some(Error::new(kind(code), text))
}

fn message(item: &Item) -> String {
    let message = if item.message.is_empty() {
        default_message(&item.code)
    } else {
        &item.message
    };
    match &item.detail {
        serde_json::Value::String(detail) => bounded(&format!("{message} - {detail}")),
        _ => bounded(message),
    }
}

/// Shown on a terminal: no control characters.
fn bounded(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE_CHARS)
        .collect()
}

fn default_message(code: &str) -> &'static str {
    match code {
        "UNSUPPORTED" => "The operation is unsupported.",
        "UNAUTHORIZED" => "authentication required",
        "DENIED" => "requested access to the resource is denied",
        "UNAVAILABLE" => "service unavailable",
        "TOOMANYREQUESTS" => "too many requests",
        _ => "unknown error",
    }
}

fn kind(code: &str) -> ErrorKind {
    match code {
        "UNSUPPORTED" => ErrorKind::NotImplemented,
        "UNAUTHORIZED" => ErrorKind::Unauthorized,
        "DENIED" => ErrorKind::Forbidden,
        "UNAVAILABLE" => ErrorKind::Unavailable,
        _ => ErrorKind::System,
    }
}

#[cfg(test)]
mod tests {
    use errdefs::Classify;
    use proptest::prelude::*;

    use super::*;

    fn check(status: StatusCode, body: &str, kind: ErrorKind, text: &str) {
        let error = translate(status, body.as_bytes(), "tried: unexpected status");
        assert_eq!((error.kind(), error.message()), (kind, text), "{body}");
    }

    #[test]
    fn answers_become_dockers_texts() {
        check(
            StatusCode::UNAUTHORIZED,
            "",
            ErrorKind::System,
            "unknown: tried: unexpected status",
        );
        check(
            StatusCode::UNAUTHORIZED,
            r#"{"details":"incorrect username or password"}"#,
            ErrorKind::Unauthorized,
            "authentication required - incorrect username or password",
        );
        check(
            StatusCode::TOO_MANY_REQUESTS,
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#,
            ErrorKind::System,
            "error from registry: slow down",
        );
        check(
            StatusCode::FORBIDDEN,
            r#"{"errors":[{"code":"DENIED","detail":"no"},{"code":"X","message":"b"}]}"#,
            ErrorKind::Forbidden,
            "error from registry: requested access to the resource is denied - no\nb",
        );
        check(
            StatusCode::BAD_GATEWAY,
            r#"{"errors":[]}"#,
            ErrorKind::System,
            "error from registry: tried: unexpected status",
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        let body = format!(
            r#"{{"errors":[{{"message":"\u001b[2J{}"}}]}}"#,
            "x".repeat(9000)
        );
        let error = translate(StatusCode::BAD_REQUEST, body.as_bytes(), "");
        assert!(!error.message().contains('\u{1b}'));
        assert!(error.message().len() < 2 * MAX_MESSAGE_CHARS);
    }

    proptest! {
        #[test]
        fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = translate(StatusCode::UNAUTHORIZED, &body, "x");
            let _ = refusal(&body);
        }
    }
}
