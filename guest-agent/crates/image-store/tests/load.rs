//! Archives in, images out.

mod common;

use common::{
    ARCH, Fixture, INDEX, Image, MANIFEST, Packed, append, blob, files_tar, index, layer, layout,
    needs_root, pack, raw,
};
use engine::ports::{images::Images, rootfs::RootfsStore};
use errdefs::{Classify, ErrorKind};
use oci::Digest;
use serde_json::json;

fn one() -> Image {
    Image::new(&[layer(&[("etc/", ""), ("etc/hostname", "one")])])
}

#[tokio::test]
async fn an_image_is_there_by_its_names_and_its_id() {
    let fixture = Fixture::new();
    let image = one();
    let loaded = fixture
        .load(image.archive(&["docker.io/library/one:latest", "ghcr.io/a/one:2"]))
        .await;
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].id, image.id());
    assert_eq!(loaded[0].names, ["one:latest", "ghcr.io/a/one:2"]);
    for text in [
        "one",
        "ghcr.io/a/one:2",
        image.id().as_str(),
        &image.id().hex()[..12],
    ] {
        let found = fixture.store.get(text, None).await.expect(text);
        assert_eq!(found.target.digest, image.id());
        assert_eq!(
            found.tags,
            ["docker.io/library/one:latest", "ghcr.io/a/one:2"]
        );
        assert_eq!(
            found.digests,
            [
                format!("docker.io/library/one@{}", image.id()),
                format!("ghcr.io/a/one@{}", image.id())
            ]
        );
        assert_eq!(found.layer_sizes, [3]);
        assert_eq!(
            found.size_bytes,
            3 + (image.manifest.len() + image.config.len()) as u64
        );
        assert!(found.tagged.0 > 0);
    }
    let picked = fixture.store.pick("one", None).await.expect("picked");
    assert_eq!(picked.id, image.id());
    assert_eq!(picked.name.as_deref(), Some("docker.io/library/one:latest"));
    assert_eq!(picked.layers, image.diff_ids);
    let by_id = fixture.store.pick(image.id().hex(), None).await;
    assert_eq!(by_id.expect("picked").name, None);
}

#[tokio::test]
async fn packed_archives_and_packed_layers_are_read() {
    for outer in [Packed::Plain, Packed::Gzip, Packed::Zstd] {
        for inner in [Packed::Plain, Packed::Gzip, Packed::Zstd] {
            let fixture = Fixture::new();
            let image = Image::with(&[layer(&[("a", "1")])], inner, ARCH);
            let archive = pack(&image.archive(&["a:1"]), outer);
            assert_eq!(fixture.load(archive).await[0].id, image.id());
            assert_eq!(fixture.files("l").len(), 1, "unpacked");
        }
    }
}

#[tokio::test]
async fn an_old_archive_gets_the_manifest_that_docker_gives_it() {
    let fixture = Fixture::new();
    let image = one();
    let loaded = fixture
        .load(image.legacy_archive(&["one:1", "two:1"]))
        .await;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar","digest":"{}","size":{}}}]}}"#,
        Digest::of(&image.config),
        image.config.len(),
        image.diff_ids[0],
        image.layers[0].len()
    );
    assert_eq!(loaded[0].id, Digest::of(manifest.as_bytes()));
    assert_eq!(loaded[0].names, ["one:1", "two:1"]);
    let found = fixture.store.get("two:1", None).await.expect("found");
    assert_eq!(found.layer_sizes, [3]);
}

#[tokio::test]
async fn links_of_old_archives_stand_for_layers() {
    let fixture = Fixture::new();
    let tar = layer(&[("a", "1")]);
    let image = Image::new(std::slice::from_ref(&tar));
    let config = json!([{"Config": "c.json", "RepoTags": null, "Layers": ["two/layer.tar"]}]);
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "c.json", &image.config);
    append(&mut archive, "one/layer.tar", &tar);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    archive
        .append_link(&mut header, "two/layer.tar", "../one/layer.tar")
        .expect("link");
    append(
        &mut archive,
        "manifest.json",
        &serde_json::to_vec(&config).expect("json"),
    );
    let loaded = fixture.load(archive.into_inner().expect("tar")).await;
    assert!(loaded[0].names.is_empty());
    let id = loaded[0].id.to_string();
    let found = fixture.store.get(&id, None).await.expect("found");
    assert!(found.tags.is_empty() && found.digests.is_empty());
}

#[tokio::test]
async fn an_index_keeps_the_platforms_that_are_there() {
    let fixture = Fixture::new();
    let foreign = if ARCH == "s390x" { "amd64" } else { "s390x" };
    let own = Image::with(&[layer(&[("own", "1")])], Packed::Gzip, ARCH);
    let other = Image::with(&[layer(&[("other", "22")])], Packed::Gzip, foreign);
    let absent = Image::with(&[layer(&[("absent", "333")])], Packed::Gzip, "mips64le");
    let document = index(&[&other, &own, &absent], &[]);
    let mut files = [own.blobs(), other.blobs()].concat();
    files.push(blob(&document));
    let loaded = fixture
        .load(layout(&[(INDEX, &document, &["multi"])], files))
        .await;
    let id = Digest::of(&document);
    assert_eq!(loaded[0].id, id);
    let picked = fixture.store.pick("multi", None).await.expect("picked");
    assert_eq!((&picked.id, &picked.manifest.digest), (&id, &own.id()));
    let platform = format!("linux/{foreign}");
    let picked = fixture
        .store
        .pick("multi", Some(&platform))
        .await
        .expect("picked");
    assert_eq!(picked.manifest.digest, other.id());
    assert_eq!(
        fixture.files("l").len(),
        1,
        "only the machine's own is unpacked"
    );
    fixture
        .store
        .create(&common::container('a'), &picked)
        .await
        .expect("made");
    assert_eq!(fixture.files("l").len(), 2, "the other when it is wanted");
    let error = fixture
        .store
        .pick("multi", Some("linux/mips64le"))
        .await
        .expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "image with reference multi:latest was found but does not provide the specified platform (linux/mips64le)"
    );
}

#[tokio::test]
async fn an_attestation_is_kept_and_never_picked() {
    let fixture = Fixture::new();
    let own = one();
    let statement = b"a statement".to_vec();
    let config = json!({"architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&statement).as_str()]}});
    let attestation = Image::from_parts(
        serde_json::to_vec(&config).expect("json"),
        vec![statement],
        vec![],
    );
    let mut entry = raw(MANIFEST, &attestation.manifest);
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": own.id().as_str()});
    let document = index(&[&own], &[entry]);
    let mut files = [own.blobs(), attestation.blobs()].concat();
    files.push(blob(&document));
    fixture
        .load(layout(&[(INDEX, &document, &["signed"])], files))
        .await;
    let picked = fixture.store.pick("signed", None).await.expect("picked");
    assert_eq!(picked.manifest.digest, own.id());
    assert_eq!(fixture.files("blobs/sha256").len(), 7, "kept, too");
}

#[tokio::test]
async fn layers_on_each_other_are_unpacked_once() {
    if needs_root() {
        return;
    }
    let fixture = Fixture::new();
    let base = layer(&[("a", "1"), ("b", "1")]);
    let first = Image::new(&[base.clone(), layer(&[(".wh.a", ""), ("c", "22")])]);
    let second = Image::new(&[base, layer(&[("d", "333")])]);
    fixture.load(first.archive(&["first"])).await;
    fixture.load(second.archive(&["second"])).await;
    assert_eq!(fixture.files("l").len(), 3);
    let list = fixture.store.list().await.expect("listed");
    assert_eq!(list.len(), 2);
    let found = fixture.store.get("first", None).await.expect("found");
    assert_eq!(found.layer_sizes, [2, 2]);
    let names = common::names_in(&fixture.folder.path().join("l/2/d"));
    assert_eq!(names, ["a", "c"], "the whiteout and the file");
}

#[tokio::test]
async fn a_hundred_and_twenty_five_layers_work() {
    if needs_root() {
        return;
    }
    let fixture = Fixture::new();
    let tars: Vec<Vec<u8>> = (0..125)
        .map(|number| layer(&[(format!("f{number}").as_str(), "x")]))
        .collect();
    let image = Image::new(&tars);
    fixture.load(image.archive(&["deep"])).await;
    let picked = fixture.store.pick("deep", None).await.expect("picked");
    let id = common::container('d');
    fixture.store.create(&id, &picked).await.expect("made");
    for name in ["f0", "f124"] {
        let read = fixture.store.read_file(&id, name.as_ref()).await;
        assert_eq!(read.expect("read").as_deref(), Some(&b"x"[..]));
    }
}

#[tokio::test]
async fn a_name_that_moves_leaves_its_old_image_without() {
    let fixture = Fixture::new();
    let (old, new) = (one(), Image::new(&[layer(&[("new", "2")])]));
    fixture.load(old.archive(&["app"])).await;
    fixture.load(new.archive(&["app"])).await;
    let found = fixture.store.get("app", None).await.expect("found");
    assert_eq!(found.target.digest, new.id());
    let found = fixture.store.get(old.id().as_str(), None).await;
    assert!(found.expect("still there").tags.is_empty());
    assert_eq!(fixture.store.list().await.expect("listed").len(), 2);
}

#[tokio::test]
async fn everything_is_there_after_the_store_is_opened_again() {
    let fixture = Fixture::new();
    let image = one();
    fixture.load(image.archive(&["app"])).await;
    let before = fixture.store.get("app", None).await.expect("found");
    let fixture = fixture.reopened();
    let after = fixture.store.get("app", None).await.expect("found");
    assert_eq!(after.target, before.target);
    assert_eq!(after.layer_sizes, before.layer_sizes);
    assert_eq!(after.tagged, before.tagged);
}

/// It is refused, by the client's fault, with a text that says why; and nothing is kept.
async fn check_refused(archive: Vec<u8>, why: &str) {
    let fixture = Fixture::new();
    let error = fixture.try_load(archive).await.expect_err(why);
    assert!(error.to_string().contains(why), "{why:?} in {error}");
    assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
    assert!(fixture.is_empty(), "{why}: something is left");
    assert!(fixture.store.list().await.expect("listed").is_empty());
}

#[tokio::test]
async fn what_is_no_archive_of_images_is_refused() {
    check_refused(b"no tar at all".repeat(100), "read the archive").await;
    check_refused(Vec::new(), "unrecognized image format").await;
    check_refused(
        files_tar(&[("a".to_owned(), b"1".to_vec())]),
        "unrecognized image format",
    )
    .await;
    check_refused(
        files_tar(&[("manifest.json".to_owned(), b"{".to_vec())]),
        "manifest.json",
    )
    .await;
    let layout = br#"{"imageLayoutVersion":"9.0.0"}"#.to_vec();
    check_refused(
        files_tar(&[("oci-layout".to_owned(), layout)]),
        "unsupported OCI version 9.0.0",
    )
    .await;
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    check_refused(
        files_tar(&[("oci-layout".to_owned(), layout)]),
        "missing index.json",
    )
    .await;
}

#[tokio::test]
async fn cut_archives_are_refused_wherever_they_are_cut() {
    let image = Image::with(&[layer(&[("a", &"x".repeat(3000))])], Packed::Gzip, ARCH);
    let archive = image.archive(&["a"]);
    let gzip = pack(&archive, Packed::Gzip);
    for cut in [300, 700, 1500, 2600, archive.len() / 2] {
        check_refused(archive[..cut].to_vec(), "").await;
    }
    for cut in [5, gzip.len() / 2, gzip.len() - 4] {
        check_refused(gzip[..cut].to_vec(), "read the archive").await;
    }
}

#[tokio::test]
async fn content_that_does_not_fit_its_digests_is_refused() {
    let image = one();
    // A blob under another's name.
    let mut blobs = image.blobs();
    blobs[2].1.push(0);
    check_refused(
        layout(&[(MANIFEST, &image.manifest, &["a"])], blobs),
        "its content has digest",
    )
    .await;
    // A blob that is missing.
    let mut blobs = image.blobs();
    blobs.remove(2);
    check_refused(
        layout(&[(MANIFEST, &image.manifest, &["a"])], blobs),
        "is missing",
    )
    .await;
    // The manifest itself.
    check_refused(
        layout(&[(MANIFEST, &image.manifest, &["a"])], vec![]),
        "missing blobs/sha256/",
    )
    .await;
    // A layer that does not fit its diff ID.
    let tar = layer(&[("a", "1")]);
    let wrong = Image::from_parts(image.config.clone(), vec![tar], vec![]);
    check_refused(wrong.archive(&["a"]), "its config says").await;
    // A packed layer that ends early, and one whose checksum is wrong.
    let tar = layer(&[("a", &"x".repeat(3000))]);
    let whole = Image::with(std::slice::from_ref(&tar), Packed::Gzip, ARCH);
    let packed = &whole.layers[0];
    let mut flipped = packed.clone();
    let checksum = flipped.len() - 8;
    flipped[checksum] ^= 1;
    for bytes in [packed[..packed.len() - 9].to_vec(), flipped] {
        let wrong = Image::from_parts(whole.config.clone(), vec![bytes], vec![]);
        check_refused(wrong.archive(&["a"]), "layer sha256:").await;
    }
    // More layers than diff IDs.
    let layers = [image.layers.clone(), image.layers.clone()].concat();
    let wrong = Image::from_parts(image.config.clone(), layers, vec![]);
    check_refused(wrong.archive(&["a"]), "2 layers, and 1 diff IDs").await;
    // A layer that is no tar.
    let noise = b"noise".repeat(300);
    let wrong = Image::new(&[noise]);
    check_refused(wrong.archive(&["a"]), "read the layer's archive").await;
}

#[tokio::test]
async fn tricks_with_names_are_refused() {
    let image = one();
    let files = |name: &str, bytes: &[u8]| {
        let mut files = image.blobs();
        files.push((name.to_owned(), bytes.to_vec()));
        layout(&[(MANIFEST, &image.manifest, &["a"])], files)
    };
    check_refused(files("../evil", b"x"), "leads upward").await;
    check_refused(files("blobs/sha256/../../evil", b"x"), "leads upward").await;
    check_refused(files("blobs/sha256/evil", b"x"), "its content has digest").await;
    let mut twice = tar::Builder::new(Vec::new());
    append(&mut twice, "manifest.json", b"[]");
    append(&mut twice, "manifest.json", b"[ ]");
    check_refused(
        twice.into_inner().expect("tar"),
        "it is there twice, with different content",
    )
    .await;
    check_refused(image.archive(&["Not A Name"]), "normalize image ref").await;
    check_refused(image.legacy_archive(&["Not A Name"]), "normalize image ref").await;
    let legacy = json!([{"Config": "../../etc/passwd", "RepoTags": ["a"], "Layers": []}]);
    let legacy = serde_json::to_vec(&legacy).expect("json");
    check_refused(
        files_tar(&[("manifest.json".to_owned(), legacy)]),
        "not found",
    )
    .await;
}

#[tokio::test]
async fn nested_indexes_have_an_end() {
    let image = one();
    let mut files = image.blobs();
    let mut document = index(&[&image], &[]);
    for _ in 0..10 {
        files.push(blob(&document));
        document = index(&[], &[raw(INDEX, &document)]);
    }
    files.push(blob(&document));
    check_refused(
        layout(&[(INDEX, &document, &["a"])], files),
        "nested too deeply",
    )
    .await;
}

#[tokio::test]
async fn a_failed_load_leaves_what_was_there_before() {
    let fixture = Fixture::new();
    let image = one();
    fixture.load(image.archive(&["app"])).await;
    let other = Image::new(&[image.layers[0].clone(), b"noise".repeat(300)]);
    fixture
        .try_load(other.archive(&["app"]))
        .await
        .expect_err("refused");
    let found = fixture.store.get("app", None).await.expect("found");
    assert_eq!(found.target.digest, image.id());
    assert_eq!(fixture.files("blobs/sha256").len(), 3);
    assert_eq!(fixture.files("l").len(), 1);
}
