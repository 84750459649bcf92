//! Namespaces that are joined, and those that are omitted.

use super::*;

/// Kinds as the spec calls them, and their links below /proc/PID/ns.
const NAMESPACES: [(&str, &str); 5] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
];

const LINKS: &str = "for name in pid net ipc uts cgroup; do readlink /proc/self/ns/$name; done";

/// The links of a process seen from here, as [`LINKS`] shows its own.
fn links(process: &str) -> String {
    NAMESPACES
        .iter()
        .map(|(_, name)| {
            let link = fs::read_link(format!("/proc/{process}/ns/{name}")).expect("alive");
            format!("{}\n", link.display())
        })
        .collect()
}

pub(crate) fn namespaces_are_joined_by_path(bed: &Bed) {
    let first = waiting(bed);
    let theirs = links(&first.pid().to_string());
    let own = links("self");
    for (line, (kind, name)) in NAMESPACES.into_iter().enumerate() {
        let path = format!("/proc/{}/ns/{name}", first.pid());
        let mut spec = spec(LINKS);
        let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|one| one["type"] != kind);
        namespaces.push(json!({"type": kind, "path": path}));
        let (code, ours) = bed.run(&spec);
        assert_eq!(code, 0, "{kind}: {ours}");
        let line_of = |text: &str, number: usize| text.lines().nth(number).map(str::to_owned);
        for (number, (other, _)) in NAMESPACES.into_iter().enumerate() {
            let same = line_of(&ours, number) == line_of(&theirs, number);
            assert_eq!(same, number == line, "{other} when {kind} is joined");
        }
        let (_, of_runc) = runc(bed, &spec);
        assert_eq!(line_of(&ours, line), line_of(&of_runc, line), "{kind}");
    }
    // Its processes are seen, and the caller's next children are born where it is itself.
    let mut spec = spec("grep -c sleep /proc/1/cmdline; [ $$ != 1 ] && echo another");
    spec["linux"]["namespaces"][0]["path"] = json!(format!("/proc/{}/ns/pid", first.pid()));
    assert_eq!(bed.run(&spec), (0, "1\nanother\n".to_owned()));
    let child = Command::new("readlink").arg("/proc/self/ns/pid").output();
    let child = String::from_utf8(child.expect("it runs").stdout).expect("text");
    assert_eq!(Some(child.trim()), own.lines().next());
    // A namespace of another kind.
    spec["linux"]["namespaces"][0]["path"] = json!(format!("/proc/{}/ns/net", first.pid()));
    assert!(bed.create(&spec, &Root::Folder(bed.root())).is_err());
    end(&first);
}

pub(crate) fn a_namespace_that_is_omitted_is_the_hosts(bed: &Bed) {
    let mut spec = spec(LINKS);
    spec["linux"]["namespaces"] = json!([{"type": "mount"}]);
    spec.as_object_mut().expect("an object").remove("hostname");
    // Without a pid namespace of its own runc freezes and kills by cgroup, which this bed does not give it.
    assert_eq!(bed.run(&spec), (0, links("self")));
}

pub(crate) fn the_hosts_name_is_not_changed(bed: &Bed) {
    let mut spec = spec("true");
    let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|one| one["type"] != "uts");
    let text = "unable to set hostname without a private UTS namespace";
    let (code, said) = runc(bed, &spec);
    assert!(code != 0 && said.contains(text), "runc says {said}");
    match bed.create(&spec, &Root::Folder(bed.root())) {
        Err(error @ CreateError::Invalid(_)) => {
            assert_eq!(error.to_string(), format!("invalid spec: {text}"));
        }
        other => panic!("{other:?}"),
    }
}
