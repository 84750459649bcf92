//! The JSON documents of images, parsed: pure and bounded, the input is hostile.
//!
//! Spec: OCI image, index, manifest and config; `manifest.json` is the one of `docker save`.

use std::collections::BTreeMap;

use docker_api::ImageConfiguration;
use engine::ports::images::Descriptor;
use oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

/// Largest document.
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// Most entries of an index or a `manifest.json`.
const MAX_MANIFESTS: usize = 4096;

/// Most layers of an image. overlayfs takes 500 (Linux: fs/overlayfs/params.h, OVL_MAX_STACK).
const MAX_LAYERS: usize = 500;

/// Most names of one image of an archive.
const MAX_TAGS: usize = 4096;

/// Annotation with an image's full name.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// Annotation with its tag, or whatever the tool that wrote it thought to be its name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of manifests that describe another one and are no images.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Media types.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
pub(crate) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A document is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// No JSON of its kind.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// JSON that makes no sense.
    #[error("{0}")]
    Nonsense(&'static str),
    /// A digest of another algorithm, or none.
    #[error(transparent)]
    Digest(#[from] oci::DigestError),
}

/// A descriptor with what an index says beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) descriptor: Descriptor,
    pub(crate) platform: Option<Platform>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its bytes are elsewhere, on purpose.
    pub(crate) is_foreign: bool,
}

impl Entry {
    /// It tells of another manifest and is no image.
    pub(crate) fn is_attestation(&self) -> bool {
        self.annotations.contains_key(REFERENCE_TYPE)
    }
}

/// What an image's name can point at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    /// Several, one for each platform.
    Index(Vec<Entry>),
    /// One.
    Manifest {
        config: Descriptor,
        layers: Vec<Entry>,
    },
}

/// An image's config.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) configuration: ImageConfiguration,
    pub(crate) platform: Platform,
    pub(crate) diff_ids: Vec<Digest>,
}

/// One image of a `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LegacyImage {
    /// Name of the config in the archive.
    #[serde(default)]
    pub(crate) config: String,
    /// Its names; Go writes none as null.
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    /// Names of the layers in the archive, base first.
    #[serde(default)]
    pub(crate) layers: Option<Vec<String>>,
}

/// A descriptor as it is written, in the order Go writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawDescriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) urls: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing)]
    platform: Option<Platform>,
}

impl From<&Descriptor> for RawDescriptor {
    fn from(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
            urls: None,
            annotations: None,
            platform: None,
        }
    }
}

impl TryFrom<RawDescriptor> for Entry {
    type Error = DocumentError;

    fn try_from(raw: RawDescriptor) -> Result<Self, DocumentError> {
        Ok(Self {
            descriptor: Descriptor {
                media_type: raw.media_type,
                digest: raw.digest.parse()?,
                size: raw.size,
            },
            platform: raw.platform.map(|platform| platform.normalized()),
            annotations: raw.annotations.unwrap_or_default(),
            is_foreign: raw.urls.is_some_and(|urls| !urls.is_empty()),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
}

/// Reads an index or a manifest; what it is shows in its fields, whatever its media type claims.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, DocumentError> {
    let raw: RawDocument = serde_json::from_slice(bytes)?;
    match (raw.manifests, raw.config, raw.layers) {
        (Some(manifests), None, None) => Ok(Document::Index(entries(manifests, MAX_MANIFESTS)?)),
        (None, Some(config), layers) => Ok(Document::Manifest {
            config: Entry::try_from(config)?.descriptor,
            layers: entries(layers.unwrap_or_default(), MAX_LAYERS)?,
        }),
        (Some(_), _, _) => Err(DocumentError::Nonsense(
            "it is an index and a manifest at once",
        )),
        (None, None, _) => Err(DocumentError::Nonsense(
            "it is neither an index nor a manifest",
        )),
    }
}

fn entries(raw: Vec<RawDescriptor>, most: usize) -> Result<Vec<Entry>, DocumentError> {
    if raw.len() > most {
        return Err(DocumentError::Nonsense("it has too many entries"));
    }
    raw.into_iter().map(Entry::try_from).collect()
}

/// The media type of a document that an index says nothing about.
pub(crate) fn guessed_media_type(document: &Document) -> &'static str {
    match document {
        Document::Index(_) => OCI_INDEX,
        Document::Manifest { .. } => OCI_MANIFEST,
    }
}

/// Reads an image's config.
pub(crate) fn parse_config(bytes: &[u8]) -> Result<Config, DocumentError> {
    let configuration: ImageConfiguration = docker_api::json::from_slice(bytes)?;
    let diff_ids = &configuration.rootfs.diff_ids;
    if diff_ids.len() > MAX_LAYERS {
        return Err(DocumentError::Nonsense("it has too many layers"));
    }
    let diff_ids = diff_ids
        .iter()
        .map(|id| id.parse())
        .collect::<Result<_, _>>()?;
    let platform = Platform::new(
        &configuration.os,
        &configuration.architecture,
        &configuration.variant,
    );
    Ok(Config {
        configuration,
        platform,
        diff_ids,
    })
}

/// Reads the `manifest.json` of `docker save`.
pub(crate) fn parse_legacy(bytes: &[u8]) -> Result<Vec<LegacyImage>, DocumentError> {
    let images: Vec<LegacyImage> = serde_json::from_slice(bytes)?;
    let len = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
    if images.len() > MAX_MANIFESTS
        || images
            .iter()
            .any(|image| len(&image.layers) > MAX_LAYERS || len(&image.repo_tags) > MAX_TAGS)
    {
        return Err(DocumentError::Nonsense("it has too many entries"));
    }
    Ok(images)
}

/// The manifest that Docker makes for an image of a `manifest.json`, byte for byte: the image's ID follows from it.
pub(crate) fn docker_manifest(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Manifest {
        schema_version: u8,
        media_type: &'static str,
        config: RawDescriptor,
        layers: Vec<RawDescriptor>,
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: DOCKER_MANIFEST,
        config: config.into(),
        layers: layers.iter().map(RawDescriptor::from).collect(),
    };
    serde_json::to_vec(&manifest).expect("a struct of strings and numbers is JSON")
}

/// Chain IDs of layers, base first. Spec: OCI image, config, layer chain ID.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chains.push(match chains.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chains
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chain_ids_follow_the_specification() {
        let ids: Vec<Digest> = ["a", "b"].map(|text| Digest::of(text.as_bytes())).into();
        let chains = chain_ids(&ids);
        assert_eq!(chains[0], ids[0]);
        assert_eq!(
            chains[1],
            Digest::of(format!("{} {}", ids[0], ids[1]).as_bytes())
        );
    }

    #[test]
    fn a_document_is_one_thing_only() {
        let digest = Digest::of(b"");
        let one = format!(r#"{{"mediaType":"x","digest":"{digest}","size":1}}"#);
        assert!(matches!(
            parse(format!(r#"{{"manifests":[{one}]}}"#).as_bytes()),
            Ok(Document::Index(_))
        ));
        assert!(matches!(
            parse(format!(r#"{{"config":{one},"layers":[{one}],"manifests":null}}"#).as_bytes()),
            Ok(Document::Manifest { .. })
        ));
        for bad in [
            "{}".to_owned(),
            "[]".to_owned(),
            format!(r#"{{"config":{one},"manifests":[]}}"#),
            r#"{"manifests":[{"digest":"sha256:../../x","size":1}]}"#.to_owned(),
            format!(r#"{{"manifests":[{{"digest":"{digest}","size":-1}}]}}"#),
            format!(r#"{{"manifests":[{}]}}"#, [one.as_str(); 4097].join(",")),
        ] {
            assert!(
                parse(bad.as_bytes()).is_err(),
                "{}",
                &bad[..bad.len().min(80)]
            );
        }
    }

    #[test]
    fn a_docker_config_with_its_own_fields_is_read() {
        let config = parse_config(
            br#"{"architecture":"arm64","variant":"v8","os":"linux","docker_version":"20","container_config":{},"created":"2024-01-01T00:00:00Z",
                "config":{"Env":null,"Cmd":["sh"],"Labels":null,"Volumes":null,"ExposedPorts":null,"OnBuild":null,"Entrypoint":null,"Hostname":"",
                "Healthcheck":{"Test":["CMD","x"]},"Shell":["/bin/sh"],"User":"","WorkingDir":"","StopSignal":""},
                "rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x","empty_layer":true}]}"#,
        )
        .expect("read");
        assert_eq!(config.platform.to_string(), "linux/arm64");
        assert_eq!(config.configuration.config.cmd, Some(vec!["sh".to_owned()]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse(&bytes), parse_config(&bytes), parse_legacy(&bytes));
        }
    }
}
