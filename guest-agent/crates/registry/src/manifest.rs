//! The document a name points at.

use engine::ports::{images::Descriptor, registry::Credentials};
use errdefs::{Error, ErrorKind, Result};
use http::{HeaderValue, StatusCode, header::ACCEPT, header::CONTENT_TYPE};
use oci::{Digest, Reference};
use serde::Deserialize;

use crate::{
    body,
    client::RegistryClient,
    exchange::{self, Question},
    failure::Failure,
};

/// Largest document. As containerd's bound, about.
pub(crate) const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// Documents of the first schema, which nobody takes any more.
const SCHEMA_1: &[&str] = &[
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    // Some old registries say so.
    "text/plain",
];
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What is asked for.
const ACCEPTED: &str = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

/// True for what registries keep among the manifests, not among the blobs.
pub(crate) fn is_document(media_type: &str) -> bool {
    matches!(media_type, INDEX | MANIFEST | DOCKER_LIST | DOCKER_MANIFEST)
}

/// `repository:NAME:pull`.
pub(crate) fn scope(reference: &Reference) -> String {
    format!("repository:{}:pull", reference.path())
}

pub(crate) async fn fetch(
    client: &RegistryClient,
    reference: &Reference,
    credentials: Option<&Credentials>,
) -> Result<(Descriptor, Vec<u8>)> {
    let reference = &reference.clone().or_latest();
    let context = format!("failed to resolve reference \"{reference}\"");
    let registry = client.insecure.endpoint(reference.domain());
    let which = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, tag) => tag.unwrap_or(oci::DEFAULT_TAG),
    };
    let question = Question {
        registry: &registry,
        path: format!("{}/manifests/{which}", reference.path()),
        headers: vec![(ACCEPT, HeaderValue::from_static(ACCEPTED))],
        scope: scope(reference),
        credentials,
    };
    let reply = exchange::get(&client.transport, &client.grants, &question)
        .await
        .map_err(|failure| refused(failure.of_a_head(), reference, &context))?;
    let idle = client.transport.timeouts().idle;
    match reply.response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{context}: {reference}: not found"),
            ));
        }
        _ => return Err(reply.unexpected(idle).await.into_error(&context)),
    }
    let header = |name| {
        let value: Option<&HeaderValue> = reply.response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned)
    };
    let told_digest = header("docker-content-digest");
    let told_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let bytes = body::read(
        &reply.url,
        reply.response.into_body(),
        MAX_MANIFEST_BYTES,
        idle,
    )
    .await
    .map_err(|failure| failure.into_error(&context))?;
    let digest = check_digest(reference, told_digest.as_deref(), &bytes)
        .map_err(|error| error.context(&context))?;
    let media_type = media_type(&told_type, &bytes, reference)?;
    let descriptor = Descriptor {
        media_type,
        digest,
        size: bytes.len() as u64,
    };
    Ok((descriptor, bytes))
}

/// What is not there and what may not be seen look alike, as they do to Docker.
pub(crate) fn refused(failure: Failure, reference: &Reference, context: &str) -> Error {
    match &failure {
        Failure::NoCredentials => Error::new(
            ErrorKind::System,
            format!(
                "{context}: pull access denied, repository does not exist or may require authorization: {failure}"
            ),
        ),
        _ if failure.is_denied() => Error::new(
            ErrorKind::NotFound,
            format!(
                "pull access denied for {}, repository does not exist or may require 'docker login'",
                reference.familiar_name()
            ),
        )
        .with_source(failure),
        _ => failure.into_error(context),
    }
}

/// The digest of what came. It must be the one asked for, or the one the registry says.
fn check_digest(reference: &Reference, told: Option<&str>, bytes: &[u8]) -> Result<Digest> {
    let found = Digest::of(bytes);
    let expected = match reference.digest() {
        Some(digest) => Some(digest.as_str()),
        None => told,
    };
    match expected {
        Some(expected) if expected != found.as_str() => {
            // What the registry says goes to a terminal: only what is a digest is shown as it is.
            let expected = expected.parse::<Digest>().map_or_else(
                |_| "no valid digest".to_owned(),
                |digest| digest.to_string(),
            );
            Err(Error::new(
                ErrorKind::DataLoss,
                format!(
                    "unexpected commit digest {found}, expected {expected}: failed precondition"
                ),
            ))
        }
        _ => Ok(found),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Shape {
    media_type: String,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// The document's type: as the registry says, and where that is none of the four, as the document looks.
fn media_type(told: &str, bytes: &[u8], reference: &Reference) -> Result<String> {
    let told = told.split(';').next().unwrap_or_default().trim();
    if is_document(told) {
        return Ok(told.to_owned());
    }
    let shape: Shape = serde_json::from_slice(bytes).unwrap_or_default();
    if is_document(&shape.media_type) {
        return Ok(shape.media_type);
    }
    if shape.manifests.is_some() {
        return Ok(INDEX.to_owned());
    }
    if shape.config.is_some() {
        return Ok(MANIFEST.to_owned());
    }
    Err(if SCHEMA_1.contains(&told) || shape.fs_layers.is_some() {
        Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of {} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/",
                reference.familiar()
            ),
        )
    } else {
        Error::new(
            ErrorKind::NotImplemented,
            format!("{}: neither a manifest nor an index", reference.familiar()),
        )
    })
}

#[cfg(test)]
mod tests {
    use errdefs::Classify;
    use proptest::prelude::*;

    use super::*;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn types_come_from_the_head_or_the_shape() {
        let check = |told: &str, body: &str, expected: Option<&str>| {
            let found = media_type(told, body.as_bytes(), &reference("a"));
            assert_eq!(found.ok().as_deref(), expected, "{told} {body}");
        };
        check(DOCKER_LIST, "{}", Some(DOCKER_LIST));
        check(&format!("{INDEX}; charset=utf-8"), "{}", Some(INDEX));
        check(
            "application/json",
            &format!(r#"{{"mediaType":"{DOCKER_MANIFEST}"}}"#),
            Some(DOCKER_MANIFEST),
        );
        check("", r#"{"manifests":[]}"#, Some(INDEX));
        check("text/plain", r#"{"config":{}}"#, Some(MANIFEST));
        check("application/json", "{}", None);
        check("application/json", "not json", None);
    }

    #[test]
    fn the_first_schema_is_refused_in_dockers_words() {
        let error = media_type(SCHEMA_1[1], b"{}", &reference("a:b")).expect_err("old");
        assert!(
            error.message().contains("Suggest the author of a:b"),
            "{error}"
        );
    }

    #[test]
    fn a_digest_must_fit() {
        let good = Digest::of(b"x");
        let other = Digest::of(b"y");
        let by_tag = reference("a:b");
        assert!(check_digest(&by_tag, None, b"x").is_ok());
        assert!(check_digest(&by_tag, Some(good.as_str()), b"x").is_ok());
        for told in [other.as_str(), "sha512:00", "\u{1b}[2J"] {
            let error = check_digest(&by_tag, Some(told), b"x").expect_err(told);
            assert_eq!(error.kind(), ErrorKind::DataLoss);
            assert!(!error.message().contains('\u{1b}'));
        }
        let by_digest = reference("a").at(good);
        assert!(check_digest(&by_digest, Some(other.as_str()), b"x").is_ok());
        assert!(check_digest(&by_digest, None, b"y").is_err());
    }

    proptest! {
        #[test]
        fn noise_never_panics(told in "\\PC{0,40}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = media_type(&told, &body, &reference("a"));
        }
    }
}
