//! Images, as users handle them.

mod commit;
mod config_of;
mod distribution;
pub(crate) mod instructions;
mod pull;
pub(crate) mod sharing;

use std::collections::{BTreeMap, HashMap};

use docker_api::{
    image::{
        HistoryItem, ImageDeleted, ImageInspect, ImageMetadata, ImageSummary, ImagesPruned, RootFs,
    },
    inspect::{GraphDriver, OciDescriptor, OciPlatform},
};
use errdefs::{Error, ErrorKind, Result};
use oci::Reference;
use serde_json::{Map, Value};

pub use commit::CommitRequest;
pub use pull::PullRequest;
use sharing::Sharing;

use crate::{
    Engine,
    containers::{
        list::{Filters, check_names, labels_fit, values},
        prune::{earliest, until},
    },
    ports::{
        ByteReader,
        images::{Descriptor, Image, Loaded, ProgressSender, Removed},
        world::Timestamp,
    },
    time::{parse_rfc3339, rfc3339},
};

/// Keys of an image's settings that are always shown.
const SHOWN_SETTINGS: [(&str, Value); 8] = [
    ("Cmd", Value::Null),
    ("Entrypoint", Value::Null),
    ("Env", Value::Null),
    ("Labels", Value::Null),
    ("OnBuild", Value::Null),
    ("User", Value::String(String::new())),
    ("Volumes", Value::Null),
    ("WorkingDir", Value::String(String::new())),
];

/// Reads a name a user gave.
pub(crate) fn reference(text: &str) -> Result<Reference> {
    text.parse().map_err(Error::from_classified)
}

impl Engine {
    /// Lists images, newest first; with what they share when asked. Docker API: GET /images/json.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad filter.
    pub async fn list_images(&self, filters: &Filters, shared: bool) -> Result<Vec<ImageSummary>> {
        let (listed, _) = self.images_and_sharing(filters, shared).await?;
        Ok(listed)
    }

    /// The same, and what all images share, whether they are listed or not; nothing when it is not asked for.
    pub(crate) async fn images_and_sharing(
        &self,
        filters: &Filters,
        shared: bool,
    ) -> Result<(Vec<ImageSummary>, Sharing)> {
        check_names(
            filters,
            &[
                "before",
                "dangling",
                "label",
                "label!",
                "reference",
                "since",
                "until",
            ],
        )?;
        let until = earliest(filters, self.ports.world.now())?;
        let mut bounds = [None, None];
        for (bound, name) in bounds.iter_mut().zip(["before", "since"]) {
            if let Some(value) = values(filters, name).next() {
                *bound = Some(created(&self.ports.images.get(value, None).await?));
            }
        }
        let [before, since] = bounds;
        let dangling = dangling(filters)?;
        let all = self.ports.images.list().await?;
        let sharing = if shared {
            Sharing::of(&all)
        } else {
            Sharing::default()
        };
        let users = self.users_of_images();
        let mut listed = Vec::new();
        for (number, mut image) in all.into_iter().enumerate() {
            let at = created(&image);
            let labels = labels(&image);
            if before.is_some_and(|before| at >= before)
                || since.is_some_and(|since| at <= since)
                || until.is_some_and(|until| at >= until)
                || dangling.is_some_and(|dangling| image.tags.is_empty() != dangling)
                || !labels_fit(filters, "label", labels.as_ref())
                || filters.contains_key("label!") && labels_fit(filters, "label!", labels.as_ref())
            {
                continue;
            }
            if let Some(patterns) = filters.get("reference") {
                let fits =
                    |name: &String| patterns.iter().any(|pattern| reference_fits(pattern, name));
                image.tags.retain(fits);
                image.digests.retain(fits);
                if image.tags.is_empty() {
                    continue;
                }
            }
            listed.push(ImageSummary {
                containers: users.get(&image.target.digest).copied().unwrap_or(0),
                created: at.0.div_euclid(1_000_000_000),
                id: image.target.digest.to_string(),
                parent_id: parent_of(&image),
                labels,
                descriptor: Some(descriptor(&image.target)),
                repo_digests: familiar(&image.digests),
                repo_tags: familiar(&image.tags),
                shared_size: sharing
                    .shared
                    .get(number)
                    .map_or(-1, |bytes| i64::try_from(*bytes).unwrap_or(i64::MAX)),
                size: image.size_bytes,
                ..ImageSummary::default()
            });
        }
        Ok((listed, sharing))
    }

    /// How many containers each image has.
    fn users_of_images(&self) -> HashMap<oci::Digest, i64> {
        let mut users = HashMap::new();
        for container in self.containers.all() {
            if let Some(image) = &container.record().image {
                *users.entry(image.clone()).or_default() += 1;
            }
        }
        users
    }

    /// Shows one. Docker API: GET /images/{name}/json.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn inspect_image(&self, name: &str, platform: Option<&str>) -> Result<ImageInspect> {
        let image = self.ports.images.get(name, platform).await?;
        let config = &image.config;
        let history = config.history.last();
        let mut settings: Map<String, Value> = SHOWN_SETTINGS
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        if let Ok(Value::Object(own)) = serde_json::to_value(&config.config) {
            settings.extend(own);
        }
        Ok(ImageInspect {
            id: image.target.digest.to_string(),
            repo_tags: familiar(&image.tags),
            repo_digests: familiar(&image.digests),
            parent: parent_of(&image),
            comment: history.map(|step| step.comment.clone()).unwrap_or_default(),
            created: config.created.clone(),
            author: config.author.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            size: image.size_bytes,
            graph_driver: GraphDriver {
                data: None,
                name: "overlayfs".to_owned(),
            },
            root_fs: RootFs {
                kind: "layers".to_owned(),
                layers: config.rootfs.diff_ids.clone(),
            },
            metadata: ImageMetadata {
                last_tag_time: rfc3339(image.tagged),
            },
            descriptor: Some(match platform {
                Some(_) if image.manifest != image.target => of_platform(&image.manifest, config),
                _ => descriptor(&image.target),
            }),
            config: Value::Object(settings),
            ..ImageInspect::default()
        })
    }

    /// How it was made, newest step first. Docker API: GET /images/{name}/history.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn image_history(
        &self,
        name: &str,
        platform: Option<&str>,
    ) -> Result<Vec<HistoryItem>> {
        let image = self.ports.images.get(name, platform).await?;
        let mut sizes = image.layer_sizes.iter().copied();
        let mut steps: Vec<HistoryItem> = Vec::new();
        for step in &image.config.history {
            let at = parse_rfc3339(step.created.as_bytes()).unwrap_or_default();
            steps.push(HistoryItem {
                comment: step.comment.clone(),
                created: at.0.div_euclid(1_000_000_000),
                created_by: step.created_by.clone(),
                id: "<missing>".to_owned(),
                size: if step.empty_layer {
                    0
                } else {
                    sizes.next().unwrap_or(0)
                },
                tags: None,
            });
        }
        if let Some(last) = steps.last_mut() {
            last.id = image.target.digest.to_string();
            last.tags = (!image.tags.is_empty()).then(|| familiar(&image.tags));
        }
        steps.reverse();
        Ok(steps)
    }

    /// Gives it another name. Docker API: POST /images/{name}/tag.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad name, `NotFound` for the image.
    pub async fn tag_image(&self, name: &str, repository: &str, tag: &str) -> Result<()> {
        let text = if tag.is_empty() {
            repository.to_owned()
        } else {
            format!("{repository}:{tag}")
        };
        let new = reference(&text)?.or_latest();
        if new.familiar().starts_with("sha256:") {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "refusing to create an ambiguous tag using digest algorithm as name",
            ));
        }
        self.ports.images.tag(name, &new).await?;
        let image = self.ports.images.get(name, None).await?;
        self.tell(
            "image",
            "tag",
            image.target.digest.as_str(),
            &[("name", &new.familiar())],
        );
        Ok(())
    }

    /// Takes a name away, or the whole image. Docker API: DELETE /images/{name}.
    ///
    /// # Errors
    /// `Conflict` in Docker's words while a container has it, or several names do and an id was given.
    pub async fn remove_image(&self, name: &str, force: bool) -> Result<Vec<ImageDeleted>> {
        if name.trim().is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "image name cannot be blank",
            ));
        }
        let _nobody_takes_it = self.images_in_use.write().await;
        let image = self.ports.images.get(name, None).await?;
        self.check_use(name, &image, force)?;
        let removed = self.ports.images.remove(name, force).await?;
        let id = image.target.digest.as_str();
        let told = removed.into_iter().map(|removed| match removed {
            Removed::Untagged(name) => {
                self.tell("image", "untag", id, &[("name", &name)]);
                ImageDeleted {
                    untagged: Some(name),
                    deleted: None,
                }
            }
            Removed::Deleted(digest) => {
                self.tell(
                    "image",
                    "delete",
                    digest.as_str(),
                    &[("name", digest.as_str())],
                );
                ImageDeleted {
                    untagged: None,
                    deleted: Some(digest.to_string()),
                }
            }
        });
        Ok(told.collect())
    }

    /// Refuses to take away what a container needs.
    fn check_use(&self, name: &str, image: &Image, force: bool) -> Result<()> {
        let id = &image.target.digest;
        let by_id = id.as_str() == name || id.hex().starts_with(name.trim_start_matches("sha256:"));
        if !by_id && image.tags.len() > 1 {
            return Ok(());
        }
        let containers = self.containers.all();
        let mut users = containers
            .iter()
            .filter(|container| container.record().image.as_ref() == Some(id));
        let short = |text: &str| text.chars().take(12).collect::<String>();
        let refuse = |what: &str, how: &str, why: String| {
            Err(Error::new(
                ErrorKind::Conflict,
                format!("conflict: unable to delete {what} ({how}) - {why}"),
            ))
        };
        let Some(user) = users.clone().next() else {
            return Ok(());
        };
        if !by_id {
            if force {
                return Ok(());
            }
            let familiar = reference(name)
                .map_or_else(|_| name.to_owned(), |name| name.or_latest().familiar());
            let why = format!(
                "container {} is using its referenced image {}",
                user.id.short(),
                short(id.hex())
            );
            return refuse(&familiar, "must be forced", why);
        }
        if let Some(running) = users.find(|container| container.state().is_running()) {
            let why = format!(
                "image is being used by running container {}",
                running.id.short()
            );
            return refuse(&short(id.hex()), "cannot be forced", why);
        }
        if force {
            return Ok(());
        }
        let why = format!(
            "image is being used by stopped container {}",
            user.id.short()
        );
        refuse(&short(id.hex()), "must be forced", why)
    }

    /// Reads an archive. Docker API: POST /images/load.
    ///
    /// # Errors
    /// `InvalidParameter` for what is no archive of images; nothing of it is kept then.
    pub async fn load_images(
        &self,
        archive: ByteReader,
        progress: ProgressSender,
    ) -> Result<Vec<Loaded>> {
        let loaded = self.ports.images.load(archive, progress).await?;
        for image in &loaded {
            let id = image.id.as_str();
            self.tell("image", "load", id, &[("name", id)]);
        }
        Ok(loaded)
    }

    /// Writes an archive of images. Docker API: GET /images/get.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn save_images(
        &self,
        names: &[String],
        platform: Option<&str>,
    ) -> Result<ByteReader> {
        let archive = self.ports.images.save(names, platform).await?;
        for name in names {
            if let Ok(image) = self.ports.images.get(name, None).await {
                let id = image.target.digest.as_str();
                self.tell("image", "save", id, &[("name", id)]);
            }
        }
        Ok(archive)
    }

    /// Removes images without names, or with the filter `dangling=false` all that no container has. Docker API: POST /images/prune.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad filter.
    pub async fn prune_images(&self, filters: &Filters) -> Result<ImagesPruned> {
        check_names(filters, &["dangling", "label", "label!", "until"])?;
        let dangling_only = dangling(filters)?.unwrap_or(true);
        let until = until(filters, self.ports.world.now())?;
        let mut pruned = ImagesPruned::default();
        for image in self.ports.images.list().await? {
            let labels = labels(&image);
            let used =
                self.containers.all().iter().any(|container| {
                    container.record().image.as_ref() == Some(&image.target.digest)
                });
            if used
                || dangling_only && !image.tags.is_empty()
                || until.is_some_and(|until| created(&image) >= until)
                || !labels_fit(filters, "label", labels.as_ref())
                || filters.contains_key("label!") && labels_fit(filters, "label!", labels.as_ref())
            {
                continue;
            }
            if let Ok(removed) = self.remove_image(image.target.digest.as_str(), true).await {
                pruned.space_reclaimed += image.size_bytes;
                pruned
                    .images_deleted
                    .get_or_insert_default()
                    .extend(removed);
            }
        }
        self.tell(
            "image",
            "prune",
            "",
            &[("reclaimed", &pruned.space_reclaimed.to_string())],
        );
        Ok(pruned)
    }
}

/// What the `dangling` filter asks for; none: it was not given.
fn dangling(filters: &Filters) -> Result<Option<bool>> {
    match values(filters, "dangling").next() {
        None => Ok(None),
        Some("1" | "true") => Ok(Some(true)),
        Some("0" | "false") => Ok(Some(false)),
        Some(other) => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("invalid filter 'dangling=[{other}]'"),
        )),
    }
}

fn created(image: &Image) -> Timestamp {
    parse_rfc3339(image.config.created.as_bytes()).unwrap_or_default()
}

/// Its labels, in order; none: it has no set of them.
fn labels(image: &Image) -> Option<BTreeMap<String, String>> {
    image.config.config.labels.clone()
}

pub(crate) fn descriptor(target: &Descriptor) -> OciDescriptor {
    OciDescriptor {
        media_type: target.media_type.clone(),
        digest: target.digest.to_string(),
        size: target.size,
        platform: None,
    }
}

/// A manifest with the platform that its config names.
pub(crate) fn of_platform(
    manifest: &Descriptor,
    config: &docker_api::ImageConfiguration,
) -> OciDescriptor {
    OciDescriptor {
        platform: Some(OciPlatform {
            architecture: config.architecture.clone(),
            os: config.os.clone(),
            variant: config.variant.clone(),
        }),
        ..descriptor(manifest)
    }
}

/// Canonical names as people write them.
/// What it was committed on, as Docker shows it; empty: nothing that is known.
fn parent_of(image: &Image) -> String {
    image
        .parent
        .as_ref()
        .map(oci::Digest::to_string)
        .unwrap_or_default()
}

fn familiar(names: &[String]) -> Vec<String> {
    let short = names.iter().map(|name| {
        name.parse::<Reference>()
            .map_or_else(|_| name.clone(), |name| name.familiar())
    });
    short.collect()
}

/// The `reference` filter: a pattern with `*` and `?` over the name with or without its tag.
fn reference_fits(pattern: &str, name: &str) -> bool {
    let familiar = name
        .parse::<Reference>()
        .map_or_else(|_| name.to_owned(), |name| name.familiar());
    let familiar = familiar.split('@').next().unwrap_or_default().to_owned();
    let without_tag = familiar
        .rsplit_once(':')
        .map_or(familiar.as_str(), |(before, tag)| {
            if tag.contains('/') {
                familiar.as_str()
            } else {
                before
            }
        });
    glob(pattern.as_bytes(), familiar.as_bytes())
        || glob(pattern.as_bytes(), without_tag.as_bytes())
}

/// Shell patterns, where `*` does not pass a slash.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') if text[t] != b'/' => {}
            Some(byte) if *byte == text[t] => {}
            _ => match back {
                Some((star, from)) if text[from] != b'/' => {
                    back = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                    continue;
                }
                _ => return false,
            },
        }
        p += 1;
        t += 1;
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_patterns_fit_with_or_without_tag() {
        let name = "docker.io/library/busybox:1.36";
        for pattern in ["busybox", "busybox:1.36", "busy*", "busybox:*", "b?sybox"] {
            assert!(reference_fits(pattern, name), "{pattern}");
        }
        for pattern in ["busy", "busybox:2", "*/busybox"] {
            assert!(!reference_fits(pattern, name), "{pattern}");
        }
        assert!(reference_fits("localhost:5000/*", "localhost:5000/a:1"));
        assert!(!reference_fits("localhost:5000/*", "localhost:5000/a/b:1"));
    }
}
