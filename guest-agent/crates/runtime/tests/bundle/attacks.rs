//! What a hostile image, volume or neighbour may try.

use runtime::{Exec, ExecOptions};

use super::*;

const VICTIM: &str = "untouched\n";

/// An overlay whose upper layers hold what `make` puts there, with `/etc/victim`.
fn evil(bed: &Bed, make: impl FnOnce(&Path)) -> Root {
    let layer = bed.new_folder("evil");
    fs::create_dir(layer.join("etc")).expect("made");
    fs::write(layer.join("etc/victim"), VICTIM).expect("written");
    make(&layer);
    overlay(bed, vec![layer, bed.root()]).0
}

fn without_mount(mut spec: Value, destination: &str) -> Value {
    let mounts = spec["mounts"].as_array_mut().expect("a list");
    mounts.retain(|mount| mount["destination"] != destination);
    spec
}

fn with_mount(mut spec: Value, mount: Value) -> Value {
    let mounts = spec["mounts"].as_array_mut().expect("a list");
    mounts.push(mount);
    spec
}

fn refused(bed: &Bed, spec: &Value, root: &Root) -> String {
    match bed.create(spec, root) {
        Err(error) => error.to_string(),
        Ok((mut container, output)) => {
            container.start().expect("started");
            end(&container);
            let said = fs::read_to_string(output).expect("output");
            panic!("it ran, and said {said:?}");
        }
    }
}

/// Runs one more process in a container.
fn exec(bed: &Bed, container: &Container, process: &Value) -> Result<(i32, String), CreateError> {
    let output = bed.new_folder("exec").join("output");
    let out = fs::File::create(&output).expect("made");
    let input = fs::File::open("/dev/null").expect("there");
    let exec = Exec::start(&ExecOptions {
        filter: None,
        process: &serde_json::from_value(process.clone()).expect("a process"),
        container: container.pidfd(),
        cgroup: container.cgroup(),
        stdio: Stdio::Streams([input.as_fd(), out.as_fd(), out.as_fd()]),
    })?;
    let (_, status) = waitpid(Pid::from_raw(exec.pid()), WaitOptions::empty())
        .expect("a child")
        .expect("it has ended");
    let said = fs::read_to_string(output).expect("output");
    Ok((status.exit_status().unwrap_or(-1), said))
}

pub(crate) fn what_was_there_is_copied_up(bed: &Bed) {
    let data = bed.root().join("data");
    fs::create_dir_all(data.join("deep/er")).expect("made");
    fs::write(data.join("deep/er/file"), "content\n").expect("written");
    fs::write(data.join("tool"), "tool\n").expect("written");
    std::os::unix::fs::symlink("/etc/passwd", data.join("link")).expect("linked");
    std::os::unix::fs::chown(data.join("tool"), Some(5), Some(6)).expect("given");
    let data = data.to_str().expect("plain");
    namespaced::run("chmod", &["6750", &format!("{data}/tool")]);
    namespaced::run("chmod", &["1711", &format!("{data}/deep")]);
    namespaced::run("chmod", &["750", data]);
    let look = "ls -lnR /data | awk '{print $1, $3, $4, $5, $9, $10, $11}' | grep -v total; ls -ldn /data | cut -c1-10; cat /data/deep/er/file; echo new >/data/new; grep -c ' /data tmpfs' /proc/mounts";
    for options in [json!(["tmpcopyup"]), json!(["tmpcopyup", "size=1m"])] {
        let mount =
            json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options});
        let mut spec = with_mount(spec(look), mount);
        // Its mode would keep root out without this.
        spec["process"]["capabilities"]["effective"] = json!(["CAP_DAC_OVERRIDE"]);
        spec["process"]["capabilities"]["permitted"] = json!(["CAP_DAC_OVERRIDE"]);
        let (code, want) = runc(bed, &spec);
        assert_eq!(code, 0, "{want}");
        // The size of a folder is the file system's; files' are compared by what they hold.
        assert_eq!(bed.run(&spec), (0, want));
    }
    assert!(!bed.root().join("data/new").exists());
    fs::remove_dir_all(bed.root().join("data")).expect("removed");
}

pub(crate) fn nothing_but_procfs_is_mounted_at_proc(bed: &Bed) {
    let folder = bed.new_folder("fake");
    fs::write(folder.join("file"), "fake\n").expect("written");
    let root = Root::Folder(bed.root());
    let bare = || without_mount(spec("cat /proc/uptime"), "/proc");
    let bind = |destination: &str, source: PathBuf| json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]});
    let tmpfs = json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"});
    let file = folder.join("file");
    for bad in [
        with_mount(bare(), bind("/proc", folder.clone())),
        with_mount(spec("true"), bind("/proc/sys", folder.clone())),
        with_mount(spec("true"), bind("/proc/version", file.clone())),
    ] {
        let text = "cannot be mounted because it is";
        let (code, said) = runc(bed, &bad);
        assert!(code != 0 && said.contains(text), "runc says {said}");
        let said = refused(bed, &bad, &root);
        assert!(said.contains(text), "{said}");
    }
    // runc of Debian mounts it, and fails later by luck.
    let said = refused(bed, &with_mount(bare(), tmpfs), &root);
    assert_eq!(
        said,
        "error mounting \"tmpfs\" to rootfs at \"/proc\": \"/proc\" cannot be mounted because it is not of type proc"
    );
    // All of it would be covered.
    let said = refused(
        bed,
        &with_mount(spec("true"), bind("/", folder.clone())),
        &root,
    );
    assert!(said.contains("the mount point is the root"), "{said}");
    // By a link of the image.
    let linked = evil(bed, |layer| {
        std::os::unix::fs::symlink("/proc/sys", layer.join("p")).expect("linked");
        std::os::unix::fs::symlink("/w", layer.join("proc")).expect("linked");
    });
    let said = refused(bed, &spec("true"), &linked);
    assert!(
        said.contains("must be mounted on ordinary directory"),
        "{said}"
    );
    let linked = evil(bed, |layer| {
        std::os::unix::fs::symlink("/proc/sys", layer.join("p")).expect("linked");
    });
    let said = refused(
        bed,
        &with_mount(spec("true"), bind("/p", folder.clone())),
        &linked,
    );
    assert!(said.contains("\"/proc/sys\" cannot be mounted"), "{said}");
    // What others emulate is allowed, and a procfs from elsewhere.
    let good = with_mount(spec("cat /proc/uptime"), bind("/proc/uptime", file));
    assert_eq!(runc(bed, &good), (0, "fake\n".to_owned()));
    assert_eq!(bed.run(&good), (0, "fake\n".to_owned()));
    let (code, said) = bed.run(&with_mount(bare(), bind("/proc", PathBuf::from("/proc"))));
    assert_eq!(code, 0, "{said}");
}

pub(crate) fn a_mask_is_the_real_null_device(bed: &Bed) {
    // CVE-2025-31133: with a link there, what it leads to would be bound, writable, over a masked file.
    let spec = || without_mount(spec("cat /proc/kcore"), "/dev");
    let link = evil(bed, |layer| {
        fs::create_dir(layer.join("dev")).expect("made");
        std::os::unix::fs::symlink("/etc/victim", layer.join("dev/null")).expect("linked");
    });
    let said = refused(bed, &spec(), &link);
    assert!(said.contains("mask /proc/"), "{said}");
    let file = evil(bed, |layer| {
        fs::create_dir(layer.join("dev")).expect("made");
        fs::write(layer.join("dev/null"), "not null").expect("written");
    });
    let said = refused(bed, &spec(), &file);
    assert!(said.contains("mask /proc/"), "{said}");
}

pub(crate) fn a_console_is_no_link_of_the_image(bed: &Bed) {
    // CVE-2025-52565: the terminal would be mounted over what the link leads to.
    let with_terminal = |spec: Value, root: &Root| {
        let mut spec = spec;
        spec["process"]["terminal"] = json!(true);
        let mount_point = bed.new_folder("rootfs");
        let made = Container::create(&CreateOptions {
            spec: &serde_json::from_value(spec).expect("a spec"),
            root,
            mount_point: &mount_point,
            stdio: Stdio::Terminal {
                rows: 1,
                columns: 1,
            },
            cgroup_root: &bed.cgroup_root,
            default_group: Path::new("terminal"),
        });
        match made {
            Err(error) => error.to_string(),
            Ok(container) => {
                end(&container);
                panic!("it was made");
            }
        }
    };
    let link = evil(bed, |layer| {
        fs::create_dir_all(layer.join("dev/pts")).expect("made");
        std::os::unix::fs::symlink("/etc/victim", layer.join("dev/console")).expect("linked");
    });
    let said = with_terminal(without_mount(spec("true"), "/dev"), &link);
    assert!(said.contains("make /dev/console"), "{said}");
    // A file of the image in the multiplexer's place.
    let file = evil(bed, |layer| {
        fs::create_dir_all(layer.join("dev/pts")).expect("made");
        fs::write(layer.join("dev/pts/ptmx"), "").expect("written");
    });
    let no_devpts = without_mount(without_mount(spec("true"), "/dev"), "/dev/pts");
    let said = with_terminal(no_devpts, &file);
    assert_eq!(said, "open a terminal: /dev/pts is not a devpts");
}

pub(crate) fn descriptors_of_the_caller_lead_nowhere(bed: &Bed) {
    use std::os::fd::AsRawFd;
    // CVE-2024-21626: a folder that the caller left open, without CLOEXEC.
    let outside = bed.new_folder("outside");
    let flags = rustix::fs::OFlags::RDONLY;
    let leak = rustix::fs::open(&outside, flags, rustix::fs::Mode::empty()).expect("opened");
    fs::copy(bed.root().join("bin/busybox"), outside.join("busybox")).expect("copied");
    let path = format!("/proc/self/fd/{}", leak.as_raw_fd());
    let made = format!("{path}/made");
    let program = format!("{path}/busybox");
    let root = Root::Folder(bed.root());
    let mut writable = spec("ls; pwd");
    writable["root"]["readonly"] = json!(false);
    for cwd in [&path, &made, &format!("{path}/../outside-made")] {
        let mut spec = writable.clone();
        spec["process"]["cwd"] = json!(cwd);
        refused(bed, &spec, &root);
    }
    let mut spec = writable.clone();
    spec["process"]["args"] = json!([program, "true"]);
    let said = refused(bed, &spec, &root);
    assert!(said.contains("no such file or directory"), "{said}");
    // The same for a process that comes later.
    let container = waiting(bed);
    for (cwd, program) in [
        (path.as_str(), "pwd"),
        (made.as_str(), "pwd"),
        ("/", program.as_str()),
    ] {
        let mut process = writable["process"].clone();
        process["cwd"] = json!(cwd);
        process["args"] = json!([program]);
        let ran = exec(bed, &container, &process);
        assert!(ran.is_err(), "{cwd} {program}: {ran:?}");
    }
    end(&container);
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 1);
    assert!(!outside.with_file_name("outside-made").exists());
    // A folder that is a file is told as runc does.
    let mut spec = writable;
    spec["process"]["cwd"] = json!("/bin/busybox");
    let text = "mkdir /bin/busybox: not a directory";
    let (_, said) = runc(bed, &spec);
    assert!(said.contains(text), "runc says {said}");
    assert_eq!(refused(bed, &spec, &root), text);
}

pub(crate) fn a_child_that_waits_cannot_be_looked_into(bed: &Bed) {
    let neighbour = waiting(bed);
    let mut joined = spec("true");
    joined["linux"]["namespaces"][0]["path"] = json!(format!("/proc/{}/ns/pid", neighbour.pid()));
    let (mut container, _) = bed
        .create(&joined, &Root::Folder(bed.root()))
        .expect("created");
    let script =
        "for p in /proc/[0-9]*; do echo $(cat $p/comm): $(readlink $p/exe || echo hidden); done";
    let (_, said) = exec(bed, &neighbour, &spec(script)["process"]).expect("run");
    let this = fs::read_to_string("/proc/self/comm").expect("there");
    assert!(
        said.contains(&format!("{}: hidden\n", this.trim())) && said.contains("/bin/busybox"),
        "{said}"
    );
    container.start().expect("started");
    assert_eq!(wait(&container), 0);
    container.cgroup().remove().expect("empty");
    end(&neighbour);
    // The caller is as it was.
    let dumpable = rustix::process::dumpable_behavior().expect("known");
    assert_eq!(dumpable, rustix::process::DumpableBehavior::Dumpable);
}

pub(crate) fn settings_of_the_host_are_not_a_containers(bed: &Bed) {
    let without = |kind: &str, name: &str| {
        let mut spec = spec("true");
        let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|one| one["type"] != kind);
        spec["linux"]["sysctl"] = json!({name: "1"});
        spec
    };
    for (kind, name) in [
        ("", "kernel.core_pattern"),
        ("", "vm.swappiness"),
        ("", "kernel.hostname"),
        ("ipc", "kernel.shmmax"),
        ("ipc", "fs.mqueue.msg_max"),
        ("network", "net.ipv4.ip_forward"),
    ] {
        let spec = without(kind, name);
        let (code, said) = runc(bed, &spec);
        let ours = refused(bed, &spec, &Root::Folder(bed.root()));
        let text = ours.trim_start_matches("invalid spec: ");
        assert!(
            code != 0 && said.replace('\\', "").contains(text),
            "runc says {said}, ours {ours}"
        );
    }
    let mut spec = spec("cat /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_forward");
    spec["linux"]["sysctl"] = json!({"kernel.shmmax": "4096", "net.ipv4.ip_forward": "1"});
    assert_eq!(runc(bed, &spec), (0, "4096\n1\n".to_owned()));
    assert_eq!(bed.run(&spec), (0, "4096\n1\n".to_owned()));
}

pub(crate) fn settings_are_written_to_a_real_procfs(bed: &Bed) {
    // CVE-2025-52881: a link where the setting should be leads the write elsewhere.
    let root = evil(bed, |layer| {
        let folder = layer.join("proc/sys/net/ipv4");
        fs::create_dir_all(&folder).expect("made");
        std::os::unix::fs::symlink("/etc/victim", folder.join("ip_forward")).expect("linked");
    });
    let mut spec = without_mount(spec("cat /etc/victim; exec sleep 60"), "/proc");
    spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    let (mut container, output) = bed.create(&spec, &root).expect("created");
    container.start().expect("started");
    let pid = container.pid().to_string();
    let real = Command::new("nsenter")
        .args([
            "--target",
            &pid,
            "--net",
            "cat",
            "/proc/sys/net/ipv4/ip_forward",
        ])
        .output()
        .expect("it runs");
    assert_eq!(real.stdout, b"1\n");
    until("it has looked", || {
        fs::read_to_string(&output).expect("output") == VICTIM
    });
    end(&container);
}

pub(crate) fn an_exec_writes_nothing_into_the_containers_proc(bed: &Bed) {
    let root = evil(bed, |layer| {
        fs::create_dir_all(layer.join("proc/self")).expect("made");
        let link = layer.join("proc/self/oom_score_adj");
        std::os::unix::fs::symlink("/etc/victim", link).expect("linked");
    });
    let spec = without_mount(spec("exec sleep 60"), "/proc");
    let (mut container, _) = bed.create(&spec, &root).expect("created");
    container.start().expect("started");
    let mut process = spec["process"].clone();
    process["oomScoreAdj"] = json!(300);
    process["args"] = json!(["cat", "/etc/victim"]);
    let ran = exec(bed, &container, &process).expect("run");
    assert_eq!(ran, (0, VICTIM.to_owned()));
    end(&container);
    // And yet it is set.
    let container = waiting(bed);
    process["args"] = json!(["cat", "/proc/self/oom_score_adj"]);
    let ran = exec(bed, &container, &process).expect("run");
    assert_eq!(ran, (0, "300\n".to_owned()));
    end(&container);
}
