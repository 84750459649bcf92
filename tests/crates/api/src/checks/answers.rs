//! What requests about one container are answered in each state it can be in, wrong parameters among it.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{checks, inspect, raw};
use crate::{Bed, bed::Container};

checks![
    who_is_not_there_is_not_found,
    nothing_to_do_is_not_modified,
    the_state_decides_what_is_a_conflict,
    a_wrong_value_is_refused_before_anything_is_done,
    a_query_that_cannot_be_read_is_refused,
    names_are_refused_as_they_would_be_shown,
    paths_are_asked_for,
    a_restart_sends_the_signal_that_is_asked_for,
    platforms_and_bodies_are_checked_at_creation,
    attaching_without_an_upgrade_is_a_plain_answer,
];

/// A request, and what it is answered: a status and, if there is one, a message.
type Row<'a> = (&'a str, String, u16, Option<String>);

fn holds(bed: &Bed, rows: &[Row<'_>]) -> anyhow::Result<()> {
    for (method, path, status, message) in rows {
        let (got, body) = raw::request(bed, method, path, "")?;
        let want = message.as_ref().map(|text| json!({"message": text}));
        let said: Option<Value> = serde_json::from_str(&body).ok();
        ensure!(
            got == *status && said == want,
            "{method} {path}: {got} {body:?}, not {status} {want:?}"
        );
    }
    Ok(())
}

fn text(words: impl Into<String>) -> Option<String> {
    Some(words.into())
}

/// A container that was never started.
fn made(bed: &Bed) -> anyhow::Result<(Container<'_>, String)> {
    let container = bed.named("made");
    let id = bed.docker.ok(&[
        "create",
        "--name",
        &container.name,
        "busybox",
        "sleep",
        "600",
    ])?;
    Ok((container, id))
}

fn who_is_not_there_is_not_found(bed: &Bed) -> anyhow::Result<()> {
    let nobody = "No such container: no-such";
    let rows: Vec<Row<'_>> = [
        ("GET", "logs?stdout=1"),
        ("POST", "resize?h=1&w=1"),
        ("POST", "start"),
        ("POST", "restart"),
        ("POST", "rename?name=x"),
        ("POST", "pause"),
        ("POST", "unpause"),
        ("POST", "wait"),
        ("GET", "top"),
        ("GET", "stats"),
        ("GET", "changes"),
        ("GET", "export"),
        ("GET", "json"),
        ("GET", "archive?path=/"),
    ]
    .map(|(method, what)| {
        (
            method,
            format!("/containers/no-such/{what}"),
            404,
            text(nobody),
        )
    })
    .into();
    holds(bed, &rows)?;
    holds(
        bed,
        &[
            (
                "POST",
                "/containers/no-such/kill".into(),
                404,
                text(format!("cannot kill container: no-such: {nobody}")),
            ),
            (
                "DELETE",
                "/containers/no-such?force=1".into(),
                404,
                text(nobody),
            ),
            (
                "HEAD",
                "/containers/no-such/archive?path=/".into(),
                404,
                None,
            ),
        ],
    )
}

fn nothing_to_do_is_not_modified(bed: &Bed) -> anyhow::Result<()> {
    let (container, _) = made(bed)?;
    let path = |what: &str| format!("/containers/{}/{what}", container.name);
    holds(
        bed,
        &[
            ("POST", path("stop"), 304, None),
            ("POST", path("start?detachKeys=ctrl-x,y"), 204, None),
            ("POST", path("start"), 304, None),
            ("POST", path("stop?signal=KILL&t=0"), 204, None),
            ("POST", path("stop?signal=KILL&t=0"), 304, None),
        ],
    )
}

fn the_state_decides_what_is_a_conflict(bed: &Bed) -> anyhow::Result<()> {
    let (stopped, stopped_id) = made(bed)?;
    let running = bed.start(&[], &["sleep", "600"])?;
    let paused = bed.start(&[], &["sleep", "600"])?;
    bed.docker.ok(&["pause", &paused.name])?;
    let (still, frozen) = (&stopped.name, &paused.name);
    let at = |name: &str, what: &str| format!("/containers/{name}{what}");
    let ended = format!("container {stopped_id} is not running");
    let not_killed = format!("cannot kill container: {still}: {ended}");
    let not_paused = |id: &str| text(format!("Container {id} is not paused"));
    let already = format!("Container {} is already paused", paused.id);
    let not_removed = |name: &str, why: &str| {
        text(format!(
            "cannot remove container \"{name}\": container is {why}"
        ))
    };
    let running_name = &running.name;
    let first = "running: stop the container before removing or force remove";
    let link = "Conflict, cannot remove the default link name of the container";
    holds(
        bed,
        &[
            ("POST", at(still, "/pause"), 409, text(&ended)),
            ("POST", at(still, "/resize?h=1&w=1"), 409, text(&ended)),
            ("GET", at(still, "/top"), 409, text(&ended)),
            ("POST", at(still, "/kill"), 409, text(&not_killed)),
            (
                "POST",
                at(still, "/kill?signal=TERM"),
                409,
                text(not_killed),
            ),
            ("POST", at(still, "/unpause"), 500, not_paused(&stopped_id)),
            (
                "POST",
                at(running_name, "/unpause"),
                500,
                not_paused(&running.id),
            ),
            ("POST", at(frozen, "/pause"), 409, text(already)),
            (
                "POST",
                at(frozen, "/start"),
                409,
                text("cannot start a paused container, try unpause instead"),
            ),
            (
                "DELETE",
                at(running_name, ""),
                409,
                not_removed(running_name, first),
            ),
            (
                "DELETE",
                at(frozen, ""),
                409,
                not_removed(frozen, "paused and must be unpaused first"),
            ),
            ("DELETE", at(running_name, "?link=1"), 500, text(link)),
        ],
    )
}

fn a_wrong_value_is_refused_before_anything_is_done(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let name = &container.name;
    let path = |what: &str| format!("/containers/{name}/{what}");
    let no_number = text("strconv.ParseInt: parsing \"x\": invalid syntax");
    holds(
        bed,
        &[
            (
                "GET",
                path("logs"),
                400,
                text("Bad parameters: you must choose at least one stream"),
            ),
            ("GET", path("logs?stdout=1&since=x"), 500, no_number.clone()),
            ("GET", path("logs?stdout=1&until=x"), 500, no_number.clone()),
            (
                "POST",
                path("resize?h=4294967296&w=1"),
                400,
                text("invalid resize height \"4294967296\": value out of range"),
            ),
            (
                "POST",
                path("start?checkpoint=x"),
                400,
                text("checkpoint is only supported in experimental mode"),
            ),
            (
                "POST",
                "/containers/no-such/start?checkpoint=x".into(),
                400,
                text("checkpoint is only supported in experimental mode"),
            ),
            (
                "POST",
                path("restart?signal=BOGUS"),
                500,
                text(format!(
                    "Cannot restart container {name}: invalid signal: BOGUS"
                )),
            ),
            (
                "POST",
                path("restart?t=x"),
                500,
                text("strconv.Atoi: parsing \"x\": invalid syntax"),
            ),
            (
                "POST",
                path("kill?signal=BOGUS"),
                400,
                text(format!(
                    "cannot kill container: {name}: invalid signal: BOGUS"
                )),
            ),
            (
                "POST",
                path("wait?condition=bogus"),
                400,
                text("invalid condition: \"bogus\""),
            ),
            (
                "GET",
                "/containers/json?filters=x".into(),
                400,
                text("invalid filter"),
            ),
            ("GET", "/events?since=x".into(), 500, no_number),
            (
                "GET",
                "/events?since=2&until=1".into(),
                400,
                text("`since` time (2) cannot be after `until` time (1)"),
            ),
            (
                "GET",
                "/events?filters=x".into(),
                400,
                text("invalid filter"),
            ),
            (
                "GET",
                "/system/df?type=bogus".into(),
                400,
                text("unknown object type: bogus"),
            ),
        ],
    )?;
    ensure!(
        inspect(bed, name, "RestartCount")? == 0 && inspect(bed, name, "State/Running")? == true
    );
    Ok(())
}

fn a_query_that_cannot_be_read_is_refused(bed: &Bed) -> anyhow::Result<()> {
    let (container, _) = made(bed)?;
    let name = &container.name;
    let at = |what: &str| format!("/containers/{name}{what}");
    let escape = text("invalid URL escape \"%zz\"");
    let semicolon = text("invalid semicolon separator in query");
    holds(
        bed,
        &[
            (
                "GET",
                "/containers/json?limit=%zz".into(),
                400,
                escape.clone(),
            ),
            (
                "POST",
                "/containers/prune?filters=%zz".into(),
                400,
                escape.clone(),
            ),
            ("DELETE", at("?v=%zz"), 400, escape.clone()),
            ("DELETE", at("?v=1;force=1"), 400, semicolon.clone()),
            (
                "POST",
                at("/start?x=%2"),
                400,
                text("invalid URL escape \"%2\""),
            ),
            ("POST", at("/stop?t=%zz"), 400, escape.clone()),
            ("POST", at("/kill?signal=%zz"), 400, escape.clone()),
            ("POST", at("/pause?x=%zz"), 400, escape.clone()),
            ("POST", at("/rename?name=%zz"), 400, escape.clone()),
            ("POST", at("/resize?h=%zz"), 400, escape.clone()),
            ("POST", at("/update?x=%zz"), 400, escape.clone()),
            ("POST", at("/wait?condition=%zz"), 400, escape.clone()),
            ("POST", at("/attach?logs=%zz"), 400, escape.clone()),
            ("POST", at("/exec?x=%zz"), 400, escape.clone()),
            ("GET", at("/logs?tail=%zz"), 400, escape.clone()),
            ("GET", at("/stats?stream=%zz"), 400, escape.clone()),
            ("GET", at("/top?ps_args=%zz"), 400, escape.clone()),
            ("GET", at("/attach/ws?logs=%zz"), 400, escape.clone()),
            ("GET", at("/archive?path=%zz"), 400, escape.clone()),
            ("PUT", at("/archive?path=/;x"), 400, semicolon),
            (
                "POST",
                "/exec/no-such/start?x=%zz".into(),
                400,
                escape.clone(),
            ),
            (
                "POST",
                "/exec/no-such/resize?h=%zz".into(),
                400,
                escape.clone(),
            ),
            ("GET", "/events?since=%zz".into(), 400, escape.clone()),
            ("GET", "/system/df?type=%zz".into(), 400, escape.clone()),
            ("GET", "/images/json?all=%zz".into(), 400, escape),
        ],
    )?;
    for path in [
        at("/json?size=%zz"),
        at("/changes?x=%zz"),
        "/_ping?x=%zz".into(),
        "/version?x=%zz".into(),
        "/info?x=%zz".into(),
    ] {
        let (status, body) = raw::get(bed, &path)?;
        ensure!(status == 200, "{path}: {status} {body}");
    }
    Ok(())
}

fn names_are_refused_as_they_would_be_shown(bed: &Bed) -> anyhow::Result<()> {
    let (container, _) = made(bed)?;
    let (other, other_id) = made(bed)?;
    let (name, taken) = (&container.name, &other.name);
    let path = |new: &str| format!("/containers/{name}/rename{new}");
    let rules = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
    let at = "Error when allocating new name:";
    let same = text("Renaming a container with the same name as its current name");
    let nameless = text("Neither old nor new names may be empty");
    holds(
        bed,
        &[
            ("POST", path(""), 400, nameless.clone()),
            ("POST", "/containers/no-such/rename".into(), 400, nameless),
            ("POST", path(&format!("?name={name}")), 400, same.clone()),
            ("POST", path(&format!("?name=/{name}")), 400, same),
            (
                "POST",
                path("?name=-bad"),
                400,
                text(format!("{at} Invalid container name (/-bad), {rules}")),
            ),
            (
                "POST",
                path("?name=/-bad"),
                400,
                text(format!("{at} Invalid container name (/-bad), {rules}")),
            ),
            (
                "POST",
                path("?name=a%2Fb"),
                400,
                text(format!("{at} Invalid container name (/a/b), {rules}")),
            ),
            (
                "POST",
                path(&format!("?name={taken}")),
                409,
                text(format!(
                    "{at} Conflict. The container name \"/{taken}\" is already in use by container \"{other_id}\". You have to remove (or rename) that container to be able to reuse that name."
                )),
            ),
        ],
    )
}

fn paths_are_asked_for(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["--read-only"], &["sleep", "600"])?;
    let name = &container.name;
    let path = |what: &str| format!("/containers/{name}/archive{what}");
    // Docker's own text, without the space.
    let none = text("bad parameter: pathcannot be empty");
    let missing = text(format!(
        "Could not find the file /no/such in container {name}"
    ));
    holds(
        bed,
        &[
            ("HEAD", path(""), 400, None),
            ("GET", path(""), 400, none.clone()),
            ("PUT", path("?path="), 400, none),
            ("HEAD", path("?path=/no/such"), 404, None),
            ("GET", path("?path=/no/such"), 404, missing.clone()),
            ("PUT", path("?path=/no/such"), 404, missing),
            (
                "PUT",
                path("?path=/etc/passwd"),
                400,
                text("extraction point is not a directory"),
            ),
            // Documented as 403, and answered so by nobody.
            (
                "PUT",
                path("?path=/"),
                400,
                text("container rootfs is marked read-only"),
            ),
        ],
    )
}

fn a_restart_sends_the_signal_that_is_asked_for(bed: &Bed) -> anyhow::Result<()> {
    let script = "trap 'echo got usr1; exit 0' USR1; echo up; while :; do sleep 0.05; done";
    let container = bed.start(&["--stop-signal", "KILL"], &["sh", "-c", script])?;
    let name = &container.name;
    let says = |times: usize| -> anyhow::Result<String> {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let log = bed.docker.ok(&["logs", name])?;
            if log.matches("up").count() == times {
                return Ok(log);
            }
            ensure!(
                std::time::Instant::now() < end,
                "not up {times} times: {log}"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    says(1)?;
    let path = format!("/containers/{name}/restart?signal=USR1&t=30");
    holds(bed, &[("POST", path, 204, None)])?;
    let log = says(2)?;
    ensure!(log == "up\ngot usr1\nup", "{log}");
    // One that does not run has nobody to send a signal to.
    bed.docker.ok(&["kill", name])?;
    bed.docker.ok(&["wait", name])?;
    let path = format!("/containers/{name}/restart?signal=BOGUS&t=0");
    holds(bed, &[("POST", path, 204, None)])
}

fn platforms_and_bodies_are_checked_at_creation(bed: &Bed) -> anyhow::Result<()> {
    let plain = r#"{"Image":"busybox"}"#;
    for (query, body, status, want) in [
        (
            "",
            "",
            400,
            "invalid JSON: got EOF while reading request body",
        ),
        ("", "{", 400, "invalid JSON: unexpected EOF"),
        (
            "",
            "null",
            400,
            "config cannot be empty in order to create a container",
        ),
        (
            "",
            r#"{"Image":"busybox"} x"#,
            400,
            "unexpected content after JSON",
        ),
        (
            "?platform=bogus",
            plain,
            400,
            "\"bogus\": unknown operating system or architecture: invalid argument",
        ),
        (
            "?platform=a/b/c/d",
            plain,
            400,
            "\"a/b/c/d\": cannot parse platform specifier: invalid argument",
        ),
        (
            "?name=-bad",
            plain,
            400,
            "Invalid container name (-bad), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
    ] {
        let path = format!("/containers/create{query}");
        let (got, answer) = raw::request(bed, "POST", &path, body)?;
        let said: Value = serde_json::from_str(&answer)?;
        ensure!(
            got == status && said == json!({"message": want}),
            "{query} {body}: {got} {answer}"
        );
    }
    Ok(())
}

fn attaching_without_an_upgrade_is_a_plain_answer(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["echo", "hello"])?;
    let name = &container.name;
    bed.docker.ok(&["wait", name])?;
    let path = |query: &str| format!("/containers/{name}/attach?{query}");
    let (status, body) = raw::request(bed, "POST", &path("logs=1&stdout=1&stderr=1"), "")?;
    ensure!(
        status == 200 && body == "\u{1}\0\0\0\0\0\0\u{6}hello\n",
        "{status} {body:?}"
    );
    let (status, body) =
        raw::request(bed, "POST", &path("stream=1&stdout=1&detachKeys=bogus"), "")?;
    let line = body.lines().next().context("no line")?;
    ensure!(
        status == 400 && line == "Invalid detach keys (bogus) provided",
        "{status} {body:?}"
    );
    Ok(())
}
