//! What stands in `volume.json`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use engine::ports::{volumes::NewVolume, world::Timestamp};
use serde::{Deserialize, Serialize};

/// Largest file that is read; labels are bounded by the API's largest body anyway.
const MAX_METADATA_BYTES: u64 = 4 << 20;

/// Name of the file in a volume's folder.
pub(crate) const FILE_NAME: &str = "volume.json";

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub(crate) created_ns: i64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
}

impl From<&NewVolume> for Metadata {
    fn from(request: &NewVolume) -> Self {
        Self {
            created_ns: request.created.0,
            labels: request.labels.clone(),
            options: request.options.clone(),
        }
    }
}

impl Metadata {
    /// Reads a volume's file. What is missing or damaged is replaced by what the folder itself tells.
    pub(crate) fn load(folder: &Path) -> Self {
        match read(&folder.join(FILE_NAME)) {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "volume without readable metadata");
                Self {
                    created_ns: modified(folder).0,
                    ..Self::default()
                }
            }
        }
    }

    /// Writes it into a folder that nobody else sees yet, and hands the file back to be synced.
    pub(crate) fn store(&self, folder: &Path) -> io::Result<File> {
        let mut file = File::create_new(folder.join(FILE_NAME))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file)
    }
}

fn read(path: &Path) -> io::Result<Metadata> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_METADATA_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn modified(folder: &Path) -> Timestamp {
    let since_epoch = fs::metadata(folder)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|duration| i64::try_from(duration.as_nanos()).ok());
    Timestamp(since_epoch.unwrap_or(0))
}
