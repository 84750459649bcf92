//! Many at once: what one holds, another's removal does not take.

mod common;

use std::sync::Arc;

use common::{Fixture, Image, Packed, container, descriptor, layer, needs_root, nobody};
use engine::ports::{images::Images, rootfs::RootfsStore};
use image_store::ImageStore;

const WORKERS: u32 = 6;
const ROUNDS: u32 = 12;

fn image(number: u32) -> Image {
    let own = format!("image {number}");
    let tars = [layer(&[("base", "1")]), layer(&[("own", &own)])];
    Image::with(&tars, Packed::Gzip, common::ARCH)
}

async fn load(store: &ImageStore, image: &Image, name: &str) {
    let reader = Box::new(std::io::Cursor::new(image.archive(&[name])));
    store.load(reader, nobody()).await.expect("loaded");
}

async fn pull(store: &ImageStore, image: &Image, name: &str) {
    let ingest = store.ingest().await.expect("begun");
    for bytes in image.layers.iter().chain([&image.config, &image.manifest]) {
        if let Some(mut writer) = ingest.blob(&descriptor("", bytes)).await.expect("opened") {
            let offset = usize::try_from(writer.offset()).expect("small");
            writer.write(&bytes[offset..]).await.expect("written");
            writer.commit().await.expect("kept");
        }
    }
    for (position, layer) in image.layers.iter().enumerate() {
        let layer = descriptor("", layer);
        let diff_ids = &image.diff_ids[..=position];
        let unpacked = ingest.unpack(&layer, diff_ids, nobody()).await;
        unpacked.expect("unpacked");
    }
    let target = descriptor(common::MANIFEST, &image.manifest);
    let name = name.parse().expect("a name");
    let finished = ingest.finish(&name, &target, &image.id()).await;
    finished.expect("named");
}

async fn work(store: Arc<ImageStore>, worker: u32) {
    let id = container(char::from_digit(worker, 10).expect("a digit"));
    for round in 0..ROUNDS {
        let number = (worker + round) % 3;
        let name = format!("worker{worker}:{round}");
        if round % 2 == 0 {
            load(&store, &image(number), &name).await;
        } else {
            pull(&store, &image(number), &name).await;
        }
        let picked = store.pick(&name, None).await.expect("picked");
        store.create(&id, &picked).await.expect("made");
        let removed = Images::remove(&*store, &name, false).await;
        removed.expect("removed");
        let own = store.read_file(&id, "/own".as_ref()).await.expect("read");
        assert_eq!(own, Some(format!("image {number}").into_bytes()));
        let removed = RootfsStore::remove(&*store, &id).await;
        removed.expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_what_another_one_needs() {
    if needs_root() {
        return;
    }
    let fixture = Fixture::new();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| tokio::spawn(work(Arc::clone(&fixture.store), worker)))
        .collect();
    for worker in workers {
        worker.await.expect("no worker failed");
    }
    // The last removal may have found a hold that was about to end.
    load(&fixture.store, &image(0), "last").await;
    let removed = Images::remove(&*fixture.store, "last", false).await;
    removed.expect("removed");
    assert!(fixture.is_empty());
}
