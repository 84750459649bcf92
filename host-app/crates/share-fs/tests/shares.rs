//! Requests as a hostile guest's kernel would send them, straight into the file system. Node ids, names and flags are all its choice.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use share_fs::{Granted, Owner, Shares, Wish, become_worker, policy::Policy};
use virtiofsd::{
    filesystem::{
        Context, DirectoryIterator, Entry, Extensions, FileSystem, FsOptions, ListxattrReply,
        ROOT_ID, SetattrValid, SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
    },
    fuse::{ATTR_SUBMOUNT, SetattrIn},
    oslib::{ReadvFlags, WritevFlags},
    soft_idmap::{GuestGid, GuestUid, Id},
};

/// Names that are more than one entry's name. None is the name of anything real, and the relative ones stay in the test's own folder: where a
/// guard is broken these requests do what they say, and tests may run as root.
const HOSTILE: &[&str] = &[
    "",
    ".",
    "..",
    "/berth-absent/x",
    "../x",
    "a/b",
    "a/../../x",
    "./a",
    "a/",
];

struct Bytes(Vec<u8>);

impl ZeroCopyReader for Bytes {
    fn write_to_file_at(
        &mut self,
        file: &fs::File,
        count: usize,
        offset: u64,
        _flags: Option<WritevFlags>,
    ) -> io::Result<usize> {
        file.write_at(&self.0[..count.min(self.0.len())], offset)
    }
}

impl ZeroCopyWriter for &mut Bytes {
    fn read_from_file_at(
        &mut self,
        file: &fs::File,
        count: usize,
        offset: u64,
        _flags: Option<ReadvFlags>,
    ) -> io::Result<usize> {
        self.0.resize(count, 0);
        let read = file.read_at(&mut self.0, offset)?;
        self.0.truncate(read);
        Ok(read)
    }
}

fn name(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

fn root_user() -> Context {
    user(0)
}

fn user(id: u32) -> Context {
    Context {
        uid: GuestUid::from(id),
        gid: GuestGid::from(id),
        pid: 1,
    }
}

/// A host with a home folder beside things that are nobody's business.
struct Host {
    _folder: tempfile::TempDir,
    root: PathBuf,
    policy: Policy,
    shares: Shares,
}

impl Host {
    fn new() -> Self {
        Self::owned_by(Owner::of_process())
    }

    fn owned_by(owner: Owner) -> Self {
        become_worker().expect("a umask of our own");
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        for path in [
            "home/u/site",
            "home/u/.ssh",
            "home/u/.config/keys",
            "home/u/.config/app",
            "outside",
        ] {
            fs::create_dir_all(root.join(path)).expect("made");
        }
        for (path, text) in [
            ("home/u/site/index", "hello"),
            ("home/u/.ssh/id", "secret"),
            ("home/u/.config/keys/k", "secret"),
            ("outside/file", "outside"),
        ] {
            fs::write(root.join(path), text).expect("written");
        }
        let policy = Policy::new(
            vec![root.join("home/u")],
            vec![root.join("home/u/.ssh"), root.join("home/u/.config/keys")],
        );
        let shares = Shares::new(owner, 1000);
        let options = shares.init(FsOptions::all()).expect("init");
        assert!(
            options.contains(FsOptions::DO_READDIRPLUS) && !options.contains(FsOptions::POSIX_ACL)
        );
        Self {
            _folder: folder,
            root,
            policy,
            shares,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn grant(&self, path: &str, read_only: bool) -> Granted {
        let wish = Wish {
            path: self.path(path),
            read_only,
            create: false,
        };
        self.shares.grant(&self.policy, &wish).expect("shared")
    }

    /// The node of a grant's root.
    fn open(&self, path: &str, read_only: bool) -> u64 {
        let number = self.grant(path, read_only).number.to_string();
        self.lookup(ROOT_ID, &number).expect("listed").inode
    }

    fn lookup(&self, folder: u64, text: &str) -> io::Result<Entry> {
        self.shares.lookup(root_user(), folder, &name(text))
    }

    fn walk(&self, folder: u64, path: &str) -> u64 {
        path.split('/').fold(folder, |folder, part| {
            self.lookup(folder, part).expect(part).inode
        })
    }

    fn names(&self, folder: u64) -> Vec<String> {
        let (handle, _) = self
            .shares
            .opendir(root_user(), folder, 0)
            .expect("a folder");
        let handle = handle.unwrap_or(0);
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let mut part = self
                .shares
                .readdir(root_user(), folder, handle, 4096, offset)
                .expect("listed");
            let before = names.len();
            while let Some(entry) = part.next() {
                offset = entry.offset;
                names.push(entry.name.to_str().expect("UTF-8").to_owned());
            }
            if names.len() == before {
                break;
            }
        }
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }

    fn create(
        &self,
        context: Context,
        folder: u64,
        text: &CStr,
        flags: i32,
    ) -> io::Result<(Entry, u64)> {
        let flags = flags.cast_unsigned();
        let (entry, handle, _) = self.shares.create(
            context,
            folder,
            text,
            0o100_644,
            false,
            flags,
            0,
            Extensions::default(),
        )?;
        Ok((entry, handle.expect("a handle")))
    }

    /// Every way to use a name that would change something, or show something.
    fn all_ways(&self, folder: u64, node: u64, text: &CStr) -> Vec<(&'static str, io::Result<()>)> {
        let shares = &self.shares;
        let (context, ok) = (root_user(), name("fine"));
        let extensions = Extensions::default;
        vec![
            ("lookup", shares.lookup(context, folder, text).map(drop)),
            (
                "symlink",
                shares
                    .symlink(context, &name("t"), folder, text, extensions())
                    .map(drop),
            ),
            (
                "mknod",
                shares
                    .mknod(
                        context,
                        folder,
                        text,
                        libc::S_IFREG | 0o644,
                        0,
                        0,
                        extensions(),
                    )
                    .map(drop),
            ),
            (
                "mkdir",
                shares
                    .mkdir(context, folder, text, 0o755, 0, extensions())
                    .map(drop),
            ),
            ("unlink", shares.unlink(context, folder, text)),
            ("rmdir", shares.rmdir(context, folder, text)),
            (
                "create",
                self.create(context, folder, text, libc::O_RDWR).map(drop),
            ),
            (
                "rename from",
                shares.rename(context, folder, text, folder, &ok, 0),
            ),
            (
                "rename to",
                shares.rename(context, folder, &name("index"), folder, text, 0),
            ),
            (
                "exchange",
                shares.rename(
                    context,
                    folder,
                    &name("index"),
                    folder,
                    text,
                    libc::RENAME_EXCHANGE,
                ),
            ),
            ("link", shares.link(context, node, folder, text).map(drop)),
        ]
    }
}

/// Everything below a folder, with its content.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        all.push((
            path.clone(),
            kind.is_file().then(|| fs::read(&path).expect("read")),
        ));
        if kind.is_dir() {
            all.extend(snapshot(&path));
        }
    }
    all.sort();
    all
}

fn code<T>(result: io::Result<T>) -> i32 {
    result
        .err()
        .and_then(|error| error.raw_os_error())
        .unwrap_or(0)
}

#[test]
fn a_granted_folder_is_read_and_written() {
    let host = Host::new();
    let site = host.open("home/u/site", false);
    let index = host.lookup(site, "index").expect("there");
    assert_eq!(index.attr.size, 5);
    let shares = &host.shares;
    let (handle, _) = shares
        .open(root_user(), index.inode, false, 0)
        .expect("opened");
    let mut text = Bytes(Vec::new());
    shares
        .read(
            root_user(),
            index.inode,
            handle.expect("a handle"),
            &mut text,
            100,
            0,
            None,
            0,
        )
        .expect("read");
    assert_eq!(text.0, b"hello");
    let (new, handle) = host
        .create(root_user(), site, &name("new"), libc::O_WRONLY)
        .expect("made");
    shares
        .write(
            root_user(),
            new.inode,
            handle,
            Bytes(b"guest".to_vec()),
            5,
            0,
            None,
            false,
            false,
            0,
        )
        .expect("written");
    shares
        .release(root_user(), new.inode, 0, handle, false, false, None)
        .expect("released");
    assert_eq!(
        fs::read(host.path("home/u/site/new")).expect("there"),
        b"guest"
    );
    assert_eq!(host.names(site), ["index", "new"]);
    shares
        .rename(root_user(), site, &name("new"), site, &name("old"), 0)
        .expect("renamed");
    shares
        .unlink(root_user(), site, &name("old"))
        .expect("removed");
    assert_eq!(host.names(site), ["index"]);
}

#[test]
fn names_that_are_paths_reach_nothing() {
    let host = Host::new();
    let site = host.open("home/u/site", false);
    let index = host.walk(site, "index");
    let before = snapshot(&host.root);
    let long = "x".repeat(256);
    for text in HOSTILE.iter().copied().chain([long.as_str()]) {
        for (way, result) in host.all_ways(site, index, &name(text)) {
            let code = code(result);
            assert!(
                code == libc::EINVAL || code == libc::ENAMETOOLONG,
                "{way} {text:?}: {code}"
            );
        }
    }
    assert_eq!(snapshot(&host.root), before);
}

#[test]
fn the_root_lists_grants_and_cannot_be_changed() {
    let host = Host::new();
    assert!(host.names(ROOT_ID).is_empty());
    let site = host.grant("home/u/site", false);
    let again = host.grant("home/u/site", false);
    let read_only = host.grant("home/u/site", true);
    assert_eq!(site, again);
    assert_ne!(site.number, read_only.number);
    assert_eq!(host.names(ROOT_ID), ["1", "2"]);
    let entry = host.lookup(ROOT_ID, "1").expect("listed");
    assert_eq!(entry.attr.flags, ATTR_SUBMOUNT);
    assert_eq!(
        host.shares.paths(),
        [host.path("home/u/site"), host.path("home/u/site")]
    );
    for text in [
        "01",
        "+1",
        "3",
        "0",
        "-1",
        "x",
        "..",
        "4294967297",
        "1/index",
    ] {
        assert_eq!(code(host.lookup(ROOT_ID, text)), libc::ENOENT, "{text}");
    }
    for (way, result) in host.all_ways(ROOT_ID, ROOT_ID, &name("9")) {
        let code = code(result);
        assert!(matches!(code, libc::EPERM | libc::ENOENT), "{way}: {code}");
    }
}

#[test]
fn a_folder_put_in_the_place_of_another_is_another_grant() {
    let host = Host::new();
    let first = host.grant("home/u/site", false);
    fs::rename(host.path("home/u/site"), host.path("home/u/was")).expect("moved");
    fs::create_dir(host.path("home/u/site")).expect("made");
    let second = host.grant("home/u/site", false);
    assert_ne!(first, second);
    let (first, second) = (
        host.walk(ROOT_ID, &first.number.to_string()),
        host.walk(ROOT_ID, &second.number.to_string()),
    );
    assert_eq!(host.names(first), ["index"]);
    assert!(host.names(second).is_empty());
}

#[test]
fn nodes_and_handles_of_one_grant_are_nothing_in_another() {
    let host = Host::new();
    let (site, app) = (
        host.open("home/u/site", false),
        host.open("home/u/.config/app", false),
    );
    let index = host.walk(site, "index");
    let (handle, _) = host
        .shares
        .open(root_user(), index, false, 0)
        .expect("opened");
    let (file, own) = host
        .create(root_user(), app, &name("file"), libc::O_RDWR)
        .expect("made");
    let handle = handle.expect("a handle");
    let shares = &host.shares;
    let mut text = Bytes(Vec::new());
    let read = shares.read(root_user(), file.inode, handle, &mut text, 10, 0, None, 0);
    assert_eq!(code(read), libc::EBADF);
    let renamed = shares.rename(root_user(), site, &name("index"), app, &name("i"), 0);
    assert_eq!(code(renamed), libc::EXDEV);
    assert_eq!(
        code(shares.link(root_user(), index, app, &name("i"))),
        libc::EXDEV
    );
    let copied = shares.copyfilerange(root_user(), index, handle, 0, file.inode, own, 0, 5, 0);
    assert_eq!(code(copied), libc::EXDEV);
    // Numbers nobody gave out, at the edges.
    for node in [
        0,
        2,
        1 << 44,
        (1 << 44) - 1,
        3 << 44,
        (3 << 44) | 1,
        u64::MAX,
        (1 << 44) | 999,
    ] {
        let code = code(shares.getattr(root_user(), node, None));
        assert!(
            matches!(code, libc::ESTALE | libc::EBADF),
            "{node:#x}: {code}"
        );
        shares.forget(root_user(), node, u64::MAX);
    }
    assert_eq!(host.names(site), ["index"]);
}

#[test]
fn a_grant_that_is_taken_back_is_stale() {
    let host = Host::new();
    let granted = host.grant("home/u/site", false);
    let site = host.walk(ROOT_ID, &granted.number.to_string());
    host.shares.revoke(granted.number);
    assert_eq!(code(host.lookup(site, "index")), libc::ESTALE);
    assert_eq!(code(host.lookup(ROOT_ID, "1")), libc::ENOENT);
    assert_eq!(
        host.grant("home/u/site", false).number,
        2,
        "a number is used once"
    );
}

#[test]
fn links_out_of_a_share_are_shown_and_never_followed() {
    let host = Host::new();
    symlink(host.path("outside"), host.path("home/u/site/out")).expect("linked");
    symlink(host.path("outside/file"), host.path("home/u/site/file")).expect("linked");
    let site = host.open("home/u/site", false);
    let out = host.lookup(site, "out").expect("the link itself");
    assert_eq!(out.attr.mode & libc::S_IFMT, libc::S_IFLNK);
    assert_eq!(code(host.lookup(out.inode, "file")), libc::ENOTDIR);
    let shares = &host.shares;
    assert_eq!(code(shares.opendir(root_user(), out.inode, 0)), libc::ELOOP);
    let file = host.lookup(site, "file").expect("the link itself");
    assert_eq!(
        code(shares.open(root_user(), file.inode, false, 0)),
        libc::ELOOP
    );
    let created = host.create(
        root_user(),
        site,
        &name("file"),
        libc::O_RDWR | libc::O_TRUNC,
    );
    assert_eq!(code(created), libc::ELOOP);
    let truncate = SetattrIn::default();
    let valid = SetattrValid::SIZE;
    assert_eq!(
        code(shares.setattr(root_user(), file.inode, truncate, None, valid)),
        libc::EINVAL
    );
    assert_eq!(
        fs::read(host.path("outside/file")).expect("there"),
        b"outside"
    );
    // A link's target is the guest's own business.
    shares
        .symlink(
            root_user(),
            &name("../../outside"),
            site,
            &name("l"),
            Extensions::default(),
        )
        .expect("made");
}

#[test]
fn denied_folders_are_not_there() {
    let host = Host::new();
    let home = host.open("home/u", false);
    assert_eq!(host.names(home), [".config", "site"]);
    let config = host.walk(home, ".config");
    assert_eq!(host.names(config), ["app"]);
    let before = snapshot(&host.path("home/u"));
    let index = host.walk(home, "site/index");
    for (folder, text) in [(home, ".ssh"), (home, ".SSH"), (config, "keys")] {
        for (way, result) in host.all_ways(folder, index, &name(text)) {
            let code = code(result);
            assert!(
                matches!(code, libc::ENOENT | libc::EPERM),
                "{way} {text}: {code}"
            );
        }
    }
    // The way to one stays where it is.
    let shares = &host.shares;
    let moved = shares.rename(root_user(), home, &name(".config"), home, &name("c"), 0);
    assert_eq!(code(moved), libc::EPERM);
    let exchange = libc::RENAME_EXCHANGE;
    let exchanged = shares.rename(
        root_user(),
        home,
        &name("site"),
        home,
        &name(".config"),
        exchange,
    );
    assert_eq!(code(exchanged), libc::EPERM);
    assert_eq!(snapshot(&host.path("home/u")), before);
    // Elsewhere the same names are names.
    let site = host.walk(home, "site");
    for text in [".ssh", "keys"] {
        shares
            .mkdir(
                root_user(),
                site,
                &name(text),
                0o755,
                0,
                Extensions::default(),
            )
            .expect("made");
    }
    assert_eq!(host.names(site), [".ssh", "index", "keys"]);
}

#[test]
fn a_denied_folder_that_is_not_there_yet_cannot_be_made() {
    let host = Host::new();
    fs::remove_dir_all(host.path("home/u/.ssh")).expect("removed");
    let home = host.open("home/u", false);
    let made = host.shares.mkdir(
        root_user(),
        home,
        &name(".ssh"),
        0o755,
        0,
        Extensions::default(),
    );
    assert_eq!(code(made), libc::EPERM);
    fs::create_dir(host.path("home/u/.ssh")).expect("made");
    assert_eq!(code(host.lookup(home, ".ssh")), libc::ENOENT);
}

#[test]
fn a_folder_full_of_hidden_entries_is_listed_to_its_end() {
    let host = Host::new();
    // More than a part of a listing holds.
    for number in 0..500 {
        let path = host.path(&format!("home/u/{number:0200}"));
        fs::write(path, "").expect("written");
    }
    let home = host.open("home/u", false);
    assert_eq!(host.names(home).len(), 502);
}

#[test]
fn a_read_only_grant_changes_nothing() {
    let host = Host::new();
    let site = host.open("home/u/site", true);
    let index = host.walk(site, "index");
    let before = snapshot(&host.root);
    for (way, result) in host.all_ways(site, index, &name("name")) {
        let code = code(result);
        let expected = if way == "lookup" {
            libc::ENOENT
        } else {
            libc::EROFS
        };
        assert_eq!(code, expected, "{way}");
    }
    let shares = &host.shares;
    for flags in [libc::O_RDWR, libc::O_WRONLY, libc::O_RDONLY | libc::O_TRUNC] {
        assert_ne!(
            code(shares.open(root_user(), index, false, flags.cast_unsigned())),
            0
        );
    }
    // `O_PATH` would pass virtiofsd's wrapper; without it the access mode is judged.
    let sly = (libc::O_PATH | libc::O_RDWR).cast_unsigned();
    assert_eq!(
        code(shares.open(root_user(), index, false, sly)),
        libc::EROFS
    );
    let created = host.create(root_user(), site, &name("index"), libc::O_RDWR);
    assert_eq!(code(created), libc::EROFS);
    let set = shares.setattr(
        root_user(),
        index,
        SetattrIn::default(),
        None,
        SetattrValid::MODE,
    );
    assert_eq!(code(set), libc::EROFS);
    let set = shares.setxattr(
        root_user(),
        index,
        &name("user.x"),
        b"",
        0,
        SetxattrFlags::empty(),
    );
    assert_eq!(code(set), libc::EROFS);
    host.create(root_user(), site, &name("index"), libc::O_RDONLY)
        .expect("what is there can be read");
    assert_eq!(snapshot(&host.root), before);
}

#[test]
fn a_granted_file_shows_nothing_else_of_its_folder() {
    let host = Host::new();
    fs::write(host.path("home/u/site/other"), "other").expect("written");
    let granted = host.grant("home/u/site/index", false);
    assert_eq!(granted.rest, "index");
    let folder = host.walk(ROOT_ID, &granted.number.to_string());
    assert_eq!(host.names(folder), ["index"]);
    let index = host.walk(folder, "index");
    let before = snapshot(&host.root);
    for (way, result) in host.all_ways(folder, index, &name("other")) {
        let code = code(result);
        assert!(matches!(code, libc::ENOENT | libc::EPERM), "{way}: {code}");
    }
    let shares = &host.shares;
    for (way, result) in host.all_ways(folder, index, &name("index")) {
        let code = code(result);
        let expected = if matches!(way, "lookup" | "create" | "mknod") {
            0
        } else {
            libc::EPERM
        };
        // The file is there already, so making it anew fails, but not for the name.
        assert!(
            code == expected || (way == "mknod" && code == libc::EEXIST),
            "{way}: {code}"
        );
    }
    for valid in [SetattrValid::MODE, SetattrValid::MTIME] {
        let set = shares.setattr(root_user(), folder, SetattrIn::default(), None, valid);
        assert_eq!(code(set), libc::EPERM);
    }
    assert_eq!(
        code(shares.listxattr(root_user(), folder, 100)),
        libc::EPERM
    );
    assert_eq!(snapshot(&host.root), before);
    // An editor replaces the file; the grant shows the new one.
    fs::write(host.path("home/u/site/tmp"), "newer!").expect("written");
    fs::rename(host.path("home/u/site/tmp"), host.path("home/u/site/index")).expect("moved");
    assert_eq!(host.lookup(folder, "index").expect("there").attr.size, 6);
    // A folder in its place is not what was granted.
    fs::remove_file(host.path("home/u/site/index")).expect("removed");
    fs::create_dir(host.path("home/u/site/index")).expect("made");
    assert_eq!(code(host.lookup(folder, "index")), libc::ENOENT);
    assert!(host.names(folder).is_empty());
}

#[test]
fn every_user_of_the_guest_is_the_user_here_and_root_there() {
    let mut us = Owner::of_process();
    if us.uid == 0 {
        // Root may be somebody else, which tells the maps from none.
        us = Owner {
            uid: 65534,
            gid: 65533,
        };
    }
    let host = Host::owned_by(us);
    let folder = host.path("home/u/site");
    std::os::unix::fs::chown(&folder, Some(us.uid), Some(us.gid)).expect("given to them");
    let site = host.open("home/u/site", false);
    let seen = host.lookup(ROOT_ID, "1").expect("there").attr;
    assert_eq!((seen.uid.into_inner(), seen.gid.into_inner()), (0, 0));
    for id in [0, 1, 1000, 65534, u32::MAX - 1, u32::MAX] {
        let file = format!("by-{id}");
        let (entry, _) = host
            .create(user(id), site, &name(&file), libc::O_RDWR)
            .expect("made");
        assert_eq!(
            (entry.attr.uid.into_inner(), entry.attr.gid.into_inner()),
            (0, 0),
            "{id}"
        );
        let seen = fs::metadata(host.path("home/u/site").join(&file)).expect("there");
        assert_eq!((seen.uid(), seen.gid()), (us.uid, us.gid), "{id}");
        // chown succeeds and changes nothing.
        let owner = SetattrIn {
            uid: GuestUid::from(id),
            gid: GuestGid::from(id),
            ..SetattrIn::default()
        };
        let valid = SetattrValid::UID | SetattrValid::GID;
        host.shares
            .setattr(root_user(), entry.inode, owner, None, valid)
            .expect("taken");
        let seen = fs::metadata(host.path("home/u/site").join(&file)).expect("there");
        assert_eq!((seen.uid(), seen.gid()), (us.uid, us.gid), "{id}");
    }
}

#[test]
fn pipes_are_shown_and_never_opened_and_devices_never_made() {
    let host = Host::new();
    let site = host.open("home/u/site", false);
    let shares = &host.shares;
    let mknod = |text: &str, mode| {
        shares.mknod(
            root_user(),
            site,
            &name(text),
            mode,
            0x0103,
            0,
            Extensions::default(),
        )
    };
    let pipe = mknod("pipe", libc::S_IFIFO | 0o644).expect("made");
    assert!(
        fs::metadata(host.path("home/u/site/pipe"))
            .expect("there")
            .file_type()
            .is_fifo()
    );
    // Each of these would wait for a writer for ever.
    assert_eq!(
        code(shares.open(root_user(), pipe.inode, false, 0)),
        libc::ENXIO
    );
    let created = host.create(root_user(), site, &name("pipe"), libc::O_RDONLY);
    assert_eq!(code(created), libc::ENXIO);
    for mode in [
        libc::S_IFCHR,
        libc::S_IFBLK,
        libc::S_IFDIR,
        libc::S_IFLNK,
        libc::S_IFMT,
    ] {
        assert_eq!(code(mknod("device", mode | 0o644)), libc::EPERM, "{mode:o}");
    }
    let whiteout = shares.rename(
        root_user(),
        site,
        &name("index"),
        site,
        &name("i"),
        libc::RENAME_WHITEOUT,
    );
    assert_eq!(code(whiteout), libc::EINVAL);
}

#[test]
fn offsets_beyond_what_the_host_knows_are_refused() {
    let host = Host::new();
    let site = host.open("home/u/site", false);
    let (file, handle) = host
        .create(root_user(), site, &name("file"), libc::O_RDWR)
        .expect("made");
    let shares = &host.shares;
    for offset in [u64::MAX, 1 << 63, (1 << 63) - 1] {
        let mut text = Bytes(Vec::new());
        let read = shares.read(
            root_user(),
            file.inode,
            handle,
            &mut text,
            5,
            offset,
            None,
            0,
        );
        assert_eq!(code(read), libc::EINVAL, "{offset:#x}");
        let text = Bytes(b"guest".to_vec());
        let write = shares.write(
            root_user(),
            file.inode,
            handle,
            text,
            5,
            offset,
            None,
            false,
            false,
            0,
        );
        assert_eq!(code(write), libc::EINVAL, "{offset:#x}");
    }
}

#[test]
fn set_id_bits_do_not_reach_the_host() {
    let host = Host::new();
    let site = host.open("home/u/site", false);
    let (made, _, _) = host
        .shares
        .create(
            root_user(),
            site,
            &name("s"),
            0o106_755,
            false,
            0,
            0,
            Extensions::default(),
        )
        .expect("made");
    let mode = SetattrIn {
        mode: 0o106_755,
        ..SetattrIn::default()
    };
    host.shares
        .setattr(root_user(), made.inode, mode, None, SetattrValid::MODE)
        .expect("taken");
    let seen = fs::metadata(host.path("home/u/site/s")).expect("there");
    assert_eq!(seen.permissions().mode() & 0o7777, 0o755);
}

#[test]
fn only_attributes_of_users_own_are_set_and_shown() {
    let host = Host::new();
    let site = host.open("home/u/site", false);
    let index = host.walk(site, "index");
    let shares = &host.shares;
    for text in [
        "security.capability",
        "trusted.x",
        "system.posix_acl_access",
        "user",
        "",
    ] {
        let set = shares.setxattr(
            root_user(),
            index,
            &name(text),
            b"x",
            0,
            SetxattrFlags::empty(),
        );
        assert_eq!(code(set), libc::ENOTSUP, "{text}");
        assert_eq!(
            code(shares.getxattr(root_user(), index, &name(text), 0)),
            libc::ENOTSUP
        );
        assert_eq!(
            code(shares.removexattr(root_user(), index, &name(text))),
            libc::ENOTSUP
        );
    }
    match shares.setxattr(
        root_user(),
        index,
        &name("user.x"),
        b"x",
        0,
        SetxattrFlags::empty(),
    ) {
        Ok(()) => match shares.listxattr(root_user(), index, 1000).expect("listed") {
            ListxattrReply::Names(names) => assert_eq!(names, b"user.x\0"),
            ListxattrReply::Count(_) => panic!("names were asked for"),
        },
        // The file system of the test's folder has none.
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOTSUP)),
    }
}

#[test]
fn a_new_mount_of_the_guests_begins_anew() {
    let host = Host::new();
    let site = host.open("home/u/site", false);
    let index = host.walk(site, "index");
    host.shares.destroy();
    assert_eq!(
        code(host.shares.getattr(root_user(), index, None)),
        libc::EBADF
    );
    // Granted while nothing is mounted.
    let app = host.grant("home/u/.config/app", false);
    host.shares.init(FsOptions::all()).expect("init");
    assert_eq!(host.names(site), ["index"]);
    assert!(
        host.names(host.walk(ROOT_ID, &app.number.to_string()))
            .is_empty()
    );
}

#[test]
fn our_umask_is_kept_from_the_passthrough() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("it is there");
    let shares = Shares::new(Owner::of_process(), 1000);
    let policy = Policy::new(vec![root.clone()], vec![]);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let wish = Wish {
        path: root.join("made"),
        read_only: false,
        create: true,
    };
    shares.grant(&policy, &wish).expect("shared");
    fs::create_dir(root.join("later")).expect("made");
    let mode = |name: &str| {
        fs::metadata(root.join(name))
            .expect("there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("made"), mode("later")), (0o750, 0o750));
}
