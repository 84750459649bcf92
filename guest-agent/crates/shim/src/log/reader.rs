//! Reads a container's json-file log back: its last lines, all of it, and what is still to come.
//!
//! A follower holds the file it reads open, so a rotation under it loses nothing: it reads that file to its end and goes on with the next newer
//! one, found by its inode among the rotated names. Changes are awaited by inotify, never polled.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    pin::Pin,
};

use async_trait::async_trait;
use engine::ports::{
    BoxStream,
    containers::{LogEntry, LogQuery, LogTarget, Logs},
};
use errdefs::{Error, ErrorKind, Result};
use rustix::fs::inotify;
use tokio::{io::unix::AsyncFd, sync::mpsc};

use super::{
    line::{self, MAX_ENCODED_BYTES},
    writer::rotated,
};
use crate::sys;

/// One read of a file.
const BLOCK_BYTES: usize = 256 << 10;
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
        let LogTarget::JsonFile {
            path, max_files, ..
        } = target
        else {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "configured logging driver does not support reading",
            ));
        };
        let (sender, mut receiver) = mpsc::channel(WAITING_ENTRIES);
        let reader = Reader {
            path: path.clone(),
            max_files: *max_files,
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
    query: LogQuery,
    sender: mpsc::Sender<Result<LogEntry>>,
}

/// A file of the log and how far it was read.
struct Place {
    file: File,
    offset: u64,
    /// The start of a line whose end is not there yet.
    partial: Vec<u8>,
}

impl Reader {
    async fn run(self, mut ended: Ended) -> io::Result<()> {
        // Before the first read: no change after it is missed.
        let changes = if self.query.follow {
            Some(watch(&self.path)?)
        } else {
            None
        };
        let (path, max_files, tail) = (self.path.clone(), self.max_files, self.query.tail);
        let files = blocking(move || open(&path, max_files, tail)).await?;
        let Some(mut last) = self.read_all(files).await? else {
            return Ok(());
        };
        let Some(changes) = changes else {
            return Ok(());
        };
        let mut over = false;
        loop {
            let newer = self.newer(&last)?;
            let Some(read) = self.read_to_end(last).await? else {
                return Ok(());
            };
            last = read;
            if let Some(file) = newer {
                // Nothing is added to a file once it was rotated, and it was read to its end after that was seen.
                last = Place::new(file);
                continue;
            }
            if over {
                return Ok(());
            }
            tokio::select! {
                () = &mut ended => over = true,
                () = self.sender.closed() => return Ok(()),
                changed = drain(&changes) => changed?,
            }
        }
    }

    /// Reads files oldest first; gives the newest with its place. `None`: the client left, or there is no log.
    async fn read_all(&self, files: Vec<Place>) -> io::Result<Option<Place>> {
        let mut last = None;
        for place in files {
            last = self.read_to_end(place).await?;
            if last.is_none() {
                return Ok(None);
            }
        }
        Ok(last)
    }

    async fn read_to_end(&self, mut place: Place) -> io::Result<Option<Place>> {
        loop {
            let (read, bytes) = blocking(move || place.read()).await?;
            place = read;
            if bytes.is_empty() {
                return Ok(Some(place));
            }
            let gathered = [std::mem::take(&mut place.partial), bytes].concat();
            for one in gathered.split_inclusive(|byte| *byte == b'\n') {
                if !one.ends_with(b"\n") {
                    if one.len() <= MAX_ENCODED_BYTES {
                        place.partial = one.to_vec();
                    }
                    continue;
                }
                // What is no entry was torn by a crash.
                let Ok(line) = line::decode(one) else {
                    continue;
                };
                let stream = if line.stderr {
                    self.query.stderr
                } else {
                    self.query.stdout
                };
                if self.query.until.is_some_and(|until| line.at > until) {
                    return Ok(None);
                }
                if !stream || self.query.since.is_some_and(|since| line.at < since) {
                    continue;
                }
                let entry = LogEntry {
                    stderr: line.stderr,
                    at: line.at,
                    line: line.text,
                };
                if self.sender.send(Ok(entry)).await.is_err() {
                    return Ok(None);
                }
            }
        }
    }

    /// The file that came after this one, when it was rotated away.
    fn newer(&self, place: &Place) -> io::Result<Option<File>> {
        let inode = place.file.metadata()?.ino();
        let is = |path: &Path| path.metadata().is_ok_and(|found| found.ino() == inode);
        if is(&self.path) {
            return Ok(None);
        }
        let index = (1..self.max_files).find(|index| is(&rotated(&self.path, *index)));
        let next = match index {
            Some(index) if index > 1 => rotated(&self.path, index - 1),
            // Rotated once, or so often that it is gone: then the oldest that is there.
            Some(_) => self.path.clone(),
            None => (1..self.max_files)
                .rev()
                .map(|index| rotated(&self.path, index))
                .find(|path| path.exists())
                .unwrap_or_else(|| self.path.clone()),
        };
        match File::open(next) {
            Ok(file) => Ok(Some(file)),
            // Between two renames.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Place {
    fn new(file: File) -> Self {
        Self {
            file,
            offset: 0,
            partial: Vec::new(),
        }
    }

    fn read(mut self) -> io::Result<(Self, Vec<u8>)> {
        if self.file.metadata()?.len() < self.offset {
            // A log of one file starts over in place.
            self.offset = 0;
            self.partial.clear();
        }
        let mut bytes = vec![0; BLOCK_BYTES];
        let read = self.file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(read);
        self.offset += read as u64;
        Ok((self, bytes))
    }
}

/// Opens the files of a log, oldest first, where reading begins.
fn open(path: &Path, max_files: u32, tail: Option<u64>) -> io::Result<Vec<Place>> {
    let names = std::iter::once(path.to_owned()).chain((1..max_files).map(|n| rotated(path, n)));
    let mut places = Vec::new();
    let mut wanted = tail;
    for name in names {
        let file = match File::open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            file => file?,
        };
        let mut place = Place::new(file);
        let Some(lines) = &mut wanted else {
            places.push(place);
            continue;
        };
        let (offset, found) = last_lines(&place.file, *lines)?;
        place.offset = offset;
        *lines -= found;
        places.push(place);
        if *lines == 0 {
            break;
        }
    }
    places.reverse();
    Ok(places)
}

/// Where the last `wanted` lines of a file begin, and how many of them it has.
fn last_lines(file: &File, wanted: u64) -> io::Result<(u64, u64)> {
    let mut end = file.metadata()?.len();
    if wanted == 0 {
        return Ok((end, 0));
    }
    let mut found = 0;
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let length = usize::try_from(end - start).unwrap_or(BLOCK_BYTES);
        file.read_exact_at(&mut block[..length], start)?;
        for index in (0..length).rev() {
            if block[index] == b'\n' {
                // This one ends the line before the ones that were counted.
                if found == wanted {
                    return Ok((start + index as u64 + 1, found));
                }
                found += 1;
            }
        }
        end = start;
    }
    Ok((0, found))
}

fn watch(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let flags = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::MOVED_FROM;
    inotify::add_watch(&changes, folder, flags)?;
    sys::register(changes)
}

/// Waits for changes, and takes all that are told.
async fn drain(changes: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = changes.readable().await?;
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(changes.get_ref(), &mut buffer) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                ready.clear_ready();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::writer::{Rotation, Writer};
    use engine::ports::world::Timestamp;
    use futures_util::{FutureExt, StreamExt, future::pending};

    fn target(path: &Path) -> LogTarget {
        LogTarget::JsonFile {
            path: path.to_owned(),
            max_size_bytes: None,
            max_files: 3,
        }
    }

    fn both() -> LogQuery {
        LogQuery {
            stdout: true,
            stderr: true,
            ..LogQuery::default()
        }
    }

    async fn texts(path: &Path, query: LogQuery) -> Vec<String> {
        let log = LocalLogs
            .read(&target(path), query, Box::pin(pending()))
            .await;
        let entries = log
            .expect("a log")
            .map(|entry| entry.expect("an entry").line);
        entries
            .map(|line| String::from_utf8(line).expect("text"))
            .collect()
            .await
    }

    fn rotating(path: &Path) -> Writer {
        let rotation = Rotation {
            max_size_bytes: 400,
            max_files: 3,
        };
        Writer::open(path, Some(rotation)).expect("opened")
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
        let path = folder.path().join("log");
        let mut writer = rotating(&path);
        (0..9).for_each(|number| say(&mut writer, number));
        assert!(rotated(&path, 1).exists(), "it was rotated");
        let all = texts(&path, both()).await;
        assert_eq!(all.last().expect("lines"), "line 8\n");
        for tail in 0..=all.len() {
            let query = LogQuery {
                tail: Some(tail as u64),
                ..both()
            };
            assert_eq!(texts(&path, query).await, all[all.len() - tail..], "{tail}");
        }
    }

    #[tokio::test]
    async fn streams_and_times_are_picked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut writer = Writer::open(&path, None).expect("opened");
        (0..9).for_each(|number| say(&mut writer, number));
        let query = LogQuery {
            stderr: true,
            since: Some(Timestamp(2)),
            until: Some(Timestamp(6)),
            ..LogQuery::default()
        };
        assert_eq!(texts(&path, query).await, ["line 3\n", "line 5\n"]);
    }

    #[tokio::test]
    async fn a_follower_gets_every_line_over_rotations_and_ends_with_the_container() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut writer = rotating(&path);
        say(&mut writer, 0);
        let query = LogQuery {
            follow: true,
            ..both()
        };
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let ended = Box::pin(ended.map(drop));
        let mut log = LocalLogs
            .read(&target(&path), query, ended)
            .await
            .expect("a log");
        for number in 0..40 {
            let entry = log.next().await.expect("more").expect("an entry");
            assert_eq!(entry.line, format!("line {number}\n").into_bytes());
            say(&mut writer, number + 1);
        }
        end.send(()).expect("it listens");
        let rest: Vec<_> = log.collect().await;
        assert_eq!(rest.len(), 1);
    }

    #[tokio::test]
    async fn no_log_is_no_lines_and_none_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(texts(&folder.path().join("none"), both()).await.is_empty());
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
