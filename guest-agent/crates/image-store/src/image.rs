//! From what a user types to an image: names and ids, and which platform of it.

use docker_api::ImageConfiguration;
use engine::ports::{
    images::{Descriptor, Image},
    rootfs::PickedImage,
    world::Timestamp,
};
use errdefs::{Error, ErrorKind, Result};
use oci::{Digest, Platform, Reference};

use crate::{
    blobs::{Content, ReadError},
    document::{Document, Entry, chain_ids},
    error::{invalid, no_such_image, system},
    names::{Names, familiar, is_nameless},
    store::Inner,
};

/// Deepest nesting of indexes.
const MAX_DEPTH: u32 = 4;

/// Shortest prefix of an id.
const MIN_ID_PREFIX: usize = 4;

/// One platform of an image, as far as its documents are there.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) descriptor: Descriptor,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Entry>,
    pub(crate) configuration: ImageConfiguration,
    pub(crate) platform: Platform,
    pub(crate) diff_ids: Vec<Digest>,
    /// It describes another one and is never run.
    pub(crate) is_attestation: bool,
}

/// What a user's text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) descriptor: Descriptor,
    /// The canonical name, if it was found by one.
    pub(crate) name: Option<String>,
}

/// An id's digits, with or without its algorithm. Docker: 4 to 64 of them.
pub(crate) fn id_digits(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_id = (MIN_ID_PREFIX..=64).contains(&digits.len())
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some(digits)
}

/// What a text is: a whole id, or a name. Docker: `reference.ParseAnyReference`.
pub(crate) enum Parsed {
    Id(Digest),
    Name(Reference),
}

/// Reads a name or a whole id.
pub(crate) fn parse(text: &str) -> Result<Parsed> {
    if let Some(digits) = id_digits(text).filter(|digits| digits.len() == 64) {
        let digest = format!("sha256:{digits}").parse();
        return digest.map(Parsed::Id).map_err(Error::from_classified);
    }
    text.parse()
        .map(Parsed::Name)
        .map_err(Error::from_classified)
}

/// Docker's text for what a text names, when no image has it.
pub(crate) fn unknown(parsed: &Parsed) -> Error {
    match parsed {
        Parsed::Id(digest) => no_such_image(digest),
        Parsed::Name(name) => no_such_image(name.clone().or_latest().familiar()),
    }
}

impl Names {
    /// Finds an image by name, `name@digest`, id or unique id prefix.
    pub(crate) fn resolve(&self, text: &str) -> Result<Found> {
        let parsed = parse(text)?;
        match &parsed {
            Parsed::Id(digest) => self.by_digest(digest, None),
            Parsed::Name(name) => match name.digest() {
                Some(digest) => self.by_digest(digest, Some(name)),
                None => self.by_name(name, text),
            },
        }
        .ok_or_else(|| unknown(&parsed))?
    }

    fn by_digest(&self, digest: &Digest, name: Option<&Reference>) -> Option<Result<Found>> {
        self.iter()
            .find(|(candidate, target)| {
                target.descriptor.digest == *digest
                    && name.is_none_or(|name| is_same_repository(name, candidate))
            })
            .map(|(candidate, target)| {
                Ok(Found {
                    descriptor: target.descriptor.clone(),
                    name: name.map(|_| candidate.to_owned()),
                })
            })
    }

    fn by_name(&self, name: &Reference, text: &str) -> Option<Result<Found>> {
        let name = name.clone().or_latest().to_string();
        if let Some(target) = self.get(&name) {
            return Some(Ok(Found {
                descriptor: target.descriptor.clone(),
                name: Some(name),
            }));
        }
        let digits = id_digits(text)?;
        let mut matching = self
            .iter()
            .map(|(_, target)| &target.descriptor)
            .filter(|descriptor| descriptor.digest.hex().starts_with(digits));
        let first = matching.next()?;
        if matching.any(|other| other.digest != first.digest) {
            return Some(Err(Error::new(ErrorKind::NotFound, "ambiguous reference")));
        }
        Some(Ok(Found {
            descriptor: first.clone(),
            name: None,
        }))
    }
}

/// A stored name is of the same repository.
pub(crate) fn is_same_repository(name: &Reference, stored: &str) -> bool {
    stored
        .parse::<Reference>()
        .is_ok_and(|stored| stored.domain() == name.domain() && stored.path() == name.path())
}

/// Every manifest of an image whose manifest and config are there, in the order of its index.
pub(crate) fn manifests(
    content: Content<'_>,
    target: &Descriptor,
) -> Result<Vec<Manifest>, ReadError> {
    let mut found = Vec::new();
    collect(content, target, false, MAX_DEPTH, &mut found)?;
    Ok(found)
}

fn collect(
    content: Content<'_>,
    descriptor: &Descriptor,
    is_attestation: bool,
    depth: u32,
    found: &mut Vec<Manifest>,
) -> Result<(), ReadError> {
    let document = match content.document(&descriptor.digest) {
        Err(ReadError::Missing) => return Ok(()),
        result => result?,
    };
    match document {
        Document::Index(entries) => {
            let Some(depth) = depth.checked_sub(1) else {
                return Err(ReadError::Nonsense(format!(
                    "{}: indexes are nested too deeply",
                    descriptor.digest
                )));
            };
            for entry in entries {
                let is_attestation = is_attestation || entry.is_attestation();
                collect(content, &entry.descriptor, is_attestation, depth, found)?;
            }
        }
        Document::Manifest { config, layers } => {
            let parsed = match content.config(&config.digest) {
                // An artifact's config may be anything; it is no image then.
                Err(ReadError::Missing | ReadError::Nonsense(_)) => return Ok(()),
                result => result?,
            };
            found.push(Manifest {
                descriptor: descriptor.clone(),
                is_attestation: is_attestation || parsed.platform.os == "unknown",
                configuration: parsed.configuration,
                platform: parsed.platform,
                diff_ids: parsed.diff_ids,
                config,
                layers,
            });
        }
    }
    Ok(())
}

/// The manifest for a platform; without one, the one this machine prefers, or else the first.
pub(crate) fn best(
    manifests: Vec<Manifest>,
    host: &Platform,
    wanted: Option<&Platform>,
) -> Option<Manifest> {
    let images = manifests
        .into_iter()
        .filter(|manifest| !manifest.is_attestation);
    match wanted {
        Some(wanted) => images
            .into_iter()
            .find(|manifest| manifest.platform == *wanted),
        None => images.min_by_key(|manifest| {
            host.preference(&manifest.platform)
                .map_or(u32::MAX, u32::from)
        }),
    }
}

impl Inner {
    /// What a user's text means.
    pub(crate) fn resolve(&self, text: &str) -> Result<Found> {
        self.state().names.resolve(text)
    }

    /// An image's manifest for a platform.
    pub(crate) fn manifest(&self, found: &Found, platform: Option<&str>) -> Result<Manifest> {
        let wanted = platform
            .filter(|text| !text.is_empty())
            .map(Platform::parse)
            .transpose()?;
        let manifests = manifests(Content::stored(&self.blobs), &found.descriptor)
            .map_err(|error| unreadable(&found.descriptor.digest, error))?;
        best(manifests, &self.host, wanted.as_ref()).ok_or_else(|| {
            let provides = match &wanted {
                Some(platform) => format!("the specified platform ({platform})"),
                None => "any platform".to_owned(),
            };
            let name = match &found.name {
                Some(name) => familiar(name),
                None => self.any_name(&found.descriptor.digest),
            };
            Error::new(
                ErrorKind::NotFound,
                format!("image with reference {name} was found but does not provide {provides}"),
            )
        })
    }

    fn any_name(&self, digest: &Digest) -> String {
        self.state()
            .names
            .of(digest)
            .first()
            .map_or_else(|| digest.to_string(), |name| familiar(name))
    }

    pub(crate) fn pick(&self, text: &str, platform: Option<&str>) -> Result<PickedImage> {
        let found = self.resolve(text)?;
        let manifest = self.manifest(&found, platform)?;
        Ok(PickedImage {
            id: found.descriptor.digest,
            manifest: manifest.descriptor,
            name: found.name,
            layers: chain_ids(&manifest.diff_ids),
            config: manifest.configuration,
        })
    }

    pub(crate) fn get(&self, text: &str, platform: Option<&str>) -> Result<Image> {
        let found = self.resolve(text)?;
        let manifest = self.manifest(&found, platform)?;
        Ok(self.describe(found.descriptor, manifest))
    }

    /// Every image, newest first by creation. One that cannot be read is left out and told of in the log.
    pub(crate) fn list(&self) -> Result<Vec<Image>> {
        let mut targets: Vec<Descriptor> = Vec::new();
        for (_, target) in self.state().names.iter() {
            if !targets.contains(&target.descriptor) {
                targets.push(target.descriptor.clone());
            }
        }
        let mut images = Vec::new();
        for descriptor in targets {
            let found = Found {
                descriptor,
                name: None,
            };
            match self.manifest(&found, None) {
                Ok(manifest) => images.push(self.describe(found.descriptor, manifest)),
                Err(error) => {
                    tracing::warn!(image = %found.descriptor.digest, %error, "image not listed");
                }
            }
        }
        let created = |image: &Image| unix_seconds(&image.config.created).unwrap_or_default();
        images.sort_by_cached_key(|image| {
            (
                std::cmp::Reverse(created(image)),
                image.target.digest.clone(),
            )
        });
        Ok(images)
    }

    fn describe(&self, target: Descriptor, manifest: Manifest) -> Image {
        let state = self.state();
        let (mut tags, mut digests) = (Vec::new(), Vec::new());
        let mut tagged = Timestamp::default();
        for name in state.names.of(&target.digest) {
            if let Some(target) = state.names.get(name) {
                tagged = tagged.max(target.tagged);
            }
            let Some(reference) = Some(name)
                .filter(|name| !is_nameless(name))
                .and_then(|name| name.parse::<Reference>().ok())
            else {
                continue;
            };
            if reference.tag().is_some() {
                tags.push(name.to_owned());
            }
            digests.push(reference.at(target.digest.clone()).to_string());
        }
        digests.sort();
        digests.dedup();
        let parent = state.names.parent(&target.digest);
        let layer_sizes: Vec<u64> = chain_ids(&manifest.diff_ids)
            .iter()
            .map(|chain| state.layers.get(chain).map_or(0, |layer| layer.size))
            .collect();
        drop(state);
        let mut documents = manifest.descriptor.size + manifest.config.size;
        if target.digest != manifest.descriptor.digest {
            documents += target.size;
        }
        Image {
            target,
            manifest: manifest.descriptor,
            config: manifest.configuration,
            tags,
            digests,
            size_bytes: layer_sizes.iter().sum::<u64>() + documents,
            layer_sizes,
            tagged,
            parent,
        }
    }
}

/// An image's documents could not be read.
pub(crate) fn unreadable(digest: &Digest, error: ReadError) -> Error {
    match error {
        ReadError::Missing => crate::error::damaged(format!("image {digest}: content is missing")),
        ReadError::Nonsense(message) => invalid(format!("image {message}")),
        ReadError::Io(error) => system(format!("read image {digest}"), error),
    }
}

/// Seconds since 1970 of an RFC 3339 time.
fn unix_seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let time = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let zone = text
        .get(19..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let minutes =
                zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    // Days from civil: years begin in March, so that the leap day is the last one.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day
            - 719_469;
    Some(days * 86_400 + time - offset * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Target;

    #[test]
    fn times_are_read_with_zone_and_fraction() {
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            unix_seconds("2024-02-29T12:34:56.789Z"),
            Some(1_709_210_096)
        );
        assert_eq!(
            unix_seconds("2024-02-29T14:34:56+02:00"),
            Some(1_709_210_096)
        );
        for bad in [
            "",
            "yesterday",
            "2024-02-29",
            "2024-02-29T12:34:56",
            "ä024-02-29T12:34:56Z",
        ] {
            assert_eq!(unix_seconds(bad), None, "{bad}");
        }
    }

    fn names(list: &[(&str, &str)]) -> Names {
        let mut names = Names::default();
        for (name, content) in list {
            let descriptor = Descriptor {
                media_type: String::new(),
                digest: Digest::of(content.as_bytes()),
                size: 0,
            };
            let target = Target::new(descriptor, Timestamp(0));
            names.assign(&name.parse().expect("a name"), target);
        }
        names
    }

    #[test]
    fn an_image_is_found_by_all_its_names() {
        let names = names(&[("busybox", "1"), ("ghcr.io/a/b:2", "1"), ("other", "2")]);
        let digest = Digest::of(b"1");
        for text in [
            "busybox",
            "busybox:latest",
            "docker.io/library/busybox",
            "ghcr.io/a/b:2",
            digest.as_str(),
            digest.hex(),
            &digest.as_str()[..19],
            &digest.hex()[..12],
            &digest.hex()[..4],
            &format!("busybox@{digest}"),
            &format!("busybox:9@{digest}"),
        ] {
            let found = names
                .resolve(text)
                .unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(found.descriptor.digest, digest, "{text}");
        }
    }

    #[test]
    fn what_is_not_there_has_dockers_text() {
        let names = names(&[("busybox", "1")]);
        let digest = Digest::of(b"1");
        let other = Digest::of(b"2");
        let check = |text: &str, expected: &str| {
            let error = names.resolve(text).expect_err(text);
            assert_eq!(error.to_string(), expected, "{text}");
        };
        check("nosuch", "No such image: nosuch:latest");
        check("ghcr.io/a/b:1", "No such image: ghcr.io/a/b:1");
        check(other.hex(), &format!("No such image: {other}"));
        check(
            &other.hex()[..12],
            &format!("No such image: {}:latest", &other.hex()[..12]),
        );
        check(
            &format!("other@{digest}"),
            &format!("No such image: other@{digest}"),
        );
        check(
            "UPPER",
            "invalid reference format: repository name (library/UPPER) must be lowercase",
        );
    }

    #[test]
    fn a_prefix_of_two_images_is_ambiguous() {
        let mut list = vec![];
        let contents: Vec<String> = (0..2000).map(|number| format!("c{number}")).collect();
        let texts: Vec<String> = (0..2000).map(|number| format!("n{number}")).collect();
        for (name, content) in texts.iter().zip(&contents) {
            list.push((name.as_str(), content.as_str()));
        }
        let names = names(&list);
        let mut seen = std::collections::HashSet::new();
        let prefix = contents
            .iter()
            .map(|content| Digest::of(content.as_bytes()).hex()[..4].to_owned())
            .find(|prefix| !seen.insert(prefix.clone()))
            .expect("2000 digests share four digits somewhere");
        assert_eq!(
            names.resolve(&prefix).expect_err("two").to_string(),
            "ambiguous reference"
        );
    }
}
