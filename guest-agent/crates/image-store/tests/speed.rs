//! How long things take; run by hand: `cargo test --release -p image-store --test speed -- --ignored --nocapture`.

mod common;

use std::time::Instant;

use common::{Fixture, Image, Packed, layer};
use engine::ports::{images::Images, rootfs::RootfsStore};

/// Best and median of many tries, in microseconds.
async fn measure(what: &str, tries: u32, mut one: impl AsyncFnMut(u32)) {
    let mut times = Vec::new();
    for number in 0..tries {
        let begin = Instant::now();
        one(number).await;
        times.push(begin.elapsed().as_micros());
    }
    times.sort_unstable();
    eprintln!(
        "{what}: best {} µs, median {} µs",
        times[0],
        times[times.len() / 2]
    );
}

fn id(number: u32) -> engine::id::ContainerId {
    format!("{number:064x}").parse().expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn small_operations() {
    if common::needs_root() {
        return;
    }
    let fixture = Fixture::new();
    let tars = [("etc/passwd", "root:x:0:0"), ("b", "2"), ("c", "3")].map(|entry| layer(&[entry]));
    fixture.load(Image::new(&tars).archive(&["app"])).await;
    let store = &fixture.store;
    measure("pick", 200, async |_| {
        drop(store.pick("app", None).await.expect("picked"))
    })
    .await;
    let picked = store.pick("app", None).await.expect("picked");
    measure("create", 200, async |number| {
        store.create(&id(number), &picked).await.expect("made");
    })
    .await;
    measure("mounts", 200, async |number| {
        drop(store.mounts(&id(number)).await.expect("mounts"));
    })
    .await;
    measure("read_file", 200, async |number| {
        let read = store.read_file(&id(number), "/etc/passwd".as_ref()).await;
        assert!(read.expect("read").is_some());
    })
    .await;
    measure("remove", 200, async |number| {
        RootfsStore::remove(&**store, &id(number))
            .await
            .expect("removed");
    })
    .await;
    measure("list", 50, async |_| {
        drop(store.list().await.expect("listed"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn large_images() {
    if common::needs_root() {
        return;
    }
    let tar = std::process::Command::new("tar")
        .args(["-C", "/usr/lib", "-c", "."])
        .output()
        .expect("tar")
        .stdout;
    let tar = tar[..tar.len().min(600 << 20)].to_vec();
    // Ends at some entry: cut archives end early.
    let mut whole = tar::Archive::new(&tar[..]);
    let end = whole
        .entries()
        .expect("entries")
        .map_while(Result::ok)
        .map(|entry| entry.raw_header_position())
        .last()
        .expect("entries");
    let tar = [&tar[..usize::try_from(end).expect("small")], &[0; 1024]].concat();
    for packed in [Packed::Plain, Packed::Gzip, Packed::Zstd] {
        let image = Image::with(std::slice::from_ref(&tar), packed, common::ARCH);
        let archive = image.archive(&["large"]);
        let size = archive.len() >> 20;
        let fixture = Fixture::new();
        let begin = Instant::now();
        fixture.load(archive).await;
        eprintln!(
            "load {packed:?}: {size} MiB archive, {} MiB layer: {:?}",
            tar.len() >> 20,
            begin.elapsed()
        );
        let begin = Instant::now();
        let mut reader = fixture
            .store
            .save(&["large".to_owned()], None)
            .await
            .expect("saved");
        tokio::io::copy(&mut reader, &mut tokio::io::sink())
            .await
            .expect("read");
        eprintln!("save {packed:?}: {:?}", begin.elapsed());
    }
}
