//! Tokens from token servers. Spec: distribution, token authentication and OAuth2.

use std::time::Duration;

use bytes::Bytes;
use engine::ports::registry::Credentials;
use http::{
    HeaderValue, Method, Request, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{Challenge, basic};
use crate::{body, endpoint::Endpoint, failure::Failure, transport::Transport};

/// Largest answer of a token server.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// Who we are to token servers. Docker's own name: some serve only clients they know.
const CLIENT_ID: &str = "docker";
/// A token is used for this part less than it holds: clocks and ways differ.
const EARLY: Duration = Duration::from_secs(5);
/// What need not be escaped in a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a token is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One repository.
    Pull,
    /// To see whether the credentials are good, with one that stands for them.
    Login,
}

/// A token.
#[derive(Debug)]
pub(crate) struct Token {
    /// Value of `Authorization`, marked as secret.
    pub(crate) value: HeaderValue,
    /// How long it may be used; `None`: until it is refused.
    pub(crate) lifetime: Option<Duration>,
    /// What stands for name and password from now on.
    pub(crate) identity: String,
}

/// What a token server answers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenAnswer {
    token: String,
    access_token: String,
    refresh_token: String,
    expires_in: i64,
}

/// Asks the server that a challenge names.
pub(crate) async fn fetch(
    transport: &Transport,
    registry: &Endpoint,
    challenge: &Challenge,
    scope: &str,
    credentials: Option<&Credentials>,
    purpose: Purpose,
) -> Result<Token, Failure> {
    let realm = realm(challenge, registry)?;
    let service = challenge.get("service").unwrap_or_default();
    let scopes = scopes(scope, challenge.get("scope").unwrap_or_default());
    let with_secret =
        credentials.filter(|who| !who.identity_token.is_empty() || !who.password.is_empty());
    let Some(who) = with_secret else {
        let answer = ask(transport, get(&realm, service, &scopes, None, purpose)?).await;
        return answer.map_err(|cause| failed("failed to fetch anonymous token", cause));
    };
    let by_password = who.identity_token.is_empty();
    // A login by password asks as dockerd does: by GET, for a token that stands for the password.
    let answer = if purpose == Purpose::Login && by_password {
        ask(
            transport,
            get(&realm, service, &scopes, Some(who), purpose)?,
        )
        .await
    } else {
        match ask(transport, post(&realm, service, &scopes, who)?).await {
            // These say in their ways that they have no POST.
            Err(failure) if by_password && has_no_post(failure.status()) => {
                ask(
                    transport,
                    get(&realm, service, &scopes, Some(who), purpose)?,
                )
                .await
            }
            answer => answer,
        }
    };
    answer.map_err(|cause| failed("failed to fetch oauth token", cause))
}

fn failed(what: &'static str, cause: Failure) -> Failure {
    Failure::Token {
        what,
        cause: Box::new(cause),
    }
}

fn has_no_post(status: Option<StatusCode>) -> bool {
    matches!(
        status,
        Some(
            StatusCode::BAD_REQUEST
                | StatusCode::UNAUTHORIZED
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
        )
    )
}

/// The token server. A secret goes there in the clear only when the registry itself may be talked to in the clear.
fn realm(challenge: &Challenge, registry: &Endpoint) -> Result<Uri, Failure> {
    let text = challenge.get("realm").ok_or(Failure::Authorize(
        "no realm specified for token auth challenge",
    ))?;
    let realm: Uri = text
        .parse()
        .map_err(|_| Failure::Authorize("invalid token auth challenge realm"))?;
    let has_host = realm
        .authority()
        .is_some_and(|authority| crate::endpoint::is_authority(authority.as_str()));
    match realm.scheme_str() {
        Some("https") if has_host => Ok(realm),
        Some("http") if has_host && registry.insecure => Ok(realm),
        Some("http") if has_host => {
            Err(Failure::Authorize("token auth challenge realm without TLS"))
        }
        _ => Err(Failure::Authorize("invalid token auth challenge realm")),
    }
}

/// Ours and those the registry asks for, each once, sorted.
fn scopes(ours: &str, asked: &str) -> Vec<String> {
    let mut scopes: Vec<String> = std::iter::once(ours)
        .chain(asked.split(' '))
        .filter(|scope| !scope.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    scopes.sort();
    scopes.dedup();
    scopes
}

fn pairs(pairs: &[(&str, &str)]) -> String {
    let escape = |text| utf8_percent_encode(text, ESCAPED);
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={}", escape(value)))
        .collect();
    pairs.join("&")
}

fn get(
    realm: &Uri,
    service: &str,
    scopes: &[String],
    who: Option<&Credentials>,
    purpose: Purpose,
) -> Result<Request<Full<Bytes>>, Failure> {
    let mut query = Vec::new();
    if !service.is_empty() {
        query.push(("service", service));
    }
    query.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    if purpose == Purpose::Login {
        query.extend([("offline_token", "true"), ("client_id", CLIENT_ID)]);
        if let Some(who) = who {
            query.push(("account", &who.username));
        }
    }
    let joint = if realm.query().is_some() { '&' } else { '?' };
    let mut request = Request::get(format!("{realm}{joint}{}", pairs(&query)));
    if let Some(who) = who {
        let value = basic(&who.username, &who.password)
            .ok_or(Failure::Authorize("credentials no header can carry"))?;
        request = request.header(AUTHORIZATION, value);
    }
    request
        .body(Full::default())
        .map_err(|_| Failure::Authorize("invalid token auth challenge realm"))
}

fn post(
    realm: &Uri,
    service: &str,
    scopes: &[String],
    who: &Credentials,
) -> Result<Request<Full<Bytes>>, Failure> {
    let scope = scopes.join(" ");
    let mut form = Vec::new();
    if !scope.is_empty() {
        form.push(("scope", scope.as_str()));
    }
    form.extend([("service", service), ("client_id", CLIENT_ID)]);
    if who.identity_token.is_empty() {
        form.extend([
            ("grant_type", "password"),
            ("username", &who.username),
            ("password", &who.password),
        ]);
    } else {
        form.extend([
            ("grant_type", "refresh_token"),
            ("refresh_token", &who.identity_token),
        ]);
    }
    Request::builder()
        .method(Method::POST)
        .uri(realm)
        .header(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .body(pairs(&form).into())
        .map_err(|_| Failure::Authorize("invalid token auth challenge realm"))
}

async fn ask(transport: &Transport, request: Request<Full<Bytes>>) -> Result<Token, Failure> {
    let (method, url) = (request.method().clone(), request.uri().clone());
    let response = transport.send(request).await?;
    let idle = transport.timeouts().idle;
    if response.status() != StatusCode::OK {
        return Err(body::unexpected(&method, &url, response, idle).await);
    }
    let bytes = body::read(&url, response.into_body(), MAX_ANSWER_BYTES, idle).await?;
    let answer: TokenAnswer = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Broken(format!("unable to decode token response: {error}")))?;
    token(answer)
}

fn token(answer: TokenAnswer) -> Result<Token, Failure> {
    let token = if answer.access_token.is_empty() {
        answer.token
    } else {
        answer.access_token
    };
    if token.is_empty() {
        return Err(Failure::Broken(
            "authorization server did not include a token in the response".to_owned(),
        ));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        Failure::Broken("authorization server sent a token no header can carry".to_owned())
    })?;
    value.set_sensitive(true);
    let lifetime = u64::try_from(answer.expires_in)
        .ok()
        .filter(|&seconds| seconds > 0)
        // A day is for ever here, and no sum of times runs over.
        .map(|seconds| Duration::from_secs(seconds.min(24 * 60 * 60)).saturating_sub(EARLY));
    Ok(Token {
        value,
        lifetime,
        identity: answer.refresh_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(field: &str) -> Challenge {
        super::super::challenges(std::iter::once(field)).remove(0)
    }

    fn registry(insecure: bool) -> Endpoint {
        Endpoint {
            authority: "reg.example".into(),
            insecure,
        }
    }

    #[test]
    fn a_realm_is_an_address_and_keeps_secrets() {
        let check = |realm_text: &str, insecure: bool, good: bool| {
            let challenge = challenge(&format!("Bearer realm=\"{realm_text}\""));
            let found = realm(&challenge, &registry(insecure));
            assert_eq!(found.is_ok(), good, "{realm_text} {insecure}");
        };
        check("https://auth.example/token?a=b", false, true);
        check("http://auth.example/token", false, false);
        check("http://auth.example/token", true, true);
        for bad in ["", "/token", "auth.example", "file:///etc", "https://me@x/"] {
            check(bad, true, false);
        }
        assert!(realm(&challenge("Bearer service=x"), &registry(true)).is_err());
    }

    #[test]
    fn scopes_are_joined_once_and_escaped() {
        let scopes = scopes("repository:a:pull", "repository:b:pull repository:a:pull");
        let realm: Uri = "https://auth.example/token?x=y".parse().unwrap();
        let request = get(&realm, "my service", &scopes, None, Purpose::Pull).unwrap();
        assert_eq!(
            request.uri().to_string(),
            "https://auth.example/token?x=y&service=my%20service&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull"
        );
    }

    #[test]
    fn answers_have_a_token_that_a_header_can_carry() {
        let parse = |text: &str| token(serde_json::from_str(text).unwrap());
        let good = parse(r#"{"token":"a","access_token":"b","expires_in":300}"#).unwrap();
        assert_eq!(good.value, "Bearer b");
        assert_eq!(good.lifetime, Some(Duration::from_secs(295)));
        let forever = parse(r#"{"token":"a","expires_in":-1}"#).unwrap();
        assert_eq!(forever.lifetime, None);
        assert!(parse(r#"{"token":"a","expires_in":9223372036854775807}"#).is_ok());
        assert!(parse("{}").is_err());
        assert!(parse(r#"{"token":"a\r\nX: y"}"#).is_err());
    }
}
