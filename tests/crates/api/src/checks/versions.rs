//! One engine, many versions of its API: what each shows and takes. Versions after 1.51 are ours only: there is no reference for them here.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{checks, raw};
use crate::Bed;

checks![
    images_are_shown_as_each_version_has_them,
    containers_are_shown_as_each_version_has_them,
    the_engine_is_described_as_each_version_has_it,
    old_clients_get_the_defaults_of_their_time,
    what_a_version_cannot_do_is_refused,
    later_versions_leave_out_what_was_taken_away,
];

const IMAGE: &str = "busybox:latest";

fn shown(bed: &Bed, version: &str, path: &str) -> anyhow::Result<Value> {
    let (status, body) = raw::get(bed, &format!("/v{version}{path}"))?;
    ensure!(status == 200, "{version} {path}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}

/// Which of the versions have something at a place of their answer.
fn versions_with(
    bed: &Bed,
    versions: &[&'static str],
    path: &str,
    place: &str,
) -> anyhow::Result<Vec<&'static str>> {
    let mut with = Vec::new();
    for version in versions {
        if shown(bed, version, path)?.pointer(place).is_some() {
            with.push(*version);
        }
    }
    Ok(with)
}

fn images_are_shown_as_each_version_has_them(bed: &Bed) -> anyhow::Result<()> {
    let versions = [
        "1.24", "1.43", "1.44", "1.47", "1.48", "1.49", "1.50", "1.51",
    ];
    let inspect = format!("/images/{IMAGE}/json");
    for (place, wanted) in [
        ("/Id", &versions[..]),
        ("/VirtualSize", &versions[..2]),
        ("/Descriptor", &versions[4..]),
        ("/Config/Tty", &versions[..6]),
        ("/Config/Cmd", &versions[..]),
        ("/Config/Labels", &versions[..]),
        ("/Parent", &versions[..]),
    ] {
        let with = versions_with(bed, &versions, &inspect, place)?;
        ensure!(with == wanted, "{place}: {with:?}");
    }
    let list = "/images/json?filters=%7B%22reference%22%3A%5B%22busybox%22%5D%7D";
    for (place, wanted) in [
        ("/0/VirtualSize", &versions[..2]),
        ("/0/Descriptor", &versions[4..]),
    ] {
        let with = versions_with(bed, &versions, list, place)?;
        ensure!(with == wanted, "{place}: {with:?}");
    }
    let _user = bed.start(&[], &["sleep", "60"])?;
    let users = |version| -> anyhow::Result<i64> {
        shown(bed, version, list)?[0]["Containers"]
            .as_i64()
            .context("no number")
    };
    ensure!(users("1.50")? == -1 && users("1.51")? >= 1);
    Ok(())
}

fn containers_are_shown_as_each_version_has_them(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "60"])?;
    let versions = ["1.24", "1.47", "1.48", "1.51"];
    let inspect = format!("/containers/{}/json", container.name);
    for (place, wanted) in [
        ("/ImageManifestDescriptor/platform/os", &versions[2..]),
        ("/NetworkSettings/IPAddress", &versions[..]),
        ("/Config/OnBuild", &versions[..]),
        ("/GraphDriver/Name", &versions[..]),
    ] {
        let with = versions_with(bed, &versions, &inspect, place)?;
        ensure!(with == wanted, "{place}: {with:?}");
    }
    let list = format!(
        "/containers/json?filters=%7B%22id%22%3A%5B%22{}%22%5D%7D",
        container.id
    );
    let with = versions_with(bed, &versions, &list, "/0/ImageManifestDescriptor/digest")?;
    ensure!(with == versions[2..], "{with:?}");
    let image = shown(bed, "1.51", &format!("/images/{IMAGE}/json"))?;
    let of_container = shown(bed, "1.51", &inspect)?;
    ensure!(
        of_container["ImageManifestDescriptor"]["size"] == image["Descriptor"]["size"],
        "{of_container}"
    );
    Ok(())
}

fn the_engine_is_described_as_each_version_has_it(bed: &Bed) -> anyhow::Result<()> {
    let versions = ["1.24", "1.46", "1.47", "1.48", "1.49", "1.50", "1.51"];
    for (place, wanted) in [
        ("/ID", &versions[..]),
        (
            "/RegistryConfig/AllowNondistributableArtifactsCIDRs",
            &versions[..2],
        ),
        ("/BridgeNfIptables", &versions[..5]),
        ("/BridgeNfIp6tables", &versions[..5]),
    ] {
        let with = versions_with(bed, &versions, "/info", place)?;
        ensure!(with == wanted, "{place}: {with:?}");
    }
    Ok(())
}

fn create(bed: &Bed, version: &str, name: &str, body: &Value) -> anyhow::Result<(u16, String)> {
    let path = format!("/v{version}/containers/create?name={name}");
    raw::request(bed, "POST", &path, &body.to_string())
}

fn old_clients_get_the_defaults_of_their_time(bed: &Bed) -> anyhow::Result<()> {
    let body = json!({"Image": IMAGE, "Healthcheck": {"Test": ["NONE"], "StartInterval": 5_000_000_000_i64},
        "HostConfig": {"Annotations": {"a": "b"}, "ConsoleSize": [10, 20]}});
    for (version, ipc, annotated, console) in [
        ("1.39", "shareable", false, json!([0, 0])),
        ("1.42", "private", false, json!([10, 20])),
        ("1.43", "private", true, json!([10, 20])),
    ] {
        let container = bed.named("of-its-time");
        let (status, answer) = create(bed, version, &container.name, &body)?;
        ensure!(status == 201, "{version}: {status} {answer}");
        let made = shown(bed, "1.51", &format!("/containers/{}/json", container.name))?;
        let host = &made["HostConfig"];
        ensure!(
            host["IpcMode"] == ipc && host["ConsoleSize"] == console,
            "{version}: {host}"
        );
        ensure!(
            host.get("Annotations").is_some() == annotated,
            "{version}: {host}"
        );
        let interval = made["Config"]["Healthcheck"].get("StartInterval");
        ensure!(interval.is_none(), "{version}: {made}");
    }
    Ok(())
}

fn what_a_version_cannot_do_is_refused(bed: &Bed) -> anyhow::Result<()> {
    let mount = |mount: Value| json!({"Image": IMAGE, "HostConfig": {"Mounts": [mount]}});
    let subpath =
        json!({"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"Subpath": "a"}});
    let forced = json!({"Type": "bind", "Source": "/tmp", "Target": "/v", "ReadOnly": true,
        "BindOptions": {"ReadOnlyForceRecursive": true, "Propagation": "rprivate"}});
    let image = json!({"Type": "image", "Source": IMAGE, "Target": "/v"});
    for (version, body, wanted) in [
        (
            "1.44",
            mount(subpath),
            "VolumeOptions.Subpath needs API v1.45 or newer",
        ),
        (
            "1.43",
            mount(forced),
            "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
        ),
        (
            "1.47",
            mount(image),
            "Mount type \"Image\" needs API v1.48 or newer",
        ),
    ] {
        let container = bed.named("refused");
        let (status, answer) = create(bed, version, &container.name, &body)?;
        let message: Value = serde_json::from_str(&answer)?;
        ensure!(
            status == 400 && message["message"] == wanted,
            "{version}: {status} {answer}"
        );
    }
    let two = json!({"Image": IMAGE, "NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}});
    let (status, answer) = create(bed, "1.43", &bed.name("two"), &two)?;
    ensure!(
        status == 400
            && answer.contains("Container cannot be created with multiple network endpoints: "),
        "{status} {answer}"
    );
    Ok(())
}

fn later_versions_leave_out_what_was_taken_away(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "60"])?;
    let made = shown(bed, "1.52", &format!("/containers/{}/json", container.name))?;
    let gone = [
        "/NetworkSettings/IPAddress",
        "/NetworkSettings/Bridge",
        "/Config/OnBuild",
        "/GraphDriver",
    ];
    for place in gone {
        ensure!(made.pointer(place).is_none(), "{place}: {made}");
    }
    ensure!(
        made["Storage"]["RootFS"]["Snapshot"]["Name"].is_string()
            && made["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].is_string(),
        "{made}"
    );
    let listed = shown(bed, "1.55", "/containers/json")?;
    ensure!(
        listed[0]["Health"] == json!({"Status": "none", "FailingStreak": 0}),
        "{listed}"
    );
    let image = shown(bed, "1.55", &format!("/images/{IMAGE}/json"))?;
    for place in [
        "/Parent",
        "/Author",
        "/DockerVersion",
        "/Config/Labels",
        "/Config/User",
    ] {
        ensure!(image.pointer(place).is_none(), "{place}: {image}");
    }
    let (status, answer) = raw::get(bed, "/v1.56/info")?;
    ensure!(
        status == 400
            && answer
                .contains("client version 1.56 is too new. Maximum supported API version is 1.55"),
        "{status} {answer}"
    );
    let events = |version: &str| -> anyhow::Result<Value> {
        let path = format!("/v{version}/events?since=0&until=1&filters=%7B%7D");
        let (status, _) = raw::get(bed, &path)?;
        ensure!(status == 200);
        let filters = format!("%7B%22container%22%3A%5B%22{}%22%5D%7D", container.id);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs()
            + 1;
        let (_, body) = raw::get(
            bed,
            &format!("/v{version}/events?since=0&until={now}&filters={filters}"),
        )?;
        Ok(serde_json::from_str(
            body.lines().next().context("no event")?,
        )?)
    };
    ensure!(events("1.51")?["status"] == "create");
    let event = events("1.52")?;
    ensure!(
        event.get("status").is_none() && event["Action"] == "create",
        "{event}"
    );
    Ok(())
}
