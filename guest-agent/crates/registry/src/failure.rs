//! What can go wrong while asking a registry, and what Docker says then.

use errdefs::{Classify, Error, ErrorKind};
use http::{Method, StatusCode, Uri};

use crate::{reply, transport::ConnectError};

/// Why a request has no good answer. Texts are containerd's; each has its cause's in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No answer.
    #[error("failed to do request: {method} \"{url}\": {cause}")]
    Request {
        method: &'static str,
        url: String,
        cause: TransportError,
    },
    /// The registry wants a name and a password, and there are none.
    #[error("authorization failed: no basic auth credentials")]
    NoCredentials,
    /// The registry takes the token and refuses the request.
    #[error("server message: {0}: authorization failed")]
    Denied(String),
    /// The way to a token is not passable.
    #[error("failed to authorize: {0}")]
    Authorize(&'static str),
    /// The token server gives no answer that is one.
    #[error("failed to authorize: {what}: {cause}")]
    Token {
        what: &'static str,
        cause: Box<Failure>,
    },
    /// An answer with a status that is no success.
    #[error("unexpected status from {} request to {}: {}", .0.method, .0.url, .0.status)]
    Status(UnexpectedStatus),
    /// An answer that breaks a rule.
    #[error("{0}")]
    Broken(String),
    /// An answer over its bound.
    #[error("rejecting answer of {url}: over {limit_bytes} bytes")]
    TooLarge { url: String, limit_bytes: usize },
    /// A body that stopped.
    #[error("{0}")]
    Body(std::io::Error),
}

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct UnexpectedStatus {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// No head in time.
    #[error("net/http: timeout awaiting response headers")]
    Silent,
    /// No connection, or one that broke.
    #[error("{0}")]
    Broken(String),
}

impl From<hyper_util::client::legacy::Error> for TransportError {
    fn from(error: hyper_util::client::legacy::Error) -> Self {
        // The client's own words ("client error (Connect)") say nothing; what is below does.
        let mut cause = std::error::Error::source(&error);
        let mut texts = Vec::new();
        while let Some(inner) = cause {
            if let Some(connect) = inner.downcast_ref::<ConnectError>() {
                return Self::Broken(connect.to_string());
            }
            texts.push(inner.to_string());
            cause = inner.source();
        }
        if texts.is_empty() {
            texts.push(error.to_string());
        }
        Self::Broken(texts.join(": "))
    }
}

impl Failure {
    pub(crate) fn request(method: &Method, url: &Uri, cause: TransportError) -> Self {
        Self::Request {
            method: if method == Method::POST {
                "Post"
            } else {
                "Get"
            },
            url: shown(url),
            cause,
        }
    }

    /// Docker asks for the head of a document first, and says so.
    pub(crate) fn of_a_head(mut self) -> Self {
        if let Self::Request { method, .. } = &mut self {
            *method = "Head";
        }
        self
    }

    /// The status, when there was an answer.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(unexpected) => Some(unexpected.status),
            _ => None,
        }
    }

    /// True: who asks must first say who they are, or may not.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::NoCredentials | Self::Denied(_))
    }

    /// As an error of the port; `context` is what containerd puts before.
    pub(crate) fn into_error(self, context: &str) -> Error {
        match self.unexpected() {
            Some(unexpected) => reply::translate(
                unexpected.status,
                &unexpected.body,
                &format!("{context}: {self}"),
            ),
            None => Error::new(self.kind(), format!("{context}: {self}")),
        }
    }

    fn unexpected(&self) -> Option<&UnexpectedStatus> {
        match self {
            Self::Status(unexpected) => Some(unexpected),
            Self::Token { cause, .. } => cause.unexpected(),
            _ => None,
        }
    }
}

impl Classify for Failure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Token { cause, .. } => cause.kind(),
            // Also of a registry that cannot be reached: dockerd answers 500.
            Self::Request { .. }
            | Self::Body(_)
            | Self::NoCredentials
            | Self::Denied(_)
            | Self::Authorize(_)
            | Self::Status(_)
            | Self::Broken(_)
            | Self::TooLarge { .. } => ErrorKind::System,
        }
    }
}

/// A URL as it is shown: what a redirect has in its query may open doors.
pub(crate) fn shown(url: &Uri) -> String {
    let text = url.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}
