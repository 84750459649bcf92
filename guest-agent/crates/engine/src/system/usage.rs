//! Use of disk.

use docker_api::{image::ImageSummary, inspect::ContainerSummary, usage::Usage, volume::Volume};
use errdefs::Result;

use crate::{
    Engine,
    containers::{ListOptions, list::Filters},
};

impl Engine {
    /// What images take: layers that several have count once. Docker API: GET /system/df.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn usage_of_images(&self) -> Result<Usage<ImageSummary>> {
        let (items, sharing) = self.images_and_sharing(&Filters::new(), true).await?;
        let own = |image: &ImageSummary| {
            let shared = u64::try_from(image.shared_size).unwrap_or(0);
            image.size.saturating_sub(shared)
        };
        Ok(Usage {
            total_size: sharing.total,
            ..summed(items, own, |image| image.containers > 0)
        })
    }

    /// What containers' own layers take.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn usage_of_containers(&self) -> Result<Usage<ContainerSummary>> {
        let options = ListOptions {
            all: true,
            size: true,
            ..ListOptions::default()
        };
        let mut items = self.list_containers(&options).await?;
        for item in &mut items {
            item.image_manifest_descriptor = None;
        }
        let bytes = |item: &ContainerSummary| item.size_rw.unwrap_or(0);
        let is_active = |item: &ContainerSummary| {
            matches!(item.state.as_str(), "running" | "paused" | "restarting")
        };
        Ok(summed(items, bytes, is_active))
    }

    /// What volumes hold.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn usage_of_volumes(&self) -> Result<Usage<Volume>> {
        let items = self.measured_volumes().await?;
        let of = |item: &Volume| item.usage_data.clone().unwrap_or_default();
        let bytes = |item: &Volume| u64::try_from(of(item).size).unwrap_or(0);
        let is_active = |item: &Volume| of(item).ref_count > 0;
        Ok(summed(items, bytes, is_active))
    }
}

/// Adds up what things take; what is not active can be given back.
fn summed<T>(items: Vec<T>, bytes: impl Fn(&T) -> u64, is_active: impl Fn(&T) -> bool) -> Usage<T> {
    let (mut active_count, mut reclaimable, mut total_size) = (0, 0, 0);
    for item in &items {
        total_size += bytes(item);
        if is_active(item) {
            active_count += 1;
        } else {
            reclaimable += bytes(item);
        }
    }
    Usage {
        active_count,
        total_count: items.len(),
        reclaimable,
        total_size,
        items,
    }
}
