//! The corpus of the fuzz targets as ordinary input: each file as it is, cut anywhere, and with each of its bytes changed. The same in every run.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Bytes of a file that are cut at and changed, evenly spread over it: whole small files, and no test takes minutes.
const MOST_PLACES: usize = 64;

/// Seconds that each file is changed at random beside; for hand, not for CI.
const SECONDS: &str = "BERTH_FUZZ_SECONDS";

/// What a byte becomes, each in turn.
const CHANGES: [fn(u8) -> u8; 4] = [
    |_| 0,
    |_| 0xff,
    |byte| byte ^ 0x80,
    |byte| byte.wrapping_add(1),
];

/// Every file of a target's corpus, with its name, in the order of the names.
///
/// # Panics
/// Without a corpus.
pub fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("readable"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no file in the corpus of {target}");
    files
}

/// Feeds each file of a target's corpus as it is, then what is made of it. Says which file it was when feeding panics.
pub fn feed(target: &str, mut feed: impl FnMut(&[u8])) {
    for (name, bytes) in files(target) {
        let told = Told { target, name };
        feed(&bytes);
        changed(&bytes, &mut feed);
        if let Some(seconds) = std::env::var(SECONDS)
            .ok()
            .and_then(|text| text.parse().ok())
        {
            let count = at_random(&bytes, Duration::from_secs(seconds), &mut feed);
            eprintln!("{target}/{}: {count} changed at random", told.name);
        }
    }
}

/// Feeds the bytes cut, changed, doubled, and with a piece taken out, at many places.
fn changed(bytes: &[u8], feed: &mut impl FnMut(&[u8])) {
    let step = bytes.len().div_ceil(MOST_PLACES).max(1);
    for (turn, place) in (0..bytes.len()).step_by(step).enumerate() {
        feed(&bytes[..place]);
        let mut copy = bytes.to_vec();
        copy[place] = CHANGES[turn % CHANGES.len()](copy[place]);
        feed(&copy);
        if turn % 8 == 0 {
            let mut copy = bytes.to_vec();
            copy.drain(place..bytes.len().min(place + step + turn % 5));
            feed(&copy);
        }
    }
    feed(&[bytes, bytes].concat());
}

/// Feeds the bytes with a few changed, moved or left out, for so long; tells how often.
fn at_random(bytes: &[u8], time: Duration, feed: &mut impl FnMut(&[u8])) -> u64 {
    let (start, mut state, mut count) = (Instant::now(), 0x9e37_79b9_7f4a_7c15_u64, 0);
    // Xorshift: enough to be elsewhere each time.
    let mut below = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % (most.max(1) as u64)).unwrap_or_default()
    };
    while start.elapsed() < time {
        let mut copy = bytes.to_vec();
        for _ in 0..=below(4) {
            let place = below(copy.len());
            match below(4) {
                0 if place < copy.len() => copy[place] = below(256).to_le_bytes()[0],
                1 if place < copy.len() => copy[place] ^= 1 << below(8),
                2 => drop(copy.drain(place..copy.len().min(place + below(16)))),
                _ => {
                    let from = below(bytes.len());
                    let piece = &bytes[from..bytes.len().min(from + below(64))];
                    copy.splice(place..place, piece.iter().copied());
                }
            }
        }
        feed(&copy);
        count += 1;
    }
    count
}

/// Names the input when a test panics.
struct Told<'a> {
    target: &'a str,
    name: String,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "it was made of tests/fuzz/corpus/{}/{}",
                self.target, self.name
            );
        }
    }
}
