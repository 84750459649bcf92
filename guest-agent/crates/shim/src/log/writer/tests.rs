use std::{
    io::Read,
    path::{Path, PathBuf},
};

use engine::ports::logging::{LogFile, LogFormat};

use super::*;
use log_drivers::entry;

use crate::log::{line, names};

fn target(path: &Path, format: LogFormat, max_size_bytes: u64, compress: bool) -> LogTarget {
    LogTarget::File(LogFile {
        path: path.to_owned(),
        format,
        max_size_bytes: Some(max_size_bytes),
        max_files: 3,
        compress,
    })
}

fn json() -> LogFormat {
    LogFormat::JsonLines {
        attributes: [("tag".to_owned(), "t".to_owned())].into(),
    }
}

fn opened(target: &LogTarget) -> Writer {
    Writer::open(target).unwrap().unwrap()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("log");
    (folder, path)
}

/// All texts of a file, plain or compressed.
fn texts(path: &Path, index: u32, format: &LogFormat) -> Vec<String> {
    let Some(found) = names::open(path, index).unwrap() else {
        return Vec::new();
    };
    let mut bytes = Vec::new();
    if found.compressed {
        flate2::read::GzDecoder::new(found.file)
            .read_to_end(&mut bytes)
            .unwrap();
    } else {
        (&found.file).read_to_end(&mut bytes).unwrap();
    }
    let mut texts = Vec::new();
    match format {
        LogFormat::JsonLines { .. } => {
            let lines = bytes.split_inclusive(|&byte| byte == b'\n');
            texts.extend(
                lines
                    .filter_map(|one| line::decode(one).ok())
                    .map(|line| line.text),
            );
        }
        LogFormat::Entries => {
            let mut rest = &bytes[..];
            while let entry::Found::Entry(entry, used) = entry::decode(rest) {
                texts.push([&entry.text[..], b"\n"].concat());
                rest = &rest[used..];
            }
        }
    }
    texts
        .into_iter()
        .map(|text| String::from_utf8(text).unwrap())
        .collect()
}

#[test]
fn rotation_keeps_the_newest_files_and_no_entry_is_split() {
    for (format, compress) in [
        (json(), false),
        (json(), true),
        (LogFormat::Entries, false),
        (LogFormat::Entries, true),
    ] {
        let (_folder, path) = folder();
        let mut writer = opened(&target(&path, format.clone(), 150, compress));
        for number in 0..20 {
            writer
                .write(false, Timestamp(1), format!("line {number}\n").as_bytes())
                .unwrap();
        }
        writer
            .finish(Timestamp(1), std::time::Instant::now())
            .unwrap();
        let kept: Vec<_> = [2, 1, 0]
            .iter()
            .flat_map(|index| texts(&path, *index, &format))
            .collect();
        let all: Vec<_> = (0..20).map(|number| format!("line {number}\n")).collect();
        assert!(kept.len() > 3 && all.ends_with(&kept), "{kept:?}");
        assert!(names::open(&path, 3).unwrap().is_none());
        assert_eq!(names::compressed(&path, 1).exists(), compress);
        assert_eq!(names::rotated(&path, 1).exists(), !compress);
    }
}

#[test]
fn a_torn_last_entry_costs_only_itself() {
    for format in [json(), LogFormat::Entries] {
        let (_folder, path) = folder();
        let target = target(&path, format.clone(), 1 << 20, false);
        for text in ["first\n", "torn\n"] {
            opened(&target)
                .write(false, Timestamp(1), text.as_bytes())
                .unwrap();
        }
        let length = std::fs::metadata(&path).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length - 3).unwrap();
        opened(&target)
            .write(false, Timestamp(1), b"next\n")
            .unwrap();
        assert_eq!(texts(&path, 0, &format), ["first\n", "next\n"]);
    }
}

#[test]
fn partial_lines_of_both_streams_do_not_mix() {
    let (_folder, path) = folder();
    let mut writer = opened(&target(&path, json(), 1 << 20, false));
    for (stderr, bytes) in [
        (false, b"ou"),
        (true, b"er"),
        (false, b"t\n"),
        (true, b"r\n"),
    ] {
        writer.write(stderr, Timestamp(1), bytes).unwrap();
    }
    assert_eq!(texts(&path, 0, &json()), ["out\n", "err\n"]);
}

#[test]
fn a_file_left_uncompressed_is_compressed_by_the_next_writer() {
    let (_folder, path) = folder();
    let target = target(&path, LogFormat::Entries, 1 << 20, true);
    opened(&target)
        .write(false, Timestamp(1), b"old\n")
        .unwrap();
    std::fs::rename(&path, names::rotated(&path, 1)).unwrap();
    drop(opened(&target));
    assert!(!names::rotated(&path, 1).exists());
    assert_eq!(texts(&path, 1, &LogFormat::Entries), ["old\n"]);
}
