//! Use of disk.

use docker_api::{image::ImageSummary, inspect::ContainerSummary, usage::Usage, volume::Volume};
use errdefs::Result;

use crate::{
    Engine,
    containers::{ListOptions, list::Filters},
    images::sharing::Sharing,
};

impl Engine {
    /// What images take: layers that several have count once. Docker API: GET /system/df.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn usage_of_images(&self) -> Result<Usage<ImageSummary>> {
        let items = self.list_images(&Filters::new(), true).await?;
        let total_size = Sharing::of(&self.ports.images.list().await?).total;
        let (used, unused): (Vec<_>, Vec<_>) = items.iter().partition(|image| image.containers > 0);
        let own = |image: &&ImageSummary| {
            let shared = u64::try_from(image.shared_size).unwrap_or(0);
            image.size.saturating_sub(shared)
        };
        Ok(Usage {
            active_count: used.len(),
            total_count: items.len(),
            reclaimable: unused.iter().map(own).sum(),
            total_size,
            items,
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
        Ok(Usage {
            active_count: items.iter().filter(|item| is_active(item)).count(),
            total_count: items.len(),
            reclaimable: items
                .iter()
                .filter(|item| !is_active(item))
                .map(bytes)
                .sum(),
            total_size: items.iter().map(bytes).sum(),
            items,
        })
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
        Ok(Usage {
            active_count: items.iter().filter(|item| is_active(item)).count(),
            total_count: items.len(),
            reclaimable: items
                .iter()
                .filter(|item| !is_active(item))
                .map(bytes)
                .sum(),
            total_size: items.iter().map(bytes).sum(),
            items,
        })
    }
}
