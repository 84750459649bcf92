//! Images: pull, load, save, tag, list, inspect, remove.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{checks, inspect, raw};
use crate::Bed;

checks![
    pull_by_tag_and_digest_and_run,
    a_second_pull_transfers_nothing,
    run_pulls_what_is_missing,
    a_private_registry_wants_a_login,
    save_and_load_give_the_same_image,
    tag_and_untag,
    an_image_in_use_is_not_removed,
    a_missing_manifest_is_an_error_in_dockers_words,
    a_registry_is_asked_without_a_pull,
    a_registry_that_is_down_is_an_error,
    a_corrupt_layer_leaves_nothing_behind,
    a_wrong_platform_is_refused,
];

fn pull_by_tag_and_digest_and_run(bed: &Bed) -> anyhow::Result<()> {
    let repository = format!("{}/debian", bed.registry.address());
    let text = bed.docker.ok(&["pull", &format!("{repository}:latest")])?;
    let digest = text
        .lines()
        .find_map(|line| line.strip_prefix("Digest: "))
        .context("no digest")?
        .to_owned();
    ensure!(text.contains(&format!("{repository}:latest")), "{text}");
    let by_digest = format!("{repository}@{digest}");
    bed.docker.ok(&["pull", &by_digest])?;
    let text = bed.docker.ok(&[
        "run",
        "--rm",
        &by_digest,
        "bash",
        "-c",
        "echo ${BASH_VERSION%%.*}",
    ])?;
    ensure!(text == "5", "{text}");
    let digests = inspect(bed, &format!("{repository}:latest"), "RepoDigests")?;
    ensure!(digests.to_string().contains(&digest), "{digests}");
    Ok(())
}

fn a_second_pull_transfers_nothing(bed: &Bed) -> anyhow::Result<()> {
    let reference = bed
        .registry
        .push(&bed.name("twice"), "1", &harness::busybox()?)?;
    bed.docker.ok(&["pull", &reference])?;
    let text = bed.docker.ok(&["pull", &reference])?;
    ensure!(
        text.contains(&format!("Status: Image is up to date for {reference}")),
        "{text}"
    );
    ensure!(!text.contains("Pull complete"), "{text}");
    Ok(())
}

fn run_pulls_what_is_missing(bed: &Bed) -> anyhow::Result<()> {
    let reference = bed
        .registry
        .push(&bed.name("missing"), "1", &harness::busybox()?)?;
    let output = bed
        .docker
        .run(&["run", "--rm", &reference, "echo", "pulled"])?;
    ensure!(output.code == 0 && output.text() == "pulled", "{output:?}");
    ensure!(
        output
            .stderr
            .contains(&format!("Unable to find image '{reference}' locally")),
        "{output:?}"
    );
    Ok(())
}

fn a_registry_is_asked_without_a_pull(bed: &Bed) -> anyhow::Result<()> {
    let address = bed.registry.address();
    let (status, body) = raw::get(
        bed,
        &format!("/v1.51/distribution/{address}/debian:latest/json"),
    )?;
    let shown: Value = serde_json::from_str(&body)?;
    ensure!(status == 200, "{status} {body}");
    let descriptor = &shown["Descriptor"];
    ensure!(
        descriptor["digest"]
            .as_str()
            .is_some_and(|digest| digest.starts_with("sha256:"))
            && descriptor["mediaType"]
                .as_str()
                .is_some_and(|kind| kind.contains("manifest"))
            && descriptor["size"].as_u64() > Some(0),
        "{shown}"
    );
    let (status, _) = raw::get(bed, &format!("/v1.51/distribution/{address}/nosuch:1/json"))?;
    ensure!(status == 404 || status == 401 || status == 500, "{status}");
    let (status, body) = raw::get(bed, "/v1.51/distribution/UPPER/json")?;
    ensure!(
        status == 400 && body.contains("must be lowercase"),
        "{status} {body}"
    );
    Ok(())
}

fn a_private_registry_wants_a_login(bed: &Bed) -> anyhow::Result<()> {
    let reference = format!("{}/busybox:latest", bed.private_registry.address());
    let output = bed.docker.fails(&["pull", &reference])?;
    ensure!(
        output.stderr.contains("no basic auth credentials"),
        "{output:?}"
    );
    let address = bed.private_registry.address();
    let output = bed.docker.run_with(
        &["login", "-u", "tester", "--password-stdin", &address],
        b"wrong",
    )?;
    ensure!(
        output.code != 0 && output.stderr.contains("401 Unauthorized"),
        "{output:?}"
    );
    let output = bed.docker.run_with(
        &["login", "-u", "tester", "--password-stdin", &address],
        b"secret",
    )?;
    ensure!(
        output.code == 0 && output.text().contains("Login Succeeded"),
        "{output:?}"
    );
    bed.docker.ok(&["pull", &reference])?;
    bed.docker.ok(&["logout", &address])?;
    Ok(())
}

fn save_and_load_give_the_same_image(bed: &Bed) -> anyhow::Result<()> {
    let name = format!("{}:1", bed.name("saved"));
    bed.docker.ok(&["tag", "busybox", &name])?;
    let id = inspect(bed, &name, "Id")?;
    let file = bed.folder()?.join("image.tar");
    let file = file.to_str().context("a plain path")?;
    bed.docker.ok(&["save", "-o", file, &name])?;
    bed.docker.ok(&["rmi", &name])?;
    let text = bed.docker.ok(&["load", "-i", file])?;
    ensure!(text == format!("Loaded image: {name}"), "{text}");
    ensure!(inspect(bed, &name, "Id")? == id);
    bed.docker.ok(&["rmi", &name])?;
    Ok(())
}

fn tag_and_untag(bed: &Bed) -> anyhow::Result<()> {
    let name = format!("{}:v1", bed.name("tagged"));
    bed.docker.ok(&["tag", "busybox:latest", &name])?;
    let listed = bed
        .docker
        .ok(&["images", "--format", "{{.Repository}}:{{.Tag}}", &name])?;
    ensure!(listed == name, "{listed}");
    let text = bed.docker.ok(&["rmi", &name])?;
    ensure!(text == format!("Untagged: {name}"), "{text}");
    let output = bed.docker.fails(&["rmi", &name])?;
    ensure!(
        output.stderr.contains(&format!("No such image: {name}")),
        "{output:?}"
    );
    let output = bed.docker.fails(&["tag", "busybox:latest", "Upper:case"])?;
    ensure!(
        output.stderr.contains("repository name must be lowercase")
            || output.stderr.contains("must be lowercase"),
        "{output:?}"
    );
    Ok(())
}

fn an_image_in_use_is_not_removed(bed: &Bed) -> anyhow::Result<()> {
    let reference = bed
        .registry
        .push(&bed.name("used"), "1", &unlike_any_other(bed)?)?;
    bed.docker.ok(&["pull", &reference])?;
    let container = bed.named("user");
    bed.docker
        .ok(&["create", "--name", &container.name, &reference, "true"])?;
    let output = bed.docker.fails(&["rmi", &reference])?;
    ensure!(output.stderr.contains("conflict: unable to"), "{output:?}");
    bed.docker.ok(&["rm", &container.name])?;
    bed.docker.ok(&["rmi", &reference])?;
    Ok(())
}

/// An image with a digest of its own.
fn unlike_any_other(bed: &Bed) -> anyhow::Result<harness::Image> {
    let settings = serde_json::json!({"Labels": {"unique": bed.name("image")}, "Cmd": ["true"]});
    let mut image = harness::busybox()?;
    let mut config: serde_json::Value = serde_json::from_slice(&image.config)?;
    config["config"] = settings;
    let old = image.config_digest();
    image.config = serde_json::to_vec(&config)?;
    let manifest = String::from_utf8(image.manifest.clone())?;
    let mut manifest: serde_json::Value =
        serde_json::from_str(&manifest.replace(&old, &image.config_digest()))?;
    manifest["config"]["size"] = image.config.len().into();
    image.manifest = serde_json::to_vec(&manifest)?;
    Ok(image)
}

fn a_missing_manifest_is_an_error_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    let reference = format!("{}/busybox:no-such-tag", bed.registry.address());
    let output = bed.docker.fails(&["pull", &reference])?;
    ensure!(output.stderr.contains("not found"), "{output:?}");
    ensure!(output.stderr.contains(&reference), "{output:?}");
    Ok(())
}

fn a_registry_that_is_down_is_an_error(bed: &Bed) -> anyhow::Result<()> {
    // Port 1 of the loopback: nobody listens there.
    let output = bed.docker.fails(&["pull", "127.0.0.1:1/x:1"])?;
    ensure!(output.stderr.contains("connection refused"), "{output:?}");
    Ok(())
}

fn a_corrupt_layer_leaves_nothing_behind(bed: &Bed) -> anyhow::Result<()> {
    let image = unlike_any_layer(bed)?;
    let reference = bed.registry.push(&bed.name("corrupt"), "1", &image)?;
    let file = bed.registry.blob_file(&image.layer_digest(0));
    let good = std::fs::read(&file)?;
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0xff;
    std::fs::write(&file, &bad)?;
    let output = bed.docker.fails(&["pull", &reference])?;
    ensure!(!output.stderr.trim().is_empty(), "no reason was given");
    ensure!(bed.docker.ok(&["images", "-q", &reference])?.is_empty());
    std::fs::write(&file, &good)?;
    if bed.kind == harness::Kind::Reference {
        // containerd keeps the damaged download and fails on it for ever.
        return Ok(());
    }
    bed.docker.ok(&["pull", &reference])?;
    ensure!(
        bed.docker
            .ok(&["run", "--rm", &reference, "/bin/busybox", "echo", "mended"])?
            == "mended"
    );
    Ok(())
}

/// An image whose layer nobody has.
fn unlike_any_layer(bed: &Bed) -> anyhow::Result<harness::Image> {
    harness::busybox_with(&[("marker", bed.name("layer").as_bytes())])
}

fn a_wrong_platform_is_refused(bed: &Bed) -> anyhow::Result<()> {
    let output = bed.docker.fails(&[
        "create",
        "--platform",
        "linux/s390x",
        "--pull",
        "never",
        "busybox",
        "true",
    ])?;
    ensure!(
        output.stderr.contains("image with reference busybox:latest was found but does not provide the specified platform (linux/s390x)"),
        "{output:?}"
    );
    Ok(())
}
