//! Debian's cloud kernel: its image, and the modules a machine needs with everything these need.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{debian, tree::Tree};

/// Where modules and their lists are in the guest. `berth-agent init` reads the same place.
pub const GUEST_FOLDER: &str = "lib/berth/modules";

/// By its path: an ordinary user's `PATH` has no `sbin` on Debian.
const DEPMOD: &str = "/sbin/depmod";

/// Loaded before anything else, so that the machine can be talked to.
pub const VSOCK: &[&str] = &["vmw_vsock_virtio_transport"];

/// Loaded to find the system image.
pub const ROOT: &[&str] = &["virtio_blk", "erofs"];

/// Loaded at boot: devices and what every container's network needs.
pub const REST: &[&str] = &[
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    "virtiofs",
    "overlay",
    "bridge",
    "br_netfilter",
    "veth",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "nf_conntrack_netlink",
    "tun",
];

/// A kernel package, unpacked.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The image as the boot loader takes it.
    pub image: PathBuf,
    /// `uname -r`.
    pub version: String,
    folder: PathBuf,
    /// Module name to its file and the files it needs, from `modules.dep`.
    dependencies: HashMap<String, (String, Vec<String>)>,
    built_in: Vec<String>,
}

impl Kernel {
    /// Reads an unpacked package; makes `modules.dep`, which the package leaves to its installation.
    ///
    /// # Errors
    /// The folder is no kernel package, or `depmod` fails.
    pub fn open(unpacked: &Path) -> Result<Self> {
        let boot = unpacked.join("boot");
        let image = fs::read_dir(&boot)
            .with_context(|| format!("look into {}", boot.display()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
            })
            .context("the kernel package has no boot/vmlinuz-*")?;
        let version = image
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("vmlinuz-"))
            .context("the kernel image has no version in its name")?
            .to_owned();
        let merged = unpacked.join("usr/lib/modules").exists();
        let base = if merged {
            unpacked.join("usr")
        } else {
            unpacked.to_owned()
        };
        let folder = base.join("lib/modules").join(&version);
        ensure!(
            folder.exists(),
            "the kernel package has no modules for {version}"
        );
        debian::run(Command::new(DEPMOD).arg("-b").arg(&base).arg(&version))?;
        let dependencies = parse_dependencies(&fs::read_to_string(folder.join("modules.dep"))?);
        let built_in = fs::read_to_string(folder.join("modules.builtin"))?
            .lines()
            .map(module_name)
            .collect();
        Ok(Self {
            image,
            version,
            folder,
            dependencies,
            built_in,
        })
    }

    /// Files to load for these modules, in order, each once. Built-in ones need none.
    ///
    /// # Errors
    /// The kernel has no such module.
    pub fn load_order(&self, modules: &[&str]) -> Result<Vec<String>> {
        let mut order: Vec<String> = Vec::new();
        for module in modules {
            let name = module.replace('-', "_");
            if self.built_in.contains(&name) {
                continue;
            }
            let Some((file, needs)) = self.dependencies.get(&name) else {
                bail!("the kernel {} has no module {module}", self.version);
            };
            // modules.dep lists what is needed last first.
            for path in needs.iter().rev().chain([file]) {
                if !order.contains(path) {
                    order.push(path.clone());
                }
            }
        }
        Ok(order)
    }

    /// Puts modules and the list that orders them into a tree.
    ///
    /// # Errors
    /// A module is missing or cannot be read.
    pub fn add_modules(&self, tree: &mut Tree, list: &str, modules: &[&str]) -> Result<()> {
        let mut names = String::new();
        for path in self.load_order(modules)? {
            let file = Path::new(&path)
                .file_name()
                .and_then(|name| name.to_str())
                .context("a module without a name")?;
            tree.copy(&format!("{GUEST_FOLDER}/{file}"), &self.folder.join(&path))?;
            names.push_str(file);
            names.push('\n');
        }
        tree.file(&format!("{GUEST_FOLDER}/{list}.list"), 0o644, names);
        Ok(())
    }
}

/// A module's name: its file's, without what the file is packed with, dashes as underscores.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

fn parse_dependencies(text: &str) -> HashMap<String, (String, Vec<String>)> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| {
            let needs = needs.split_whitespace().map(ToOwned::to_owned).collect();
            (module_name(file), (file.to_owned(), needs))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Kernel {
        let text = "k/a.ko.xz: k/b-c.ko.xz k/d.ko.xz\nk/b-c.ko.xz: k/d.ko.xz\nk/d.ko.xz:\n";
        Kernel {
            image: PathBuf::new(),
            version: "6".to_owned(),
            folder: PathBuf::new(),
            dependencies: parse_dependencies(text),
            built_in: vec!["ext4".to_owned()],
        }
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it_and_only_once() {
        let order = kernel()
            .load_order(&["a", "b_c", "ext4"])
            .expect("all known");
        assert_eq!(order, ["k/d.ko.xz", "k/b-c.ko.xz", "k/a.ko.xz"]);
    }

    #[test]
    fn a_module_the_kernel_lacks_is_named() {
        let error = kernel().load_order(&["zfs"]).expect_err("unknown");
        assert!(error.to_string().contains("zfs"));
    }
}
