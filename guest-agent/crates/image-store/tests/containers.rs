//! Containers' own layers.

mod common;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use common::{Fixture, Image, container, layer, needs_root};
use engine::ports::{
    images::Images,
    rootfs::{Rootfs, RootfsStore},
};
use errdefs::{Classify, ErrorKind};

fn image() -> Image {
    Image::new(&[
        layer(&[
            ("etc/", ""),
            ("etc/passwd", "root:x:0:0"),
            ("etc/abs -> /etc/passwd", ""),
            ("etc/up -> ../../../../etc/passwd", ""),
            ("etc/loop -> loop", ""),
            ("var/", ""),
            ("var/data/", "0750"),
            ("var/data/a", "1"),
            ("var/data/b", "22"),
        ]),
        layer(&[
            ("etc/.wh.abs", ""),
            ("etc/second", "2"),
            ("var/data/.wh.b", ""),
        ]),
    ])
}

async fn with_container() -> Fixture {
    let fixture = Fixture::new();
    fixture.load(image().archive(&["app"])).await;
    let picked = fixture.store.pick("app", None).await.expect("picked");
    fixture
        .store
        .create(&container('a'), &picked)
        .await
        .expect("made");
    fixture
}

fn upper(mounts: &Rootfs) -> &Path {
    match mounts {
        Rootfs::Overlay { upper, .. } => upper,
        Rootfs::Folder(folder) => folder,
    }
}

#[tokio::test]
async fn a_container_stands_on_its_image_with_short_paths() {
    if needs_root() {
        return;
    }
    let fixture = with_container().await;
    let id = container('a');
    let mounts = fixture.store.mounts(&id).await.expect("mounts");
    let Rootfs::Overlay { lower, upper, work } = &mounts else {
        panic!("{mounts:?}");
    };
    let [init, lower @ ..] = &lower[..] else {
        panic!("nothing below");
    };
    assert!(init.join(".dockerenv").is_file());
    assert_eq!(lower.len(), 2);
    assert!(lower[0].join("etc/second").exists(), "topmost first");
    assert!(
        lower
            .iter()
            .all(|path| path.file_name().is_some_and(|name| name == "d"))
    );
    assert!(upper.is_dir() && work.is_dir());
    let root = fixture.folder.path().canonicalize().expect("there");
    assert!(lower[0].as_os_str().len() <= root.as_os_str().len() + "/l/999/d".len());
    let again = fixture.store.pick("app", None).await.expect("picked");
    fixture.store.create(&id, &again).await.expect("idempotent");
    assert_eq!(fixture.store.containers().await.expect("listed"), [id]);
    let error = fixture.store.mounts(&container('b')).await;
    assert_eq!(error.expect_err("unknown").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_root_has_the_owner_and_mode_of_the_image() {
    if needs_root() {
        return;
    }
    let fixture = Fixture::new();
    let image = Image::new(&[layer(&[("./", "0711")]), layer(&[("a", "1")])]);
    fixture.load(image.archive(&["app"])).await;
    let picked = fixture.store.pick("app", None).await.expect("picked");
    let id = container('a');
    fixture.store.create(&id, &picked).await.expect("made");
    let mounts = fixture.store.mounts(&id).await.expect("mounts");
    let mode = fs::metadata(upper(&mounts)).expect("there").mode();
    assert_eq!(mode & 0o7777, 0o711);
}

#[tokio::test]
async fn an_image_without_layers_is_nearly_empty() {
    let fixture = Fixture::new();
    fixture.load(Image::new(&[]).archive(&["scratch"])).await;
    let picked = fixture.store.pick("scratch", None).await.expect("picked");
    let id = container('a');
    fixture.store.create(&id, &picked).await.expect("made");
    let mounts = fixture.store.mounts(&id).await.expect("mounts");
    let Rootfs::Overlay { lower, .. } = &mounts else {
        panic!("{mounts:?}");
    };
    assert_eq!(lower.len(), 1);
    fs::write(upper(&mounts).join("f"), "x").expect("written");
    let read = fixture.store.read_file(&id, Path::new("/f")).await;
    assert_eq!(read.expect("read").as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn files_are_read_as_the_container_sees_them() {
    if needs_root() {
        return;
    }
    let fixture = with_container().await;
    let id = container('a');
    let check = async |path: &str, expected: Option<&str>| {
        let read = fixture.store.read_file(&id, Path::new(path)).await;
        let read = read.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(read.as_deref(), expected.map(str::as_bytes), "{path}");
    };
    check("/etc/passwd", Some("root:x:0:0")).await;
    check("etc/second", Some("2")).await;
    check("/etc/up", Some("root:x:0:0")).await;
    check("/../../etc/passwd", Some("root:x:0:0")).await;
    for nothing in [
        "/etc/abs",
        "/etc/loop",
        "/nosuch",
        "/etc",
        "/etc/passwd/x",
        "/var/data/b",
    ] {
        check(nothing, None).await;
    }
    // What the container itself wrote, links out of it included.
    let mounts = fixture.store.mounts(&id).await.expect("mounts");
    let own = upper(&mounts).join("etc");
    fs::create_dir(&own).expect("made");
    fs::write(own.join("passwd"), "mine").expect("written");
    std::os::unix::fs::symlink("/etc/passwd", own.join("link")).expect("linked");
    std::os::unix::fs::symlink("../../../../../../etc/shadow", own.join("shadow")).expect("linked");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        own.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .expect("made");
    fs::write(own.join("large"), vec![0; (1 << 20) + 1]).expect("written");
    check("/etc/passwd", Some("mine")).await;
    check("/etc/link", Some("mine")).await;
    check("/etc/shadow", None).await;
    check("/etc/fifo", None).await;
    let large = fixture.store.read_file(&id, Path::new("/etc/large")).await;
    assert_eq!(
        large.expect_err("too large").kind(),
        ErrorKind::InvalidParameter
    );
}

#[tokio::test]
async fn a_volume_is_filled_with_what_the_image_has() {
    if needs_root() {
        return;
    }
    let fixture = with_container().await;
    let id = container('a');
    let mounts = fixture.store.mounts(&id).await.expect("mounts");
    let own = upper(&mounts).join("var/data");
    fs::create_dir_all(&own).expect("made");
    fs::write(own.join("c"), "333").expect("written");
    fs::hard_link(own.join("c"), own.join("d")).expect("linked");
    std::os::unix::fs::symlink("/etc/passwd", own.join("link")).expect("linked");
    rustix::fs::setxattr(
        own.join("c"),
        "user.mine",
        b"yes",
        rustix::fs::XattrFlags::empty(),
    )
    .expect("set");
    let volume = tempfile::tempdir().expect("folder");
    let copied = fixture
        .store
        .copy_up(&id, Path::new("/etc/../var/data"), volume.path())
        .await;
    assert!(copied.expect("copied"));
    assert_eq!(common::names_in(volume.path()), ["a", "c", "d", "link"]);
    let read = |name: &str| fs::read_to_string(volume.path().join(name)).expect("there");
    assert_eq!((read("a"), read("c")), ("1".to_owned(), "333".to_owned()));
    let link = fs::read_link(volume.path().join("link")).expect("a link");
    assert_eq!(link, Path::new("/etc/passwd"));
    let metadata = |name: &str| fs::symlink_metadata(volume.path().join(name)).expect("there");
    assert_eq!(metadata("a").mtime(), 1_000_000);
    assert_eq!(metadata("c").ino(), metadata("d").ino());
    let mut value = [0; 8];
    let count = rustix::fs::getxattr(volume.path().join("c"), "user.mine", &mut value[..]);
    assert_eq!(&value[..count.expect("there")], b"yes");

    let empty = tempfile::tempdir().expect("folder");
    for nothing in ["/nosuch", "/etc/passwd", "/etc/loop"] {
        let copied = fixture
            .store
            .copy_up(&id, Path::new(nothing), empty.path())
            .await;
        assert!(!copied.expect("no error"), "{nothing}");
    }
    assert!(common::names_in(empty.path()).is_empty());
}

#[tokio::test]
async fn usage_counts_the_containers_own_bytes_and_the_images() {
    if needs_root() {
        return;
    }
    let fixture = with_container().await;
    let id = container('a');
    let (before, image) = fixture.store.usage(&id).await.expect("measured");
    assert_eq!(image, 14);
    let mounts = fixture.store.mounts(&id).await.expect("mounts");
    fs::write(upper(&mounts).join("f"), "12345").expect("written");
    // On disk a file takes whole blocks.
    let (after, _) = fixture.store.usage(&id).await.expect("measured");
    assert!(
        after >= before + 512 && after % 512 == 0,
        "{before} {after}"
    );
}

#[tokio::test]
async fn a_container_holds_its_image_until_it_goes() {
    if needs_root() {
        return;
    }
    let fixture = with_container().await;
    let id = container('a');
    fixture.store.remove_image("app").await;
    assert!(fixture.store.get("app", None).await.is_err());
    assert_eq!(fixture.files("l").len(), 2, "held");
    let fixture = fixture.reopened();
    assert_eq!(fixture.files("l").len(), 2, "held by what is on disk");
    let read = fixture.store.read_file(&id, Path::new("/etc/second")).await;
    assert_eq!(read.expect("read").as_deref(), Some(&b"2"[..]));
    fixture.remove_container('a').await;
    for folder in ["containers", "l"] {
        assert!(fixture.files(folder).is_empty(), "{folder} is not needed");
    }
    // The trash is emptied behind, and nobody is told when.
    let end = Instant::now() + Duration::from_secs(10);
    while !fixture.is_empty() {
        assert!(Instant::now() < end, "nothing is needed any more");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fixture.remove_container('a').await;
    assert!(fixture.store.containers().await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_half_made_container_is_cleared_and_a_damaged_one_can_be_removed() {
    if needs_root() {
        return;
    }
    let fixture = with_container().await;
    let folder = fixture.folder.path().join("containers");
    let half = folder.join(format!(".new-{}", container('b')));
    fs::create_dir_all(half.join("upper")).expect("made");
    fs::write(
        folder.join(container('a').as_str()).join("image.json"),
        "{\"ima",
    )
    .expect("torn");
    let fixture = fixture.reopened();
    assert_eq!(fixture.files("containers"), [container('a').to_string()]);
    assert!(fixture.files("trash").is_empty());
    let error = fixture.store.mounts(&container('a')).await;
    assert_eq!(error.expect_err("damaged").kind(), ErrorKind::DataLoss);
    fixture.remove_container('a').await;
    assert!(fixture.files("containers").is_empty());
    assert!(fixture.store.get("app", None).await.is_ok(), "untouched");
}

#[tokio::test]
async fn starting_writes_nothing() {
    if needs_root() {
        return;
    }
    let fixture = with_container().await;
    let id = container('a');
    let first = fixture.store.mounts(&id).await.expect("mounts");
    // Not even reads: the disk is not looked at.
    fs::remove_dir_all(fixture.folder.path().join("blobs")).expect("removed");
    fs::remove_file(fixture.folder.path().join("names")).expect("removed");
    assert_eq!(fixture.store.mounts(&id).await.expect("mounts"), first);
}

impl Fixture {
    async fn remove_container(&self, digit: char) {
        RootfsStore::remove(&*self.store, &container(digit))
            .await
            .expect("removed");
    }
}

trait RemoveImage {
    async fn remove_image(&self, text: &str);
}

impl RemoveImage for image_store::ImageStore {
    async fn remove_image(&self, text: &str) {
        Images::remove(self, text, false).await.expect("removed");
    }
}
