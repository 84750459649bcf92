//! What may stand in a container's log files after a crash or another program's hand, and in messages of shims: for fuzzing.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use engine::ports::{
    containers::{Exit, LogEntry},
    logging::{LogFile, LogFormat, LogTarget},
    world::Timestamp,
};
use flate2::{Compression, write::GzEncoder};

use crate::{
    log::{
        source::{Source, open_all},
        writer::Writer,
    },
    protocol::{self, Launch, Reply, Request},
};

/// Entries that are asked for from the end.
const TAILS: [u64; 4] = [0, 1, 3, u64::MAX];

/// Most entries that are read of one file: a few bytes of gzip are many of them.
const MOST_ENTRIES: usize = 100_000;

/// Reads bytes as files of a log, in an empty folder: the current one, an older one, a compressed one; in both forms, whole and from the end. Then goes
/// on writing where they end.
///
/// # Errors
/// When the files cannot be made.
///
/// # Panics
/// When what is read is not what is there: that is what it is for.
pub fn logs(folder: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join("log");
    for format in forms() {
        let [first, current] = ["log.1", "log"].map(|name| folder.join(name));
        fs::write(&first, bytes)?;
        fs::write(&current, bytes)?;
        let plain = read(&path, &format, None)?;
        check_tails(&path, &format, &plain)?;
        fs::remove_file(&first)?;

        // What is no gzip: whatever comes of it is only not to end badly.
        let packed = folder.join("log.1.gz");
        fs::write(&packed, bytes)?;
        for tail in [None, Some(1)] {
            read(&path, &format, tail)?;
        }
        // Packed by us, the same is read as before.
        let mut gzip = GzEncoder::new(fs::File::create(&packed)?, Compression::fast());
        gzip.write_all(bytes)?;
        gzip.finish()?;
        assert!(read(&path, &format, None)? == plain, "packed it is another");
        check_tails(&path, &format, &plain)?;
        fs::remove_file(&packed)?;

        go_on(&path, &format)?;
    }
    Ok(())
}

fn forms() -> [LogFormat; 2] {
    let attributes = Default::default();
    [LogFormat::JsonLines { attributes }, LogFormat::Entries]
}

/// No more than was asked for.
fn check_tails(path: &Path, format: &LogFormat, all: &[LogEntry]) -> io::Result<()> {
    for tail in TAILS {
        let found = read(path, format, Some(tail))?;
        assert!(
            usize::try_from(tail).map_or(true, |tail| found.len() <= tail),
            "{} entries of the last {tail}",
            found.len()
        );
        assert!(
            found.len() <= all.len() || *format == LogFormat::Entries,
            "the end of a file has more than the file"
        );
    }
    Ok(())
}

fn read(path: &Path, format: &LogFormat, tail: Option<u64>) -> io::Result<Vec<LogEntry>> {
    let mut all = Vec::new();
    for mut source in open_all(path, 3, format, tail)? {
        while let Some(entries) = Source::read(&mut source, format)? {
            all.extend(entries);
            if all.len() > MOST_ENTRIES {
                return Ok(all);
            }
        }
    }
    Ok(all)
}

/// A line that is written to what a crash left is the last one that is read.
fn go_on(path: &Path, format: &LogFormat) -> io::Result<()> {
    const AT: Timestamp = Timestamp(1_700_000_000_000_000_000);
    let target = LogTarget::File(LogFile {
        path: path.to_owned(),
        format: format.clone(),
        max_size_bytes: None,
        max_files: 1,
        compress: false,
    });
    let mut writer = Writer::open(&target)?.expect("a log in a file");
    writer.write(true, AT, b"the last line\n")?;
    writer.finish(AT, std::time::Instant::now())?;
    let last = read(path, format, Some(1))?.pop().expect("a line");
    assert_eq!(
        (last.line.as_slice(), last.at, last.stderr),
        (&b"the last line\n"[..], AT, true)
    );
    fs::remove_file(path)
}

/// Reads bytes as the file a shim leaves behind, and as what comes through its socket.
///
/// # Panics
/// When a message is not written as it was read.
pub fn messages(bytes: &[u8]) {
    if let Ok(exit) = serde_json::from_slice::<Exit>(bytes) {
        let written = serde_json::to_vec(&exit).expect("an exit is written as JSON");
        assert_eq!(serde_json::from_slice::<Exit>(&written).ok(), Some(exit));
    }
    let _ = protocol::read::<Launch>(bytes);
    let _ = protocol::read::<Reply>(bytes);
    let mut buffer = bytes.to_vec();
    while let Ok(Some(request)) = protocol::take::<Request>(&mut buffer) {
        assert!(bytes.ends_with(&buffer), "more was taken than came");
        let mut again = protocol::encode(&request).expect("it came in a frame of that bound");
        protocol::take::<Request>(&mut again)
            .expect("written as it is read")
            .expect("whole");
        assert!(again.is_empty());
    }
}
