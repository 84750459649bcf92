//! Addresses, published ports, host, none.

use anyhow::{Context, ensure};

use super::{checks, inspect, raw};
use crate::Bed;

/// Serves one folder over HTTP.
const HTTPD: [&str; 3] = [
    "sh",
    "-c",
    "mkdir /s && echo served >/s/index.html && exec httpd -f -p 80 -h /s",
];

checks![
    a_bridge_gives_an_address_and_a_route,
    containers_reach_each_other_by_address,
    a_published_port_answers,
    a_port_in_use_is_refused_in_dockers_words,
    exposed_ports_are_shown_as_they_were_given,
    none_has_only_loopback,
    host_has_no_namespace_of_its_own,
    resolver_and_hosts_files_are_made,
];

fn a_bridge_gives_an_address_and_a_route(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let address = inspect(
        bed,
        &container.name,
        "NetworkSettings/Networks/bridge/IPAddress",
    )?;
    let address = address.as_str().unwrap_or_default().to_owned();
    ensure!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
    let text = bed.docker.ok(&[
        "exec",
        &container.name,
        "sh",
        "-c",
        "ip -4 -o addr show eth0; ip route",
    ])?;
    ensure!(text.contains(&format!("{address}/16")), "{text}");
    let gateway = inspect(
        bed,
        &container.name,
        "NetworkSettings/Networks/bridge/Gateway",
    )?;
    ensure!(
        text.contains(&format!("default via {}", gateway.as_str().unwrap_or("?"))),
        "{text}"
    );
    Ok(())
}

fn containers_reach_each_other_by_address(bed: &Bed) -> anyhow::Result<()> {
    let server = bed.start(&[], &HTTPD)?;
    let address = inspect(
        bed,
        &server.name,
        "NetworkSettings/Networks/bridge/IPAddress",
    )?;
    let url = format!("http://{}/", address.as_str().unwrap_or_default());
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - {url} 2>/dev/null && exit; sleep 0.2; done; exit 1"
    );
    ensure!(bed.busybox(&[], &["sh", "-c", &script])? == "served");
    Ok(())
}

/// The body, once the server inside is up: a published port takes connections before that.
fn served(bed: &Bed, port: u16) -> anyhow::Result<String> {
    let mut last = bed.fetch(port, "/");
    for _ in 0..100 {
        if last.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        last = bed.fetch(port, "/");
    }
    last
}

fn a_published_port_answers(bed: &Bed) -> anyhow::Result<()> {
    let server = bed.start(&["-p", "127.0.0.1::80"], &HTTPD)?;
    let port = bed.published(&server.name, "80/tcp")?;
    ensure!(served(bed, port)? == "served\n");
    bed.docker.ok(&["rm", "-f", &server.name])?;
    ensure!(
        bed.connect(port).is_err(),
        "the port is still served after its container is gone"
    );
    let server = bed.start(&["-p", "80"], &HTTPD)?;
    let port = bed.published(&server.name, "80/tcp")?;
    ensure!(served(bed, port)? == "served\n");
    Ok(())
}

fn a_port_in_use_is_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    let taken = bed.occupy()?;
    let port = taken.local_addr()?.port();
    let container = bed.named("port");
    let output = bed.docker.fails(&[
        "run",
        "-d",
        "--name",
        &container.name,
        "-p",
        &format!("{port}:80"),
        "busybox",
        "sleep",
        "600",
    ])?;
    ensure!(output.code == 125, "{output:?}");
    ensure!(
        output.stderr.contains("failed to bind host port"),
        "{output:?}"
    );
    ensure!(
        output.stderr.contains(&port.to_string())
            && output.stderr.contains("address already in use"),
        "{output:?}"
    );
    // The container is there and starts once the port is free.
    drop(taken);
    bed.docker.ok(&["start", &container.name])?;
    Ok(())
}

fn none_has_only_loopback(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(&["--network", "none"], &["sh", "-c", "ls /sys/class/net | grep -v -e lo -e 'sit0' -e 'tunl0' -e ip6tnl0 | wc -l; ip -o addr show lo | grep -c 127.0.0.1"])?;
    ensure!(text == "0\n1", "{text}");
    Ok(())
}

fn host_has_no_namespace_of_its_own(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(&["--network", "host"], &["ls", "/sys/class/net"])?;
    ensure!(text.lines().any(|name| name == "docker0"), "{text}");
    Ok(())
}

fn resolver_and_hosts_files_are_made(bed: &Bed) -> anyhow::Result<()> {
    let options = [
        "--dns",
        "192.0.2.1",
        "--dns-search",
        "example.test",
        "--add-host",
        "peer:192.0.2.2",
        "--hostname",
        "me",
    ];
    let text = bed.busybox(
        &options,
        &[
            "sh",
            "-c",
            "grep -v '^#' /etc/resolv.conf; cat /etc/hosts /etc/hostname",
        ],
    )?;
    for want in [
        "nameserver 192.0.2.1",
        "search example.test",
        "192.0.2.2\tpeer",
        "127.0.0.1\tlocalhost",
        "\tme",
    ] {
        ensure!(text.contains(want), "{want}: {text}");
    }
    ensure!(text.ends_with("\nme"), "{text}");
    Ok(())
}

fn exposed_ports_are_shown_as_they_were_given(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("exposed");
    let name = &container.name;
    let body = r#"{"Image":"busybox","Cmd":["sleep","600"],"ExposedPorts":{"8080":{},"53/tcp":{}},"HostConfig":{"PublishAllPorts":true}}"#;
    let (status, body) = raw::request(
        bed,
        "POST",
        &format!("/containers/create?name={name}"),
        body,
    )?;
    ensure!(status == 201, "{body}");
    bed.docker.ok(&["start", name])?;
    let exposed = inspect(bed, name, "Config/ExposedPorts")?;
    ensure!(
        exposed == serde_json::json!({"8080": {}, "53/tcp": {}}),
        "{exposed}"
    );
    let published = inspect(bed, name, "NetworkSettings/Ports")?;
    let published: Vec<&String> = published.as_object().context("ports")?.keys().collect();
    ensure!(published == ["53/tcp", "8080/tcp"], "{published:?}");
    Ok(())
}
