//! Links of the default bridge.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{checks, raw};
use crate::Bed;

checks![
    a_linked_container_is_known_by_its_alias,
    a_link_is_a_name_until_it_is_removed,
    a_link_follows_the_container,
    a_link_to_what_does_not_run_fails,
    bad_links_are_refused,
];

const STAYS: [&str; 2] = ["sleep", "300"];

fn inspect(bed: &Bed, name: &str) -> anyhow::Result<Value> {
    let (status, body) = raw::get(bed, &format!("/v1.51/containers/{name}/json"))?;
    ensure!(status == 200, "{name}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}

fn address(bed: &Bed, name: &str) -> anyhow::Result<String> {
    let shown = inspect(bed, name)?;
    let address = shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str();
    Ok(address.context("no address")?.to_owned())
}

fn a_linked_container_is_known_by_its_alias(bed: &Bed) -> anyhow::Result<()> {
    let options = [
        "--expose",
        "6379",
        "--expose",
        "7000-7001",
        "--expose",
        "53/udp",
        "-e",
        "COLOR=red",
        "--hostname",
        "store",
    ];
    let child = bed.start(&options, &STAYS)?;
    let link = format!("{}:my-db", child.name);
    let parent = bed.start(&["--link", &link, "-e", "MY_DB_ENV_COLOR=mine"], &STAYS)?;
    let at = address(bed, &child.name)?;
    let run = |script: &str| bed.docker.ok(&["exec", &parent.name, "sh", "-c", script]);
    let lines = run("env | grep ^MY_DB_ | sort")?;
    let mut wanted = vec![
        format!("MY_DB_NAME=/{}/my-db", parent.name),
        "MY_DB_ENV_COLOR=mine".to_owned(),
        format!("MY_DB_PORT=tcp://{at}:6379"),
    ];
    for (port, protocol) in [(6379, "tcp"), (7000, "tcp"), (7001, "tcp"), (53, "udp")] {
        let prefix = format!("MY_DB_PORT_{port}_{}", protocol.to_uppercase());
        wanted.push(format!("{prefix}={protocol}://{at}:{port}"));
        wanted.push(format!("{prefix}_ADDR={at}"));
        wanted.push(format!("{prefix}_PORT={port}"));
        wanted.push(format!("{prefix}_PROTO={protocol}"));
    }
    for (what, port) in [("START", 7000), ("END", 7001)] {
        wanted.push(format!("MY_DB_PORT_7000_TCP_{what}=tcp://{at}:{port}"));
        wanted.push(format!("MY_DB_PORT_7000_TCP_PORT_{what}={port}"));
    }
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    wanted.sort_unstable();
    ensure!(lines == wanted, "{lines:?}\n{wanted:?}");
    let hosts = run("cat /etc/hosts")?;
    let line = format!("{at}\tmy-db store {}", child.name);
    ensure!(hosts.lines().any(|own| own == line), "{hosts}");
    run("ping -c 1 -W 5 my-db").map(drop)
}

fn a_link_is_a_name_until_it_is_removed(bed: &Bed) -> anyhow::Result<()> {
    let child = bed.start(&[], &STAYS)?;
    let parent = bed.start(&["--link", &format!("{}:db", child.name)], &STAYS)?;
    let links = || -> anyhow::Result<Value> {
        Ok(inspect(bed, &parent.name)?["HostConfig"]["Links"].clone())
    };
    let full = format!("/{}/db", parent.name);
    ensure!(
        links()? == json!([format!("/{}:{full}", child.name)]),
        "{}",
        links()?
    );
    ensure!(inspect(bed, full.trim_start_matches('/'))?["Id"] == child.id.as_str());
    let names = || -> anyhow::Result<Vec<String>> {
        let filter = format!("id={}", child.id);
        let listed = bed.docker.ok(&[
            "ps",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            "{{.Names}}",
        ])?;
        let mut names: Vec<String> = listed.split(',').map(str::to_owned).collect();
        names.sort();
        Ok(names)
    };
    let mut wanted = vec![child.name.clone(), format!("{}/db", parent.name)];
    wanted.sort();
    ensure!(names()? == wanted, "{:?}", names()?);
    let refused = bed.docker.fails(&["rm", "--link", &child.name])?;
    ensure!(
        refused
            .stderr
            .contains("Conflict, cannot remove the default link name of the container"),
        "{refused:?}"
    );
    bed.docker.ok(&["rm", "--link", &full])?;
    ensure!(
        names()? == [child.name.clone()] && links()?.is_null(),
        "{:?} {}",
        names()?,
        links()?
    );
    ensure!(inspect(bed, &child.name)?["State"]["Running"] == true);
    Ok(())
}

fn a_link_follows_the_container(bed: &Bed) -> anyhow::Result<()> {
    let child = bed.start(&[], &STAYS)?;
    let before = address(bed, &child.name)?;
    let parent = bed.start(&["--link", &format!("{}:db", child.name)], &STAYS)?;
    bed.docker.ok(&["stop", "-t", "0", &child.name])?;
    // Takes the address that the other had.
    let mut others = Vec::new();
    while others.len() < 20 {
        let other = bed.start(&[], &STAYS)?;
        let taken = address(bed, &other.name)? == before;
        others.push(other);
        if taken {
            break;
        }
    }
    bed.docker.ok(&["start", &child.name])?;
    let after = address(bed, &child.name)?;
    let hosts = bed
        .docker
        .ok(&["exec", &parent.name, "cat", "/etc/hosts"])?;
    let line = hosts.lines().find(|line| line.contains("\tdb "));
    ensure!(
        line.is_some_and(|line| line.starts_with(&format!("{after}\t"))),
        "{after}: {hosts}"
    );
    Ok(())
}

fn a_link_to_what_does_not_run_fails(bed: &Bed) -> anyhow::Result<()> {
    let child = bed.named("linked");
    bed.docker
        .ok(&["create", "--name", &child.name, "busybox", "sleep", "300"])?;
    let parent = bed.named("linking");
    let link = format!("{}:db", child.name);
    let run = [
        "run",
        "-d",
        "--name",
        &parent.name,
        "--link",
        &link,
        "busybox",
        "sleep",
        "300",
    ];
    let refused = bed.docker.fails(&run)?;
    let wanted = format!(
        "Cannot link to a non running container: /{} AS /{}/db",
        child.name, parent.name
    );
    ensure!(refused.stderr.contains(&wanted), "{refused:?}");
    bed.docker.ok(&["start", &child.name])?;
    bed.docker.ok(&["start", &parent.name]).map(drop)
}

fn bad_links_are_refused(bed: &Bed) -> anyhow::Result<()> {
    let create = |links: Value| {
        let body = json!({"Image": "busybox", "HostConfig": {"Links": links}});
        let path = format!("/v1.51/containers/create?name={}", bed.name("bad-link"));
        raw::request(bed, "POST", &path, &body.to_string())
    };
    for (link, code, wanted) in [
        ("", 500, "empty string specified for links"),
        ("a:b:c", 500, "bad format for links: a:b:c"),
        (
            "nosuch:db",
            400,
            "could not get container for nosuch: No such container: nosuch",
        ),
    ] {
        let (status, body) = create(json!([link]))?;
        let shown: Value = serde_json::from_str(&body)?;
        ensure!(
            status == code && shown["message"] == wanted,
            "{link:?}: {status} {body}"
        );
    }
    let host = bed.start(&["--network", "host"], &STAYS)?;
    let (status, body) = create(json!([host.name]))?;
    ensure!(
        status == 400 && body.contains("host type networking can't be used with links"),
        "{status} {body}"
    );
    Ok(())
}
