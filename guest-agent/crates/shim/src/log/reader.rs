//! Reads a container's log back: its last entries, all of it, and what is still to come.
//!
//! A follower holds the file it reads open, so a rotation under it loses nothing: it reads that file to its end and goes on with the next newer
//! one, found by the file's inode wherever its name has moved. Changes are awaited by inotify, never polled.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
};

use async_trait::async_trait;
use engine::ports::{
    BoxStream,
    containers::{LogEntry, LogQuery, Logs},
    logging::{LogFormat, LogTarget},
    world::Timestamp,
};
use errdefs::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, mpsc};

use super::{
    names::{self, Identity},
    source::{Source, open_all},
    watches,
};

/// How often names are looked at while they move.
const ATTEMPTS: usize = 100;
/// Entries that wait for a client that reads slowly.
const WAITING_ENTRIES: usize = 256;

/// Reads the logs that shims write.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalLogs;

type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

#[async_trait]
impl Logs for LocalLogs {
    async fn read(
        &self,
        target: &LogTarget,
        query: LogQuery,
        ended: Ended,
    ) -> Result<BoxStream<Result<LogEntry>>> {
        let Some(file) = target.file() else {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "configured logging driver does not support reading",
            ));
        };
        let (sender, mut receiver) = mpsc::channel(WAITING_ENTRIES);
        let mut reader = Reader {
            path: file.path.clone(),
            max_files: file.max_files,
            format: file.format.clone(),
            since: query.since,
            query,
            sender,
        };
        tokio::spawn(async move {
            let sender = reader.sender.clone();
            if let Err(error) = reader.run(ended).await {
                let text = format!("error from log reader: {error}");
                // A client that left does not want to know.
                let _ = sender.send(Err(Error::new(ErrorKind::System, text))).await;
            }
        });
        Ok(Box::pin(futures_util::stream::poll_fn(move |context| {
            receiver.poll_recv(context)
        })))
    }
}

struct Reader {
    path: PathBuf,
    max_files: u32,
    format: LogFormat,
    query: LogQuery,
    /// Entries before it are left out until the first that is not: clocks may step back.
    since: Option<Timestamp>,
    sender: mpsc::Sender<Result<LogEntry>>,
}

impl Reader {
    async fn run(&mut self, mut ended: Ended) -> io::Result<()> {
        // Before the first read: no change after it is missed.
        let changes = if self.query.follow {
            Some(watches::watch(
                self.path.parent().unwrap_or(Path::new("/")),
            )?)
        } else {
            None
        };
        let (path, max_files, tail) = (self.path.clone(), self.max_files, self.query.tail);
        let format = self.format.clone();
        let sources = blocking(move || open_all(&path, max_files, &format, tail)).await?;
        let Some(mut last) = self.read_all(sources).await? else {
            return Ok(());
        };
        let Some(mut changes) = changes else {
            return Ok(());
        };
        let mut over = false;
        loop {
            let newer = self.newer(&last).await?;
            let Some(read) = self.read_to_end(last).await? else {
                return Ok(());
            };
            last = read;
            if let Some(source) = newer {
                // Nothing is added to a file once it was rotated, and it was read to its end after that was seen.
                last = source;
                continue;
            }
            if over {
                return Ok(());
            }
            tokio::select! {
                () = &mut ended => over = true,
                () = self.sender.closed() => return Ok(()),
                () = changes.changed() => {}
            }
        }
    }

    /// Reads files oldest first; gives the newest with its place. `None`: the client left, or there is no log.
    async fn read_all(&mut self, sources: Vec<Source>) -> io::Result<Option<Source>> {
        let mut last = None;
        for source in sources {
            last = self.read_to_end(source).await?;
            if last.is_none() {
                return Ok(None);
            }
        }
        Ok(last)
    }

    async fn read_to_end(&mut self, mut source: Source) -> io::Result<Option<Source>> {
        loop {
            let format = self.format.clone();
            let entries;
            (source, entries) = blocking(move || {
                let entries = source.read(&format)?;
                Ok((source, entries))
            })
            .await?;
            let Some(entries) = entries else {
                return Ok(Some(source));
            };
            for entry in entries {
                if self.query.until.is_some_and(|until| entry.at > until) {
                    return Ok(None);
                }
                if self.since.is_some_and(|since| entry.at < since) {
                    continue;
                }
                self.since = None;
                let wanted = if entry.stderr {
                    self.query.stderr
                } else {
                    self.query.stdout
                };
                if wanted && self.sender.send(Ok(entry)).await.is_err() {
                    return Ok(None);
                }
            }
        }
    }

    /// The file that came after this one, when it was rotated away.
    async fn newer(&self, source: &Source) -> io::Result<Option<Source>> {
        let (path, max_files, identity) = (self.path.clone(), self.max_files, source.identity());
        blocking(move || newer(&path, max_files, identity)).await
    }
}

/// The log's file that came after the one with this inode. None: there is none, or not yet.
fn newer(path: &Path, max_files: u32, identity: Identity) -> io::Result<Option<Source>> {
    for _ in 0..ATTEMPTS {
        if names::is(path, 0, identity)? {
            return Ok(None);
        }
        // Files only move on to higher numbers, so looking from the lowest does not miss one.
        let mut place = None;
        for index in 1..max_files {
            if names::is(path, index, identity)? {
                place = Some(index);
                break;
            }
        }
        let Some(place) = place else {
            // Rotated so often that it is gone: then the oldest that is there.
            for index in (0..max_files).rev() {
                if let Some(found) = names::open(path, index)? {
                    return Ok(Some(Source::new(found)));
                }
            }
            return Ok(None);
        };
        let next = names::open(path, place - 1)?;
        if names::is(path, place, identity)? {
            // None: between two renames.
            return Ok(next.map(Source::new));
        }
    }
    Err(io::Error::other(
        "the log is rotated faster than it can be read",
    ))
}

/// Reads at a time: each takes a thread and a block, and hundreds of followers are woken by one line.
static READS: Semaphore = Semaphore::const_new(8);

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let _turn = READS.acquire().await.map_err(io::Error::other)?;
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::writer::Writer;
    use engine::ports::logging::LogFile;
    use futures_util::{FutureExt, StreamExt, future::pending};

    fn json() -> LogFormat {
        LogFormat::JsonLines {
            attributes: Default::default(),
        }
    }

    fn target(path: &Path, format: LogFormat, max_size_bytes: u64, compress: bool) -> LogTarget {
        LogTarget::File(LogFile {
            path: path.to_owned(),
            format,
            max_size_bytes: Some(max_size_bytes),
            max_files: 4,
            compress,
        })
    }

    /// All forms a log can have.
    fn forms(path: &Path) -> Vec<LogTarget> {
        [
            (json(), false),
            (json(), true),
            (LogFormat::Entries, false),
            (LogFormat::Entries, true),
        ]
        .into_iter()
        .enumerate()
        .map(|(number, (format, compress))| {
            target(
                &path.join(number.to_string()).join("log"),
                format,
                300,
                compress,
            )
        })
        .collect()
    }

    fn both() -> LogQuery {
        LogQuery {
            stdout: true,
            stderr: true,
            ..LogQuery::default()
        }
    }

    fn opened(target: &LogTarget) -> Writer {
        Writer::open(target).expect("opened").expect("a log")
    }

    async fn texts(target: &LogTarget, query: LogQuery) -> Vec<String> {
        let log = LocalLogs.read(target, query, Box::pin(pending())).await;
        let entries = log
            .expect("a log")
            .map(|entry| entry.expect("an entry").line);
        entries
            .map(|line| String::from_utf8(line).expect("text"))
            .collect()
            .await
    }

    fn say(writer: &mut Writer, number: i64) {
        let text = format!("line {number}\n");
        writer
            .write(number % 2 == 1, Timestamp(number), text.as_bytes())
            .expect("written");
    }

    #[tokio::test]
    async fn tail_counts_lines_over_rotated_files() {
        let folder = tempfile::tempdir().expect("a folder");
        for target in forms(folder.path()) {
            let mut writer = opened(&target);
            (0..12).for_each(|number| say(&mut writer, number));
            writer
                .finish(Timestamp(12), std::time::Instant::now())
                .expect("closed");
            let all = texts(&target, both()).await;
            assert_eq!(all.last().expect("lines"), "line 11\n");
            assert!(all.len() > 6, "{all:?}");
            for tail in 0..=all.len() {
                let query = LogQuery {
                    tail: Some(tail as u64),
                    ..both()
                };
                assert_eq!(
                    texts(&target, query).await,
                    all[all.len() - tail..],
                    "{tail} of {target:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn streams_and_times_are_picked() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = target(&folder.path().join("log"), json(), 1 << 20, false);
        let mut writer = opened(&target);
        (0..9).for_each(|number| say(&mut writer, number));
        let query = LogQuery {
            stderr: true,
            since: Some(Timestamp(2)),
            until: Some(Timestamp(6)),
            ..LogQuery::default()
        };
        assert_eq!(texts(&target, query).await, ["line 3\n", "line 5\n"]);
        // After the first that is late enough, the rest is taken as it comes.
        say(&mut writer, 1);
        let query = LogQuery {
            since: Some(Timestamp(8)),
            ..both()
        };
        assert_eq!(texts(&target, query).await, ["line 8\n", "line 1\n"]);
    }

    #[tokio::test]
    async fn a_torn_end_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        for target in forms(folder.path()) {
            opened(&target)
                .write(false, Timestamp(1), b"whole\ntorn\n")
                .expect("written");
            let path = &target.file().expect("a file").path;
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(path)
                .expect("there");
            file.set_len(file.metadata().expect("there").len() - 2)
                .expect("cut");
            assert_eq!(texts(&target, both()).await, ["whole\n"]);
            let query = LogQuery {
                tail: Some(1),
                ..both()
            };
            assert_eq!(texts(&target, query).await, ["whole\n"], "{target:?}");
        }
    }

    #[tokio::test]
    async fn a_follower_gets_every_line_over_rotations_and_ends_with_the_container() {
        let folder = tempfile::tempdir().expect("a folder");
        for target in forms(folder.path()) {
            let mut writer = opened(&target);
            say(&mut writer, 0);
            let query = LogQuery {
                follow: true,
                ..both()
            };
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            let ended = Box::pin(ended.map(drop));
            let mut log = LocalLogs.read(&target, query, ended).await.expect("a log");
            // Bursts of several rotations, so that the follower has to find its place again.
            let (mut said, mut heard) = (0, 0);
            for burst in [1, 4, 9, 2, 9, 9, 1] {
                while heard <= said {
                    let entry = log.next().await.expect("more").expect("an entry");
                    assert_eq!(entry.line, format!("line {heard}\n").into_bytes());
                    heard += 1;
                }
                for _ in 0..burst {
                    said += 1;
                    say(&mut writer, said);
                }
            }
            writer
                .finish(Timestamp(99), std::time::Instant::now())
                .expect("closed");
            end.send(()).expect("it listens");
            let rest: Vec<_> = log.collect().await;
            assert_eq!(
                i64::try_from(rest.len()),
                Ok(said - heard + 1),
                "{target:?}"
            );
        }
    }

    #[tokio::test]
    async fn no_log_is_no_lines_and_none_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = target(&folder.path().join("none"), json(), 1, false);
        assert!(texts(&missing, both()).await.is_empty());
        let refused = LocalLogs
            .read(&LogTarget::None, both(), Box::pin(pending()))
            .await;
        let Err(error) = refused else { panic!("read") };
        assert_eq!(
            error.message(),
            "configured logging driver does not support reading"
        );
    }
}
