//! Images from a registry, blob by blob.

mod common;

use std::fs;

use common::{
    ARCH, CONFIG, Fixture, INDEX, Image, LAYER, MANIFEST, Packed, descriptor, index, layer,
    needs_root, nobody,
};
use engine::ports::{
    images::{BlobWriter, Descriptor, Images, Ingest},
    rootfs::RootfsStore,
};
use errdefs::{Classify, ErrorKind};
use oci::Digest;

fn image() -> Image {
    Image::with(
        &[layer(&[("a", "1")]), layer(&[("b", "22")])],
        Packed::Gzip,
        ARCH,
    )
}

async fn put(ingest: &dyn Ingest, media_type: &str, bytes: &[u8]) {
    let descriptor = descriptor(media_type, bytes);
    if let Some(mut writer) = ingest.blob(&descriptor).await.expect("opened") {
        let offset = usize::try_from(writer.offset()).expect("small");
        writer.write(&bytes[offset..]).await.expect("written");
        writer.commit().await.expect("kept");
    }
}

/// The writer of a blob that is not there yet.
async fn unfinished(ingest: &dyn Ingest, descriptor: &Descriptor) -> Box<dyn BlobWriter> {
    let writer = ingest.blob(descriptor).await.expect("opened");
    writer.expect("not whole yet")
}

/// As a pull does it.
async fn pull(fixture: &Fixture, image: &Image, name: &str) {
    let ingest = fixture.store.ingest().await.expect("begun");
    let target = descriptor(MANIFEST, &image.manifest);
    put(&*ingest, MANIFEST, &image.manifest).await;
    put(&*ingest, CONFIG, &image.config).await;
    for (position, layer) in image.layers.iter().enumerate() {
        put(&*ingest, LAYER, layer).await;
        let diff_ids = &image.diff_ids[..=position];
        let layer = descriptor(LAYER, layer);
        for _ in 0..2 {
            ingest
                .unpack(&layer, diff_ids, nobody())
                .await
                .expect("unpacked");
        }
        assert!(ingest.has_layer(diff_ids).await.expect("asked"));
    }
    ingest
        .finish(&name.parse().expect("a name"), &target, &image.id())
        .await
        .expect("named");
}

#[tokio::test]
async fn a_pulled_image_is_there_and_survives() {
    if needs_root() {
        return;
    }
    let fixture = Fixture::new();
    let image = image();
    pull(&fixture, &image, "app").await;
    let fixture = fixture.reopened();
    let found = fixture.store.get("app", None).await.expect("found");
    assert_eq!(found.target.digest, image.id());
    assert_eq!(found.layer_sizes, [1, 2]);
    assert!(fixture.files("ingest").is_empty());
    let picked = fixture.store.pick("app", None).await.expect("picked");
    assert_eq!(picked.layers.len(), 2);
}

#[tokio::test]
async fn a_pull_by_digest_names_the_digest() {
    if needs_root() {
        return;
    }
    let fixture = Fixture::new();
    let image = image();
    let name = format!("app:1@{}", image.id());
    pull(&fixture, &image, &name).await;
    let found = fixture.store.get(&name, None).await.expect("found");
    assert!(found.tags.is_empty());
    assert_eq!(
        found.digests,
        [format!("docker.io/library/app@{}", image.id())]
    );
}

#[tokio::test]
async fn a_blob_goes_on_where_it_broke_off() {
    let fixture = Fixture::new();
    let bytes = b"0123456789".repeat(800_000);
    let descriptor = descriptor(LAYER, &bytes);
    let half = bytes.len() / 2;
    {
        let ingest = fixture.store.ingest().await.expect("begun");
        let mut writer = unfinished(&*ingest, &descriptor).await;
        assert_eq!(writer.offset(), 0);
        for chunk in bytes[..half].chunks(10_000) {
            writer.write(chunk).await.expect("written");
        }
    }
    let fixture = fixture.reopened();
    assert_eq!(fixture.files("ingest").len(), 1, "kept");
    let ingest = fixture.store.ingest().await.expect("begun");
    let mut writer = unfinished(&*ingest, &descriptor).await;
    let offset = usize::try_from(writer.offset()).expect("small");
    assert!(offset > 0 && offset <= half, "{offset}");
    writer.write(&bytes[offset..]).await.expect("written");
    writer.commit().await.expect("kept");
    assert!(ingest.blob(&descriptor).await.expect("asked").is_none());
    let kept = fixture
        .folder
        .path()
        .join("blobs/sha256")
        .join(descriptor.digest.hex());
    assert_eq!(fs::read(kept).expect("there"), bytes);
}

#[tokio::test]
async fn a_blob_can_be_begun_anew() {
    let fixture = Fixture::new();
    let ingest = fixture.store.ingest().await.expect("begun");
    let descriptor = descriptor(LAYER, b"right");
    let mut writer = unfinished(&*ingest, &descriptor).await;
    writer.write(b"wro").await.expect("written");
    writer.restart().await.expect("thrown away");
    assert_eq!(writer.offset(), 0);
    writer.write(b"right").await.expect("written");
    writer.commit().await.expect("kept");
}

#[tokio::test]
async fn bytes_that_do_not_fit_are_thrown_away() {
    let fixture = Fixture::new();
    let ingest = fixture.store.ingest().await.expect("begun");
    let descriptor = descriptor(LAYER, b"right");
    for wrong in [&b"wrong"[..], b"rig"] {
        let mut writer = unfinished(&*ingest, &descriptor).await;
        assert_eq!(writer.offset(), 0, "nothing is left of the last try");
        writer.write(wrong).await.expect("written");
        let error = writer.commit().await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }
    let mut writer = unfinished(&*ingest, &descriptor).await;
    let error = writer.write(b"much too long").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    drop(writer);
    assert!(fixture.files("blobs/sha256").is_empty());
}

#[tokio::test]
async fn a_damaged_partial_blob_is_found_out() {
    let fixture = Fixture::new();
    let descriptor = descriptor(LAYER, b"right");
    let partial = format!("ingest/blob-{}", descriptor.digest.hex());
    fs::write(fixture.folder.path().join(&partial), "\0\0\0").expect("torn by a power cut");
    let ingest = fixture.store.ingest().await.expect("begun");
    let mut writer = unfinished(&*ingest, &descriptor).await;
    assert_eq!(writer.offset(), 3);
    writer.write(b"ht").await.expect("written");
    assert_eq!(
        writer.commit().await.expect_err("refused").kind(),
        ErrorKind::DataLoss
    );
    put(&*ingest, LAYER, b"right").await;
    // One that is longer than it may be is no good at all.
    let descriptor = common::descriptor(LAYER, b"1");
    let partial = format!("ingest/blob-{}", descriptor.digest.hex());
    fs::write(fixture.folder.path().join(&partial), "12345").expect("written");
    let writer = unfinished(&*ingest, &descriptor).await;
    assert_eq!(writer.offset(), 0);
}

#[tokio::test]
async fn two_that_want_one_blob_write_it_once() {
    let fixture = Fixture::new();
    let first = fixture.store.ingest().await.expect("begun");
    let second = fixture.store.ingest().await.expect("begun");
    let descriptor = descriptor(LAYER, b"shared");
    let mut writer = first.blob(&descriptor).await.expect("opened").expect("new");
    let (asked, ()) = tokio::join!(second.blob(&descriptor), async {
        writer.write(b"shared").await.expect("written");
        writer.commit().await.expect("kept");
    });
    assert!(
        asked.expect("asked").is_none(),
        "there when it was its turn"
    );
    // And when the first gives up, the second goes on.
    let descriptor = common::descriptor(LAYER, b"another");
    let mut writer = first.blob(&descriptor).await.expect("opened").expect("new");
    writer.write(b"ano").await.expect("written");
    let (asked, ()) = tokio::join!(second.blob(&descriptor), async { drop(writer) });
    assert_eq!(asked.expect("asked").expect("its turn").offset(), 3);
}

#[tokio::test]
async fn a_layer_that_does_not_fit_is_refused_and_only_a_damaged_blob_goes() {
    let fixture = Fixture::new();
    let image = Image::with(&[layer(&[("a", "1")])], Packed::Gzip, ARCH);
    let ingest = fixture.store.ingest().await.expect("begun");
    put(&*ingest, LAYER, &image.layers[0]).await;
    let layer = descriptor(LAYER, &image.layers[0]);
    let wrong = [Digest::of(b"something else")];
    let error = ingest.unpack(&layer, &wrong, nobody()).await;
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::DataLoss);
    let blob = fixture
        .folder
        .path()
        .join("blobs/sha256")
        .join(layer.digest.hex());
    assert!(blob.exists(), "the blob is what it says it is");
    let mut bytes = fs::read(&blob).expect("there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&blob, bytes).expect("rotten");
    let error = ingest.unpack(&layer, &image.diff_ids, nobody()).await;
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::DataLoss);
    assert!(!blob.exists());
    assert!(fixture.files("l").is_empty() && fixture.files("ingest").is_empty());
    put(&*ingest, LAYER, &image.layers[0]).await;
    ingest
        .unpack(&layer, &image.diff_ids, nobody())
        .await
        .expect("fetched anew");
}

#[tokio::test]
async fn what_is_coming_in_is_kept_while_others_go() {
    let fixture = Fixture::new();
    let image = Image::with(&[layer(&[("a", "1")])], Packed::Gzip, ARCH);
    let other = Image::new(&[layer(&[("other", "1")])]);
    fixture.load(other.archive(&["other"])).await;
    let ingest = fixture.store.ingest().await.expect("begun");
    put(&*ingest, MANIFEST, &image.manifest).await;
    put(&*ingest, CONFIG, &image.config).await;
    put(&*ingest, LAYER, &image.layers[0]).await;
    let layer = descriptor(LAYER, &image.layers[0]);
    ingest
        .unpack(&layer, &image.diff_ids, nobody())
        .await
        .expect("unpacked");
    Images::remove(&*fixture.store, "other", false)
        .await
        .expect("removed");
    assert_eq!(fixture.files("blobs/sha256").len(), 3);
    assert_eq!(fixture.files("l").len(), 1);
    assert_eq!(
        ingest.document(&image.id()).await.expect("read").as_deref(),
        Some(&image.manifest[..])
    );
    drop(ingest);
    fixture.load(other.archive(&["other"])).await;
    Images::remove(&*fixture.store, "other", false)
        .await
        .expect("removed");
    assert!(fixture.is_empty(), "nobody wants it any more");
}

#[tokio::test]
async fn a_crash_in_the_middle_leaves_blobs_to_go_on_with() {
    let fixture = Fixture::new();
    let image = Image::with(&[layer(&[("a", "1")])], Packed::Gzip, ARCH);
    {
        let ingest = fixture.store.ingest().await.expect("begun");
        put(&*ingest, LAYER, &image.layers[0]).await;
        let layer = descriptor(LAYER, &image.layers[0]);
        ingest
            .unpack(&layer, &image.diff_ids, nobody())
            .await
            .expect("unpacked");
    }
    for (name, file) in [("load-1", "f1"), ("layer-2", "d")] {
        let folder = fixture.folder.path().join("ingest").join(name);
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join(file), "half").expect("written");
    }
    let half = fixture.folder.path().join("l/77");
    fs::create_dir_all(half.join("d")).expect("made");
    let fixture = fixture.reopened();
    assert!(fixture.files("l").is_empty(), "no name means them");
    assert!(fixture.files("ingest").is_empty() && fixture.files("trash").is_empty());
    let ingest = fixture.store.ingest().await.expect("begun");
    let layer = descriptor(LAYER, &image.layers[0]);
    assert!(
        ingest.blob(&layer).await.expect("asked").is_none(),
        "not fetched again"
    );
}

#[tokio::test]
async fn damaged_names_cost_no_content() {
    let fixture = Fixture::new();
    let image = Image::new(&[layer(&[("a", "1")])]);
    let other = Image::new(&[layer(&[("b", "1")])]);
    fixture.load(image.archive(&["app"])).await;
    fixture.load(other.archive(&["other"])).await;
    let path = fixture.folder.path().join("names");
    let text = fs::read_to_string(&path).expect("there");
    fs::write(&path, text.replacen("{\"name\"", "{\"na", 1)).expect("written");
    let fixture = fixture.reopened();
    assert!(fixture.store.get("app", None).await.is_err());
    assert!(fixture.store.get("other", None).await.is_ok());
    Images::remove(&*fixture.store, "other", false)
        .await
        .expect("removed");
    assert_eq!(
        fixture.files("blobs/sha256").len(),
        6,
        "nobody knows what is needed"
    );
    assert!(fixture.files(".").contains(&"names.damaged".to_owned()));
}

#[tokio::test]
async fn only_what_is_whole_gets_a_name() {
    let fixture = Fixture::new();
    let image = Image::with(&[layer(&[("a", "1")])], Packed::Gzip, ARCH);
    let ingest = fixture.store.ingest().await.expect("begun");
    let finish = async |target: &Descriptor, manifest: &Digest| {
        let name = "app".parse().expect("a name");
        ingest.finish(&name, target, manifest).await
    };
    let target = descriptor(MANIFEST, &image.manifest);
    assert!(finish(&target, &image.id()).await.is_err(), "no manifest");
    put(&*ingest, MANIFEST, &image.manifest).await;
    assert!(finish(&target, &image.id()).await.is_err(), "no config");
    put(&*ingest, CONFIG, &image.config).await;
    let document = index(&[], &[]);
    put(&*ingest, INDEX, &document).await;
    let wrong = descriptor(INDEX, &document);
    assert!(
        finish(&wrong, &image.id()).await.is_err(),
        "not in the index"
    );
    let document = index(&[&image], &[]);
    put(&*ingest, INDEX, &document).await;
    finish(&descriptor(INDEX, &document), &image.id())
        .await
        .expect("whole");
    let found = fixture.store.get("app", None).await.expect("found");
    assert_eq!(found.target.digest, Digest::of(&document));
    assert_eq!(found.manifest.digest, image.id());
}

#[tokio::test]
async fn one_store_has_one_engine() {
    let fixture = Fixture::new();
    let error = image_store::ImageStore::open(fixture.folder.path()).expect_err("held");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
