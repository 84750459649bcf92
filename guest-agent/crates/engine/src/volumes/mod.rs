//! Volumes, as users handle them.

use std::collections::BTreeMap;

use docker_api::volume::{Volume as Shown, VolumeCreate, VolumeList, VolumeUsage, VolumesPruned};
use errdefs::{Error, ErrorKind, Result};

use crate::{
    Engine,
    containers::{
        list::{Filters, check_names, labels_fit, values},
        mounts::{ANONYMOUS, hex},
    },
    ports::volumes::{NewVolume, Volume},
    time::rfc3339,
};

impl Engine {
    /// Makes a volume, or shows the one of that name. Docker API: POST /volumes/create.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad name or option, in Docker's words.
    pub async fn create_volume(&self, wish: VolumeCreate) -> Result<Shown> {
        let mut labels = wish.labels.unwrap_or_default();
        let name = if wish.name.is_empty() {
            labels.insert(ANONYMOUS.to_owned(), String::new());
            hex(self.ports.world.random())
        } else {
            wish.name
        };
        let request = NewVolume {
            name,
            driver: wish.driver,
            labels,
            options: wish.driver_opts.unwrap_or_default(),
            created: self.ports.world.now(),
        };
        let (volume, new) = self.ports.volumes.ensure(request).await?;
        if new {
            self.tell(
                "volume",
                "create",
                &volume.name,
                &[("driver", &volume.driver)],
            );
        }
        Ok(shown(volume))
    }

    /// Shows a volume. Docker API: GET /volumes/{name}.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn inspect_volume(&self, name: &str) -> Result<Shown> {
        self.ports.volumes.get(name).await.map(shown)
    }

    /// Lists them by name. Docker API: GET /volumes.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad filter.
    pub async fn list_volumes(&self, filters: &Filters) -> Result<VolumeList> {
        check_names(filters, &["dangling", "driver", "label", "name"])?;
        let dangling = flag(filters, "dangling")?;
        let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
            !filters.contains_key(name) || values(filters, name).any(fits)
        };
        let all = self.ports.volumes.list().await?.into_iter();
        let listed = all.filter(|volume| {
            any("name", &|part| volume.name.contains(part))
                && any("driver", &|driver| volume.driver == driver)
                && labels_fit(filters, "label", Some(&volume.labels))
                && dangling.is_none_or(|dangling| {
                    self.users_of_volume(&volume.name).is_empty() == dangling
                })
        });
        Ok(VolumeList {
            volumes: listed.map(shown).collect(),
            warnings: None,
        })
    }

    /// All of them, each with its size and the number of its users; one that cannot be measured has the size -1.
    pub(crate) async fn measured_volumes(&self) -> Result<Vec<Shown>> {
        let mut measured = Vec::new();
        for volume in self.ports.volumes.list().await? {
            let size = self.ports.volumes.usage(&volume.name).await;
            let users = self.users_of_volume(&volume.name).len();
            let usage = VolumeUsage {
                ref_count: i64::try_from(users).unwrap_or(i64::MAX),
                size: size.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            };
            measured.push(Shown {
                usage_data: Some(usage),
                ..shown(volume)
            });
        }
        Ok(measured)
    }

    /// Removes a volume and its content. Docker API: DELETE /volumes/{name}; `force`: one that is not there is fine.
    ///
    /// # Errors
    /// `Conflict` while a container has it.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let _nobody_takes_it = self.volumes_in_use.write().await;
        let volume = match self.ports.volumes.get(name).await {
            Err(error) if force && errdefs::Classify::kind(&error) == ErrorKind::NotFound => {
                return Ok(());
            }
            found => found?,
        };
        let users = self.users_of_volume(name);
        if !users.is_empty() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("remove {name}: volume is in use - [{}]", users.join(", ")),
            ));
        }
        self.ports.volumes.remove(name).await?;
        self.tell("volume", "destroy", name, &[("driver", &volume.driver)]);
        Ok(())
    }

    /// Removes volumes nobody has: anonymous ones, all with the filter `all`. Docker API: POST /volumes/prune.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad filter.
    pub async fn prune_volumes(&self, filters: &Filters) -> Result<VolumesPruned> {
        check_names(filters, &["all", "label", "label!"])?;
        let all = flag(filters, "all")?.unwrap_or(false);
        let mut pruned = VolumesPruned::default();
        let _nobody_takes_them = self.volumes_in_use.write().await;
        for volume in self.ports.volumes.list().await? {
            let unwanted = filters.contains_key("label!")
                && labels_fit(filters, "label!", Some(&volume.labels));
            let named = !volume.labels.contains_key(ANONYMOUS);
            if unwanted || named && !all || !labels_fit(filters, "label", Some(&volume.labels)) {
                continue;
            }
            if !self.users_of_volume(&volume.name).is_empty() {
                continue;
            }
            let size = self.ports.volumes.usage(&volume.name).await.unwrap_or(0);
            self.ports.volumes.remove(&volume.name).await?;
            self.tell(
                "volume",
                "destroy",
                &volume.name,
                &[("driver", &volume.driver)],
            );
            pruned.space_reclaimed += size;
            pruned.volumes_deleted.push(volume.name);
        }
        self.tell(
            "volume",
            "prune",
            "",
            &[("reclaimed", &pruned.space_reclaimed.to_string())],
        );
        Ok(pruned)
    }

    /// Ids of the containers that mount a volume, running or not.
    pub(crate) fn users_of_volume(&self, name: &str) -> Vec<String> {
        let containers = self.containers.all();
        let users = containers.iter().filter(|container| {
            container
                .record()
                .mounts
                .iter()
                .any(|mount| mount.name == name)
        });
        users.map(|container| container.id.to_string()).collect()
    }
}

/// A filter that is true or false.
fn flag(filters: &Filters, name: &str) -> Result<Option<bool>> {
    match values(filters, name).next() {
        None => Ok(None),
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(Some(false)),
        Some(other) => Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("invalid filter '{name}=[{other}]'"),
        )),
    }
}

fn shown(volume: Volume) -> Shown {
    let some = |map: BTreeMap<String, String>| (!map.is_empty()).then_some(map);
    Shown {
        created_at: rfc3339(crate::ports::world::Timestamp(
            volume.created.0.div_euclid(1_000_000_000) * 1_000_000_000,
        )),
        driver: volume.driver,
        labels: some(volume.labels),
        mountpoint: volume.mountpoint.to_string_lossy().into_owned(),
        name: volume.name,
        options: some(volume.options),
        scope: "local".to_owned(),
        usage_data: None,
    }
}
