//! What registries and token servers may say, and what they must not get away with.

#![expect(clippy::unwrap_used, reason = "part of the tests")]

mod scripted;

use std::time::Duration;

use engine::ports::{
    ByteReader,
    images::Descriptor,
    registry::{Credentials, Registry},
};
use errdefs::{Classify, ErrorKind};
use oci::{Digest, Reference};
use registry::{RegistryClient, Settings, Timeouts};
use scripted::{Asked, HANG, Server, answer};
use tokio::io::AsyncReadExt;

const DOCUMENT: &[u8] = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BLOB: &[u8] = b"0123456789";

fn client() -> RegistryClient {
    RegistryClient::new(&Settings {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            idle: Duration::from_millis(200),
        },
        ..Settings::default()
    })
    .unwrap()
}

fn reference(server: &Server) -> Reference {
    format!("{}/a/b:1", server.address).parse().unwrap()
}

fn tester() -> Credentials {
    Credentials {
        username: "tester".into(),
        password: "s&cret".into(),
        ..Credentials::default()
    }
}

fn blob() -> Descriptor {
    Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar".into(),
        digest: Digest::of(BLOB),
        size: BLOB.len() as u64,
    }
}

async fn manifest(
    server: &Server,
    credentials: Option<&Credentials>,
) -> errdefs::Result<(Descriptor, Vec<u8>)> {
    client().manifest(&reference(server), credentials).await
}

async fn refused(server: &Server, credentials: Option<&Credentials>) -> (ErrorKind, String) {
    let error = manifest(server, credentials).await.expect_err("refused");
    (error.kind(), error.message().to_owned())
}

async fn open(server: &Server, offset: u64) -> errdefs::Result<(ByteReader, u64)> {
    client()
        .blob(&reference(server), &blob(), offset, None)
        .await
}

async fn read_all(mut reader: ByteReader) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn document() -> Vec<u8> {
    answer("200 OK", &[("Content-Type", OCI_MANIFEST)], DOCUMENT)
}

fn wants_token(own: &str, more: &str) -> Vec<u8> {
    let field = format!("Bearer realm=\"http://{own}/token\",service=\"here\"{more}");
    answer("401 Unauthorized", &[("WWW-Authenticate", &field)], b"")
}

/// A registry that shows its document to who has a token, and what its token server says.
fn with_tokens(token: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Server {
    Server::start(move |own, asked| {
        if asked.line.contains("/token") {
            token(asked)
        } else if asked.field("authorization") == Some("Bearer good") {
            document()
        } else {
            wants_token(own, "")
        }
    })
}

fn good_token() -> Vec<u8> {
    answer("200 OK", &[], br#"{"token":"good","expires_in":300}"#)
}

#[tokio::test]
async fn an_anonymous_token_is_got_once_for_a_repository() {
    let server = with_tokens(|_| good_token());
    let client = client();
    for _ in 0..3 {
        let (descriptor, bytes) = client.manifest(&reference(&server), None).await.unwrap();
        assert_eq!(
            (&bytes[..], descriptor.digest),
            (DOCUMENT, Digest::of(DOCUMENT))
        );
    }
    assert_eq!(
        server.count("GET /token?service=here&scope=repository%3Aa%2Fb%3Apull"),
        1
    );
    assert_eq!(server.count("GET /v2/a/b/manifests/1"), 4);
    let other: Reference = format!("{}/c:1", server.address).parse().unwrap();
    client.manifest(&other, None).await.unwrap();
    assert_eq!(server.count("GET /token"), 2);
}

#[tokio::test]
async fn a_token_that_is_over_is_replaced() {
    // Good for no time at all once the margin is taken off.
    let server = with_tokens(|_| answer("200 OK", &[], br#"{"token":"good","expires_in":1}"#));
    let client = client();
    for _ in 0..2 {
        client.manifest(&reference(&server), None).await.unwrap();
    }
    assert_eq!(server.count("GET /token"), 2);
}

#[tokio::test]
async fn a_password_is_posted_and_escaped() {
    let server = with_tokens(|_| answer("200 OK", &[], br#"{"access_token":"good"}"#));
    manifest(&server, Some(&tester())).await.unwrap();
    let asked = server.asked();
    let post = asked.iter().find(|one| one.line == "POST /token").unwrap();
    assert_eq!(
        post.body,
        "scope=repository%3Aa%2Fb%3Apull&service=here&client_id=docker&grant_type=password&username=tester&password=s%26cret"
    );
}

#[tokio::test]
async fn a_token_server_without_post_is_asked_by_get() {
    let server = with_tokens(|asked| {
        if asked.line.starts_with("POST") {
            answer("404 Not Found", &[], b"")
        } else {
            assert!(asked.field("authorization").unwrap().starts_with("Basic "));
            good_token()
        }
    });
    manifest(&server, Some(&tester())).await.unwrap();
}

#[tokio::test]
async fn an_identity_token_stands_for_the_password() {
    let server = with_tokens(|_| answer("200 OK", &[], br#"{"access_token":"good"}"#));
    let credentials = Credentials {
        identity_token: "id".into(),
        ..Credentials::default()
    };
    manifest(&server, Some(&credentials)).await.unwrap();
    let asked = server.asked();
    let post = asked.iter().find(|one| one.line == "POST /token").unwrap();
    assert!(
        post.body
            .ends_with("grant_type=refresh_token&refresh_token=id"),
        "{}",
        post.body
    );
}

#[tokio::test]
async fn a_registry_token_is_used_as_it_is() {
    let server = with_tokens(|_| panic!("no token is asked for"));
    let mut credentials = Credentials {
        registry_token: "good".into(),
        ..Credentials::default()
    };
    manifest(&server, Some(&credentials)).await.unwrap();
    credentials.registry_token = "bad".into();
    let (_, text) = refused(&server, Some(&credentials)).await;
    assert!(text.ends_with("401 Unauthorized"), "{text}");
    assert_eq!(server.count("GET /v2/"), 2);
}

#[tokio::test]
async fn what_may_not_be_seen_is_told_in_dockers_words() {
    let server = Server::start(|own, asked| {
        if asked.line.contains("/token") {
            good_token()
        } else {
            let more = if asked.field("authorization").is_some() {
                ",error=\"insufficient_scope\""
            } else {
                ""
            };
            wants_token(own, more)
        }
    });
    let (kind, text) = refused(&server, None).await;
    assert_eq!(kind, ErrorKind::NotFound);
    assert_eq!(
        text,
        format!(
            "pull access denied for {}/a/b, repository does not exist or may require 'docker login'",
            server.address
        )
    );
    // Once without, once with a token; never for ever.
    assert_eq!(server.count("GET /v2/"), 2);
}

#[tokio::test]
async fn a_token_servers_refusal_is_passed_on() {
    let server = with_tokens(|_| {
        answer(
            "401 Unauthorized",
            &[],
            br#"{"details":"incorrect username or password"}"#,
        )
    });
    assert_eq!(
        refused(&server, Some(&tester())).await,
        (
            ErrorKind::Unauthorized,
            "authentication required - incorrect username or password".to_owned()
        )
    );
}

#[tokio::test]
async fn token_servers_answers_are_checked() {
    let check = async |body: Vec<u8>, expected: &str| {
        let server = with_tokens(move |_| body.clone());
        let (_, text) = refused(&server, None).await;
        assert!(text.contains(expected), "{text}");
    };
    check(answer("200 OK", &[], b"{}"), "did not include a token").await;
    check(
        answer("200 OK", &[], b"<html>"),
        "unable to decode token response",
    )
    .await;
    check(
        answer("200 OK", &[], br#"{"token":"a\nb"}"#),
        "a token no header can carry",
    )
    .await;
    check(
        answer("200 OK", &[("Content-Length", "9999999999")], b""),
        "over 262144 bytes",
    )
    .await;
    check(
        [
            answer("200 OK", &[("Content-Length", "100")], b""),
            HANG.to_vec(),
        ]
        .concat(),
        "timeout reading response body",
    )
    .await;
}

#[tokio::test]
async fn a_login_gives_the_token_servers_identity_token() {
    let server = with_tokens(|asked| {
        assert!(
            asked
                .line
                .contains("offline_token=true&client_id=docker&account=tester"),
            "{}",
            asked.line
        );
        answer("200 OK", &[], br#"{"token":"good","refresh_token":"id"}"#)
    });
    let identity = client().login(&server.address, &tester()).await.unwrap();
    assert_eq!(identity, "id");
    assert_eq!(server.count("GET /v2/"), 2);
}

#[tokio::test]
async fn a_login_that_the_token_server_refuses_says_why() {
    let server = with_tokens(|_| {
        answer(
            "401 Unauthorized",
            &[],
            br#"{"details":"incorrect username or password"}"#,
        )
    });
    let error = client()
        .login(&server.address, &tester())
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(
        error.message(),
        format!(
            "Get \"http://{}/v2/\": unauthorized: incorrect username or password",
            server.address
        )
    );
}

#[tokio::test]
async fn a_document_must_fit_its_digest() {
    let server = Server::start(|_, _| {
        let other = Digest::of(b"other");
        answer(
            "200 OK",
            &[("Docker-Content-Digest", other.as_str())],
            DOCUMENT,
        )
    });
    let (kind, text) = refused(&server, None).await;
    assert_eq!(kind, ErrorKind::DataLoss);
    assert!(text.contains("unexpected commit digest"), "{text}");

    let server = Server::start(|_, _| document());
    let by_digest = reference(&server).at(Digest::of(b"other"));
    let error = client()
        .manifest(&by_digest, None)
        .await
        .expect_err("another document");
    assert_eq!(error.kind(), ErrorKind::DataLoss);
}

#[tokio::test]
async fn a_document_over_its_bound_is_refused() {
    let length = Server::start(|_, _| answer("200 OK", &[("Content-Length", "4194305")], b""));
    let endless = Server::start(|_, _| {
        let mut bytes =
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..65 {
            bytes.extend_from_slice(b"10000\r\n");
            bytes.extend(std::iter::repeat_n(b'x', 0x10000));
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    });
    for server in [length, endless] {
        let (_, text) = refused(&server, None).await;
        assert!(text.contains("over 4194304 bytes"), "{text}");
    }
}

#[tokio::test]
async fn nonsense_is_an_error_and_nothing_worse() {
    let many = "X: y\r\n".repeat(500);
    let long = format!("X: {}\r\n", "y".repeat(1 << 20));
    let answers = [
        b"\x00\x01\x02\r\n\r\n".to_vec(),
        b"".to_vec(),
        b"HTTP/1.1 200 OK\r\n".to_vec(),
        b"HTTP/1.1 999 \r\n\r\n".to_vec(),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n").into_bytes(),
        format!("HTTP/1.1 200 OK\r\n{long}\r\n").into_bytes(),
        answer("302 Found", &[], b""),
        answer("302 Found", &[("Location", "\u{ff}::")], b""),
        answer("302 Found", &[("Location", "gopher://x/")], b""),
        answer("401 Unauthorized", &[("WWW-Authenticate", "Bearer")], b""),
        answer(
            "401 Unauthorized",
            &[("WWW-Authenticate", "Bearer realm=\"/etc\"")],
            b"",
        ),
        answer(
            "401 Unauthorized",
            &[("WWW-Authenticate", "Negotiate")],
            b"",
        ),
        answer("200 OK", &[], b"neither"),
        answer("204 No Content", &[], b""),
    ];
    for bytes in answers {
        let said = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
        let server = Server::start(move |_, _| bytes.clone());
        let error = manifest(&server, None).await.expect_err(&said);
        assert!(!error.message().is_empty());
        assert!(error.message().len() < 1000, "{said}: {error}");
    }
}

#[tokio::test]
async fn a_registrys_own_words_are_passed_on() {
    let server = Server::start(|_, _| {
        let body = br#"{"errors":[{"code":"DENIED","message":"not from there"}]}"#;
        answer("403 Forbidden", &[], body)
    });
    assert_eq!(
        refused(&server, None).await,
        (
            ErrorKind::Forbidden,
            "error from registry: not from there".to_owned()
        )
    );
}

#[tokio::test]
async fn a_hiccup_is_asked_again_once() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let server =
        Server::start(
            move |_, _| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => answer("503 Service Unavailable", &[], b""),
                _ => document(),
            },
        );
    manifest(&server, None).await.unwrap();
    assert_eq!(server.count("GET"), 2);

    let server = Server::start(|_, _| answer("503 Service Unavailable", &[], b""));
    let (_, text) = refused(&server, None).await;
    assert!(
        text.starts_with("unknown: failed to resolve reference")
            && text.ends_with("503 Service Unavailable"),
        "{text}"
    );
    assert_eq!(server.count("GET"), 2);
}

#[tokio::test]
async fn a_blob_is_cut_where_its_descriptor_ends() {
    let short = Server::start(|_, _| answer("200 OK", &[("Content-Length", "10")], &BLOB[..4]));
    let shorter = Server::start(|_, _| answer("200 OK", &[], &BLOB[..4]));
    let long = Server::start(|_, _| answer("200 OK", &[], b"0123456789x"));
    let silent = Server::start(|_, _| {
        [
            answer("200 OK", &[("Content-Length", "10")], &BLOB[..4]),
            HANG.to_vec(),
        ]
        .concat()
    });
    let check = async |server: Server, kind: std::io::ErrorKind| {
        let (reader, _) = open(&server, 0).await.unwrap();
        assert_eq!(read_all(reader).await.expect_err("cut").kind(), kind);
    };
    check(short, std::io::ErrorKind::UnexpectedEof).await;
    check(shorter, std::io::ErrorKind::UnexpectedEof).await;
    check(long, std::io::ErrorKind::InvalidData).await;
    check(silent, std::io::ErrorKind::TimedOut).await;
}

#[tokio::test]
async fn a_blob_goes_on_where_it_ended_if_the_registry_can() {
    let check = async |server: Server, offset: u64, start: u64| {
        let (reader, found) = open(&server, offset).await.unwrap();
        assert_eq!(found, start);
        let start = usize::try_from(start).unwrap();
        assert_eq!(read_all(reader).await.unwrap(), &BLOB[start..]);
    };
    let can = Server::start(|_, asked| {
        assert_eq!(asked.field("range"), Some("bytes=4-"));
        answer(
            "206 Partial Content",
            &[("Content-Range", "bytes 4-9/10")],
            &BLOB[4..],
        )
    });
    check(can, 4, 4).await;
    let cannot = Server::start(|_, _| answer("200 OK", &[], BLOB));
    check(cannot, 4, 0).await;
    let refuses = Server::start(|_, asked| match asked.field("range") {
        Some(_) => answer("416 Range Not Satisfiable", &[], b""),
        None => answer("200 OK", &[], BLOB),
    });
    check(refuses, 4, 0).await;
    let unasked = Server::start(|_, _| panic!("nothing is left to ask for"));
    check(unasked, 10, 10).await;
    let other = Server::start(|_, _| {
        answer(
            "206 Partial Content",
            &[("Content-Range", "bytes 3-9/10")],
            &BLOB[3..],
        )
    });
    assert!(open(&other, 4).await.is_err());
}

#[tokio::test]
async fn a_blob_that_is_not_there_is_said_in_containerds_words() {
    let server = Server::start(|_, _| answer("404 Not Found", &[], b""));
    let error = open(&server, 0).await.err().expect("not there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.message().contains(&format!(
            "could not fetch content descriptor {}",
            Digest::of(BLOB)
        )),
        "{error}"
    );
}

#[tokio::test]
async fn who_asks_is_not_told_to_where_a_blob_is_redirected() {
    let store = Server::start(|_, _| answer("200 OK", &[], BLOB));
    let target = format!("http://{}/stored?signature=secret", store.address);
    let server = Server::start(move |_, asked| match asked.field("authorization") {
        Some(_) => answer("307 Temporary Redirect", &[("Location", &target)], b""),
        None => answer(
            "401 Unauthorized",
            &[("WWW-Authenticate", "Basic realm=\"x\"")],
            b"",
        ),
    });
    let client = client();
    let (reader, _) = client
        .blob(&reference(&server), &blob(), 0, Some(&tester()))
        .await
        .unwrap();
    assert_eq!(read_all(reader).await.unwrap(), BLOB);
    let asked = store.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "GET /stored?signature=secret");
    assert_eq!(asked[0].field("authorization"), None);
    assert!(asked[0].field("user-agent").unwrap().starts_with("berth/"));
}

#[tokio::test]
async fn where_a_blob_is_redirected_gets_no_credentials_by_asking_for_them() {
    let store = Server::start(|own, asked| match asked.line.contains("/token") {
        true => good_token(),
        false => wants_token(own, ""),
    });
    let target = format!("http://{}/stored", store.address);
    let server =
        Server::start(move |_, _| answer("307 Temporary Redirect", &[("Location", &target)], b""));
    let error = client()
        .blob(&reference(&server), &blob(), 0, Some(&tester()))
        .await
        .err()
        .expect("refused");
    assert!(error.message().ends_with("401 Unauthorized"), "{error}");
    assert_eq!(store.asked().len(), 1);
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|_, asked| {
        let path = asked.line.trim_start_matches("GET ");
        answer("302 Found", &[("Location", &format!("{path}x"))], b"")
    });
    let (_, text) = refused(&server, None).await;
    assert!(text.ends_with("stopped after 10 redirects"), "{text}");
    assert_eq!(server.count("GET"), 11);
}
