//! Debian's docker-registry, on the loopback.

use engine::ports::{
    images::Descriptor,
    registry::{Credentials, Registry as _},
};
use errdefs::{Classify, ErrorKind};
use harness::{Image, Login, Registry};
use oci::{Digest, Reference};
use registry::{RegistryClient, Settings};
use tokio::io::AsyncReadExt;

/// A registry with an image in it; `None`, said loudly, when there is no docker-registry.
fn bed(login: Login) -> Option<(Registry, Image, Reference)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("docker-registry").exists()) {
        eprintln!("SKIPPED: docker-registry is not installed");
        return None;
    }
    let registry = Registry::start(None, login).expect("a registry");
    let layer = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let image = Image::new(vec![layer], &Default::default()).expect("an image");
    let reference = registry.push("some/thing", "1", &image).expect("pushed");
    let reference = reference.parse().expect("a reference");
    Some((registry, image, reference))
}

fn client() -> RegistryClient {
    RegistryClient::new(&Settings::default()).expect("a client")
}

fn credentials(password: &str) -> Credentials {
    Credentials {
        username: "tester".into(),
        password: password.into(),
        ..Credentials::default()
    }
}

fn layer(image: &Image) -> Descriptor {
    Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        digest: image.layer_digest(0).parse().expect("a digest"),
        size: image.layers[0].len() as u64,
    }
}

#[tokio::test]
async fn documents_come_by_tag_and_digest() {
    let Some((_registry, image, reference)) = bed(Login::Anonymous) else {
        return;
    };
    let client = client();
    let (descriptor, bytes) = client.manifest(&reference, None).await.unwrap();
    assert_eq!(bytes, image.manifest);
    assert_eq!(descriptor.media_type, Image::MANIFEST_TYPE);
    assert_eq!(descriptor.digest.as_str(), image.digest());
    assert_eq!(descriptor.size, image.manifest.len() as u64);
    let by_digest = reference.at(descriptor.digest.clone());
    assert_eq!(
        client.manifest(&by_digest, None).await.unwrap(),
        (descriptor, bytes)
    );
}

#[tokio::test]
async fn blobs_come_whole_or_from_an_offset() {
    let Some((_registry, image, reference)) = bed(Login::Anonymous) else {
        return;
    };
    let client = client();
    let whole = &image.layers[0];
    for offset in [0, 1, whole.len() / 2, whole.len() - 1, whole.len()] {
        let (mut reader, start) = client
            .blob(&reference, &layer(&image), offset as u64, None)
            .await
            .unwrap();
        assert_eq!(start, offset as u64);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, whole[offset..], "from {offset}");
    }
    // A manifest is kept elsewhere; who asks need not know.
    let document = Descriptor {
        media_type: Image::MANIFEST_TYPE.into(),
        digest: image.digest().parse().unwrap(),
        size: image.manifest.len() as u64,
    };
    let (mut reader, _) = client.blob(&reference, &document, 0, None).await.unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, image.manifest);
}

#[tokio::test]
async fn what_is_missing_is_not_found_in_dockers_words() {
    let Some((registry, image, reference)) = bed(Login::Anonymous) else {
        return;
    };
    let client = client();
    let missing: Reference = format!("{}/some/thing:no-such-tag", registry.address())
        .parse()
        .unwrap();
    let error = client.manifest(&missing, None).await.expect_err("no tag");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.message(),
        format!("failed to resolve reference \"{missing}\": {missing}: not found")
    );
    let blob = Descriptor {
        digest: Digest::of(b"nothing"),
        ..layer(&image)
    };
    let error = client
        .blob(&reference, &blob, 0, None)
        .await
        .err()
        .expect("no blob");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_private_registry_wants_credentials() {
    let Some((registry, image, reference)) = bed(Login::Basic) else {
        return;
    };
    let client = client();
    let error = client
        .manifest(&reference, None)
        .await
        .expect_err("private");
    assert!(
        error
            .message()
            .ends_with("authorization failed: no basic auth credentials"),
        "{error}"
    );
    let error = client
        .manifest(&reference, Some(&credentials("wrong")))
        .await
        .expect_err("private");
    assert!(
        error.message().contains("authentication required"),
        "{error}"
    );

    let address = registry.address();
    let error = client
        .login(&address, &credentials("wrong"))
        .await
        .expect_err("private");
    assert_eq!(
        error.message(),
        format!("login attempt to http://{address}/v2/ failed with status: 401 Unauthorized")
    );
    let good = credentials("secret");
    assert_eq!(client.login(&address, &good).await.unwrap(), "");
    let (_, bytes) = client.manifest(&reference, Some(&good)).await.unwrap();
    assert_eq!(bytes, image.manifest);
    assert!(
        client
            .blob(&reference, &layer(&image), 0, Some(&good))
            .await
            .is_ok()
    );
    // What one asker was shown is not shown to the next.
    assert!(client.manifest(&reference, None).await.is_err());
}

#[tokio::test]
async fn localhost_is_a_name_that_needs_no_server() {
    let Some((registry, image, _)) = bed(Login::Anonymous) else {
        return;
    };
    let address = registry.address().replace("127.0.0.1", "localhost");
    let reference: Reference = format!("{address}/some/thing:1").parse().unwrap();
    let settings = Settings {
        hosts: "/dev/null".into(),
        resolv_conf: "/dev/null".into(),
        ..Settings::default()
    };
    let client = RegistryClient::new(&settings).unwrap();
    let (_, bytes) = client.manifest(&reference, None).await.unwrap();
    assert_eq!(bytes, image.manifest);
}

#[tokio::test]
async fn a_registry_that_is_down_is_unavailable() {
    // Port 1 of the loopback: nobody listens there.
    let reference: Reference = "127.0.0.1:1/x:1".parse().unwrap();
    let error = client().manifest(&reference, None).await.expect_err("down");
    assert_eq!(error.kind(), ErrorKind::System);
    assert_eq!(
        error.message(),
        "failed to resolve reference \"127.0.0.1:1/x:1\": failed to do request: Head \"https://127.0.0.1:1/v2/x/manifests/1\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
}
