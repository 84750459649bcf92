//! Errors on the wire: one kind, one status, one JSON body.

use axum::body::Body;
use docker_api::ErrorResponse;
use errdefs::{Classify, Error, ErrorKind};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

/// The one place where a kind becomes a status.
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidParameter => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Cancelled
        | ErrorKind::DeadlineExceeded
        | ErrorKind::DataLoss
        | ErrorKind::System => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer for an error. `304` has no body.
pub fn response(error: &Error) -> Response<Body> {
    let status = status(error.kind());
    if status == StatusCode::NOT_MODIFIED {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        return response;
    }
    let message = error.message().to_owned();
    json(status, &ErrorResponse { message })
}

/// A JSON answer. Go's encoder ends it with a line feed, and so does this.
pub fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    let (status, mut bytes) = match serde_json::to_vec(value) {
        Ok(bytes) => (status, bytes),
        Err(error) => {
            tracing::error!(%error, "encode an answer");
            let text = br#"{"message":"the answer could not be encoded"}"#.to_vec();
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    };
    bytes.push(b'\n');
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_dockers_status() {
        let table = [
            (ErrorKind::NotFound, 404),
            (ErrorKind::InvalidParameter, 400),
            (ErrorKind::Conflict, 409),
            (ErrorKind::Unauthorized, 401),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Forbidden, 403),
            (ErrorKind::NotModified, 304),
            (ErrorKind::NotImplemented, 501),
            (ErrorKind::Cancelled, 500),
            (ErrorKind::DeadlineExceeded, 500),
            (ErrorKind::DataLoss, 500),
            (ErrorKind::System, 500),
        ];
        for (kind, expected) in table {
            assert_eq!(status(kind).as_u16(), expected, "{kind:?}");
        }
    }
}
