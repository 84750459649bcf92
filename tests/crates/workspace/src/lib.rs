//! The workspace keeps its own rules: a room's layer is in its manifest, and arrows point down.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cargo_metadata::{Metadata, MetadataCommand, Package};

    /// Sideways arrows are for words and thoughts only.
    const LAST_LAYER_WITH_SIDEWAYS_ARROWS: u64 = 1;

    fn metadata() -> Metadata {
        MetadataCommand::new()
            .no_deps()
            .other_options(vec!["--locked".into()])
            .exec()
            .expect("cargo metadata")
    }

    fn layer(package: &Package) -> Option<u64> {
        package.metadata.get("room")?.get("layer")?.as_u64()
    }

    #[test]
    fn every_room_says_its_layer() {
        for package in &metadata().packages {
            assert!(
                layer(package).is_some_and(|layer| layer <= 5),
                "{} has no layer from 0 to 5",
                package.name
            );
        }
    }

    #[test]
    fn arrows_point_down() {
        let metadata = metadata();
        let layers: BTreeMap<&str, u64> = metadata
            .packages
            .iter()
            .filter_map(|package| Some((package.name.as_str(), layer(package)?)))
            .collect();
        let mut wrong = Vec::new();
        for package in &metadata.packages {
            for dependency in package
                .dependencies
                .iter()
                .filter(|dependency| dependency.path.is_some())
            {
                let (from, to) = (
                    layers[package.name.as_str()],
                    layers[dependency.name.as_str()],
                );
                if to > from || (to == from && from > LAST_LAYER_WITH_SIDEWAYS_ARROWS) {
                    wrong.push(format!(
                        "{} ({from}) -> {} ({to})",
                        package.name, dependency.name
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "arrows that do not point down: {wrong:?}");
    }

    #[test]
    fn rooms_are_folders_of_their_own_name() {
        for package in &metadata().packages {
            let folder = package
                .manifest_path
                .parent()
                .and_then(|folder| folder.file_name())
                .expect("a folder");
            let name = package.name.as_str();
            // Two folders are named `machine`, and a package's name must be unique: those of the tests carry a prefix.
            assert!(
                name == folder || name.strip_prefix("test-") == Some(folder),
                "{name} is in {folder}"
            );
        }
    }

    #[test]
    fn every_room_takes_the_workspaces_lints() {
        for package in &metadata().packages {
            let text = std::fs::read_to_string(&package.manifest_path).expect("a manifest");
            assert!(
                text.contains("[lints]\nworkspace = true"),
                "{}",
                package.name
            );
        }
    }
}
