//! Who is trusted.

#![expect(clippy::unwrap_used, reason = "part of the tests")]

mod scripted;

use std::{path::Path, sync::Arc};

use engine::ports::registry::Registry;
use oci::Reference;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use registry::{RegistryClient, Settings};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

const DOCUMENT: &[u8] = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;

/// An authority nobody knows.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A registry with one document and a certificate for a name; its port.
async fn serve(name: &str, issuer: &CertifiedIssuer<'static, KeyPair>) -> u16 {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(socket).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = scripted::answer("200 OK", &[], DOCUMENT);
            stream.write_all(&answer).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// `reg.test` is here, and no rule says that it may be anybody.
fn settings(folder: &Path) -> Settings {
    let hosts = folder.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 reg.test other.test\n").unwrap();
    Settings {
        hosts,
        resolv_conf: "/dev/null".into(),
        certificates: folder.join("certs.d"),
        ..Settings::default()
    }
}

async fn pull(settings: &Settings, host: &str, port: u16) -> Result<(), String> {
    let reference: Reference = format!("{host}:{port}/a:1").parse().unwrap();
    let client = RegistryClient::new(settings).unwrap();
    match client.manifest(&reference, None).await {
        Ok((_, bytes)) if bytes == DOCUMENT => Ok(()),
        Ok(_) => Err("another document".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn an_unknown_authority_is_refused_until_it_is_trusted() {
    let folder = TempDir::new().unwrap();
    let issuer = authority();
    let port = serve("reg.test", &issuer).await;
    let settings = settings(folder.path());
    let error = pull(&settings, "reg.test", port)
        .await
        .expect_err("unknown");
    assert!(
        error.ends_with(
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        ),
        "{error}"
    );

    // For this registry, as `/etc/docker/certs.d` does.
    let own = settings.certificates.join(format!("reg.test:{port}"));
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("ca.crt"), issuer.pem()).unwrap();
    pull(&settings, "reg.test", port).await.unwrap();

    // For all.
    let trusted = folder.path().join("all.pem");
    std::fs::write(&trusted, issuer.pem()).unwrap();
    let settings = Settings {
        trusted,
        certificates: folder.path().join("none"),
        ..settings
    };
    pull(&settings, "reg.test", port).await.unwrap();
    let error = pull(&settings, "other.test", port)
        .await
        .expect_err("another name");
    assert!(
        error.contains("tls: failed to verify certificate"),
        "{error}"
    );
}

#[tokio::test]
async fn an_insecure_registry_need_not_prove_who_it_is() {
    let folder = TempDir::new().unwrap();
    let port = serve("whoever", &authority()).await;
    let mut settings = settings(folder.path());
    pull(&settings, "127.0.0.1", port).await.unwrap();
    assert!(pull(&settings, "reg.test", port).await.is_err());
    settings.insecure_registries = vec![format!("reg.test:{port}")];
    pull(&settings, "reg.test", port).await.unwrap();
}

#[tokio::test]
async fn plain_http_is_for_insecure_registries_only() {
    let folder = TempDir::new().unwrap();
    let server = scripted::Server::start(|_, _| scripted::answer("200 OK", &[], DOCUMENT));
    let port = server.address.rsplit(':').next().unwrap().parse().unwrap();
    let mut settings = settings(folder.path());
    let error = pull(&settings, "reg.test", port).await.expect_err("no TLS");
    assert!(
        error.ends_with("http: server gave HTTP response to HTTPS client"),
        "{error}"
    );
    assert!(server.asked().is_empty());
    settings.insecure_registries = vec![format!("reg.test:{port}")];
    pull(&settings, "reg.test", port).await.unwrap();
}

#[tokio::test]
async fn an_unknown_name_is_said() {
    let folder = TempDir::new().unwrap();
    let error = pull(&settings(folder.path()), &"a".repeat(70), 1)
        .await
        .expect_err("no name");
    assert!(error.ends_with("no such host"), "{error}");
}
