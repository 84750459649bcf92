//! Names given and taken, archives written.

mod common;

use std::io::Read;

use common::{ARCH, Fixture, INDEX, Image, Packed, blob, container, index, layer, layout};
use engine::ports::{
    images::{Images, Removed},
    rootfs::RootfsStore,
};
use errdefs::{Classify, ErrorKind};
use oci::{Digest, Reference};
use tokio::io::AsyncReadExt;

fn one() -> Image {
    Image::with(&[layer(&[("etc/hostname", "one")])], Packed::Gzip, ARCH)
}

fn name(text: &str) -> Reference {
    text.parse().expect("a name")
}

async fn remove(fixture: &Fixture, text: &str, force: bool) -> errdefs::Result<Vec<Removed>> {
    Images::remove(&*fixture.store, text, force).await
}

fn untagged(names: &[&str]) -> Vec<Removed> {
    names
        .iter()
        .map(|name| Removed::Untagged((*name).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_tag_is_another_name_and_survives() {
    let fixture = Fixture::new();
    let image = one();
    fixture.load(image.archive(&["app"])).await;
    fixture
        .store
        .tag("app", &name("ghcr.io/me/app"))
        .await
        .expect("tagged");
    let fixture = fixture.reopened();
    let found = fixture.store.get("ghcr.io/me/app:latest", None).await;
    let found = found.expect("found");
    assert_eq!(found.target.digest, image.id());
    assert_eq!(
        found.tags,
        ["docker.io/library/app:latest", "ghcr.io/me/app:latest"]
    );
    let error = fixture.store.tag("nosuch", &name("x")).await;
    let error = error.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "No such image: nosuch:latest");
}

#[tokio::test]
async fn content_goes_with_the_last_name() {
    let fixture = Fixture::new();
    let image = one();
    fixture.load(image.archive(&["app", "other"])).await;
    assert_eq!(
        remove(&fixture, "other", false).await.expect("removed"),
        untagged(&["other:latest"])
    );
    assert_eq!(fixture.files("l").len(), 1);
    let mut expected = untagged(&["app:latest"]);
    expected.push(Removed::Deleted(image.id()));
    let id = image.id();
    let id = &id.hex()[..12];
    assert_eq!(
        remove(&fixture, id, false).await.expect("removed"),
        expected
    );
    assert!(fixture.is_empty());
    let error = remove(&fixture, "app", false).await.expect_err("gone");
    assert_eq!(error.to_string(), "No such image: app:latest");
    assert!(fixture.reopened().is_empty());
}

#[tokio::test]
async fn several_names_are_a_conflict_by_id_and_go_by_force() {
    let fixture = Fixture::new();
    let image = one();
    fixture.load(image.archive(&["app", "other:2"])).await;
    let id = image.id();
    let id = &id.hex()[..12];
    let error = remove(&fixture, id, false).await.expect_err("conflict");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
        )
    );
    let mut expected = untagged(&["app:latest", "other:2"]);
    expected.push(Removed::Deleted(image.id()));
    assert_eq!(remove(&fixture, id, true).await.expect("removed"), expected);
    assert!(fixture.is_empty());
}

#[tokio::test]
async fn what_images_share_stays_until_the_last_of_them_goes() {
    let fixture = Fixture::new();
    let base = layer(&[("base", "1")]);
    let first = Image::new(std::slice::from_ref(&base));
    let mut config: serde_json::Value = serde_json::from_slice(&first.config).expect("json");
    config["config"]["Cmd"] = serde_json::json!(["other"]);
    let second = Image::from_parts(
        serde_json::to_vec(&config).expect("json"),
        vec![base],
        first.diff_ids.clone(),
    );
    fixture.load(first.archive(&["first"])).await;
    fixture.load(second.archive(&["second"])).await;
    assert_eq!(fixture.files("l").len(), 1);
    remove(&fixture, "first", false).await.expect("removed");
    assert_eq!(fixture.files("l").len(), 1);
    assert_eq!(fixture.files("blobs/sha256").len(), 3);
    remove(&fixture, "second", false).await.expect("removed");
    assert!(fixture.is_empty());
}

#[tokio::test]
async fn a_used_image_is_only_untagged_by_force() {
    let fixture = Fixture::new();
    let image = one();
    fixture.load(image.archive(&["app"])).await;
    let picked = fixture.store.pick("app", None).await.expect("picked");
    fixture
        .store
        .create(&container('a'), &picked)
        .await
        .expect("made");
    assert_eq!(
        remove(&fixture, "app", true).await.expect("removed"),
        untagged(&["app:latest"])
    );
    let found = fixture.store.get(image.id().as_str(), None).await;
    assert!(found.expect("still there").tags.is_empty());
}

async fn saved(fixture: &Fixture, names: &[&str], platform: Option<&str>) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut reader = fixture.store.save(&names, platform).await.expect("saved");
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.expect("read");
    bytes
}

fn files(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut tar = tar::Archive::new(archive);
    tar.entries()
        .expect("entries")
        .map(|entry| {
            let mut entry = entry.expect("entry");
            let name = entry.path().expect("name").to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("read");
            (name, bytes)
        })
        .collect()
}

fn file(files: &[(String, Vec<u8>)], name: &str) -> String {
    let (_, bytes) = files
        .iter()
        .find(|(candidate, _)| candidate == name)
        .unwrap_or_else(|| panic!("no {name}"));
    String::from_utf8(bytes.clone()).expect("text")
}

#[tokio::test]
async fn what_is_saved_is_what_docker_saves_and_loads_again() {
    let fixture = Fixture::new();
    let image = one();
    fixture
        .load(image.archive(&["app:1", "ghcr.io/me/app"]))
        .await;
    let archive = saved(&fixture, &["app:1", "ghcr.io/me/app"], None).await;
    let files = files(&archive);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let mut blobs: Vec<String> = image.blobs().into_iter().map(|(name, _)| name).collect();
    blobs.sort();
    let mut expected = vec!["blobs/", "blobs/sha256/"];
    expected.extend(blobs.iter().map(String::as_str));
    expected.extend(["index.json", "manifest.json", "oci-layout"]);
    assert_eq!(names, expected);
    let (id, size) = (image.id(), image.manifest.len());
    let entry = |name: &str, tag: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{id}","size":{size},"annotations":{{"io.containerd.image.name":"{name}","org.opencontainers.image.ref.name":"{tag}"}}}}"#
        )
    };
    assert_eq!(
        file(&files, "index.json"),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{},{}]}}"#,
            entry("docker.io/library/app:1", "1"),
            entry("ghcr.io/me/app:latest", "latest")
        )
    );
    assert_eq!(
        file(&files, "manifest.json"),
        format!(
            r#"[{{"Config":"blobs/sha256/{}","RepoTags":["app:1","ghcr.io/me/app:latest"],"Layers":["blobs/sha256/{}"]}}]"#,
            Digest::of(&image.config).hex(),
            Digest::of(&image.layers[0]).hex()
        )
    );
    let other = Fixture::new();
    let loaded = other.load(archive).await;
    assert_eq!(loaded[0].id, image.id());
    assert_eq!(loaded[0].names, ["app:1", "ghcr.io/me/app:latest"]);
}

#[tokio::test]
async fn a_repository_means_all_its_tags_and_an_id_none() {
    let fixture = Fixture::new();
    let (first, second) = (one(), Image::new(&[layer(&[("b", "2")])]));
    fixture.load(first.archive(&["app:1"])).await;
    fixture.load(second.archive(&["app:2"])).await;
    let other = Fixture::new();
    let loaded = other.load(saved(&fixture, &["app"], None).await).await;
    let names: Vec<_> = loaded.into_iter().flat_map(|image| image.names).collect();
    assert_eq!(names, ["app:1", "app:2"]);
    let archive = saved(&fixture, &[&first.id().hex()[..12]], None).await;
    let other = Fixture::new();
    assert!(other.load(archive.clone()).await[0].names.is_empty());
    assert!(file(&files(&archive), "manifest.json").contains(r#""RepoTags":null"#));
    let error = fixture.store.save(&["nosuch".to_owned()], None).await;
    let error = error.err().expect("unknown");
    assert_eq!(error.to_string(), "No such image: nosuch:latest");
}

#[tokio::test]
async fn an_index_is_saved_with_the_platforms_that_are_there() {
    let fixture = Fixture::new();
    let own = one();
    let absent = Image::with(&[layer(&[("x", "1")])], Packed::Gzip, "mips64le");
    let document = index(&[&own, &absent], &[]);
    let mut blobs = own.blobs();
    blobs.push(blob(&document));
    fixture
        .load(layout(&[(INDEX, &document, &["multi"])], blobs))
        .await;
    let other = Fixture::new();
    let loaded = other.load(saved(&fixture, &["multi"], None).await).await;
    assert_eq!(loaded[0].id, Digest::of(&document), "byte for byte");
    let platform = format!("linux/{ARCH}");
    let other = Fixture::new();
    let archive = saved(&fixture, &["multi"], Some(&platform)).await;
    assert_eq!(other.load(archive).await[0].id, own.id());
}

#[tokio::test]
async fn an_archive_that_is_being_read_holds_its_content() {
    let fixture = Fixture::new();
    let noise: String = (0..300_000_u32)
        .map(|number| char::from(b'a' + (number.wrapping_mul(2_654_435_761) >> 28) as u8 % 26))
        .collect();
    let image = Image::new(&[layer(&[("large", &noise.repeat(10))])]);
    fixture.load(image.archive(&["app"])).await;
    let mut reader = fixture
        .store
        .save(&["app".to_owned()], None)
        .await
        .expect("saved");
    remove(&fixture, "app", false).await.expect("removed");
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.expect("all of it");
    assert_eq!(Fixture::new().load(bytes).await[0].id, image.id());
}
