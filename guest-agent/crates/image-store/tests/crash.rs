//! Killed at any moment, the store opens again and is consistent: what was told to be done is done, and nothing is half there.
//!
//! The test runs itself as a child, which tells each thing it finished; the parent kills it after some number of them.

mod common;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use common::{Fixture, Image, container, descriptor, layer, needs_root, nobody};
use engine::ports::{images::Images, rootfs::RootfsStore};
use image_store::ImageStore;

const FOLDER: &str = "IMAGE_STORE_CRASH_FOLDER";

/// An image of the round; all share a layer.
fn image(round: u32) -> Image {
    let own = format!("round {round} {}", "x".repeat(200_000));
    Image::new(&[layer(&[("base", "1")]), layer(&[("own", &own)])])
}

/// Loads, tags, makes, removes, pulls, and tells what is done.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = ImageStore::open(Path::new(&folder)).expect("opened");
    for round in 0..1000 {
        let image = image(round);
        let name = format!("round:{round}");
        let archive = image.archive(&[&name]);
        let reader = Box::new(std::io::Cursor::new(archive));
        store.load(reader, nobody()).await.expect("loaded");
        println!("done named {round}");
        let picked = store.pick(&name, None).await.expect("picked");
        let id = container(char::from_digit(round % 10, 10).expect("a digit"));
        RootfsStore::remove(&*store, &id).await.expect("removed");
        store.create(&id, &picked).await.expect("made");
        println!("done container {round}");
        let ingest = store.ingest().await.expect("begun");
        let bytes = vec![b'y'; 100_000];
        let blob = descriptor("x", &[&bytes[..], name.as_bytes()].concat());
        if let Some(mut writer) = ingest.blob(&blob).await.expect("opened") {
            writer.write(&bytes).await.expect("written");
            if round % 2 == 0 {
                writer.write(name.as_bytes()).await.expect("written");
                writer.commit().await.expect("kept");
            }
        }
        if round > 3 {
            let old = format!("round:{}", round - 3);
            Images::remove(&*store, &old, false).await.expect("removed");
            println!("done unnamed {}", round - 3);
        }
    }
}

#[tokio::test]
async fn a_killed_store_opens_again_with_all_that_was_done() {
    if needs_root() || std::env::var_os(FOLDER).is_some() {
        return;
    }
    for steps in 1..24 {
        let fixture = Fixture::new();
        let folder = fixture.folder;
        drop(fixture.store);
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let done: Vec<String> = output
            .lines()
            .map(|line| line.expect("a line"))
            .filter_map(|line| Some(line.split_once("done ")?.1.to_owned()))
            .take(steps)
            .collect();
        child.kill().expect("killed");
        child.wait().expect("gone");
        check(folder, &done).await;
    }
}

async fn check(folder: tempfile::TempDir, done: &[String]) {
    let store = ImageStore::open(folder.path()).expect("opens again");
    let fixture = Fixture { folder, store };
    let unnamed: Vec<&str> = done
        .iter()
        .filter_map(|step| step.strip_prefix("unnamed "))
        .collect();
    for step in done {
        if let Some(round) = step.strip_prefix("named ") {
            let found = fixture.store.get(&format!("round:{round}"), None).await;
            if unnamed.contains(&round) {
                assert!(found.is_err(), "{done:?}");
            } else if unnamed.is_empty() {
                found.expect("what was loaded is there");
            }
        }
    }
    assert!(fixture.files("trash").is_empty());
    for name in fixture.files("ingest") {
        assert!(name.starts_with("blob-"), "{name} is left");
    }
    // Everything that is named is whole.
    for image in fixture.store.list().await.expect("listed") {
        let name = image.tags.first().expect("named").clone();
        let picked = fixture.store.pick(&name, None).await.expect("picked");
        let id = container('f');
        fixture.store.create(&id, &picked).await.expect("made");
        let own = fixture.store.read_file(&id, "/own".as_ref()).await;
        let own = own.expect("read").expect("there");
        let round = name.rsplit(':').next().expect("a tag");
        assert!(own.starts_with(format!("round {round} x").as_bytes()) && own.ends_with(b"xx"));
        RootfsStore::remove(&*fixture.store, &id)
            .await
            .expect("removed");
        Images::remove(&*fixture.store, &name, false)
            .await
            .expect("removed");
    }
    for id in fixture.store.containers().await.expect("listed") {
        fixture
            .store
            .mounts(&id)
            .await
            .expect("its layers are there");
        assert_eq!(
            fixture
                .store
                .read_file(&id, "/base".as_ref())
                .await
                .expect("read")
                .as_deref(),
            Some(&b"1"[..])
        );
        RootfsStore::remove(&*fixture.store, &id)
            .await
            .expect("removed");
    }
    assert!(
        fixture.files("l").is_empty(),
        "nothing holds a layer any more"
    );
    assert!(fixture.files("containers").is_empty());
}
