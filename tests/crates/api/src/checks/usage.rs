//! Use of disk: `docker system df`.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{checks, files, raw};
use crate::Bed;

checks![
    what_a_container_and_a_volume_hold_is_counted,
    layers_that_images_share_are_counted_once,
    only_what_is_asked_for_is_looked_at,
    docker_system_df_shows_a_table,
    later_versions_show_sums,
];

fn usage(bed: &Bed, query: &str) -> anyhow::Result<Value> {
    let (status, body) = raw::get(bed, &format!("/v1.51/system/df{query}"))?;
    ensure!(status == 200, "{status} {body}");
    Ok(serde_json::from_str(&body)?)
}

fn item<'a>(usage: &'a Value, kind: &str, key: &str, wanted: &str) -> anyhow::Result<&'a Value> {
    let items = usage[kind]
        .as_array()
        .with_context(|| format!("no {kind}"))?;
    let found = items.iter().find(|item| item[key] == wanted);
    found.with_context(|| format!("no {wanted} in {kind}"))
}

fn what_a_container_and_a_volume_hold_is_counted(bed: &Bed) -> anyhow::Result<()> {
    let volume = bed.name("measured");
    let mount = format!("{volume}:/v");
    let fill =
        "dd if=/dev/zero of=/own bs=1024 count=100 2>/dev/null; printf hallo >/v/a; sleep 60";
    let container = bed.start(&["-v", &mount], &["sh", "-c", fill])?;
    files::exec(bed, &container.name, "until [ -s /v/a ]; do :; done")?;
    let used = usage(bed, "")?;
    let own = item(&used, "Containers", "Id", &container.id)?;
    let bytes = own["SizeRw"].as_u64().context("no size")?;
    ensure!((102_400..200_000).contains(&bytes), "{own}");
    ensure!(own["SizeRootFs"].as_u64() > Some(bytes), "{own}");
    ensure!(own.get("ImageManifestDescriptor").is_none(), "{own}");
    let data = &item(&used, "Volumes", "Name", &volume)?["UsageData"];
    let size = data["Size"].as_i64().context("no size")?;
    ensure!(
        data["RefCount"] == 1 && (5..=5000).contains(&size),
        "{data}"
    );
    drop(container);
    let data = usage(bed, "?type=volume")?;
    ensure!(item(&data, "Volumes", "Name", &volume)?["UsageData"]["RefCount"] == 0);
    bed.docker.ok(&["volume", "rm", &volume]).map(drop)
}

fn layers_that_images_share_are_counted_once(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[],
        &["sh", "-c", "head -c 50000 /dev/zero >/new; sleep 60"],
    )?;
    files::exec(
        bed,
        &container.name,
        "until [ $(wc -c </new) = 50000 ]; do :; done",
    )?;
    let name = bed.name("shares");
    bed.docker.ok(&["commit", &container.name, &name])?;
    let used = usage(bed, "?type=image")?;
    let images = used["Images"].as_array().context("no images")?;
    let tag = format!("{name}:latest");
    let own = images
        .iter()
        .find(|image| image["RepoTags"][0] == tag.as_str());
    let own = own.context("the new image is not there")?;
    let (size, shared) = (
        own["Size"].as_u64().unwrap_or(0),
        own["SharedSize"].as_u64().unwrap_or(0),
    );
    ensure!(
        shared > 500_000 && size - shared >= 50_000 && own["Containers"] == 0,
        "{own}"
    );
    // Other checks work beside this one, so only what one answer says can be compared: what is shared is in one sum twice, in the other once.
    let layers = used["LayersSize"].as_u64().context("no sum")?;
    let sizes: u64 = images
        .iter()
        .filter_map(|image| image["Size"].as_u64())
        .sum();
    ensure!(
        layers >= size && layers + shared / 2 < sizes,
        "{layers} in layers, {sizes} in images, {shared} shared"
    );
    let (_, plain) = raw::get(bed, "/v1.51/images/json")?;
    let (_, counted) = raw::get(bed, "/v1.51/images/json?shared-size=1")?;
    let shared = |body: &str| -> anyhow::Result<Value> {
        let images: Vec<Value> = serde_json::from_str(body)?;
        let own = images
            .into_iter()
            .find(|image| image["RepoTags"][0] == tag.as_str());
        Ok(own.context("not listed")?["SharedSize"].clone())
    };
    ensure!(shared(&plain)? == -1 && shared(&counted)? == own["SharedSize"]);
    bed.docker.ok(&["rmi", &name]).map(drop)
}

fn only_what_is_asked_for_is_looked_at(bed: &Bed) -> anyhow::Result<()> {
    let used = usage(bed, "?type=container&type=volume")?;
    ensure!(used["Images"].is_null() && used["BuildCache"].is_null() && used["LayersSize"] == 0);
    ensure!(used["Containers"].is_array() && used["Volumes"].is_array());
    let (status, body) = raw::get(bed, "/v1.51/system/df?type=nosuch")?;
    ensure!(
        status == 400 && body.contains("unknown object type: nosuch"),
        "{status} {body}"
    );
    // Before 1.42 nobody could ask.
    let (status, body) = raw::get(bed, "/v1.41/system/df?type=nosuch")?;
    let used: Value = serde_json::from_str(&body)?;
    ensure!(
        status == 200 && used["Images"][0].get("VirtualSize").is_some(),
        "{status} {body}"
    );
    Ok(())
}

fn docker_system_df_shows_a_table(bed: &Bed) -> anyhow::Result<()> {
    let table = bed
        .docker
        .ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])?;
    let kinds: Vec<&str> = table
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(kind, _)| kind)
        .collect();
    ensure!(
        kinds == ["Images", "Containers", "Local Volumes", "Build Cache"],
        "{table}"
    );
    let long = bed.docker.ok(&["system", "df", "-v"])?;
    ensure!(
        long.contains("SHARED SIZE")
            && long.contains("busybox")
            && long.contains("Build cache usage: 0B"),
        "{long}"
    );
    Ok(())
}

fn later_versions_show_sums(bed: &Bed) -> anyhow::Result<()> {
    let get = |path: &str| -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&raw::get(bed, path)?.1)?)
    };
    let both = get("/v1.52/system/df")?;
    let sum = &both["ImageUsage"];
    ensure!(
        both["LayersSize"] == sum["TotalSize"] && sum.get("Items").is_none(),
        "{both}"
    );
    let listed = both["Images"].as_array().context("the old form")?.len();
    ensure!(sum["TotalCount"] == listed, "{both}");
    let verbose = get("/v1.55/system/df?verbose=1&type=image")?;
    let items = verbose["ImageUsage"]["Items"]
        .as_array()
        .context("the images")?;
    ensure!(
        verbose["ImageUsage"]["TotalCount"] == items.len() && verbose.get("Images").is_none(),
        "{verbose}"
    );
    ensure!(
        verbose.get("VolumeUsage").is_none() && verbose.get("LayersSize").is_none(),
        "{verbose}"
    );
    Ok(())
}
