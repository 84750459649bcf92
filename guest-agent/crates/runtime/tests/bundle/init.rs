//! docker-init inside of containers.

use super::*;

/// Where a container has its init.
pub(crate) const INIT: &str = "/sbin/docker-init";

/// A spec whose first process is the init: this program, with the libraries it needs.
fn spec_with_init(arguments: &[&str]) -> Value {
    let mut spec = spec("");
    spec["process"]["args"] = json!([&[INIT, "--"], arguments].concat());
    let this = std::env::current_exe().expect("this program");
    let mut binds = vec![(this.to_string_lossy().into_owned(), INIT)];
    for folder in ["/lib", "/lib64"] {
        if Path::new(folder).exists() {
            binds.push((folder.to_owned(), folder));
        }
    }
    let mounts = spec["mounts"].as_array_mut().expect("a list");
    for (source, destination) in binds {
        mounts.push(json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "ro"]}));
    }
    spec
}

pub(crate) fn an_init_ends_as_its_program_does(bed: &Bed) {
    fs::write(bed.root().join("bin/plain"), "not a program").expect("written");
    let check = |arguments: &[&str], code: i32, said: &str| {
        assert_eq!(
            bed.run(&spec_with_init(arguments)),
            (code, said.to_owned()),
            "{arguments:?}"
        );
    };
    check(&["sh", "-c", "echo $$; exit 7"], 7, "2\n");
    check(&["sh", "-c", "kill -9 $$"], 128 + 9, "");
    check(
        &["nope"],
        127,
        "[FATAL tini (1)] exec nope failed: No such file or directory\n",
    );
    check(
        &["/bin/plain"],
        126,
        "[FATAL tini (1)] exec /bin/plain failed: Permission denied\n",
    );
}

pub(crate) fn an_init_reaps_orphans(bed: &Bed) {
    // The middle process ends at once; its child becomes the init's, ends too, and must not stay a zombie.
    let script = r#"
child=$(sh -c 'sleep 0.01 >/dev/null & echo $!')
while [ -d /proc/$child ]; do :; done
echo reaped
"#;
    let (mut container, output) = bed
        .create(
            &spec_with_init(&["sh", "-c", script]),
            &Root::Folder(bed.root()),
        )
        .expect("created");
    container.start().expect("started");
    if !ends_within(&container, Duration::from_secs(20)) {
        container.signal(Signal::KILL).expect("alive");
    }
    wait(&container);
    assert_eq!(fs::read_to_string(output).expect("output"), "reaped\n");
    container.cgroup().remove().expect("empty");
}

pub(crate) fn an_init_hands_signals_to_its_program(bed: &Bed) {
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("USR2", Signal::USR2),
        ("WINCH", Signal::WINCH),
    ] {
        let script = format!("trap 'echo {name}; exit 5' {name}; echo ready; while :; do :; done");
        let (mut container, output) = bed
            .create(
                &spec_with_init(&["sh", "-c", &script]),
                &Root::Folder(bed.root()),
            )
            .expect("created");
        container.start().expect("started");
        until("the program is ready", || {
            fs::read_to_string(&output).expect("output") == "ready\n"
        });
        container.signal(signal).expect("alive");
        if !ends_within(&container, Duration::from_secs(20)) {
            container.signal(Signal::KILL).expect("alive");
        }
        assert_eq!(wait(&container), 5, "{name}");
        let said = fs::read_to_string(output).expect("output");
        assert_eq!(said, format!("ready\n{name}\n"));
        container.cgroup().remove().expect("empty");
    }
}

pub(crate) fn an_inits_program_has_the_terminal(bed: &Bed) {
    // Fields of stat: its process group, and the one in the terminal's foreground.
    let script = "awk '{print $5 == $8, $5 != 1}' /proc/$$/stat; stty size; echo done";
    let mut spec = spec_with_init(&["sh", "-c", script]);
    spec["process"]["terminal"] = json!(true);
    assert_eq!(on_a_terminal(bed, spec), "1 1\r\n12 34\r\ndone\r\n");
}
