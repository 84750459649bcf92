//! What containers use, as `docker stats` shows it. Without cgroup controllers only processors and networks are counted: their numbers are
//! compared, of the rest the shape.

use std::io::{BufRead, BufReader, Write};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{checks, raw};
use crate::Bed;

checks![
    a_busy_container_uses_the_processor,
    a_single_sample_has_nothing_to_compare_with,
    a_stopped_container_uses_nothing,
    samples_follow_each_other,
    docker_stats_shows_a_table,
];

const BUSY: [&str; 3] = ["sh", "-c", "while :; do :; done"];

fn number(value: &Value) -> anyhow::Result<u64> {
    value
        .as_u64()
        .with_context(|| format!("no number: {value}"))
}

fn stats(bed: &Bed, name: &str, query: &str) -> anyhow::Result<Value> {
    let (status, body) = raw::get(bed, &format!("/containers/{name}/stats?{query}"))?;
    ensure!(status == 200, "{status} {body}");
    Ok(serde_json::from_str(&body)?)
}

fn a_busy_container_uses_the_processor(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &BUSY)?;
    let sample = stats(bed, &container.name, "stream=false")?;
    ensure!(
        sample["name"] == format!("/{}", container.name) && sample["id"] == container.id,
        "{sample}"
    );
    let of = |which: &str, path: &str| sample[which].pointer(path).map_or(Ok(0), number);
    ensure!(
        of("cpu_stats", "/cpu_usage/total_usage")? > of("precpu_stats", "/cpu_usage/total_usage")?,
        "{sample}"
    );
    ensure!(
        of("cpu_stats", "/system_cpu_usage")? > of("precpu_stats", "/system_cpu_usage")?,
        "{sample}"
    );
    ensure!(of("precpu_stats", "/system_cpu_usage")? > 0, "{sample}");
    ensure!(of("cpu_stats", "/online_cpus")? >= 1, "{sample}");
    ensure!(sample["networks"]["eth0"]["tx_bytes"].is_u64(), "{sample}");
    for key in ["pids_stats", "blkio_stats", "storage_stats", "memory_stats"] {
        ensure!(sample[key].is_object(), "{key}: {sample}");
    }
    ensure!(
        sample["num_procs"] == 0 && sample["memory_stats"]["stats"].is_object(),
        "{sample}"
    );
    ensure!(
        sample["read"].as_str() > sample["preread"].as_str(),
        "{sample}"
    );
    Ok(())
}

fn a_single_sample_has_nothing_to_compare_with(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["--network", "none"], &["sleep", "600"])?;
    let sample = stats(bed, &container.name, "stream=false&one-shot=true")?;
    ensure!(sample["preread"] == "0001-01-01T00:00:00Z", "{sample}");
    ensure!(
        sample["precpu_stats"]["cpu_usage"]["total_usage"] == 0,
        "{sample}"
    );
    ensure!(
        sample.get("name").is_none() && sample.get("networks").is_none(),
        "{sample}"
    );
    let (status, body) = raw::get(
        bed,
        &format!("/containers/{}/stats?one-shot=true", container.name),
    )?;
    ensure!(
        status == 400 && body.contains("cannot have stream=true and one-shot=true"),
        "{status} {body}"
    );
    Ok(())
}

fn a_stopped_container_uses_nothing(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("stopped");
    let id = bed
        .docker
        .ok(&["create", "--name", &container.name, "busybox", "true"])?;
    for query in ["stream=false", "stream=false&one-shot=true"] {
        let (_, body) = raw::get(
            bed,
            &format!("/containers/{}/stats?{query}", container.name),
        )?;
        let nothing = r#"{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}}"#;
        let want = format!(
            r#"{{"name":"/{}","id":"{id}","read":"0001-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","pids_stats":{{}},"blkio_stats":{{"io_service_bytes_recursive":null,"io_serviced_recursive":null,"io_queue_recursive":null,"io_service_time_recursive":null,"io_wait_time_recursive":null,"io_merged_recursive":null,"io_time_recursive":null,"sectors_recursive":null}},"num_procs":0,"storage_stats":{{}},"cpu_stats":{nothing},"precpu_stats":{nothing},"memory_stats":{{}}}}"#,
            container.name
        );
        ensure!(body.trim_end() == want, "{body}");
    }
    let (status, body) = raw::get(bed, "/containers/no-such/stats")?;
    ensure!(
        status == 404 && body.contains("No such container: no-such"),
        "{status} {body}"
    );
    Ok(())
}

fn samples_follow_each_other(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &BUSY)?;
    let mut stream = raw::connect(bed)?;
    write!(
        stream,
        "GET /containers/{}/stats HTTP/1.0\r\nHost: docker\r\n\r\n",
        container.name
    )?;
    let lines = BufReader::new(stream).lines();
    let mut samples = Vec::new();
    for line in lines {
        let line = line?;
        if line.starts_with('{') {
            let sample: Value = serde_json::from_str(&line)?;
            samples.push(sample);
            if samples.len() == 2 {
                bed.docker.ok(&["kill", &container.name])?;
            }
            // A stopped container is still watched; it ends with its removal.
            if samples.len() == 5 {
                bed.docker.ok(&["rm", &container.name])?;
            }
        }
    }
    ensure!(samples.len() >= 5, "{} samples", samples.len());
    ensure!(
        samples[0]["preread"] == "0001-01-01T00:00:00Z",
        "{}",
        samples[0]
    );
    ensure!(
        samples[1]["preread"] == samples[0]["read"]
            && samples[1]["precpu_stats"] == samples[0]["cpu_stats"],
        "{}",
        samples[1]
    );
    ensure!(
        samples[4]["read"] == "0001-01-01T00:00:00Z",
        "{}",
        samples[4]
    );
    Ok(())
}

fn docker_stats_shows_a_table(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &BUSY)?;
    let line = bed.docker.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.CPUPerc}} {{.NetIO}}",
        &container.name,
    ])?;
    let mut words = line.split(' ');
    ensure!(words.next() == Some(&container.name), "{line}");
    let percent: f64 = words
        .next()
        .and_then(|text| text.strip_suffix('%'))
        .context("a percentage")?
        .parse()?;
    ensure!(percent > 1.0, "{line}");
    Ok(())
}
