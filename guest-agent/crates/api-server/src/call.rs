//! One request, taken apart.

use axum::body::Body;
use errdefs::{Error, ErrorKind, Result};
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;

use crate::{head::Head, json, query::Query, version::ApiVersion};

/// Largest JSON body.
const MAX_BODY_BYTES: usize = 16 << 20;

/// A request.
pub(crate) struct Call {
    /// The `operationId` in snake case.
    pub(crate) operation: &'static str,
    /// Its path, with placeholders.
    pub(crate) pattern: &'static str,
    /// The version the client speaks.
    pub(crate) version: ApiVersion,
    /// What stood in the placeholder's place.
    pub(crate) name: String,
    /// The query.
    pub(crate) query: Query,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body, not yet read.
    pub(crate) body: Incoming,
    /// The client wants its connection for itself.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// Whether the client has taken its answer's head.
    pub(crate) head: Head,
}

impl Call {
    /// Reads the body as one JSON value.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let content_type = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let has_body = !hyper::body::Body::is_end_stream(&self.body);
        json::check_content_type(content_type, has_body)?;
        let bytes = self.bytes().await?;
        // Checked as JSON first, so that its errors have Docker's texts.
        let _: serde::de::IgnoredAny = json::parse(&bytes)?;
        docker_api::json::from_slice(&bytes).map_err(|error| {
            Error::new(
                ErrorKind::InvalidParameter,
                format!("invalid JSON: {error}"),
            )
        })
    }

    /// The same; no body is the default.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        if hyper::body::Body::is_end_stream(&self.body) {
            return Ok(T::default());
        }
        self.json().await
    }

    /// Reads the first JSON value of the body, whatever its type and whatever follows.
    ///
    /// # Errors
    /// The decoder's own text, as a fault of the system: so Docker has it where it reads a body itself.
    pub(crate) async fn first_json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let bytes = self.bytes().await?;
        docker_api::json::from_slice(json::first(&bytes)?)
            .map_err(|error| Error::new(ErrorKind::System, error.to_string()))
    }

    async fn bytes(&mut self) -> Result<bytes::Bytes> {
        let body = Limited::new(&mut self.body, MAX_BODY_BYTES);
        match body.collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("read the request's body: {error}"),
            )),
        }
    }

    /// The body as a stream of bytes, of any length.
    pub(crate) fn reader(self) -> impl AsyncRead + Send + Sync + Unpin + 'static {
        BodyReader {
            body: self.body,
            rest: bytes::Bytes::new(),
        }
    }

    /// A whole number of the query; an empty one is none.
    ///
    /// # Errors
    /// Go's text, as a fault of the system: so Docker has it.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        let text = self.query.get(name).filter(|text| !text.is_empty());
        let read = text.map(engine::containers::list::whole_number).transpose();
        read.map_err(|text| Error::new(ErrorKind::System, text))
    }
}

struct BodyReader {
    body: Incoming,
    rest: bytes::Bytes,
}

impl AsyncRead for BodyReader {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        use std::task::Poll;
        while self.rest.is_empty() {
            match std::task::ready!(hyper::body::Body::poll_frame(
                std::pin::Pin::new(&mut self.body),
                context
            )) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(std::io::Error::other(error))),
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// A body of whatever a reader gives.
pub(crate) fn body_of(reader: impl AsyncRead + Send + Unpin + 'static) -> Body {
    let chunks = futures_util::stream::unfold(
        (reader, Vec::new()),
        |(mut reader, mut buffer): (_, Vec<u8>)| async move {
            buffer.resize(crate::splice::BUFFER_BYTES, 0);
            match tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await {
                Ok(0) => None,
                Ok(count) => Some((
                    Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(&buffer[..count])),
                    (reader, buffer),
                )),
                Err(error) => Some((Err(error), (reader, buffer))),
            }
        },
    );
    Body::from_stream(chunks)
}
