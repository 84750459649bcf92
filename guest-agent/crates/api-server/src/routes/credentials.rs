//! What a client shows a registry: `X-Registry-Auth`, JSON in URL-safe base64.

use base64::{Engine as _, engine::general_purpose};
use engine::ports::registry::Credentials;
use http::HeaderMap;
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase", default)]
struct Auth {
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
    auth: String,
}

/// The login of a request. What cannot be read is none, as in Docker: the registry says what it wants.
pub(super) fn of(headers: &HeaderMap) -> Option<Credentials> {
    let header = headers.get("x-registry-auth")?;
    let auth = header.to_str().ok().and_then(decode);
    if auth.is_none() && !header.is_empty() {
        tracing::debug!("an X-Registry-Auth header that is no JSON in URL-safe base64");
    }
    auth?.into_credentials()
}

fn decode(header: &str) -> Option<Auth> {
    let url_safe: String = header
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    let bytes = general_purpose::URL_SAFE_NO_PAD.decode(url_safe).ok()?;
    docker_api::json::from_slice(&bytes).ok()
}

impl Auth {
    /// None: it says nothing.
    fn into_credentials(mut self) -> Option<Credentials> {
        if self.username.is_empty()
            && let Ok(pair) = general_purpose::STANDARD.decode(&self.auth)
            && let Ok(pair) = String::from_utf8(pair)
            && let Some((user, password)) = pair.split_once(':')
        {
            (self.username, self.password) = (user.to_owned(), password.to_owned());
        }
        let given = [&self.username, &self.identitytoken, &self.registrytoken]
            .iter()
            .any(|text| !text.is_empty());
        given.then_some(Credentials {
            username: self.username,
            password: self.password,
            identity_token: self.identitytoken,
            registry_token: self.registrytoken,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn user(json: &str) -> Option<(String, String)> {
        let header = general_purpose::URL_SAFE.encode(json);
        let headers = [(
            "x-registry-auth".parse().unwrap(),
            HeaderValue::from_str(&header).unwrap(),
        )];
        of(&headers.into_iter().collect()).map(|login| (login.username, login.password))
    }

    #[test]
    fn logins_are_read_as_clients_write_them() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(user(r#"{"username":"u","password":"p"}"#), pair("u", "p"));
        // Bollard writes what it does not know as null.
        let nulls = r#"{"username":"u","password":null,"auth":null,"email":null,"serveraddress":null,"identitytoken":null}"#;
        assert_eq!(user(nulls), pair("u", ""));
        assert_eq!(user(r#"{"auth":"dTpwOnA="}"#), pair("u", "p:p"));
    }

    #[test]
    fn what_cannot_be_read_is_no_login() {
        for json in [
            "",
            "{}",
            "null",
            "[]",
            "{",
            r#"{"username":1}"#,
            r#"{"auth":"!"}"#,
        ] {
            assert_eq!(user(json), None, "{json}");
        }
        let headers = [(
            "x-registry-auth".parse().unwrap(),
            HeaderValue::from_static("%%"),
        )];
        assert!(of(&headers.into_iter().collect()).is_none());
    }
}
