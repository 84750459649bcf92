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
