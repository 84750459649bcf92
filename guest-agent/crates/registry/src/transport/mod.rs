//! Requests to answers over connections that are kept.

mod connect;
mod stream;
mod tls;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use connect::Connector;
pub(crate) use connect::{ConnectError, PlainHosts};

use crate::{
    Settings, Timeouts,
    endpoint::Insecure,
    failure::{Failure, TransportError},
};

/// Largest head of an answer.
const MAX_HEAD_BYTES: usize = 128 << 10;
/// Most fields of a head.
const MAX_HEADERS: usize = 100;
/// Connections that are kept for one host.
const MAX_IDLE_CONNECTIONS: usize = 4;

/// The way out.
#[derive(Debug)]
pub(crate) struct Transport {
    client: Client<Connector, Full<Bytes>>,
    plain: Arc<PlainHosts>,
    user_agent: HeaderValue,
    timeouts: Timeouts,
}

impl Transport {
    pub(crate) fn new(
        settings: &Settings,
        insecure: Arc<Insecure>,
    ) -> Result<Self, errdefs::Error> {
        let user_agent = HeaderValue::from_str(&settings.user_agent).map_err(|error| {
            errdefs::Error::new(
                errdefs::ErrorKind::InvalidParameter,
                "the user agent is no header's value",
            )
            .with_source(error)
        })?;
        let plain = Arc::new(PlainHosts::default());
        let connector = Connector::new(settings, insecure, Arc::clone(&plain));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .http1_max_headers(MAX_HEADERS)
            .build(connector);
        Ok(Self {
            client,
            plain,
            user_agent,
            timeouts: settings.timeouts,
        })
    }

    /// Sends a request and reads the answer's head.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        request
            .headers_mut()
            .insert(USER_AGENT, self.user_agent.clone());
        let (method, url) = (request.method().clone(), request.uri().clone());
        let sent = timeout(self.timeouts.answer, self.client.request(request)).await;
        let cause = match sent {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => TransportError::from(error),
            Err(_) => TransportError::Silent,
        };
        Err(Failure::request(&method, &url, cause))
    }

    /// The scheme that a host really spoke when it was last talked to.
    pub(crate) fn spoken_scheme(&self, authority: &str) -> &'static str {
        if self.plain.contains(authority) {
            "http"
        } else {
            "https"
        }
    }

    /// How long a body may be silent.
    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}
