//! The same bundle on Debian's runc first, then on ours: what the program inside sees must be the same.
//!
//! Needs root. Runs itself again in mount, net and pid namespaces with a cgroup group of its own, and has one thread, as the runtime's callers.
#![allow(clippy::print_stdout, reason = "a test runner prints")]

mod attacks;
mod init;
mod namespaces;
mod propagation;

use std::{
    fs,
    io::Read,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use oci_spec::runtime::Spec;
use runtime::{Container, CreateError, CreateOptions, Root, StartError, Stdio};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    // In a container of a test.
    if arguments.next().is_some_and(|name| name == init::INIT) {
        return runtime::init(arguments);
    }
    if let Err(end) = namespaced::enter() {
        return end;
    }
    let bed = Bed::new();
    let tests: &[(&str, Test)] = &[
        (
            "a_container_looks_as_with_runc",
            a_container_looks_as_with_runc,
        ),
        (
            "exit_codes_and_signals_come_back",
            exit_codes_and_signals_come_back,
        ),
        (
            "a_missing_program_is_named_as_with_runc",
            a_missing_program_is_named_as_with_runc,
        ),
        (
            "a_user_starts_in_a_folder_that_it_may_not_enter",
            a_user_starts_in_a_folder_that_it_may_not_enter,
        ),
        ("an_overlay_is_written_above", an_overlay_is_written_above),
        ("many_layers_fit", many_layers_fit),
        (
            "a_symlink_of_the_image_leads_no_mount_outside",
            a_symlink_leads_no_mount_outside,
        ),
        (
            "a_bind_is_read_only_when_asked",
            a_bind_is_read_only_when_asked,
        ),
        (
            "a_file_over_a_folder_is_refused",
            a_file_over_a_folder_is_refused,
        ),
        ("open_descriptors_do_not_leak", open_descriptors_do_not_leak),
        (
            "a_terminal_is_the_containers_own",
            a_terminal_is_the_containers_own,
        ),
        ("frozen_processes_do_not_run", frozen_processes_do_not_run),
        ("devices_are_filtered", devices_are_filtered),
        (
            "a_filter_refuses_what_runcs_refuses",
            a_filter_refuses_what_runcs_refuses,
        ),
        (
            "what_is_not_supported_is_refused",
            what_is_not_supported_is_refused,
        ),
        (
            "an_init_ends_as_its_program_does",
            init::an_init_ends_as_its_program_does,
        ),
        ("an_init_reaps_orphans", init::an_init_reaps_orphans),
        (
            "an_init_hands_signals_to_its_program",
            init::an_init_hands_signals_to_its_program,
        ),
        (
            "an_inits_program_has_the_terminal",
            init::an_inits_program_has_the_terminal,
        ),
        (
            "namespaces_are_joined_by_path",
            namespaces::namespaces_are_joined_by_path,
        ),
        (
            "a_namespace_that_is_omitted_is_the_hosts",
            namespaces::a_namespace_that_is_omitted_is_the_hosts,
        ),
        (
            "the_hosts_name_is_not_changed",
            namespaces::the_hosts_name_is_not_changed,
        ),
        (
            "mounts_propagate_as_with_runc",
            propagation::mounts_propagate_as_with_runc,
        ),
        (
            "mounts_of_the_host_and_of_the_container_reach_the_other",
            propagation::mounts_reach_the_other,
        ),
        (
            "a_containers_own_mounts_do_not_appear_outside",
            propagation::own_mounts_do_not_appear_outside,
        ),
        (
            "what_was_there_is_copied_up",
            attacks::what_was_there_is_copied_up,
        ),
        (
            "nothing_but_procfs_is_mounted_at_proc",
            attacks::nothing_but_procfs_is_mounted_at_proc,
        ),
        (
            "a_mask_is_the_real_null_device",
            attacks::a_mask_is_the_real_null_device,
        ),
        (
            "a_console_is_no_link_of_the_image",
            attacks::a_console_is_no_link_of_the_image,
        ),
        (
            "descriptors_of_the_caller_lead_nowhere",
            attacks::descriptors_of_the_caller_lead_nowhere,
        ),
        (
            "a_child_that_waits_cannot_be_looked_into",
            attacks::a_child_that_waits_cannot_be_looked_into,
        ),
        (
            "settings_of_the_host_are_not_a_containers",
            attacks::settings_of_the_host_are_not_a_containers,
        ),
        (
            "settings_are_written_to_a_real_procfs",
            attacks::settings_are_written_to_a_real_procfs,
        ),
        (
            "an_exec_writes_nothing_into_the_containers_proc",
            attacks::an_exec_writes_nothing_into_the_containers_proc,
        ),
        ("a_start_is_quick", a_start_is_quick),
    ];
    let results: Vec<bool> = tests
        .iter()
        .map(|(name, test)| {
            let passed = std::panic::catch_unwind(|| test(&bed)).is_ok();
            namespaced::told(name, passed)
        })
        .collect();
    drop(bed);
    namespaced::end(&results)
}

type Test = fn(&Bed);

/// A busybox root, a cgroup group, and room for bundles.
struct Bed {
    folder: tempfile::TempDir,
    cgroup_root: PathBuf,
    count: std::sync::atomic::AtomicU32,
}

impl Bed {
    fn new() -> Self {
        namespaced::mount_run();
        let folder = tempfile::tempdir_in("/run").expect("a folder");
        let name = format!(
            "berth-runtime-test-{}",
            folder.path().file_name().expect("named").to_string_lossy()
        );
        let bed = Self {
            folder,
            cgroup_root: namespaced::cgroup(&name),
            count: std::sync::atomic::AtomicU32::new(0),
        };
        namespaced::busybox_root(&bed.root());
        bed
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn new_folder(&self, about: &str) -> PathBuf {
        let number = self
            .count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = self.folder.path().join(format!("{about}-{number}"));
        fs::create_dir(&folder).expect("made");
        folder
    }

    /// Makes a container of ours with its output in a file.
    fn create(&self, spec: &Value, root: &Root) -> Result<(Container, PathBuf), CreateError> {
        let spec: Spec = serde_json::from_value(spec.clone()).expect("a spec");
        let work = self.new_folder("ours");
        let mount_point = work.join("rootfs");
        fs::create_dir(&mount_point).expect("made");
        let output = work.join("output");
        let out = fs::File::create(&output).expect("made");
        let input = fs::File::open("/dev/null").expect("there");
        let container = Container::create(&CreateOptions {
            spec: &spec,
            root,
            mount_point: &mount_point,
            stdio: Stdio::Streams([input.as_fd(), out.as_fd(), out.as_fd()]),
            cgroup_root: &self.cgroup_root,
            default_group: Path::new(work.file_name().expect("named")),
        })?;
        Ok((container, output))
    }

    /// Runs it to its end: wait status and output.
    fn run(&self, spec: &Value) -> (i32, String) {
        self.run_in(spec, &Root::Folder(self.root()))
    }

    fn run_in(&self, spec: &Value, root: &Root) -> (i32, String) {
        let (mut container, output) = self.create(spec, root).expect("created");
        container.start().expect("started");
        let code = wait(&container);
        container
            .cgroup()
            .remove()
            .expect("nothing is left in the group");
        (code, fs::read_to_string(output).expect("output"))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.cgroup_root);
    }
}

fn wait(container: &Container) -> i32 {
    let (_, status) = waitpid(Pid::from_raw(container.pid()), WaitOptions::empty())
        .expect("a child")
        .expect("it has ended");
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        .expect("an end")
}

fn spec(script: &str) -> Value {
    let caps = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0, "additionalGids": [7, 8]}, "cwd": "/tmp",
            "args": ["sh", "-c", script], "env": ["PATH=/bin", "A=b c"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
            "noNewPrivileges": true, "oomScoreAdj": 100,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "inside",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Everything a program can tell about where it is, in lines that do not depend on chance.
const LOOK: &str = r#"
id; hostname; pwd; echo "$A"; ulimit -n; echo $$
grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
cat /proc/self/oom_score_adj
ls -l /dev | awk 'NR>1{print $1,$3,$4,$5,$6,$NF}' | sed 's/ [0-9]*:[0-9]*$//' | sort
ls /proc/self/fd | wc -l
awk '{print $5,$6}' /proc/self/mountinfo | sed 's/,size=[^ ]*//' | sort
cat /proc/kcore | wc -c; cat /proc/timer_list 2>/dev/null | wc -c; ls /sys/firmware | wc -l
touch /x 2>/dev/null || echo read-only root
echo 1 2>/dev/null >/proc/sys/kernel/panic || echo read-only sysctl
ls /sys/class/net | grep -c eth; ls /proc | grep -c '^[0-9]'
umask
"#;

fn runc(bed: &Bed, spec: &Value) -> (i32, String) {
    let bundle = bed.new_folder("runc");
    std::os::unix::fs::symlink(bed.root(), bundle.join("rootfs")).expect("linked");
    let mut spec = spec.clone();
    spec["root"]["path"] = json!(bed.root());
    fs::write(bundle.join("config.json"), spec.to_string()).expect("written");
    let output = Command::new("runc")
        .args(["--root", "/run/runc", "run", "--bundle"])
        .arg(&bundle)
        .arg(bundle.file_name().expect("named"))
        .output()
        .expect("runc is installed");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn a_container_looks_as_with_runc(bed: &Bed) {
    let spec = spec(LOOK);
    let (code, want) = runc(bed, &spec);
    assert_eq!(code, 0, "{want}");
    let (code, got) = bed.run(&spec);
    assert_eq!(code, 0, "{got}");
    let differences: Vec<String> = want
        .lines()
        .filter(|line| !got.contains(line))
        .map(|line| format!("runc {line}"))
        .chain(
            got.lines()
                .filter(|line| !want.contains(line))
                .map(|line| format!("ours {line}")),
        )
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(
        got.lines().count(),
        want.lines().count(),
        "{got}\n---\n{want}"
    );
}

fn exit_codes_and_signals_come_back(bed: &Bed) {
    assert_eq!(bed.run(&spec("exit 7")).0, 7);
    let (mut container, _) = bed
        .create(&spec("sleep 60"), &Root::Folder(bed.root()))
        .expect("created");
    container.start().expect("started");
    container.signal(Signal::KILL).expect("alive");
    assert_eq!(wait(&container), 128 + 9);
    container.cgroup().remove().expect("empty");
}

fn a_missing_program_is_named_as_with_runc(bed: &Bed) {
    for (program, text) in [
        (
            "nope",
            r#"exec: "nope": executable file not found in $PATH"#,
        ),
        (
            "/nope",
            r#"exec: "/nope": stat /nope: no such file or directory"#,
        ),
        ("/tmp", r#"exec: "/tmp": is a directory"#),
        ("/bin/plain", r#"exec: "/bin/plain": permission denied"#),
    ] {
        fs::write(bed.root().join("bin/plain"), "not a program").expect("written");
        let mut spec = spec("");
        spec["process"]["args"] = json!([program]);
        // runc calls a folder "is a directory" or "permission denied", by its version.
        if program != "/tmp" {
            let (code, said) = runc(bed, &spec);
            assert!(
                code != 0 && said.replace('\\', "").contains(text),
                "runc says {said}"
            );
        }
        match bed.create(&spec, &Root::Folder(bed.root())) {
            Err(CreateError::Child(got)) => assert_eq!(got, text),
            other => panic!("{program}: {other:?}"),
        }
    }
    // What only the kernel can tell comes at the start.
    fs::write(bed.root().join("bin/script"), "#!/no/such/shell\n").expect("written");
    Command::new("chmod")
        .arg("755")
        .arg(bed.root().join("bin/script"))
        .status()
        .expect("chmod");
    let mut spec = spec("");
    spec["process"]["args"] = json!(["script"]);
    let (mut container, _) = bed
        .create(&spec, &Root::Folder(bed.root()))
        .expect("created");
    match container.start() {
        Err(StartError::Exec(text)) => assert_eq!(text, "exec script: no such file or directory"),
        other => panic!("{other:?}"),
    }
    container.cgroup().remove().expect("empty");
}

fn a_user_starts_in_a_folder_that_it_may_not_enter(bed: &Bed) {
    let folder = bed.root().join("private");
    fs::create_dir_all(&folder).expect("made");
    namespaced::run("chmod", &["700", folder.to_str().expect("plain")]);
    let mut spec = spec("readlink /proc/self/cwd; ls 2>&1; id -u");
    spec["process"]["cwd"] = json!("/private");
    spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    spec["process"]["capabilities"] = json!({});
    let (code, want) = runc(bed, &spec);
    assert_eq!(code, 0, "{want}");
    assert_eq!(bed.run(&spec), (0, want));
}

fn overlay(bed: &Bed, lower: Vec<PathBuf>) -> (Root, PathBuf) {
    let folder = bed.new_folder("overlay");
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    fs::create_dir(&upper).expect("made");
    fs::create_dir(&work).expect("made");
    (
        Root::Overlay {
            lower,
            upper: upper.clone(),
            work,
        },
        upper,
    )
}

fn an_overlay_is_written_above(bed: &Bed) {
    let (root, upper) = overlay(bed, vec![bed.root()]);
    let mut spec = spec("echo new >/etc/new; rm /bin/vi; cat /etc/new");
    spec["root"]["readonly"] = json!(false);
    assert_eq!(bed.run_in(&spec, &root), (0, "new\n".to_owned()));
    assert_eq!(
        fs::read_to_string(upper.join("etc/new")).expect("above"),
        "new\n"
    );
    assert!(
        !bed.root().join("etc/new").exists()
            && fs::symlink_metadata(bed.root().join("bin/vi")).is_ok()
    );
}

fn many_layers_fit(bed: &Bed) {
    let mut lower: Vec<PathBuf> = (0..120)
        .map(|number| {
            let folder =
                bed.new_folder("layer-with-a-name-that-is-long-enough-to-burst-a-page-of-options");
            fs::create_dir(folder.join("etc")).expect("made");
            fs::write(folder.join(format!("etc/{number}")), "").expect("written");
            folder
        })
        .collect();
    lower.push(bed.root());
    let (root, _) = overlay(bed, lower);
    assert_eq!(
        bed.run_in(&spec("ls /etc | grep -c '^[0-9]'"), &root),
        (0, "120\n".to_owned())
    );
}

fn a_symlink_leads_no_mount_outside(bed: &Bed) {
    let outside = bed.new_folder("outside");
    let folder = bed.new_folder("evil");
    // The image says that /w is outside; the mount goes to that path inside of the root.
    std::os::unix::fs::symlink(&outside, folder.join("w")).expect("linked");
    let (root, _) = overlay(bed, vec![folder, bed.root()]);
    let mut spec = spec("touch /w/touched && echo done");
    spec["root"]["readonly"] = json!(false);
    let mounts = spec["mounts"].as_array_mut().expect("a list");
    mounts.push(json!({"destination": "/w/deep", "type": "tmpfs", "source": "tmpfs"}));
    assert_eq!(bed.run_in(&spec, &root), (0, "done\n".to_owned()));
    assert_eq!(
        fs::read_dir(&outside).expect("there").count(),
        0,
        "something appeared outside"
    );
}

fn a_bind_is_read_only_when_asked(bed: &Bed) {
    let source = bed.new_folder("source");
    fs::write(source.join("file"), "content\n").expect("written");
    for (options, want) in [
        (json!(["rbind", "ro"]), "content\nrefused\n"),
        (json!(["rbind"]), "content\nwritten\n"),
    ] {
        let mut spec =
            spec("cat /w/file; touch /w/new 2>/dev/null && echo written || echo refused");
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        mounts.push(
            json!({"destination": "/w", "type": "bind", "source": source, "options": options}),
        );
        assert_eq!(bed.run(&spec).1, want);
    }
    assert!(source.join("new").exists());
}

fn a_file_over_a_folder_is_refused(bed: &Bed) {
    let mut spec = spec("true");
    let mounts = spec["mounts"].as_array_mut().expect("a list");
    mounts.push(json!({"destination": "/etc", "type": "bind", "source": "/etc/passwd", "options": ["bind"]}));
    match bed.create(&spec, &Root::Folder(bed.root())) {
        Err(CreateError::Child(text)) => assert!(
            text.contains("Are you trying to mount a directory onto a file"),
            "{text}"
        ),
        other => panic!("{other:?}"),
    }
}

fn open_descriptors_do_not_leak(bed: &Bed) {
    // Open without CLOEXEC in the caller, as a careless one would.
    let root =
        rustix::fs::open("/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).expect("open");
    assert!(
        !rustix::io::fcntl_getfd(&root)
            .expect("open")
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
    // Run without a shell, whose own pipes come and go. The fourth is the folder that ls reads; a leak would be a fifth.
    let mut spec = spec("");
    spec["process"]["args"] = json!(["ls", "/proc/self/fd"]);
    assert_eq!(bed.run(&spec).1, "0\n1\n2\n3\n");
}

fn a_terminal_is_the_containers_own(bed: &Bed) {
    let mut spec = spec("tty; stty size; ls -l /dev/console | cut -c1; echo done");
    spec["process"]["terminal"] = json!(true);
    assert_eq!(
        on_a_terminal(bed, spec),
        "/dev/pts/0\r\n12 34\r\nc\r\ndone\r\n"
    );
}

/// What a container says on its terminal up to the word `done`.
fn on_a_terminal(bed: &Bed, spec: Value) -> String {
    let spec: Spec = serde_json::from_value(spec).expect("a spec");
    let mount_point = bed.new_folder("rootfs");
    let mut container = Container::create(&CreateOptions {
        spec: &spec,
        root: &Root::Folder(bed.root()),
        mount_point: &mount_point,
        stdio: Stdio::Terminal {
            rows: 12,
            columns: 34,
        },
        cgroup_root: &bed.cgroup_root,
        default_group: Path::new("terminal"),
    })
    .expect("created");
    let mut terminal = fs::File::from(container.take_terminal().expect("a terminal"));
    container.start().expect("started");
    let (mut said, mut chunk) = (String::new(), [0; 256]);
    while !said.contains("done") {
        // A terminal whose other end is closed gives EIO.
        let Ok(read) = terminal.read(&mut chunk) else {
            break;
        };
        said.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    assert_eq!(wait(&container), 0);
    container.cgroup().remove().expect("empty");
    said
}

fn frozen_processes_do_not_run(bed: &Bed) {
    let (mut container, _) = bed
        .create(&spec("while :; do :; done"), &Root::Folder(bed.root()))
        .expect("created");
    container.start().expect("started");
    let group = container.cgroup().clone();
    assert_eq!(
        group.processes().expect("there"),
        [container.pid().unsigned_abs()]
    );
    group.freeze(true).expect("frozen");
    let frozen = || {
        fs::read_to_string(group.folder().join("cgroup.events"))
            .expect("there")
            .contains("frozen 1")
    };
    until("it is frozen", frozen);
    group.kill().expect("killed");
    assert_eq!(wait(&container), 128 + 9);
    group.remove().expect("empty");
}

fn what_is_not_supported_is_refused(bed: &Bed) {
    let mut spec = spec("true");
    spec["process"]["apparmorProfile"] = json!("docker-default");
    match bed.create(&spec, &Root::Folder(bed.root())) {
        Err(error @ CreateError::Unsupported(_)) => {
            assert_eq!(
                error.to_string(),
                "an AppArmor profile is not supported by this runtime"
            );
        }
        other => panic!("{other:?}"),
    }
}

fn a_filter_refuses_what_runcs_refuses(bed: &Bed) {
    let look = "exec 2>&1; mkdir /tmp/d; chmod 700 /etc; unshare -m true; grep Seccomp: /proc/self/status; echo $?";
    for no_new_privileges in [true, false] {
        let mut spec = spec(look);
        spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [
            {"names": ["unshare"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 16, "args": [{"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}]},
        ]});
        let (_, want) = runc(bed, &spec);
        let (code, got) = bed.run(&spec);
        assert_eq!((code, &got), (0, &want));
        assert!(
            got.contains("No space left")
                && got.contains("resource busy")
                && got.contains("Operation not permitted"),
            "{got}"
        );
    }
}

fn devices_are_filtered(bed: &Bed) {
    let look = "exec 2>&1; head -c 1 /dev/zero | wc -c; mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; mknod /tmp/tun c 10 229; head -c 0 /tmp/tun && echo opened";
    let mut spec = spec(look);
    let caps = json!(["CAP_MKNOD"]);
    spec["process"]["capabilities"] =
        json!({"bounding": caps, "effective": caps, "permitted": caps});
    spec["root"]["readonly"] = json!(false);
    spec["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}]});
    let (root, _) = overlay(bed, vec![bed.root()]);
    let (_, got) = bed.run_in(&spec, &root);
    assert_eq!(got, "1\nhead: /tmp/kmsg: Operation not permitted\nopened\n");
}

/// A container that waits, in new namespaces of all kinds.
fn waiting(bed: &Bed) -> Container {
    let mut spec = spec("while :; do sleep 60; done");
    let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.push(json!({"type": "cgroup"}));
    let (mut container, _) = bed
        .create(&spec, &Root::Folder(bed.root()))
        .expect("created");
    container.start().expect("started");
    container
}

fn end(container: &Container) {
    container.cgroup().kill().expect("there");
    wait(container);
    container.cgroup().remove().expect("empty");
}

fn ends_within(container: &Container, time: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let time = Timespec::try_from(time).expect("a short time");
    let pidfd = container.pidfd();
    let mut wanted = [PollFd::new(&pidfd, PollFlags::IN)];
    poll(&mut wanted, Some(&time)).expect("polled") == 1
}

/// Waits for what the kernel gives no event for.
fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !reached() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn a_start_is_quick(bed: &Bed) {
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let (root, _) = overlay(bed, vec![bed.root()]);
            let since = Instant::now();
            let (mut container, _) = bed.create(&spec("exit 0"), &root).expect("created");
            container.start().expect("started");
            assert_eq!(wait(&container), 0);
            let took = since.elapsed();
            container.cgroup().remove().expect("empty");
            took
        })
        .collect();
    times.sort();
    println!(
        "create, start and wait: {:?} at best, {:?} in the median",
        times[0],
        times[times.len() / 2]
    );
    assert!(times[0] < Duration::from_millis(500), "{times:?}");
}
