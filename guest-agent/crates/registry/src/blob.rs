//! A blob's bytes.

use engine::ports::{ByteReader, images::Descriptor, registry::Credentials};
use errdefs::{Error, ErrorKind, Result};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, RANGE},
};
use oci::Reference;

use crate::{
    body::BlobReader,
    client::RegistryClient,
    endpoint::Endpoint,
    exchange::{self, Question, Reply},
    failure::Failure,
    manifest,
};

/// What containerd puts before what went wrong with a blob.
const CONTEXT: &str = "failed to copy: httpReadSeeker: failed open";

pub(crate) async fn open(
    client: &RegistryClient,
    reference: &Reference,
    descriptor: &Descriptor,
    offset: u64,
    credentials: Option<&Credentials>,
) -> Result<(ByteReader, u64)> {
    if offset == descriptor.size {
        // Nothing is left to be asked for; a registry would say 416.
        return Ok((Box::new(tokio::io::empty()), offset));
    }
    // More than there can be is no beginning.
    let mut offset = if offset < descriptor.size { offset } else { 0 };
    let registry = client.insecure.endpoint(reference.domain());
    let ask = async |offset| {
        let question = question(&registry, reference, descriptor, offset, credentials);
        exchange::get(&client.transport, &client.grants, &question)
            .await
            .map_err(|failure| manifest::refused(failure, reference, CONTEXT))
    };
    let mut reply = ask(offset).await?;
    if reply.response.status() == StatusCode::RANGE_NOT_SATISFIABLE && offset > 0 {
        offset = 0;
        reply = ask(offset).await?;
    }
    let idle = client.transport.timeouts().idle;
    let start = match reply.response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT if offset > 0 => {
            check_range(reply.response.headers(), offset, descriptor.size)
                .map_err(|failure| failure.into_error(CONTEXT))?;
            offset
        }
        StatusCode::NOT_FOUND => return Err(missing(descriptor)),
        _ => return Err(reply.unexpected(idle).await.into_error(CONTEXT)),
    };
    check_encoding(&reply).map_err(|failure| failure.into_error(CONTEXT))?;
    let reader = BlobReader::new(reply.response.into_body(), descriptor.size - start, idle);
    Ok((Box::new(reader), start))
}

fn question<'a>(
    registry: &'a Endpoint,
    reference: &Reference,
    descriptor: &Descriptor,
    offset: u64,
    credentials: Option<&'a Credentials>,
) -> Question<'a> {
    let is_document = manifest::is_document(&descriptor.media_type);
    let place = if is_document { "manifests" } else { "blobs" };
    let accept = HeaderValue::from_str(&format!("{}, */*", descriptor.media_type))
        .unwrap_or(HeaderValue::from_static("*/*"));
    let mut headers = vec![
        (ACCEPT, accept),
        // The bytes as they are kept: their digest is of those.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
    ];
    if offset > 0
        && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
    {
        headers.push((RANGE, range));
    }
    Question {
        registry,
        path: format!("{}/{place}/{}", reference.path(), descriptor.digest),
        headers,
        scope: manifest::scope(reference),
        credentials,
    }
}

fn missing(descriptor: &Descriptor) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "{CONTEXT}: could not fetch content descriptor {} ({}) from remote: not found",
            descriptor.digest, descriptor.media_type
        ),
    )
}

/// A part must begin where it was asked to, and belong to a blob of the right size. Spec: RFC 9110, 14.4.
fn check_range(headers: &HeaderMap, offset: u64, size: u64) -> Result<(), Failure> {
    let Some(value) = headers.get(CONTENT_RANGE) else {
        // containerd believes the status alone, and so do registries.
        return Ok(());
    };
    let range = || {
        let rest = value.to_str().ok()?.strip_prefix("bytes ")?;
        let (range, total) = rest.split_once('/')?;
        let start: u64 = range.split_once('-')?.0.trim().parse().ok()?;
        let fits = total == "*" || total.trim().parse() == Ok(size);
        (start == offset && fits).then_some(())
    };
    range().ok_or_else(|| Failure::Broken("unhandled content range in response".to_owned()))
}

fn check_encoding(reply: &Reply) -> Result<(), Failure> {
    let encoding = reply.response.headers().get(CONTENT_ENCODING);
    if encoding.is_none_or(|value| value.is_empty() || value == "identity") {
        return Ok(());
    }
    Err(Failure::Broken(
        "unsupported Content-Encoding algorithm".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_begins_where_it_was_asked_to() {
        let check = |value: Option<&'static str>, good: bool| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CONTENT_RANGE, HeaderValue::from_static(value));
            }
            assert_eq!(check_range(&headers, 5, 10).is_ok(), good, "{value:?}");
        };
        check(None, true);
        check(Some("bytes 5-9/10"), true);
        check(Some("bytes 5-9/*"), true);
        for bad in [
            "",
            "bytes 0-9/10",
            "bytes 5-9/11",
            "bytes 5",
            "5-9/10",
            "bytes -/",
        ] {
            check(Some(bad), false);
        }
    }
}
