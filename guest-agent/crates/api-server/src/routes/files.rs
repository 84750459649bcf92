//! Files of containers.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose};
use docker_api::files::ContainerPathStat;
use engine::{
    Engine,
    containers::{NamedStat, PutOptions},
    ports::files::Packing,
    time::rfc3339,
};
use errdefs::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Answer, empty, json, not_there, streaming};
use crate::{
    call::{Call, body_of},
    rest::relay,
};

const PATH_STAT: &str = "x-docker-container-path-stat";

pub(super) async fn answer(engine: &Arc<Engine>, call: Call) -> Answer {
    let name = call.name.clone();
    match call.operation {
        "container_archive_info" => {
            let found = engine.stat_path(&name, path(&call)?).await?;
            let mut response = empty(StatusCode::OK)?;
            add_stat(response.headers_mut(), &found)?;
            Ok(response)
        }
        "container_archive" => {
            let packing = packing(&call.headers);
            let path = path(&call)?;
            let (found, archive) = engine.get_archive(&name, path, packing).await?;
            let mut response = streaming("application/x-tar", body_of(archive))?;
            add_stat(response.headers_mut(), &found)?;
            let encoding = match packing {
                Packing::Plain => None,
                Packing::Gzip => Some("gzip"),
                Packing::Deflate => Some("deflate"),
            };
            if let Some(encoding) = encoding {
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
            Ok(response)
        }
        "put_container_archive" => {
            let path = path(&call)?.to_owned();
            let options = PutOptions {
                keep_kinds: call.query.flag("noOverwriteDirNonDir"),
                to_user: call.query.flag("copyUIDGID"),
            };
            relay(call.reader(), |archive| {
                engine.put_archive(&name, &path, options, Box::new(archive))
            })
            .await?;
            empty(StatusCode::OK)
        }
        "container_export" => {
            let archive = engine.export_container(&name).await?;
            streaming("application/octet-stream", body_of(archive))
        }
        "container_changes" => json(&engine.container_changes(&name).await?),
        _ => Err(not_there(&call)),
    }
}

fn path(call: &Call) -> Result<&str> {
    let path = call.query.get("path").unwrap_or_default();
    if path.is_empty() {
        // Docker's own text, without the space.
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "bad parameter: pathcannot be empty",
        ));
    }
    Ok(path)
}

/// The best packing that the client takes: of equal ones the first of ours.
fn packing(headers: &HeaderMap) -> Packing {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let accepted: Vec<&str> = accepted.filter_map(|value| value.to_str().ok()).collect();
    let quality = |name: &str| {
        let named = accepted.iter().flat_map(|value| value.split(','));
        named
            .filter_map(|one| {
                let (coding, quality) = one.split_once(';').unwrap_or((one, "q=1"));
                let quality = quality.trim().strip_prefix("q=")?.parse::<f32>().ok()?;
                (coding.trim().eq_ignore_ascii_case(name)).then_some(quality)
            })
            .fold(0.0, f32::max)
    };
    let (gzip, deflate) = (quality("gzip"), quality("deflate"));
    if gzip > 0.0 && gzip >= deflate {
        Packing::Gzip
    } else if deflate > 0.0 {
        Packing::Deflate
    } else {
        Packing::Plain
    }
}

fn add_stat(headers: &mut HeaderMap, found: &NamedStat) -> Result<()> {
    let failed = |error: String| Error::new(ErrorKind::System, error);
    let shown = ContainerPathStat {
        name: found.name.clone(),
        size: found.stat.size,
        mode: go_mode(found.stat.mode),
        mtime: rfc3339(found.stat.modified),
        link_target: found.stat.link_target.clone(),
    };
    let text = serde_json::to_vec(&shown).map_err(|error| failed(error.to_string()))?;
    let value = HeaderValue::try_from(general_purpose::STANDARD.encode(text))
        .map_err(|error| failed(error.to_string()))?;
    headers.insert(PATH_STAT, value);
    Ok(())
}

/// Kind and permissions as Go's `os.FileMode` has them.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 23), (0o2000, 22), (0o1000, 20)];
    let special = special
        .iter()
        .filter(|(bit, _)| mode & bit != 0)
        .map(|(_, shift)| 1 << shift)
        .sum::<u32>();
    kind | special | mode & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        for (mode, expected) in [
            (0o100_644, 420),
            (0o040_755, 2_147_484_141),
            (0o120_777, 134_218_239),
            (0o010_644, 33_554_852),
            (0o020_644, 69_206_436),
            (0o104_755, 8_389_101),
            (0o041_777, 2_148_532_735),
        ] {
            assert_eq!(go_mode(mode), expected, "{mode:o}");
        }
    }

    #[test]
    fn the_client_says_how_an_archive_is_packed() {
        let packed = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            packing(&headers)
        };
        assert_eq!(packing(&HeaderMap::new()), Packing::Plain);
        assert_eq!(packed("gzip, deflate"), Packing::Gzip);
        assert_eq!(packed("deflate, gzip;q=0.5"), Packing::Deflate);
        assert_eq!(packed("gzip;q=0"), Packing::Plain);
        assert_eq!(packed("identity"), Packing::Plain);
    }
}
