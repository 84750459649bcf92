//! A file tree in memory: what goes into an initramfs or a system image, sorted by path.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};

/// An entry. Everything belongs to root and has the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Folder {
        /// Permission bits.
        mode: u32,
    },
    /// A file.
    File {
        /// Permission bits.
        mode: u32,
        /// What is in it.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
}

/// The tree. Paths have no leading slash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds a folder and those above it.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.nodes.insert(path.to_owned(), Node::Folder { mode });
    }

    /// Adds a file and the folders above it.
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.parents(path);
        let content = content.into();
        self.nodes
            .insert(path.to_owned(), Node::File { mode, content });
    }

    /// Adds a link and the folders above it.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        let target = target.to_owned();
        self.nodes.insert(path.to_owned(), Node::Link { target });
    }

    /// Adds a file of the machine that builds; a link is followed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        let mode = fs::metadata(from)?.permissions().mode();
        self.file(path, if mode & 0o111 == 0 { 0o644 } else { 0o755 }, content);
        Ok(())
    }

    /// Every entry, parents first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    fn parents(&mut self, path: &str) {
        for (index, _) in path.match_indices('/') {
            self.nodes
                .entry(path[..index].to_owned())
                .or_insert(Node::Folder { mode: 0o755 });
        }
    }
}
