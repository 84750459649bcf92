//! Whether credentials are good. Docker API: POST /auth.

use engine::ports::registry::Credentials;
use errdefs::{Classify, Error, ErrorKind, Result};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header::AUTHORIZATION};
use http_body_util::Full;

use crate::{
    auth::{self, Challenge, Purpose, Scheme},
    client::RegistryClient,
    endpoint::{Endpoint, is_authority},
    exchange,
    failure::Failure,
    reply,
};

/// Where one logs in when no registry is named.
const DEFAULT_SERVER: &str = "index.docker.io";

/// Asks the registry with these credentials. What comes back stands for them, or is empty.
pub(crate) async fn login(
    client: &RegistryClient,
    server: &str,
    credentials: &Credentials,
) -> Result<String> {
    let registry = client.insecure.endpoint(&authority(server)?);
    let attempt = attempt(client, &registry, credentials).await;
    let url = format!(
        "{}://{}/v2/",
        client.transport.spoken_scheme(&registry.authority),
        registry.authority
    );
    match attempt {
        Ok((StatusCode::OK, identity)) => Ok(identity),
        Ok((status, _)) => Err(Error::new(
            ErrorKind::System,
            format!("login attempt to {url} failed with status: {status}"),
        )),
        // Without any answer plain HTTP was the last try, where it is one.
        Err(failure @ Failure::Request { .. }) if registry.insecure => {
            let url = format!("http://{}/v2/", registry.authority);
            Err(refused(&failure, &url))
        }
        Err(failure) => Err(refused(&failure, &url)),
    }
}

/// The registry's `host[:port]` of what people type: with a scheme, with a path, or neither.
fn authority(server: &str) -> Result<String> {
    let rest = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority {
        "" if server.is_empty() => Ok(DEFAULT_SERVER.to_owned()),
        _ if is_authority(authority) => Ok(authority.to_owned()),
        _ => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("unable to parse server address: {server:?}"),
        )),
    }
}

async fn attempt(
    client: &RegistryClient,
    registry: &Endpoint,
    credentials: &Credentials,
) -> Result<(StatusCode, String), Failure> {
    let url: Uri = registry
        .url("")
        .parse()
        .map_err(|_| Failure::Broken(format!("no URL: {}", registry.authority)))?;
    let response = client.transport.send(ask(&url, None)?).await?;
    let found = exchange::challenges(response.headers());
    drop(response);
    let (value, identity) = answer(client, registry, found.first(), credentials).await?;
    let response = client.transport.send(ask(&url, value)?).await?;
    Ok((response.status(), identity))
}

/// What the registry wants to hear.
async fn answer(
    client: &RegistryClient,
    registry: &Endpoint,
    challenge: Option<&Challenge>,
    credentials: &Credentials,
) -> Result<(Option<HeaderValue>, String), Failure> {
    match challenge {
        None => Ok((None, String::new())),
        Some(challenge) if challenge.scheme == Scheme::Basic => {
            if credentials.username.is_empty() || credentials.password.is_empty() {
                return Err(Failure::Broken("no basic auth credentials".to_owned()));
            }
            let value = auth::basic(&credentials.username, &credentials.password);
            Ok((value, String::new()))
        }
        Some(challenge) => {
            let token = auth::fetch_token(
                &client.transport,
                registry,
                challenge,
                "",
                Some(credentials),
                Purpose::Login,
            )
            .await?;
            Ok((Some(token.value), token.identity))
        }
    }
}

fn ask(
    url: &Uri,
    authorization: Option<HeaderValue>,
) -> Result<Request<Full<bytes::Bytes>>, Failure> {
    let mut request = Request::builder().method(Method::GET).uri(url);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    request
        .body(Full::default())
        .map_err(|error| Failure::Broken(error.to_string()))
}

fn refused(failure: &Failure, url: &str) -> Error {
    let cause = match failure {
        Failure::Token { cause, .. } => cause,
        other => other,
    };
    match cause {
        Failure::Status(unexpected) => {
            let (kind, code) = match unexpected.status {
                StatusCode::UNAUTHORIZED => (ErrorKind::Unauthorized, "unauthorized"),
                StatusCode::FORBIDDEN => (ErrorKind::Forbidden, "denied"),
                status => {
                    let text = format!("Get \"{url}\": received unexpected HTTP status: {status}");
                    return Error::new(ErrorKind::System, text);
                }
            };
            let why = reply::refusal(&unexpected.body)
                .unwrap_or_else(|| "authentication required".to_owned());
            Error::new(kind, format!("Get \"{url}\": {code}: {why}"))
        }
        Failure::Request { cause, .. } => {
            Error::new(failure.kind(), format!("Get \"{url}\": {cause}"))
        }
        other => Error::new(other.kind(), format!("Get \"{url}\": {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_found_in_what_people_type() {
        let check = |server: &str, expected: Option<&str>| {
            assert_eq!(authority(server).ok().as_deref(), expected, "{server}");
        };
        check("", Some("index.docker.io"));
        check("https://index.docker.io/v1/", Some("index.docker.io"));
        check("localhost:5000", Some("localhost:5000"));
        check("http://reg.example/v2", Some("reg.example"));
        for bad in ["https://", "/", "a b", "me@reg.example", "reg\r\nx"] {
            check(bad, None);
        }
    }
}
