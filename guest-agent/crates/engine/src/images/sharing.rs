//! Which bytes images share: layers on the same layers are there once.

use std::collections::HashMap;

use crate::ports::images::Image;

/// What images take together, and what each shares with others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// Bytes of all, each layer counted once.
    pub(crate) total: u64,
    /// Bytes of each image's layers that another image has too, in the order of the images.
    pub(crate) shared: Vec<u64>,
}

impl Sharing {
    /// Counts them. Two layers are the same if what is below them is, too.
    pub(crate) fn of(images: &[Image]) -> Self {
        // A place in the tree of layers: the place below and the layer's digest name it.
        let mut places: HashMap<(usize, &str), usize> = HashMap::new();
        // Of each place but the root: bytes and images.
        let mut counted: Vec<(u64, usize)> = Vec::new();
        let mut paths = Vec::with_capacity(images.len());
        for image in images {
            let mut below = 0;
            let mut path = Vec::new();
            for (digest, size) in image.config.rootfs.diff_ids.iter().zip(&image.layer_sizes) {
                let next = places.len() + 1;
                below = *places.entry((below, digest.as_str())).or_insert(next);
                if below > counted.len() {
                    counted.push((*size, 0));
                }
                counted[below - 1].1 += 1;
                path.push(below - 1);
            }
            paths.push(path);
        }
        let layers: u64 = counted.iter().map(|(bytes, _)| bytes).sum();
        let documents = images.iter().map(|image| {
            let layers = image.layer_sizes.iter().sum();
            image.size_bytes.saturating_sub(layers)
        });
        let of_path = |path: &Vec<usize>| -> u64 {
            let common = path.iter().map(|place| counted[*place]);
            common
                .filter(|(_, images)| *images > 1)
                .map(|(bytes, _)| bytes)
                .sum()
        };
        Self {
            total: layers + documents.sum::<u64>(),
            shared: paths.iter().map(of_path).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::images::Descriptor;

    fn image(layers: &[(&str, u64)]) -> Image {
        let target = Descriptor {
            media_type: String::new(),
            digest: oci::Digest::of(b"x"),
            size: 1,
        };
        let mut config = docker_api::ImageConfiguration::default();
        config.rootfs.diff_ids = layers.iter().map(|(name, _)| (*name).to_owned()).collect();
        Image {
            target: target.clone(),
            manifest: target,
            config,
            tags: vec![],
            digests: vec![],
            size_bytes: 1 + layers.iter().map(|(_, size)| size).sum::<u64>(),
            layer_sizes: layers.iter().map(|(_, size)| *size).collect(),
            tagged: crate::ports::world::Timestamp::default(),
            parent: None,
        }
    }

    #[test]
    fn a_layer_is_shared_only_on_the_same_layers() {
        let images = [
            image(&[("base", 100), ("a", 10)]),
            image(&[("base", 100), ("b", 20)]),
            image(&[("other", 5), ("a", 10)]),
        ];
        let sharing = Sharing::of(&images);
        assert_eq!(sharing.shared, [100, 100, 0]);
        assert_eq!(sharing.total, 100 + 10 + 20 + 5 + 10 + 3);
        assert_eq!(Sharing::of(&[]), Sharing::default());
    }
}
