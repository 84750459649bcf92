//! Mounts that reach the other side, and those that do not.

use super::*;

/// A shared mount with another below it.
struct SharedMount(PathBuf);

impl SharedMount {
    fn new(bed: &Bed) -> Self {
        let mount = Self(bed.new_folder("shared"));
        namespaced::run("mount", &["-t", "tmpfs", "none", mount.path()]);
        namespaced::run("mount", &["--make-shared", mount.path()]);
        for name in ["below", "outside", "inside"] {
            fs::create_dir(mount.0.join(name)).expect("made");
        }
        let below = mount.0.join("below");
        namespaced::run(
            "mount",
            &["-t", "tmpfs", "none", below.to_str().expect("plain")],
        );
        mount
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("plain")
    }

    /// Binds it at /w.
    fn bind(&self, spec: &mut Value, options: &[&str], of_root: &str) {
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        let options = [&["rbind"], options].concat();
        mounts.push(
            json!({"destination": "/w", "type": "bind", "source": self.0, "options": options}),
        );
        if !of_root.is_empty() {
            spec["linux"]["rootfsPropagation"] = json!(of_root);
        }
    }
}

impl Drop for SharedMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-R", self.path()]).status();
    }
}

pub(crate) fn mounts_propagate_as_with_runc(bed: &Bed) {
    let source = SharedMount::new(bed);
    // Each mount with what the kernel says of its peers and masters, their numbers left out.
    let look = r#"awk '$5 == "/" || $5 ~ "^/w" { line = $5; for (i = 7; $i != "-"; i++) line = line " " $i; print line }' /proc/self/mountinfo | sed 's/:[0-9]*//g'"#;
    let mut seen = std::collections::BTreeSet::new();
    for of_root in ["", "rslave", "shared", "rshared", "private", "slave"] {
        for option in [
            "",
            "rprivate",
            "private",
            "rslave",
            "slave",
            "rshared",
            "shared",
            "runbindable",
        ] {
            let mut spec = spec(look);
            let options: &[&str] = if option.is_empty() { &[] } else { &[option] };
            source.bind(&mut spec, options, of_root);
            let (code, want) = runc(bed, &spec);
            assert_eq!(code, 0, "{want}");
            // Older ones, as Debian's, forget the root itself (runc's issue 1755).
            let want = match of_root {
                "shared" | "rshared" => want.replacen("/\n", "/ shared\n", 1),
                _ => want,
            };
            assert_eq!(
                bed.run(&spec),
                (0, want.clone()),
                "{option} in a root that is {of_root}"
            );
            seen.insert(want);
        }
    }
    assert!(seen.len() > 6, "these all look the same: {seen:#?}");
}

/// Mount points that a process has.
fn mount_points(process: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/mountinfo")).expect("alive");
    text.lines()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect()
}

pub(crate) fn mounts_reach_the_other(bed: &Bed) {
    for (option, of_root, inward, outward) in [
        ("rprivate", "", false, false),
        ("rslave", "rslave", true, false),
        ("rshared", "shared", true, true),
    ] {
        let source = SharedMount::new(bed);
        let mut spec = spec("while :; do sleep 60; done");
        source.bind(&mut spec, &[option], of_root);
        let (mut container, _) = bed
            .create(&spec, &Root::Folder(bed.root()))
            .expect("created");
        container.start().expect("started");
        let pid = container.pid().to_string();
        let outside = source.0.join("outside");
        let outside = outside.to_str().expect("plain");
        namespaced::run("mount", &["-t", "tmpfs", "none", outside]);
        let arrived = mount_points(&pid).contains(&"/w/outside".to_owned());
        assert_eq!(arrived, inward, "inward, {option}");
        let mount = ["mount", "-t", "tmpfs", "none", "/w/inside"];
        let entered = ["--target", pid.as_str(), "--mount", "/bin/busybox"];
        namespaced::run("nsenter", &[&entered[..], &mount].concat());
        let inside = source.0.join("inside").display().to_string();
        let arrived = mount_points("self").contains(&inside);
        assert_eq!(arrived, outward, "outward, {option}");
        end(&container);
    }
}

pub(crate) fn own_mounts_do_not_appear_outside(bed: &Bed) {
    namespaced::run("mount", &["--make-shared", "/run"]);
    let root = bed.new_folder("shared-root");
    let (of_bed, path) = (bed.root(), root.to_str().expect("plain"));
    namespaced::run("mount", &["--bind", of_bed.to_str().expect("plain"), path]);
    let before = mount_points("self");
    let result = std::panic::catch_unwind(|| {
        for of_root in ["", "rslave", "shared", "rshared", "private"] {
            let mut spec = spec("while :; do sleep 60; done");
            spec["linux"]["rootfsPropagation"] = json!(of_root);
            let (mut container, _) = bed
                .create(&spec, &Root::Folder(root.clone()))
                .expect("created");
            container.start().expect("started");
            let during = mount_points("self");
            end(&container);
            assert_eq!(during, before, "{of_root}");
            assert_eq!(mount_points("self"), before, "{of_root}, afterwards");
        }
    });
    namespaced::run("umount", &[path]);
    namespaced::run("mount", &["--make-private", "/run"]);
    assert!(result.is_ok());
}
