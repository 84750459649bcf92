//! Connections: accepted, bounded, and ended on shutdown.

use std::{
    convert::Infallible,
    future::Future,
    io,
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use errdefs::{Error, ErrorKind};
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
    sync::{Semaphore, watch},
};

use percent_encoding::percent_decode_str;

use crate::{
    Api, call::Call, error, head::Head, query::Query, route, routes, spare::Spare, splice, version,
};

/// Connections that are open at a time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 4096;
/// Largest request line and headers; registry credentials travel in headers.
const MAX_HEAD_BYTES: usize = 1 << 20;
/// How long a client may take to send its headers, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Parameters of a request that its line in the log names.
const MAX_GIVEN_SHOWN: usize = 32;
/// Pause after a failed accept: waits for others to end, without spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a request that is under way may take when the engine goes down: a client that follows events never ends by itself.
const FINISHES_WITHIN: Duration = Duration::from_secs(5);

/// Something that takes connections.
pub trait Accept: Send {
    /// A connection.
    type Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// A second descriptor of a unix socket, to see how much the client has taken; none for others.
    fn descriptor(connection: &Self::Connection) -> Option<OwnedFd> {
        let _ = connection;
        None
    }
    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Accept for UnixListener {
    type Connection = tokio::net::UnixStream;

    fn descriptor(connection: &Self::Connection) -> Option<OwnedFd> {
        connection.as_fd().try_clone_to_owned().ok()
    }

    async fn accept(&self) -> io::Result<Self::Connection> {
        UnixListener::accept(self)
            .await
            .map(|(connection, _)| connection)
    }
}

/// Serves the API until `shutdown` ends; then requests that are under way may finish, and it returns when all have.
pub async fn serve<A: Accept>(
    api: Arc<Api>,
    listener: A,
    shutdown: impl Future<Output = ()> + Send,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut spare = Spare::new();
    let (stop, stopped) = watch::channel(());
    let mut shutdown = pin!(shutdown);
    loop {
        let next = pin!(async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        });
        match select(next, &mut shutdown).await {
            Either::Left(((Ok(slot), Ok(connection)), _)) => {
                let (api, stopped) = (Arc::clone(&api), stopped.clone());
                let head = Head::of(A::descriptor(&connection));
                tokio::spawn(async move {
                    serve_connection(api, connection, head, stopped).await;
                    drop(slot);
                });
            }
            Either::Left(((_, Err(error)), _)) => {
                tracing::warn!(%error, "accept an API connection");
                if !(Spare::is_for(&error) && spare.refuse_next(&listener).await) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            Either::Left(((Err(_), _), _)) | Either::Right(_) => break,
        }
    }
    drop(listener);
    drop(stopped);
    // Each connection holds a receiver until it has ended.
    let _ = stop.send(());
    stop.closed().await;
}

async fn serve_connection<C>(
    api: Arc<Api>,
    connection: C,
    head: Head,
    mut stopped: watch::Receiver<()>,
) where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request| {
        let (api, head) = (Arc::clone(&api), head.clone());
        async move { Ok::<_, Infallible>(answer(&api, head, request).await) }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = match select(connection.as_mut(), pin!(stopped.changed())).await {
        Either::Left((ended, _)) => ended,
        Either::Right(_) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(FINISHES_WITHIN, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("an API connection was cut"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an API connection ended");
    }
}

async fn answer(api: &Api, head: Head, request: Request<Incoming>) -> Response<Body> {
    let mut response = dispatch(api, head, request).await;
    add_common_headers(response.headers_mut());
    response
}

async fn dispatch(api: &Api, taken: Head, mut request: Request<Incoming>) -> Response<Body> {
    // Whatever it is asked about.
    if request.method() == http::Method::OPTIONS {
        return Response::new(Body::empty());
    }
    let path = request.uri().path().to_owned();
    let (asked, path) = version::split_prefix(&path);
    let Some(found) = route::find(request.method().as_str(), path) else {
        return error::response(&Error::new(ErrorKind::NotFound, "page not found"));
    };
    let version = match version::accept(asked) {
        Ok(version) => version,
        Err(refused @ version::VersionError::TooOld(_)) => return plain_refusal(&refused),
        Err(refused) => {
            return error::response(&Error::new(
                ErrorKind::InvalidParameter,
                refused.to_string(),
            ));
        }
    };
    let upgrade = splice::wants_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let call = Call {
        operation: found.route.operation,
        pattern: found.route.pattern,
        version,
        name: percent_decode_str(found.name)
            .decode_utf8_lossy()
            .into_owned(),
        query: Query::parse(head.uri.query().unwrap_or_default()),
        headers: head.headers,
        body,
        upgrade,
        head: taken,
    };
    // Names only: a value may be a secret.
    let given: Vec<String> = if tracing::enabled!(tracing::Level::DEBUG) {
        let given = call.query.given().take(MAX_GIVEN_SHOWN);
        given.map(str::to_owned).collect()
    } else {
        Vec::new()
    };
    let readable = match head.uri.query() {
        Some(query) if route::checks_query(call.operation) => Query::check(query),
        _ => Ok(()),
    };
    let response = match readable {
        Ok(()) => routes::answer(api, call).await,
        Err(error) => error::response(&error),
    };
    let status = response.status().as_u16();
    tracing::debug!(operation = found.route.operation, %version, status, ?given, "answered");
    response
}

/// Clients from before JSON errors show plain text only.
fn plain_refusal(refused: &version::VersionError) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{refused}\n")));
    *response.status_mut() = error::status(ErrorKind::InvalidParameter);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn add_common_headers(headers: &mut HeaderMap) {
    if let Ok(api_version) = HeaderValue::from_str(&version::OFFERED.to_string()) {
        headers.insert("api-version", api_version);
    }
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    let server = concat!("Berth/", env!("CARGO_PKG_VERSION"), " (linux)");
    headers.insert(header::SERVER, HeaderValue::from_static(server));
}
