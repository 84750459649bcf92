//! Many clients at once, and bad ones: bounded memory, and nobody is harmed by his neighbour.
//!
//! Needs root, else skipped and said so.
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use harness::Engine;

/// Clients that ask at once.
const CLIENTS: usize = 1000;
/// Followers of one log, and those who follow and never read.
const FOLLOWERS: usize = 500;
const SILENT: usize = 100;
/// Lines the container writes.
const LINES: usize = 2000;
/// Clients that send half a request, and then nothing.
const HALVES: usize = 100;
/// What the engine may have at the most with all of them, in KiB.
const MOST_KIB: u64 = 200 << 10;
/// How long an answer may take among all these.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

fn ask(socket: &Path, path: &str) -> Result<UnixStream> {
    let mut stream = connect(socket)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
    )?;
    Ok(stream)
}

fn answer(mut stream: UnixStream) -> Result<String> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Proportional set size of a process, in KiB.
fn memory(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(value.context("no Pss")?.parse()?)
}

#[test]
fn a_crowd_is_served_within_bounds() -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Ours alone: the engine has to raise its own.
    let Some((engine, docker)) = Engine::ours_or_skipped()? else {
        return Ok(());
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)?;
    let script =
        format!("read -r go; i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); done");
    docker.ok(&[
        "run", "-d", "-i", "--name", "talker", "busybox", "sh", "-c", &script,
    ])?;
    let socket = engine.socket();
    let pid = engine.pid()?;

    let logs = "/containers/talker/logs?follow=1&stdout=1";
    let silent = (0..SILENT)
        .map(|_| ask(&socket, logs))
        .collect::<Result<Vec<_>>>()?;
    let mut halves = Vec::new();
    for _ in 0..HALVES {
        let mut stream = connect(&socket)?;
        stream.write_all(b"POST /containers/create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")?;
        halves.push(stream);
    }
    let followers = (0..FOLLOWERS)
        .map(|_| ask(&socket, logs))
        .collect::<Result<Vec<_>>>()?;
    let readers: Vec<_> = followers
        .into_iter()
        .map(|stream| std::thread::spawn(|| answer(stream)))
        .collect();

    // Many ask at the same time while all those are there.
    let clients = (0..CLIENTS)
        .map(|_| ask(&socket, "/containers/json"))
        .collect::<Result<Vec<_>>>()?;
    for client in clients {
        let answer = answer(client)?;
        ensure!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("talker"),
            "{answer}"
        );
    }
    docker.ok(&["exec", "talker", "true"])?;

    // It speaks: everybody who reads hears all of it.
    let attached = docker.run_with(&["attach", "--sig-proxy=false", "talker"], b"go\n")?;
    ensure!(attached.code == 0, "{attached:?}");
    let mut counts = std::collections::BTreeMap::new();
    for reader in readers {
        let text = reader
            .join()
            .map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        ensure!(text.starts_with("HTTP/1.1 200"), "{text:.300}");
        *counts.entry(text.matches("line ").count()).or_insert(0) += 1;
    }
    ensure!(
        counts.len() == 1 && counts.contains_key(&LINES),
        "followers by the lines they heard: {counts:?}"
    );
    let most = memory(pid)?;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
    ensure!(
        most < MOST_KIB,
        "the engine has {most} KiB and {threads} threads"
    );
    println!("{most} KiB with {FOLLOWERS} followers, {SILENT} silent ones and {HALVES} halves");

    // The bad ones leave; the engine goes on.
    drop(silent);
    drop(halves);
    ensure!(docker.ok(&["run", "--rm", "busybox", "echo", "well"])? == "well");
    Ok(())
}
