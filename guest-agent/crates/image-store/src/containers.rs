//! Containers' own layers.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use engine::{
    id::ContainerId,
    ports::rootfs::{PickedImage, Rootfs, RootfsStore},
};
use errdefs::{Error, ErrorKind, Result};
use oci::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    blobs::Content,
    document::chain_ids,
    error::{damaged, no_such_image, system},
    image::{manifests, unreadable},
    layers::{Source, make_root_folder},
    lookup::{self, Found},
    root::Root,
    store::{ImageStore, Inner, State},
    tree,
};

const IMAGE: &str = "image.json";
const NEW_PREFIX: &str = ".new-";

/// What a container's own layer stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) image: Digest,
    pub(crate) manifest: Digest,
    /// Base first.
    pub(crate) chains: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    image: String,
    manifest: String,
    chains: Vec<String>,
}

impl Container {
    pub(crate) fn folder(root: &Path, id: &ContainerId) -> PathBuf {
        root.join("containers").join(id.as_str())
    }

    /// Every container; one whose record cannot be read stands on nothing known, and can only be removed.
    pub(crate) fn load_all(root: &Path) -> io::Result<HashMap<ContainerId, Self>> {
        let mut containers = HashMap::new();
        for entry in fs::read_dir(root.join("containers"))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(NEW_PREFIX) {
                fs::rename(entry.path(), root.join("trash").join(&*name))?;
                continue;
            }
            let Ok(id) = name.parse::<ContainerId>() else {
                continue;
            };
            let container = Self::load(&entry.path()).unwrap_or_else(|| {
                tracing::error!(container = %id, "the record of its image is damaged");
                let nothing = Digest::of(b"");
                Self {
                    image: nothing.clone(),
                    manifest: nothing.clone(),
                    chains: vec![nothing],
                }
            });
            containers.insert(id, container);
        }
        Ok(containers)
    }

    fn load(folder: &Path) -> Option<Self> {
        let bytes = fs::read(folder.join(IMAGE)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        Some(Self {
            image: record.image.parse().ok()?,
            manifest: record.manifest.parse().ok()?,
            chains: record
                .chains
                .iter()
                .map(|chain| chain.parse().ok())
                .collect::<Option<_>>()?,
        })
    }

    /// Built under another name, then renamed; on journalling file systems the first sync carries all.
    fn store(&self, root: &Path, id: &ContainerId, below: Option<&PathBuf>) -> io::Result<()> {
        let folders = root.join("containers");
        let draft = folders.join(format!("{NEW_PREFIX}{id}"));
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(&draft)?;
        make_root_folder(&draft.join("upper"), below)?;
        fs::create_dir(draft.join("work"))?;
        let record = Record {
            image: self.image.to_string(),
            manifest: self.manifest.to_string(),
            chains: self.chains.iter().map(Digest::to_string).collect(),
        };
        let mut file = File::create_new(draft.join(IMAGE))?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        fs::rename(&draft, Self::folder(root, id))?;
        file.sync_all()?;
        File::open(folders)?.sync_all()
    }
}

impl State {
    pub(crate) fn container(&self, id: &ContainerId) -> Result<&Container> {
        self.containers.get(id).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("container {id} has no writable layer"),
            )
        })
    }

    /// The folders below a container, the topmost first.
    pub(crate) fn below(&self, root: &Path, id: &ContainerId) -> Result<Vec<PathBuf>> {
        let container = self.container(id)?;
        self.lower(root, &container.chains)
            .ok_or_else(|| damaged(format!("container {id}: a layer of its image is missing")))
    }
}

impl Inner {
    fn create(self: &Arc<Self>, id: &ContainerId, image: &PickedImage) -> Result<()> {
        let container = Container {
            image: image.id.clone(),
            manifest: image.manifest.digest.clone(),
            chains: image.layers.clone(),
        };
        let is_unpacked = {
            let state = self.state();
            if let Some(existing) = state.containers.get(id) {
                return if *existing == container {
                    Ok(())
                } else {
                    Err(Error::new(
                        ErrorKind::Conflict,
                        format!("container {id} has a writable layer on another image"),
                    ))
                };
            }
            state.lower(&self.root, &container.chains).is_some()
        };
        let held = self.hold();
        if !is_unpacked {
            self.unpack_image(&held, image)?;
        }
        let below = {
            let _changes = self.changes();
            let mut state = self.state_mut();
            let below = state
                .lower(&self.root, &container.chains)
                .ok_or_else(|| no_such_image(&image.id))?;
            state.containers.insert(id.clone(), container.clone());
            below
        };
        container
            .store(&self.root, id, below.first())
            .map_err(|error| {
                self.state_mut().containers.remove(id);
                system(format!("make the writable layer of {id}"), error)
            })
    }

    /// Unpacks a platform that was not wanted when the image came.
    fn unpack_image(&self, held: &crate::store::Held, image: &PickedImage) -> Result<()> {
        let target = {
            let _changes = self.changes();
            let state = self.state();
            let name = state.names.of(&image.id).first().copied();
            let target = name.and_then(|name| state.names.get(name)).cloned();
            let target = target.ok_or_else(|| no_such_image(&image.id))?.descriptor;
            drop(state);
            held.add([target.digest.clone(), image.manifest.digest.clone()], []);
            target
        };
        let unreadable = |error| unreadable(&image.id, error);
        let manifest = manifests(Content::stored(&self.blobs), &target)
            .map_err(unreadable)?
            .into_iter()
            .find(|manifest| manifest.descriptor.digest == image.manifest.digest)
            .ok_or_else(|| no_such_image(&image.id))?;
        {
            let _changes = self.changes();
            let layers = manifest.layers.iter();
            let blobs = layers.map(|layer| layer.descriptor.digest.clone());
            held.add(blobs, chain_ids(&manifest.diff_ids));
        }
        for (position, layer) in manifest.layers.iter().enumerate() {
            let digest = &layer.descriptor.digest;
            let Some(diff_ids) = manifest.diff_ids.get(..=position) else {
                return Err(damaged(format!(
                    "image {}: more layers than diff IDs",
                    image.id
                )));
            };
            let source = Source {
                path: &self.blobs.path(digest),
                digest,
                diff_ids,
            };
            self.unpack_layer(&source, None)
                .map_err(|error| error.into_error(ErrorKind::DataLoss))?;
        }
        Ok(())
    }

    pub(crate) fn mounts(&self, id: &ContainerId) -> Result<Rootfs> {
        let lower = self.state().below(&self.root, id)?;
        let folder = Container::folder(&self.root, id);
        let upper = folder.join("upper");
        Ok(if lower.is_empty() {
            Rootfs::Folder(upper)
        } else {
            Rootfs::Overlay {
                lower,
                upper,
                work: folder.join("work"),
            }
        })
    }

    /// Its content is in the trash then, at the path that is given.
    fn remove_container(&self, id: &ContainerId) -> Result<PathBuf> {
        let trash = self.trash();
        match fs::rename(Container::folder(&self.root, id), &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result
                .map_err(|error| system(format!("remove the writable layer of {id}"), error))?,
        }
        let removed = self.state_mut().containers.remove(id);
        // It may have been the last to need an image without name.
        let is_nameless =
            removed.is_some_and(|container| self.state().names.of(&container.image).is_empty());
        if is_nameless {
            self.collect_garbage();
        }
        Ok(trash)
    }

    fn usage(&self, id: &ContainerId) -> Result<(u64, u64)> {
        let image = {
            let state = self.state();
            let chains = &state.container(id)?.chains;
            chains
                .iter()
                .filter_map(|chain| state.layers.get(chain))
                .map(|layer| layer.size)
                .sum()
        };
        let upper = Container::folder(&self.root, id).join("upper");
        let own = tree::disk_usage(&upper)
            .map_err(|error| system(format!("measure the writable layer of {id}"), error))?;
        Ok((own, image))
    }

    /// The folders of a container's root, the topmost first.
    fn folders(&self, id: &ContainerId) -> Result<Vec<PathBuf>> {
        let mut folders = vec![Container::folder(&self.root, id).join("upper")];
        folders.extend(self.state().below(&self.root, id)?);
        Ok(folders)
    }

    /// What a container sees as its root, for reading.
    pub(crate) fn view(&self, id: &ContainerId) -> Result<Root> {
        let folders = self.folders(id)?;
        Root::merged(&folders).map_err(|error| system(format!("look into container {id}"), error))
    }

    /// Reads a file, if that can be done without a mount.
    fn read_plain(&self, id: &ContainerId, path: &Path) -> Result<Plainly> {
        let read = match lookup::find(&self.folders(id)?, path) {
            Ok(Found::File(file)) => tree::read_open(file),
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::Unsure) => return Ok(Plainly::NeedsMount),
            Err(error) => Err(error),
        };
        read.map(Plainly::Read)
            .map_err(|error| unread(id, path, error))
    }
}

/// What reading without a mount came to.
enum Plainly {
    Read(Option<Vec<u8>>),
    NeedsMount,
}

fn unread(id: &ContainerId, path: &Path, error: io::Error) -> Error {
    let what = format!("read {} of container {id}", path.display());
    if error.kind() == io::ErrorKind::FileTooLarge {
        crate::error::invalid(format!("{what}: it is too large"))
    } else {
        system(what, error)
    }
}

#[async_trait]
impl RootfsStore for ImageStore {
    async fn pick(&self, reference: &str, platform: Option<&str>) -> Result<PickedImage> {
        let (reference, platform) = (reference.to_owned(), platform.map(str::to_owned));
        self.blocking(move |inner| inner.pick(&reference, platform.as_deref()))
            .await
    }

    async fn create(&self, container: &ContainerId, image: &PickedImage) -> Result<()> {
        let (container, image) = (container.clone(), image.clone());
        self.blocking(move |inner| inner.create(&container, &image))
            .await
    }

    async fn mounts(&self, container: &ContainerId) -> Result<Rootfs> {
        self.inner.mounts(container)
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        let container = container.clone();
        let trash = self
            .blocking(move |inner| inner.remove_container(&container))
            .await?;
        // It may be much; what the engine's end leaves of it goes when the store is opened.
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.empty_trash(&trash));
        Ok(())
    }

    async fn containers(&self) -> Result<Vec<ContainerId>> {
        let mut ids: Vec<_> = self.inner.state().containers.keys().cloned().collect();
        ids.sort();
        Ok(ids)
    }

    async fn usage(&self, container: &ContainerId) -> Result<(u64, u64)> {
        let container = container.clone();
        self.blocking(move |inner| inner.usage(&container)).await
    }

    async fn copy_up(&self, container: &ContainerId, path: &Path, target: &Path) -> Result<bool> {
        let (container, path, target) = (container.clone(), path.to_owned(), target.to_owned());
        self.blocking(move |inner| {
            tree::copy(&inner.view(&container)?, &path, &target).map_err(|error| {
                system(
                    format!("copy {} of container {container}", path.display()),
                    error,
                )
            })
        })
        .await
    }

    async fn read_file(&self, container: &ContainerId, path: &Path) -> Result<Option<Vec<u8>>> {
        // A few calls for files that are small: another thread would take longer to wake up.
        if let Plainly::Read(read) = self.inner.read_plain(container, path)? {
            return Ok(read);
        }
        let (container, path) = (container.clone(), path.to_owned());
        self.blocking(move |inner| {
            tree::read(&inner.view(&container)?, &path)
                .map_err(|error| unread(&container, &path, error))
        })
        .await
    }
}
