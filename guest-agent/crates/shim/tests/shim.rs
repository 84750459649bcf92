//! Real shims with real containers: streams, logs, exec, and what is left when the engine goes.
//!
//! Needs root. Runs itself again in mount, net and pid namespaces with a cgroup mount of its own; it is also its own spawner.
#![allow(clippy::print_stdout, reason = "a test runner prints")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use engine::{
    id::{ContainerId, ExecId},
    ports::{
        containers::{
            AttachRequest, ExecRequest, LaunchRequest, LogTarget, Recovered, Shim, ShimEvent, Shims,
        },
        logging::{LogFile, LogFormat},
        rootfs::Rootfs,
    },
};
use errdefs::{Classify, ErrorKind};
use serde_json::{Value, json};
use shim::client::{Config, LocalShims};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bound of one test.
const TEST_WITHIN: Duration = Duration::from_secs(60);
const ALL: AttachRequest = AttachRequest {
    stdin: true,
    stdout: true,
    stderr: true,
};

macro_rules! tests {
    ($bed:expr, $($name:ident),* $(,)?) => {
        [$({
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                runtime.block_on(async { tokio::time::timeout(TEST_WITHIN, $name($bed)).await })
            }));
            namespaced::told(stringify!($name), matches!(ended, Ok(Ok(()))))
        }),*]
    };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "spawner") {
        return match shim::spawner::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if let Err(end) = namespaced::enter() {
        return end;
    }
    let bed = Bed::new();
    let results = tests!(
        &bed,
        output_reaches_clients_and_the_log_and_the_end_is_told,
        input_goes_through_and_its_end_too,
        an_exec_has_streams_a_code_and_a_terminal,
        the_containers_filter_holds_for_an_exec,
        a_missing_program_is_named,
        a_program_runs_at_once_when_nobody_attaches_first,
        the_container_outlives_the_engine,
        an_end_without_an_engine_is_remembered,
        a_client_that_never_reads_holds_nobody_up,
        a_killed_container_leaves_no_group,
        a_killed_shim_is_told_and_its_container_swept,
        no_container_can_write_into_the_shims_program,
        a_user_may_open_its_streams_and_gets_its_folder,
    );
    drop(bed);
    namespaced::end(&results)
}

struct Bed {
    folder: tempfile::TempDir,
    cgroup_root: PathBuf,
}

impl Bed {
    fn new() -> Self {
        namespaced::mount_run();
        let folder = tempfile::tempdir_in("/run").expect("a folder");
        let name = folder.path().file_name().expect("named").to_string_lossy();
        let cgroup_root = namespaced::cgroup(&format!("berth-shim-test-{name}"));
        namespaced::busybox_root(&folder.path().join("root"));
        Self {
            folder,
            cgroup_root,
        }
    }

    fn shims(&self) -> LocalShims {
        LocalShims::start(Config {
            run: self.folder.path().join("shims"),
            cgroup_root: self.cgroup_root.clone(),
            spawner: (
                std::env::current_exe().expect("this program"),
                vec!["spawner".into()],
            ),
        })
        .expect("started")
    }

    fn log(&self, id: &ContainerId) -> PathBuf {
        self.folder.path().join(format!("{id}-json.log"))
    }

    fn request(&self, number: u8, command: &[&str]) -> LaunchRequest {
        let id = ContainerId::from_random([number; 32]);
        LaunchRequest {
            log: LogTarget::File(LogFile {
                path: self.log(&id),
                format: LogFormat::JsonLines {
                    attributes: BTreeMap::new(),
                },
                max_size_bytes: None,
                max_files: 1,
                compress: false,
            }),
            spec: serde_json::from_value(spec(command)).expect("a spec"),
            rootfs: Rootfs::Folder(self.folder.path().join("root")),
            open_stdin: false,
            stdin_once: false,
            terminal_size: (0, 0),
            folder: self.folder.path().to_owned(),
            run_at_once: false,
            id,
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.cgroup_root.join("docker"));
        let _ = fs::remove_dir(&self.cgroup_root);
    }
}

fn spec(command: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": command, "env": ["PATH=/bin"]},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]},
    })
}

async fn exited(shim: &Arc<dyn Shim>) -> i32 {
    match shim.next_event().await {
        ShimEvent::Exited(exit) => exit.code,
        other => panic!("{other:?}"),
    }
}

/// Payloads of frames, standard output and standard error.
fn unframe(mut bytes: &[u8]) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let (payload, rest) = rest.split_at(usize::try_from(length).expect("fits"));
        if header[0] == 1 { &mut out } else { &mut err }.extend_from_slice(payload);
        bytes = rest;
    }
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(out), text(err))
}

async fn output_reaches_clients_and_the_log_and_the_end_is_told(bed: &Bed) {
    let shims = bed.shims();
    let request = bed.request(1, &["sh", "-c", "echo out; echo err >&2; exit 3"]);
    let (id, log) = (request.id.clone(), bed.log(&request.id));
    let shim = shims.launch(request).await.expect("launched");
    let mut client = shim.attach(ALL).await.expect("attached");
    shim.start().await.expect("started");
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("read");
    assert_eq!(unframe(&bytes), ("out\n".to_owned(), "err\n".to_owned()));
    assert_eq!(exited(&shim).await, 3);
    let log = fs::read_to_string(log).expect("a log");
    assert!(
        log.contains(r#"{"log":"out\n","stream":"stdout","#),
        "{log}"
    );
    assert!(
        log.contains(r#"{"log":"err\n","stream":"stderr","#),
        "{log}"
    );
    shims.forget(&id).await.expect("forgotten");
}

async fn input_goes_through_and_its_end_too(bed: &Bed) {
    let shims = bed.shims();
    let mut request = bed.request(2, &["cat"]);
    (request.open_stdin, request.stdin_once) = (true, true);
    let shim = shims.launch(request).await.expect("launched");
    let client = shim.attach(ALL).await.expect("attached");
    shim.start().await.expect("started");
    let (mut read, mut write) = tokio::io::split(client);
    let input = "0123456789abcdef\n".repeat(60_000);
    let mut bytes = Vec::new();
    let feed = async {
        write.write_all(input.as_bytes()).await.expect("written");
        write.shutdown().await.expect("ended");
    };
    let (_, read) = tokio::join!(feed, read.read_to_end(&mut bytes));
    read.expect("read");
    assert!(unframe(&bytes).0 == input, "{} bytes", bytes.len());
    assert_eq!(exited(&shim).await, 0);
}

async fn an_exec_has_streams_a_code_and_a_terminal(bed: &Bed) {
    let shims = bed.shims();
    let shim = shims
        .launch(bed.request(3, &["sleep", "600"]))
        .await
        .expect("launched");
    shim.start().await.expect("started");
    let exec = |number, command: &[&str], terminal: bool| {
        ExecRequest {
        id: ExecId::from_random([number; 32]),
        process: serde_json::from_value(json!({
            "terminal": terminal, "user": {"uid": 0, "gid": 0}, "cwd": "/tmp", "args": command, "env": ["PATH=/bin"],
        }))
        .expect("a process"),
        attach: ALL,
    }
    };
    let (_, stream) = shim
        .exec(exec(
            1,
            &["sh", "-c", "pwd; ps -o comm | grep -c sleep; cat; exit 7"],
            false,
        ))
        .await
        .expect("run");
    let mut stream = stream.expect("a stream");
    stream.write_all(b"typed").await.expect("written");
    stream.shutdown().await.expect("ended");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("read");
    assert_eq!(unframe(&bytes).0, "/tmp\n1\ntyped");
    match shim.next_event().await {
        ShimEvent::ExecExited(_, exit) => assert_eq!(exit.code, 7),
        other => panic!("{other:?}"),
    }
    let (_, stream) = shim.exec(exec(2, &["tty"], true)).await.expect("run");
    let mut text = String::new();
    stream
        .expect("a stream")
        .read_to_string(&mut text)
        .await
        .expect("read");
    assert_eq!(text, "/dev/pts/0\r\n");
    assert!(matches!(shim.next_event().await, ShimEvent::ExecExited(..)));
    let refused = shim.exec(exec(3, &["nope"], false)).await;
    let Err(error) = refused else {
        panic!("it ran")
    };
    assert!(
        error
            .message()
            .contains("exec: \"nope\": executable file not found in $PATH"),
        "{error}"
    );
    shim.delete().await.expect("deleted");
    assert_eq!(exited(&shim).await, 137);
}

async fn the_containers_filter_holds_for_an_exec(bed: &Bed) {
    let shims = bed.shims();
    let mut request = bed.request(15, &["sleep", "600"]);
    let mut filtered = spec(&["sleep", "600"]);
    filtered["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ]});
    request.spec = serde_json::from_value(filtered).expect("a spec");
    let shim = shims.launch(request).await.expect("launched");
    shim.start().await.expect("started");
    for number in [1, 2] {
        let process = json!({
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["chmod", "777", "/tmp"], "env": ["PATH=/bin"],
        });
        let request = ExecRequest {
            id: ExecId::from_random([number; 32]),
            process: serde_json::from_value(process).expect("a process"),
            attach: ALL,
        };
        let (_, stream) = shim.exec(request).await.expect("run");
        let mut bytes = Vec::new();
        let mut stream = stream.expect("a stream");
        stream.read_to_end(&mut bytes).await.expect("read");
        let said = unframe(&bytes).1;
        assert!(said.contains("Function not implemented"), "{said}");
        assert!(matches!(shim.next_event().await, ShimEvent::ExecExited(..)));
    }
    shim.delete().await.expect("deleted");
    assert_eq!(exited(&shim).await, 137);
}

async fn a_program_runs_at_once_when_nobody_attaches_first(bed: &Bed) {
    let shims = bed.shims();
    for (number, asks_before) in [(12, false), (13, true)] {
        let mut request = bed.request(number, &["sh", "-c", "exit 4"]);
        request.run_at_once = true;
        let id = request.id.clone();
        let shim = shims.launch(request).await.expect("launched");
        // It runs although nobody has asked how the start went.
        assert_eq!(exited(&shim).await, 4);
        if asks_before {
            // The shim is gone, and its word about the start is not taken for the answer.
            assert!(shim.pids().await.is_err());
        }
        assert!(shim.start().await.expect("it was started") > 0);
        shims.forget(&id).await.expect("forgotten");
    }
    let mut request = bed.request(14, &["/etc"]);
    request.run_at_once = true;
    let failed = match shims.launch(request).await {
        Ok(shim) => shim.start().await.is_err(),
        Err(_) => true,
    };
    assert!(failed, "a folder is no program");
}

async fn a_missing_program_is_named(bed: &Bed) {
    let shims = bed.shims();
    let Err(error) = shims.launch(bed.request(4, &["nope"])).await else {
        panic!("launched")
    };
    assert!(
        error
            .message()
            .contains("exec: \"nope\": executable file not found in $PATH"),
        "{error}"
    );
}

async fn the_container_outlives_the_engine(bed: &Bed) {
    let shims = bed.shims();
    let request = bed.request(5, &["sleep", "600"]);
    let id = request.id.clone();
    let shim = shims.launch(request).await.expect("launched");
    let pid = shim.start().await.expect("started");
    shim.pause().await.expect("paused");
    drop((shim, shims));
    let shims = bed.shims();
    let Recovered::Running {
        shim,
        pid: found,
        paused,
    } = shims.recover(&id).await.expect("asked")
    else {
        panic!("not found")
    };
    assert_eq!((found, paused), (pid, true));
    // An exec that comes while it is paused is refused: waiting for it would keep the shim from being told to go on.
    let request = ExecRequest {
        id: ExecId::from_random([5; 32]),
        process: serde_json::from_value(json!({
            "terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"], "env": ["PATH=/bin"],
        }))
        .expect("a process"),
        attach: ALL,
    };
    let Err(error) = shim.exec(request).await else {
        panic!("run")
    };
    assert_eq!(error.kind(), ErrorKind::Conflict);
    shim.resume().await.expect("resumed");
    assert_eq!(shim.pids().await.expect("listed"), [pid]);
    shim.signal(9, false).await.expect("signalled");
    assert_eq!(exited(&shim).await, 137);
}

async fn an_end_without_an_engine_is_remembered(bed: &Bed) {
    let shims = bed.shims();
    let mut request = bed.request(6, &["sh", "-c", "read line; exit 5"]);
    (request.open_stdin, request.stdin_once) = (true, true);
    let id = request.id.clone();
    let shim = shims.launch(request).await.expect("launched");
    let client = shim.attach(ALL).await.expect("attached");
    shim.start().await.expect("started");
    // Its events are never read; its last client leaves, and with it the input.
    drop((shim, shims, client));
    let shims = bed.shims();
    loop {
        match shims.recover(&id).await.expect("asked") {
            Recovered::Exited(exit) => break assert_eq!(exit.code, 5),
            Recovered::Running { shim, .. } => drop(shim.next_event().await),
            Recovered::Unknown => panic!("forgotten"),
        }
    }
}

async fn a_client_that_never_reads_holds_nobody_up(bed: &Bed) {
    let shims = bed.shims();
    let request = bed.request(7, &["sh", "-c", "yes 0123456789abcdef | head -c 8000000"]);
    let log = bed.log(&request.id);
    let shim = shims.launch(request).await.expect("launched");
    let mut deaf = shim.attach(ALL).await.expect("attached");
    shim.start().await.expect("started");
    assert_eq!(exited(&shim).await, 0);
    assert!(fs::metadata(log).expect("a log").len() > 8_000_000);
    // And it has lost nothing when it reads after all.
    let mut bytes = Vec::new();
    deaf.read_to_end(&mut bytes).await.expect("read");
    assert_eq!(unframe(&bytes).0.len(), 8_000_000);
}

async fn a_killed_container_leaves_no_group(bed: &Bed) {
    let shims = bed.shims();
    let request = bed.request(8, &["sh", "-c", "sleep 600 & sleep 601"]);
    let group = bed.cgroup_root.join("docker").join(request.id.as_str());
    let shim = shims.launch(request).await.expect("launched");
    shim.start().await.expect("started");
    assert!(group.exists());
    shim.delete().await.expect("deleted");
    assert!(!group.exists());
    assert_eq!(exited(&shim).await, 137);
}

async fn no_container_can_write_into_the_shims_program(bed: &Bed) {
    let shims = bed.shims();
    let shim = shims
        .launch(bed.request(9, &["true"]))
        .await
        .expect("launched");
    // Until its program runs, the container's first process is a copy of the shim.
    let pids = shim.pids().await.expect("listed");
    assert_eq!(pids.len(), 1);
    // With truncation the mount is asked first, and only then whether the file runs.
    let opened = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(format!("/proc/{}/exe", pids[0]));
    let error = opened.expect_err("it was opened");
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::ReadOnlyFilesystem,
        "{error}"
    );
    shim.delete().await.expect("deleted");
}

async fn a_user_may_open_its_streams_and_gets_its_folder(bed: &Bed) {
    let shims = bed.shims();
    let mut request = bed.request(
        10,
        &[
            "sh",
            "-c",
            "pwd >/proc/self/fd/1; echo err >/proc/self/fd/2",
        ],
    );
    let mut spec = spec(&[
        "sh",
        "-c",
        "pwd >/proc/self/fd/1; echo err >/proc/self/fd/2",
    ]);
    spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    spec["process"]["cwd"] = json!("/tmp/not/there/yet");
    request.spec = serde_json::from_value(spec).expect("a spec");
    let shim = shims.launch(request).await.expect("launched");
    let mut client = shim.attach(ALL).await.expect("attached");
    shim.start().await.expect("started");
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("read");
    assert_eq!(
        unframe(&bytes),
        ("/tmp/not/there/yet\n".to_owned(), "err\n".to_owned())
    );
    assert_eq!(exited(&shim).await, 0);
}

async fn a_killed_shim_is_told_and_its_container_swept(bed: &Bed) {
    let shims = bed.shims();
    let request = bed.request(11, &["sleep", "600"]);
    let id = request.id.clone();
    let group = Path::new("docker").join(id.as_str());
    let shim = shims.launch(request).await.expect("launched");
    let pid = shim.start().await.expect("started");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    let parent: i32 = parent.expect("a parent").parse().expect("a number");
    let parent = rustix::process::Pid::from_raw(parent).expect("a process");
    rustix::process::kill_process(parent, rustix::process::Signal::KILL).expect("killed");
    assert_eq!(shim.next_event().await, ShimEvent::Lost);
    assert!(matches!(
        shims.recover(&id).await.expect("asked"),
        Recovered::Unknown
    ));
    shims.sweep(&id, &group).await.expect("swept");
    assert!(!bed.cgroup_root.join(&group).exists());
    shims.sweep(&id, &group).await.expect("nothing to do");
}
