//! What real clients stumbled over: the words and codes they decide on.

use std::io::{Read, Write};

use anyhow::ensure;

use super::{checks, inspect, raw};
use crate::Bed;

checks![
    a_start_that_fails_is_told_once,
    an_empty_entrypoint_takes_the_images_away,
    what_is_unknown_to_all_kinds_is_said_by_inspect,
    an_exec_of_an_unknown_user_is_not_made,
    logs_are_asked_for_from_any_second,
    ports_are_listed_while_they_are_there,
    what_cannot_be_pruned_yet_is_pruned_in_vain,
    a_container_shows_that_it_is_one,
    localhost_has_both_addresses,
    files_of_a_container_are_shown_from_its_first_start_on,
];

fn a_start_that_fails_is_told_once(bed: &Bed) -> anyhow::Result<()> {
    for options in [&["run", "--rm"][..], &["run"]] {
        let container = bed.named("fails");
        let mut arguments = options.to_vec();
        arguments.extend(["--name", &container.name, "busybox", "no-such-program"]);
        let output = bed.docker.fails(&arguments)?;
        ensure!(
            output.stderr.matches("executable file not found").count() == 1,
            "{output:?}"
        );
    }
    let container = bed.named("fails");
    bed.docker
        .ok(&["create", "--name", &container.name, "busybox", "no-such"])?;
    bed.docker.fails(&["start", &container.name])?;
    let path = |condition: &str| {
        let name = &container.name;
        format!("/v1.51/containers/{name}/wait?condition={condition}")
    };
    let (status, body) = raw::request(bed, "POST", &path("not-running"), "")?;
    ensure!(
        status == 200 && body.contains("\"StatusCode\":127") && body.contains("executable file"),
        "{status} {body}"
    );
    // The head of the answer says that the wait has begun.
    let mut wait = raw::connect(bed)?;
    write!(
        wait,
        "POST {} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n",
        path("removed")
    )?;
    let mut first = [0];
    wait.read_exact(&mut first)?;
    bed.docker.ok(&["rm", &container.name])?;
    let mut answer = String::new();
    wait.read_to_string(&mut answer)?;
    ensure!(
        answer.contains("\"StatusCode\":127") && !answer.contains("Error"),
        "{answer}"
    );
    Ok(())
}

fn an_empty_entrypoint_takes_the_images_away(bed: &Bed) -> anyhow::Result<()> {
    let said = bed.busybox(&["--entrypoint", ""], &["echo", "it runs"])?;
    ensure!(said == "it runs", "{said}");
    Ok(())
}

fn what_is_unknown_to_all_kinds_is_said_by_inspect(bed: &Bed) -> anyhow::Result<()> {
    let output = bed.docker.fails(&["inspect", "nobody-knows-it"])?;
    ensure!(
        output.stderr.contains("No such object: nobody-knows-it"),
        "{output:?}"
    );
    for (method, path) in [
        ("GET", "/plugins/nobody-knows-it/json"),
        ("DELETE", "/plugins/nobody-knows-it"),
        ("POST", "/plugins/nobody-knows-it/disable"),
    ] {
        let (status, body) = raw::request(bed, method, path, "")?;
        ensure!(
            status == 404 && body.contains("plugin \\\"nobody-knows-it\\\" not found"),
            "{method} {path}: {status} {body}"
        );
    }
    let (status, body) = raw::get(bed, "/plugins")?;
    ensure!(status == 200 && body.trim() == "[]", "{status} {body}");
    Ok(())
}

fn an_exec_of_an_unknown_user_is_not_made(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "1000"])?;
    let path = format!("/v1.51/containers/{}/exec", container.name);
    for (user, status, want) in [
        (
            "nobody-here",
            400,
            "unable to find user nobody-here: no matching entries in passwd file",
        ),
        (
            "0:nobody-here",
            400,
            "unable to find group nobody-here: no matching entries in group file",
        ),
        (
            "99999999999",
            400,
            "uids and gids must be in range 0-2147483647",
        ),
        ("4711", 201, "Id"),
    ] {
        let wish = format!("{{\"Cmd\":[\"id\"],\"User\":\"{user}\"}}");
        let (got, body) = raw::request(bed, "POST", &path, &wish)?;
        ensure!(got == status && body.contains(want), "{user}: {got} {body}");
    }
    Ok(())
}

fn logs_are_asked_for_from_any_second(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["echo", "said"])?;
    bed.docker.ok(&["wait", &container.name])?;
    let said = bed
        .docker
        .ok(&["logs", "--since", "2999-01-01", &container.name])?;
    ensure!(said.is_empty(), "{said}");
    let said = bed
        .docker
        .ok(&["logs", "--until", "2999-01-01", &container.name])?;
    ensure!(said == "said", "{said}");
    for (since, why) in [
        ("1h", "invalid syntax"),
        ("9223372036854775808", "value out of range"),
    ] {
        let path = format!("/containers/{}/logs?stdout=1&since={since}", container.name);
        let (status, body) = raw::get(bed, &path)?;
        let want = format!("strconv.ParseInt: parsing \\\"{since}\\\": {why}");
        ensure!(
            status == 500 && body.contains(&want),
            "{since}: {status} {body}"
        );
    }
    Ok(())
}

fn ports_are_listed_while_they_are_there(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("ports");
    let name = container.name.as_str();
    bed.docker.ok(&[
        "create", "--name", name, "--expose", "81", "busybox", "sleep", "1000",
    ])?;
    let filter = format!("name={name}");
    let shown = || {
        bed.docker
            .ok(&["ps", "-a", "--filter", &filter, "--format", "{{.Ports}}"])
    };
    ensure!(shown()?.is_empty(), "before it runs: {}", shown()?);
    bed.docker.ok(&["start", name])?;
    ensure!(shown()? == "81/tcp", "while it runs: {}", shown()?);
    bed.docker.ok(&["kill", name])?;
    ensure!(shown()?.is_empty(), "after it ran: {}", shown()?);
    Ok(())
}

fn what_cannot_be_pruned_yet_is_pruned_in_vain(bed: &Bed) -> anyhow::Result<()> {
    for (path, want) in [
        ("/v1.51/networks/prune", "{\"NetworksDeleted\":null}"),
        (
            "/v1.51/build/prune",
            "{\"CachesDeleted\":null,\"SpaceReclaimed\":0}",
        ),
    ] {
        let (status, body) = raw::request(bed, "POST", path, "")?;
        ensure!(
            status == 200 && body.trim() == want,
            "{path}: {status} {body}"
        );
    }
    let path = "/v1.51/networks/prune?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D";
    let (status, body) = raw::request(bed, "POST", path, "")?;
    ensure!(
        status == 400 && body.contains("invalid filter 'bogus'"),
        "{status} {body}"
    );
    Ok(())
}

fn a_container_shows_that_it_is_one(bed: &Bed) -> anyhow::Result<()> {
    let said = bed.busybox(&[], &["stat", "-c", "%a %s %F", "/.dockerenv"])?;
    ensure!(said == "755 0 regular empty file", "{said}");
    Ok(())
}

fn localhost_has_both_addresses(bed: &Bed) -> anyhow::Result<()> {
    let look = "grep -c '^::1.*localhost' /etc/hosts; grep -c . /proc/net/if_inet6";
    let said = bed.busybox(&[], &["sh", "-c", look])?;
    // As many lines of the one as of the other: none where the kernel has no IPv6.
    ensure!(matches!(said.as_str(), "1\n1" | "0\n0" | "0"), "{said}");
    let off = "net.ipv6.conf.all.disable_ipv6=1";
    let said = bed.busybox(&["--sysctl", off], &["cat", "/etc/hosts"])?;
    ensure!(!said.contains("::1"), "{said}");
    Ok(())
}

fn files_of_a_container_are_shown_from_its_first_start_on(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("files");
    bed.docker
        .ok(&["create", "--name", &container.name, "busybox", "true"])?;
    for path in ["ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"] {
        let shown = inspect(bed, &container.name, path)?;
        ensure!(shown == "", "{path}: {shown}");
    }
    bed.docker.ok(&["start", "-a", &container.name])?;
    for path in ["ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"] {
        let shown = inspect(bed, &container.name, path)?;
        ensure!(shown != "", "{path} is empty");
    }
    Ok(())
}
