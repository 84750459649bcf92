//! What moby's own integration tests ask of an engine and ours once answered otherwise.

use anyhow::ensure;
use serde_json::Value;

use super::{checks, inspect, raw};
use crate::Bed;

checks![
    a_container_of_nothing_is_refused,
    an_attach_that_fails_says_so_in_its_stream,
    an_exec_that_was_not_run_goes_with_its_containers_run,
    bad_names_and_filters_are_refused_in_dockers_words,
    of_several_times_the_earliest_counts,
    the_manifest_a_container_runs_from_is_shown,
    an_empty_entrypoint_is_none,
    memory_is_shared_by_those_that_may,
    what_cannot_be_joined_is_told,
    a_joined_network_comes_with_its_names,
    the_machines_network_comes_with_its_hosts,
    everybody_may_ping_and_serve_low_ports,
    the_engines_own_folder_is_not_held,
    older_clients_get_what_they_knew,
    an_image_whose_name_moved_on_is_shown_by_its_id,
    there_are_no_plugins,
    volumes_of_nobody_are_none,
    read_only_binds_hold_below_unless_told_otherwise,
];

fn a_container_of_nothing_is_refused(bed: &Bed) -> anyhow::Result<()> {
    let path = "/v1.51/containers/create";
    for (body, want) in [
        (
            "{}",
            "config cannot be empty in order to create a container",
        ),
        (
            r#"{"HostConfig": {}, "NetworkingConfig": {}}"#,
            "config cannot be empty in order to create a container",
        ),
        (r#"{"Image": ""}"#, "no command specified"),
    ] {
        let (status, text) = raw::request(bed, "POST", path, body)?;
        ensure!(
            status == 400 && text.contains(want),
            "{body}: {status} {text}"
        );
    }
    let (status, text) = raw::request_of(bed, "POST", path, None, r#"{"Image": "busybox"}"#)?;
    ensure!(
        status == 400 && text.contains("malformed Content-Type header (): mime: no media type"),
        "{status} {text}"
    );
    let (status, text) = raw::request(bed, "OPTIONS", "/anything", "")?;
    ensure!(status == 200 && text.is_empty(), "{status} {text}");
    Ok(())
}

fn an_attach_that_fails_says_so_in_its_stream(bed: &Bed) -> anyhow::Result<()> {
    let path = "/v1.51/containers/nobody-knows-it/attach";
    let answer = raw::request(bed, "POST", path, "")?;
    let want = "No such container: nobody-knows-it\r\n".to_owned();
    ensure!(answer == (404, want), "{answer:?}");
    let (status, text) = raw::get(bed, &format!("{path}/ws"))?;
    ensure!(
        status == 404,
        "before it is looked whether it is a websocket: {status} {text}"
    );
    Ok(())
}

fn an_exec_that_was_not_run_goes_with_its_containers_run(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "1000"])?;
    let path = format!("/v1.51/containers/{}/exec", container.name);
    let (status, text) = raw::request(bed, "POST", &path, r#"{"Cmd": ["true"]}"#)?;
    ensure!(status == 201, "{status} {text}");
    let id = serde_json::from_str::<serde_json::Value>(&text)?["Id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    bed.docker.ok(&["kill", &container.name])?;
    bed.docker.ok(&["wait", &container.name])?;
    for again in [false, true] {
        if again {
            bed.docker.ok(&["start", &container.name])?;
        }
        let path = format!("/v1.51/exec/{id}/start");
        let (status, text) = raw::request(bed, "POST", &path, r#"{"Detach": true}"#)?;
        ensure!(
            status == 404 && text.contains(&format!("No such exec instance: {id}")),
            "started again: {again}: {status} {text}"
        );
    }
    Ok(())
}

fn bad_names_and_filters_are_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    for (arguments, want) in [
        (vec!["rmi", " "], "image name cannot be blank"),
        (
            vec!["images", "-f", "dangling=perhaps"],
            "invalid filter 'dangling=[perhaps]'",
        ),
        (
            vec!["tag", "busybox", "sha256:sometag"],
            "refusing to create an ambiguous tag using digest algorithm as name",
        ),
    ] {
        let output = bed.docker.fails(&arguments)?;
        ensure!(output.stderr.contains(want), "{arguments:?}: {output:?}");
    }
    let both = "/v1.51/images/busybox/get?platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22amd64%22%7D&platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22arm64%22%7D";
    let (status, text) = raw::get(bed, both)?;
    ensure!(
        status == 400 && text.contains("multiple platform parameters not supported"),
        "{status} {text}"
    );
    Ok(())
}

fn of_several_times_the_earliest_counts(bed: &Bed) -> anyhow::Result<()> {
    let list = |first: &str, second: &str| {
        bed.docker.ok(&[
            "images",
            "-q",
            "--filter",
            "reference=busybox:latest",
            "--filter",
            &format!("until={first}-06-01T00:00:00Z"),
            "--filter",
            &format!("until={second}-06-01T00:00:00Z"),
        ])
    };
    ensure!(!list("2124", "2125")?.is_empty());
    ensure!(list("2023", "2125")?.is_empty());
    ensure!(list("2125", "2023")?.is_empty());
    Ok(())
}

fn the_manifest_a_container_runs_from_is_shown(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["--annotation", "a=b"], &["sleep", "600"])?;
    let read = |version: &str, path: &str, at: &str| -> anyhow::Result<Value> {
        let (status, text) = raw::get(bed, &format!("/{version}{path}"))?;
        ensure!(status == 200, "{path}: {status} {text}");
        let answer: Value = serde_json::from_str(&text)?;
        Ok(answer.pointer(at).cloned().unwrap_or_default())
    };
    let one = format!("/containers/{}/json", container.name);
    let all = format!(
        "/containers/json?filters=%7B%22id%22%3A%5B%22{}%22%5D%7D",
        container.id
    );
    for (path, at) in [
        (&one, "/ImageManifestDescriptor"),
        (&all, "/0/ImageManifestDescriptor"),
    ] {
        let shown = read("v1.48", path, at)?;
        ensure!(
            shown["platform"]["os"] == "linux" && shown["size"].as_u64() > Some(0),
            "{path}: {shown}"
        );
        let shown = read("v1.47", path, at)?;
        ensure!(shown.is_null(), "{path}: {shown}");
    }
    let annotations = |version| read(version, &all, "/0/HostConfig/Annotations");
    ensure!(annotations("v1.46")? == serde_json::json!({"a": "b"}));
    ensure!(annotations("v1.45")?.is_null());
    Ok(())
}

fn an_empty_entrypoint_is_none(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("bare");
    let run = ["run", "--name", &container.name, "--entrypoint=", "busybox"];
    let text = bed.docker.ok(&[&run[..], &["echo", "a b"]].concat())?;
    ensure!(text == "a b", "{text}");
    ensure!(inspect(bed, &container.name, "Config/Entrypoint")?.is_null());
    ensure!(inspect(bed, &container.name, "Path")? == "echo");
    ensure!(inspect(bed, &container.name, "Args")? == serde_json::json!(["a b"]));
    Ok(())
}

fn memory_is_shared_by_those_that_may(bed: &Bed) -> anyhow::Result<()> {
    let donor = bed.start(&["--ipc", "shareable"], &["sleep", "600"])?;
    let joiner = bed.start(
        &["--ipc", &format!("container:{}", donor.name)],
        &["sleep", "600"],
    )?;
    let write = ["exec", &donor.name, "sh", "-c", "echo said > /dev/shm/file"];
    bed.docker.ok(&write)?;
    let read = ["exec", &joiner.name, "cat", "/dev/shm/file"];
    ensure!(bed.docker.ok(&read)? == "said");
    let mode = inspect(bed, &joiner.name, "HostConfig/IpcMode")?;
    ensure!(
        mode == format!("container:{}", donor.id),
        "names move on: {mode}"
    );
    let private = bed.start(&["--ipc", "private"], &["sleep", "600"])?;
    for (donor, want) in [
        (private.name.as_str(), "non-shareable IPC"),
        ("nobody-knows-it", "No such container: nobody-knows-it"),
    ] {
        let refused = bed.named("refused");
        let mode = format!("container:{donor}");
        let run = ["run", "--name", &refused.name, "--ipc", &mode];
        let output = bed
            .docker
            .fails(&[&run[..], &["busybox", "true"]].concat())?;
        ensure!(output.stderr.contains(want), "{donor}: {output:?}");
    }
    // What was written is gone with the run.
    bed.docker.ok(&["rm", "-f", &joiner.name])?;
    bed.docker.ok(&["restart", "-t", "0", &donor.name])?;
    bed.docker
        .fails(&["exec", &donor.name, "cat", "/dev/shm/file"])?;
    Ok(())
}

fn what_cannot_be_joined_is_told(bed: &Bed) -> anyhow::Result<()> {
    let ended = bed.start(&[], &["true"])?;
    bed.docker.ok(&["wait", &ended.name])?;
    let joiner = bed.named("joiner");
    let mode = format!("container:{}", ended.name);
    let run = ["run", "--name", &joiner.name, "--pid", &mode];
    let output = bed
        .docker
        .fails(&[&run[..], &["busybox", "true"]].concat())?;
    ensure!(
        output.stderr.contains("failed to join PID namespace")
            && output
                .stderr
                .contains(&format!("{} is not running", ended.id)),
        "{output:?}"
    );
    let own = bed.named("own");
    let mode = format!("container:{}", own.name);
    let run = ["run", "--name", &own.name, "--network", &mode];
    let output = bed
        .docker
        .fails(&[&run[..], &["busybox", "true"]].concat())?;
    ensure!(
        output.stderr.contains("cannot join own network namespace"),
        "{output:?}"
    );
    Ok(())
}

fn a_joined_network_comes_with_its_names(bed: &Bed) -> anyhow::Result<()> {
    let donor = bed.start(
        &[
            "--hostname",
            "foobar.example.com",
            "--add-host",
            "peer:192.0.2.7",
        ],
        &["sleep", "600"],
    )?;
    let hosts = bed.docker.ok(&["exec", &donor.name, "cat", "/etc/hosts"])?;
    ensure!(hosts.contains("foobar.example.com foobar"), "{hosts}");
    let network = format!("container:{}", donor.name);
    let script = "cat /etc/hostname; hostname; cat /etc/hosts";
    let seen = bed.busybox(&["--network", &network], &["sh", "-c", script])?;
    ensure!(
        seen == format!("foobar.example.com\nfoobar.example.com\n{hosts}"),
        "{seen}"
    );
    Ok(())
}

fn the_machines_network_comes_with_its_hosts(bed: &Bed) -> anyhow::Result<()> {
    let of_machine = std::fs::read_to_string(bed.outside("/etc/hosts"))?;
    let seen = bed.busybox(&["--network", "host"], &["cat", "/etc/hosts"])?;
    ensure!(seen.trim_end() == of_machine.trim_end(), "{seen}");
    Ok(())
}

fn everybody_may_ping_and_serve_low_ports(bed: &Bed) -> anyhow::Result<()> {
    let files = [
        "/proc/sys/net/ipv4/ping_group_range",
        "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    ];
    for network in ["bridge", "none"] {
        let options = ["--user", "1000:1000", "--network", network];
        let seen = bed.busybox(&options, &["cat", files[0], files[1]])?;
        ensure!(seen == "0\t2147483647\n0", "{network}: {seen}");
    }
    Ok(())
}

fn the_engines_own_folder_is_not_held(bed: &Bed) -> anyhow::Result<()> {
    let root = bed.docker.ok(&["info", "--format", "{{.DockerRootDir}}"])?;
    for (mode, want) in [
        ("", Some("rslave")),
        (":ro", Some("rslave")),
        (":rshared", Some("rshared")),
        (":private", None),
        (":slave", None),
    ] {
        let container = bed.named("root");
        let bind = format!("{root}:/foo{mode}");
        let create = ["create", "--name", &container.name, "-v", &bind, "busybox"];
        let Some(want) = want else {
            let output = bed.docker.fails(&create)?;
            let text = "must use either propagation mode \"rslave\" or \"rshared\"";
            ensure!(output.stderr.contains(text), "{mode}: {output:?}");
            continue;
        };
        bed.docker.ok(&create)?;
        let mounts = inspect(bed, &container.name, "Mounts")?;
        ensure!(mounts[0]["Propagation"] == want, "{mode}: {mounts}");
    }
    Ok(())
}

fn older_clients_get_what_they_knew(bed: &Bed) -> anyhow::Result<()> {
    let create = |version: &str, rest: &str| {
        let path = format!("/{version}/containers/create?name={}", bed.name("older"));
        let body = format!(r#"{{"Image": "busybox", "Cmd": ["true"], {rest}}}"#);
        raw::request(bed, "POST", &path, &body)
    };
    for (version, want) in [("v1.39", "shareable"), ("v1.40", "private")] {
        let (status, text) = create(version, r#""HostConfig": {}"#)?;
        ensure!(status == 201, "{version}: {status} {text}");
        let id = serde_json::from_str::<Value>(&text)?["Id"].clone();
        let id = id.as_str().unwrap_or_default();
        let mode = inspect(bed, id, "HostConfig/IpcMode")?;
        bed.docker.ok(&["rm", id])?;
        ensure!(mode == want, "{version}: {mode}");
    }
    let mount = r#""HostConfig": {"Mounts": [{"Type": "KIND", "Source": "/tmp", "Target": "/t", OPTIONS}]}"#;
    let mount = |kind: &str, options: &str| mount.replace("KIND", kind).replace("OPTIONS", options);
    for (version, rest, want) in [
        (
            "v1.43",
            r#""NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}"#.to_owned(),
            "Container cannot be created with multiple network endpoints: ",
        ),
        (
            "v1.43",
            mount("bind", r#""BindOptions": {"ReadOnlyForceRecursive": true}"#),
            "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
        ),
        (
            "v1.44",
            mount("volume", r#""VolumeOptions": {"Subpath": "x"}"#),
            "VolumeOptions.Subpath needs API v1.45 or newer",
        ),
        (
            "v1.47",
            mount("image", r#""ReadOnly": true"#),
            "Mount type \\\"Image\\\" needs API v1.48 or newer",
        ),
    ] {
        let (status, text) = create(version, &rest)?;
        ensure!(
            status == 400 && text.contains(want),
            "{version}: {status} {text}"
        );
    }
    Ok(())
}

fn an_image_whose_name_moved_on_is_shown_by_its_id(bed: &Bed) -> anyhow::Result<()> {
    let name = bed.name("moving");
    bed.docker.ok(&["tag", "busybox", &name])?;
    let container = bed.named("moved");
    bed.docker
        .ok(&["create", "--name", &container.name, &name, "true"])?;
    let shown = || {
        let filter = format!("name=^{}$", container.name);
        let format = ["--format", "{{.Image}}", "--no-trunc", "--filter", &filter];
        bed.docker.ok(&[&["ps", "-a"][..], &format].concat())
    };
    ensure!(shown()? == name);
    bed.docker.ok(&["rmi", "-f", &name])?;
    let id = inspect(bed, &container.name, "Image")?;
    ensure!(id == shown()?, "{id}, not {}", shown()?);
    Ok(())
}

fn there_are_no_plugins(bed: &Bed) -> anyhow::Result<()> {
    let (status, text) = raw::get(bed, "/v1.51/plugins")?;
    ensure!(status == 200 && text.trim() == "[]", "{status} {text}");
    let output = bed.docker.fails(&["inspect", "nobody-knows-it"])?;
    ensure!(
        output
            .stderr
            .to_lowercase()
            .contains("no such object: nobody-knows-it"),
        "{output:?}"
    );
    Ok(())
}

fn volumes_of_nobody_are_none(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("volumes");
    let bind = format!("{}:/x", bed.folder()?.display());
    bed.docker
        .ok(&["create", "--name", &container.name, "-v", &bind, "busybox"])?;
    let volumes = inspect(bed, &container.name, "Config/Volumes")?;
    ensure!(volumes.is_null(), "{volumes}");
    Ok(())
}

fn read_only_binds_hold_below_unless_told_otherwise(bed: &Bed) -> anyhow::Result<()> {
    let seen = |options: &str| {
        let mount = format!("type=bind,source=/dev,target=/x,readonly{options}");
        bed.busybox(
            &["--mount", &mount],
            &["grep", " /x/shm ", "/proc/self/mountinfo"],
        )
    };
    for (options, want) in [
        ("", " /x/shm ro,"),
        (",bind-recursive=writable", " /x/shm rw,"),
        (
            ",bind-recursive=readonly,bind-propagation=rprivate",
            " /x/shm ro,",
        ),
    ] {
        let seen = seen(options)?;
        ensure!(seen.contains(want), "{options}: {seen}");
    }
    let body = r#"{"Image": "busybox", "Cmd": ["grep", " /x/shm ", "/proc/self/mountinfo"], "HostConfig": {"Binds": ["/dev:/x:ro"]}}"#;
    for (version, want) in [("v1.43", " /x/shm rw,"), ("v1.44", " /x/shm ro,")] {
        let container = bed.named("binds");
        let path = format!("/{version}/containers/create?name={}", container.name);
        let (status, text) = raw::request(bed, "POST", &path, body)?;
        ensure!(status == 201, "{version}: {status} {text}");
        let seen = bed.docker.ok(&["start", "-a", &container.name])?;
        ensure!(seen.contains(want), "{version}: {seen}");
    }
    Ok(())
}
