//! `_ping` and `version`.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{Api, error};

/// `GET` and `HEAD /_ping`. For `HEAD` the server leaves the body out and keeps its length.
pub(crate) fn ping() -> Response<Body> {
    let mut response = Response::new(Body::from("OK"));
    let headers = response.headers_mut();
    // The classic builder: a client then posts to `/build` and shows that answer's text, instead of opening a BuildKit session.
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// `GET /version`.
pub(crate) fn version(api: &Api) -> Response<Body> {
    error::json(StatusCode::OK, &api.version)
}
