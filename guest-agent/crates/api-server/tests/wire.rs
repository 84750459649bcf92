//! Raw requests through a real unix socket.

use std::sync::Arc;

use api_server::{Api, serve};
use docker_api::SystemVersion;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::oneshot,
};

#[expect(clippy::unwrap_used, reason = "part of the tests")]
/// Sends bytes to a fresh server, ends the sending side, and returns all that comes back. The server has ended by then.
async fn exchange(request: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let version = SystemVersion {
        version: "0.1.0".into(),
        ..SystemVersion::default()
    };
    let server = tokio::spawn(serve(Arc::new(Api::new(version)), listener, async {
        let _ = stopped.await;
    }));
    let mut client = UnixStream::connect(&path).await.unwrap();
    // A refused request may be answered before all of it is written.
    let _ = client.write_all(request.as_bytes()).await;
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    stop.send(()).unwrap();
    server.await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn get(path: &str) -> String {
    exchange(&format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n")).await
}

#[tokio::test]
async fn a_ping_has_dockers_headers() {
    let answer = get("/_ping").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nOK"), "{answer}");
    for header in [
        "Api-Version: 1.51",
        "Ostype: linux",
        "Docker-Experimental: false",
        "Swarm: inactive",
    ] {
        assert!(
            answer.contains(&format!("{header}\r\n")),
            "{header} in {answer}"
        );
    }
    let head = exchange("HEAD /_ping HTTP/1.1\r\nHost: d\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn versions_are_refused_as_docker_does() {
    assert!(
        get("/v1.51/version")
            .await
            .contains(r#""ApiVersion":"1.51","MinAPIVersion":"1.24""#)
    );
    let old = get("/v1.20/info").await;
    assert!(
        old.contains("Content-Length: 117\r\n") && old.contains("400 Bad Request"),
        "{old}"
    );
    let new = get("/v1.99/info").await;
    assert!(new.ends_with(
        "{\"message\":\"client version 1.99 is too new. Maximum supported API version is 1.55\"}\n"
    ));
    for path in ["/vfoo/info", "/nope", "/v1.20/nope"] {
        let answer = get(path).await;
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        assert!(
            answer.ends_with("{\"message\":\"page not found\"}\n"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let answer = get("/v1.51/containers/json").await;
    assert!(
        answer.starts_with("HTTP/1.1 501 Not Implemented\r\n"),
        "{answer}"
    );
    let swarm = get("/v1.51/nodes").await;
    assert!(swarm.starts_with("HTTP/1.1 503 "), "{swarm}");
    assert!(
        swarm.contains("This node is not a swarm manager."),
        "{swarm}"
    );
}

#[tokio::test]
async fn hostile_requests_are_refused_and_the_server_can_still_end() {
    let huge = format!("GET /_ping HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(3 << 20));
    assert!(!exchange(&huge).await.contains(" 200 "));
    assert_eq!(exchange("GET /_pi").await, "");
    assert!(
        exchange("\0\x01\x02\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400 ")
    );
}
