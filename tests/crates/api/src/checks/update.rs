//! Changing a container that exists. What the limits do needs cgroup controllers; what is kept, refused and told does not.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{checks, events_until, inspect, raw};
use crate::Bed;

checks![
    the_restart_policy_is_changed,
    a_changed_policy_decides_at_the_next_end,
    wrong_values_are_refused_in_dockers_words,
    an_update_without_anything_changes_nothing,
];

fn update(bed: &Bed, name: &str, body: &str) -> anyhow::Result<(u16, Value)> {
    let (status, body) = raw::request(bed, "POST", &format!("/containers/{name}/update"), body)?;
    Ok((status, serde_json::from_str(&body)?))
}

fn the_restart_policy_is_changed(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let name = &container.name;
    ensure!(
        bed.docker
            .ok(&["update", "--restart", "on-failure:3", name])?
            == *name
    );
    let want = json!({"Name": "on-failure", "MaximumRetryCount": 3});
    ensure!(inspect(bed, name, "HostConfig/RestartPolicy")? == want);
    let actions = events_until(bed, name, |action| action == "update")?;
    ensure!(actions == ["create", "start", "update"], "{actions:?}");
    let removed = bed.start(&["--rm"], &["sleep", "600"])?;
    let output = bed
        .docker
        .fails(&["update", "--restart", "always", &removed.name])?;
    let want = format!(
        "Cannot update container {}: Restart policy cannot be updated because AutoRemove is enabled for the container",
        removed.id
    );
    ensure!(output.stderr.contains(&want), "{output:?}");
    bed.docker
        .ok(&["update", "--restart", "no", &removed.name])?;
    Ok(())
}

fn a_changed_policy_decides_at_the_next_end(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[],
        &[
            "sh",
            "-c",
            "until [ -e /end ]; do sleep 0.05; done; rm /end; exit 3",
        ],
    )?;
    let name = &container.name;
    bed.docker.ok(&["update", "--restart", "always", name])?;
    bed.docker.ok(&["exec", name, "touch", "/end"])?;
    let starts = std::cell::Cell::new(0);
    events_until(bed, name, |action| {
        starts.set(starts.get() + usize::from(action == "start"));
        starts.get() == 2
    })?;
    ensure!(inspect(bed, name, "State/Running")? == true);
    Ok(())
}

fn wrong_values_are_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    for (body, status, want) in [
        (
            r#"{"Memory":1000}"#,
            400,
            "Minimum memory limit allowed is 6MB",
        ),
        (
            r#"{"RestartPolicy":{"Name":"foo"}}"#,
            400,
            "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            r#"{"RestartPolicy":{"Name":"no","MaximumRetryCount":3}}"#,
            400,
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            "x",
            400,
            "invalid JSON: invalid character 'x' looking for beginning of value",
        ),
    ] {
        let (got, answer) = update(bed, &container.name, body)?;
        ensure!(
            got == status && answer == json!({"message": want}),
            "{body}: {got} {answer}"
        );
    }
    let (status, answer) = update(bed, "no-such", "{}")?;
    ensure!(
        status == 404 && answer == json!({"message": "No such container: no-such"}),
        "{answer}"
    );
    Ok(())
}

fn an_update_without_anything_changes_nothing(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["--restart", "on-failure:2"], &["sleep", "600"])?;
    let before = inspect(bed, &container.name, "HostConfig")?;
    for body in ["{}", "", r#"{"Privileged":true}"#] {
        let (status, answer) = update(bed, &container.name, body)?;
        ensure!(
            status == 200 && answer == json!({"Warnings": null}),
            "{answer}"
        );
    }
    ensure!(inspect(bed, &container.name, "HostConfig")? == before);
    Ok(())
}
