//! A request by GET with all that belongs to it: who asks, redirects, one retry.

use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::ports::registry::Credentials;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::{
    auth::{self, Challenge, Grant, Grants, Key, Purpose, Scheme},
    body,
    endpoint::Endpoint,
    failure::Failure,
    transport::Transport,
};

/// Redirects that are followed. As Go does.
const MAX_REDIRECTS: usize = 10;
/// How long a registry that is busy is waited for.
const MAX_PAUSE: Duration = Duration::from_secs(3);
/// How long, when it does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) registry: &'a Endpoint,
    /// Below `/v2/`.
    pub(crate) path: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// `repository:NAME:pull`.
    pub(crate) scope: String,
    pub(crate) credentials: Option<&'a Credentials>,
}

/// An answer and where it came from in the end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) url: Uri,
    is_registrys_own: bool,
    pub(crate) response: Response<Incoming>,
}

impl Reply {
    /// The answer as a failure.
    pub(crate) async fn unexpected(self, idle: Duration) -> Failure {
        body::unexpected(&Method::GET, &self.url, self.response, idle).await
    }
}

/// Asks. The answer is a success, or a status that is nobody's fault here: 404, 416 and the like.
pub(crate) async fn get(
    transport: &Transport,
    grants: &Grants,
    question: &Question<'_>,
) -> Result<Reply, Failure> {
    let key = Key::new(
        &question.registry.authority,
        &question.scope,
        question.credentials,
    );
    let mut known = grants.get(&key, Instant::now());
    if let Some(value) = given_token(question.credentials)? {
        known = Some(value);
    }
    let mut was_granted = false;
    loop {
        let reply = patiently(transport, question, known.as_ref()).await?;
        if reply.response.status() != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        grants.remove(&key);
        // Where a blob was redirected has no say in where credentials go.
        let challenges = if reply.is_registrys_own {
            challenges(reply.response.headers())
        } else {
            Vec::new()
        };
        if was_granted {
            return Err(match refused(&challenges) {
                Some(reason) => Failure::Denied(reason),
                None => reply.unexpected(transport.timeouts().idle).await,
            });
        }
        let has_own_token = question
            .credentials
            .is_some_and(|who| !who.registry_token.is_empty());
        let Some(challenge) = challenges.first().filter(|_| !has_own_token) else {
            return Ok(reply);
        };
        let grant = grant(transport, question, challenge).await?;
        known = Some(grant.value.clone());
        grants.insert(key.clone(), grant, Instant::now());
        was_granted = true;
    }
}

/// A bearer token that the client brought along.
fn given_token(credentials: Option<&Credentials>) -> Result<Option<HeaderValue>, Failure> {
    let Some(who) = credentials.filter(|who| !who.registry_token.is_empty()) else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", who.registry_token))
        .map_err(|_| Failure::Authorize("credentials no header can carry"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let fields = headers.get_all(WWW_AUTHENTICATE).iter();
    auth::challenges(fields.filter_map(|value| value.to_str().ok()))
}

/// Why a token is not enough, in the registry's words, shortened.
fn refused(challenges: &[Challenge]) -> Option<String> {
    const MAX_CHARS: usize = 64;
    let bearer = challenges.first().filter(|c| c.scheme == Scheme::Bearer)?;
    Some(bearer.get("error")?.chars().take(MAX_CHARS).collect())
}

async fn grant(
    transport: &Transport,
    question: &Question<'_>,
    challenge: &Challenge,
) -> Result<Grant, Failure> {
    if challenge.scheme == Scheme::Basic {
        let value = question
            .credentials
            .filter(|who| !who.username.is_empty() && !who.password.is_empty())
            .and_then(|who| auth::basic(&who.username, &who.password))
            .ok_or(Failure::NoCredentials)?;
        return Ok(Grant { value, until: None });
    }
    let token = auth::fetch_token(
        transport,
        question.registry,
        challenge,
        &question.scope,
        question.credentials,
        Purpose::Pull,
    )
    .await?;
    Ok(Grant {
        value: token.value,
        until: token.lifetime.map(|lifetime| Instant::now() + lifetime),
    })
}

/// Asks once more when the registry says that it could not just now.
async fn patiently(
    transport: &Transport,
    question: &Question<'_>,
    authorization: Option<&HeaderValue>,
) -> Result<Reply, Failure> {
    let reply = follow(transport, question, authorization).await?;
    let pause = match reply.response.status() {
        StatusCode::TOO_MANY_REQUESTS => pause(reply.response.headers()),
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Some(Duration::ZERO),
        _ => None,
    };
    let Some(pause) = pause else { return Ok(reply) };
    drop(reply);
    tokio::time::sleep(pause).await;
    follow(transport, question, authorization).await
}

/// `None`: it wants to be left alone for longer than anybody would wait.
fn pause(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER);
    let seconds = asked.and_then(|value| value.to_str().ok()?.parse().ok());
    let pause = match (asked, seconds) {
        (None, _) => PAUSE,
        (Some(_), Some(seconds)) => Duration::from_secs(seconds),
        (Some(_), None) => return None,
    };
    (pause <= MAX_PAUSE).then_some(pause)
}

async fn follow(
    transport: &Transport,
    question: &Question<'_>,
    authorization: Option<&HeaderValue>,
) -> Result<Reply, Failure> {
    let start: Uri = question
        .registry
        .url(&question.path)
        .parse()
        .map_err(|_| Failure::Broken(format!("no URL: {}", question.registry.authority)))?;
    let mut url = start.clone();
    for _ in 0..=MAX_REDIRECTS {
        // Only the registry itself learns who asks.
        let is_registrys_own = same_origin(&start, &url);
        let authorization = authorization.filter(|_| is_registrys_own);
        let request = request(&url, &question.headers, authorization)?;
        let response = transport.send(request).await?;
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(Reply {
                url,
                is_registrys_own,
                response,
            });
        }
        let target = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        url = target
            .and_then(|target| resolve(&url, target))
            .ok_or_else(|| Failure::Broken(format!("{}: redirect without a target", url.path())))?;
        if url.scheme_str() == Some("http") && !question.registry.insecure {
            return Err(Failure::Broken(format!(
                "{}: redirect from https to http",
                question.path
            )));
        }
    }
    Err(Failure::Broken(format!(
        "stopped after {MAX_REDIRECTS} redirects"
    )))
}

fn request(
    url: &Uri,
    headers: &[(HeaderName, HeaderValue)],
    authorization: Option<&HeaderValue>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    request
        .body(Full::default())
        .map_err(|error| Failure::Broken(error.to_string()))
}

/// Scheme, host and port: a secret for one port is none for another.
fn same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |url: &Uri| {
        let default = if url.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        Some((
            url.scheme_str()?.to_owned(),
            url.host()?.to_ascii_lowercase(),
            url.port_u16().unwrap_or(default),
        ))
    };
    origin(a).is_some_and(|one| Some(one) == origin(b))
}

/// Where a redirect leads: a whole URL, or another path of the same host.
fn resolve(base: &Uri, target: &str) -> Option<Uri> {
    let target = target.split('#').next()?;
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let text = if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else if target.contains("://") {
        target.to_owned()
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{target}")
    };
    let url: Uri = text.parse().ok()?;
    let good = matches!(url.scheme_str(), Some("http" | "https"))
        && crate::endpoint::is_authority(url.authority()?.as_str());
    good.then_some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn redirects_are_resolved() {
        let base: Uri = "https://reg.example:5000/v2/a/blobs/b?c=d".parse().unwrap();
        let check = |target: &str, expected: Option<&str>| {
            let found = resolve(&base, target).map(|url| url.to_string());
            assert_eq!(found.as_deref(), expected, "{target}");
        };
        check(
            "https://cdn.example/x?y=z#q",
            Some("https://cdn.example/x?y=z"),
        );
        check("/x", Some("https://reg.example:5000/x"));
        check("//cdn.example/x", Some("https://cdn.example/x"));
        check("x", Some("https://reg.example:5000/v2/a/blobs/x"));
        check("ftp://cdn.example/x", None);
        check("https://", None);
        check("https://me@cdn.example/", None);
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let check = |a: &str, b: &str, same: bool| {
            assert_eq!(
                same_origin(&a.parse().unwrap(), &b.parse().unwrap()),
                same,
                "{a} {b}"
            );
        };
        check("https://a/x", "https://A:443/y", true);
        check("https://a/x", "https://a:444/x", false);
        check("https://a/x", "http://a/x", false);
        check("https://a/x", "https://a.b/x", false);
    }

    #[test]
    fn a_busy_registry_is_waited_for_a_short_while_only() {
        let check = |value: Option<&'static str>, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            }
            assert_eq!(pause(&headers), expected.map(Duration::from_secs));
        };
        check(None, Some(1));
        check(Some("0"), Some(0));
        check(Some("3600"), None);
        check(Some("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }

    proptest! {
        #[test]
        fn noise_never_panics(target in "\\PC{0,80}") {
            let base: Uri = "https://reg.example/v2/".parse().unwrap();
            let _ = resolve(&base, &target);
        }
    }
}
