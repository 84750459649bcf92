//! The names of images: which digest each means.
//!
//! One small file, a line for each name, replaced as a whole: several names change at once or not at all. An image that lost its last name to another
//! one, or came without, has a line without name until it is removed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use engine::ports::{images::Descriptor, world::Timestamp};
use oci::{Digest, Reference};
use serde::{Deserialize, Serialize};

const FILE: &str = "names";
const DRAFT: &str = "names.new";
const DAMAGED: &str = "names.damaged";
/// Takes room and an inode that are given away when the disk is full.
const RESERVE: &str = "names.reserve";
const MIN_RESERVE_BYTES: u64 = 64 << 10;

/// What a name means, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) descriptor: Descriptor,
    pub(crate) tagged: Timestamp,
    /// The image it was committed on, here.
    pub(crate) parent: Option<Digest>,
}

impl Target {
    /// Of an image that nobody committed here, or that is known already.
    pub(crate) fn new(descriptor: Descriptor, tagged: Timestamp) -> Self {
        Self {
            descriptor,
            tagged,
            parent: None,
        }
    }
}

/// Names in their canonical form. An image without name is under its digest, which is no name's form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names(BTreeMap<String, Target>);

#[derive(Serialize, Deserialize)]
struct Line {
    name: Option<String>,
    media_type: String,
    digest: String,
    size: u64,
    tagged_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
}

/// The form a name is kept in: with a digest it has no tag.
pub(crate) fn canonical(reference: &Reference) -> Reference {
    match reference.digest() {
        Some(digest) => reference.at(digest.clone()),
        None => reference.clone().or_latest(),
    }
}

impl Names {
    /// What a name means.
    pub(crate) fn get(&self, name: &str) -> Option<&Target> {
        self.0.get(name)
    }

    /// Every name with its image, images without name under their digest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.0.iter().map(|(name, target)| (name.as_str(), target))
    }

    /// Names of an image, sorted; one without name has one entry, [`is_nameless`].
    pub(crate) fn of(&self, digest: &Digest) -> Vec<&str> {
        self.iter()
            .filter(|(_, target)| target.descriptor.digest == *digest)
            .map(|(name, _)| name)
            .collect()
    }

    /// What an image was committed on: kept with each of its names.
    pub(crate) fn parent(&self, digest: &Digest) -> Option<Digest> {
        let mut own = self
            .0
            .values()
            .filter(|target| target.descriptor.digest == *digest);
        own.find_map(|target| target.parent.clone())
    }

    /// Gives a name. An image that loses its last one by that stays, without.
    pub(crate) fn assign(&mut self, name: &Reference, mut target: Target) {
        target.parent = target
            .parent
            .or_else(|| self.parent(&target.descriptor.digest));
        let name = canonical(name).to_string();
        if self
            .get(&name)
            .is_some_and(|old| old.descriptor.digest != target.descriptor.digest)
        {
            self.strip(&name);
        }
        self.0.remove(target.descriptor.digest.as_str());
        self.0.insert(name, target);
    }

    /// Keeps an image that came without name.
    pub(crate) fn keep(&mut self, target: Target) {
        if self.of(&target.descriptor.digest).is_empty() {
            self.0.insert(target.descriptor.digest.to_string(), target);
        }
    }

    /// Takes a name away and keeps the image.
    pub(crate) fn strip(&mut self, name: &str) {
        if let Some(target) = self.0.remove(name) {
            self.keep(target);
        }
    }

    /// Takes a name away, or the entry without name.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Reads the file. True: lines of it were damaged; it is kept aside.
    pub(crate) fn load(folder: &Path) -> io::Result<(Self, bool)> {
        let text = match fs::read(folder.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::default(), false));
            }
            result => result?,
        };
        let (mut names, mut is_damaged) = (Self::default(), false);
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            match parse_line(line) {
                Some((name, target)) => {
                    names.0.insert(name, target);
                }
                None => is_damaged = true,
            }
        }
        if is_damaged {
            fs::copy(folder.join(FILE), folder.join(DAMAGED))?;
        }
        Ok((names, is_damaged))
    }

    /// Replaces the file. Durable when it returns. On a full disk names can still be taken away: room for that is kept.
    pub(crate) fn store(&self, folder: &Path) -> io::Result<()> {
        let mut text = Vec::new();
        for (name, target) in self.iter() {
            let line = Line {
                name: (!is_nameless(name)).then(|| name.to_owned()),
                media_type: target.descriptor.media_type.clone(),
                digest: target.descriptor.digest.to_string(),
                size: target.descriptor.size,
                tagged_ns: target.tagged.0,
                parent: target.parent.as_ref().map(Digest::to_string),
            };
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        let before = fs::metadata(folder.join(FILE)).map_or(0, |file| file.len());
        match replace(folder, &text) {
            Err(error)
                if error.kind() == io::ErrorKind::StorageFull && text.len() as u64 <= before =>
            {
                fs::remove_file(folder.join(RESERVE)).map_err(|_| error)?;
                replace(folder, &text)?;
            }
            replaced => replaced?,
        }
        keep_reserve(folder, text.len() as u64);
        Ok(())
    }
}

fn replace(folder: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(folder.join(DRAFT))?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(folder.join(DRAFT), folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

/// Takes room for another file of names, unless there is none.
fn keep_reserve(folder: &Path, length: u64) {
    let (path, wanted) = (folder.join(RESERVE), length.max(MIN_RESERVE_BYTES));
    if fs::metadata(&path).is_ok_and(|file| file.len() >= wanted) {
        return;
    }
    let taken = File::create(&path).and_then(|file| {
        // Names are added one by one.
        let bytes = wanted.next_power_of_two();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
            .map_err(io::Error::from)
    });
    if taken.is_err() {
        let _ = fs::remove_file(&path);
    }
}

/// The entry of an image without name.
pub(crate) fn is_nameless(name: &str) -> bool {
    name.starts_with("sha256:")
}

/// A name as people read it.
pub(crate) fn familiar(name: &str) -> String {
    name.parse::<Reference>()
        .map_or_else(|_| name.to_owned(), |name| name.familiar())
}

fn parse_line(line: &[u8]) -> Option<(String, Target)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let digest: Digest = line.digest.parse().ok()?;
    let name = match line.name {
        Some(name) => canonical(&name.parse().ok()?).to_string(),
        None => digest.to_string(),
    };
    let target = Target {
        descriptor: Descriptor {
            media_type: line.media_type,
            digest,
            size: line.size,
        },
        tagged: Timestamp(line.tagged_ns),
        parent: line.parent.and_then(|parent| parent.parse().ok()),
    };
    Some((name, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(content: &str) -> Target {
        let descriptor = Descriptor {
            media_type: "m".to_owned(),
            digest: Digest::of(content.as_bytes()),
            size: 1,
        };
        Target::new(descriptor, Timestamp(7))
    }

    fn name(text: &str) -> Reference {
        text.parse().expect("a name")
    }

    #[test]
    fn what_an_image_was_committed_on_stays_with_it() {
        let (mut names, parent) = (Names::default(), Digest::of(b"parent"));
        names.keep(Target {
            parent: Some(parent.clone()),
            ..target("1")
        });
        names.assign(&name("one"), target("1"));
        names.assign(&name("two"), target("1"));
        names.remove("docker.io/library/one:latest");
        let folder = tempfile::tempdir().unwrap();
        names.store(folder.path()).unwrap();
        let (names, is_damaged) = Names::load(folder.path()).unwrap();
        assert!(!is_damaged);
        assert_eq!(names.parent(&Digest::of(b"1")), Some(parent));
        assert_eq!(names.parent(&Digest::of(b"2")), None);
    }

    #[test]
    fn an_image_that_loses_its_last_name_stays_without() {
        let mut names = Names::default();
        names.assign(&name("app"), target("1"));
        names.assign(&name("app"), target("2"));
        let nameless = Digest::of(b"1").to_string();
        assert_eq!(
            names.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["docker.io/library/app:latest", &nameless]
        );
        names.assign(&name("old"), target("1"));
        assert_eq!(
            names.of(&Digest::of(b"1")),
            ["docker.io/library/old:latest"],
            "no longer nameless"
        );
    }

    #[test]
    fn names_survive_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let mut names = Names::default();
        names.assign(&name("app:1"), target("1"));
        names.assign(&name("ghcr.io/x/y"), target("1"));
        names.keep(target("2"));
        names.store(folder.path()).expect("stored");
        assert_eq!(Names::load(folder.path()).expect("loaded"), (names, false));
    }

    #[test]
    fn a_damaged_line_costs_its_name_only_and_the_file_is_kept_aside() {
        let folder = tempfile::tempdir().expect("folder");
        let mut names = Names::default();
        names.assign(&name("app:1"), target("1"));
        names.store(folder.path()).expect("stored");
        let path = folder.path().join(FILE);
        let mut text = fs::read(&path).expect("there");
        text.extend_from_slice(b"{\"name\":\"docker.io/libr");
        fs::write(&path, &text).expect("written");
        assert_eq!(Names::load(folder.path()).expect("loaded"), (names, true));
        assert_eq!(fs::read(folder.path().join(DAMAGED)).expect("kept"), text);
    }

    #[test]
    fn a_draft_of_a_crash_is_not_looked_at() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join(DRAFT), "{").expect("written");
        assert_eq!(
            Names::load(folder.path()).expect("loaded"),
            (Names::default(), false)
        );
    }
}
