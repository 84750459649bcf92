//! Log services, each played by a small receiver in the engine's network, and the cache that `docker logs` reads from.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    time::Duration,
};

use anyhow::{Context, ensure};

use super::{checks, inspect};
use crate::Bed;

checks![
    syslog_by_udp_in_every_form,
    syslog_by_tcp_and_unix_sockets,
    gelf_by_udp_is_compressed_and_in_chunks,
    gelf_by_tcp_has_zero_bytes_between,
    fluentd_gets_events_and_confirms_them,
    the_journal_gets_fields,
    the_cache_is_read_and_can_be_disabled,
    a_service_that_goes_away_does_not_end_the_container,
    a_service_that_takes_nothing_does_not_hold_a_non_blocking_container,
];

/// How long a receiver waits for what a container said.
const WITHIN: Duration = Duration::from_secs(30);

fn udp(bed: &Bed) -> anyhow::Result<(UdpSocket, String)> {
    let socket = bed.in_network(|| Ok(UdpSocket::bind("127.0.0.1:0")?))?;
    socket.set_read_timeout(Some(WITHIN))?;
    let address = socket.local_addr()?.to_string();
    Ok((socket, address))
}

fn tcp(bed: &Bed) -> anyhow::Result<(TcpListener, String)> {
    let listener = bed.in_network(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
    let address = listener.local_addr()?.to_string();
    Ok((listener, address))
}

fn accept(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(WITHIN))?;
    Ok(stream)
}

fn datagram(socket: &UdpSocket) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; 65_536];
    let length = socket.recv(&mut bytes).context("nothing came")?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Digits become `9`, so that times and process ids are alike.
fn alike(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '9' } else { c };
        out.push(c);
    }
    out
}

fn syslog_by_udp_in_every_form(bed: &Bed) -> anyhow::Result<()> {
    for (format, forms) in [
        ("", &["Mmm _9 99:99:99 t-x["][..]),
        ("rfc3164", &["Mmm _9 99:99:99 HOST t-x["]),
        ("rfc5424", &["9 9999-99-99T99:99:99"]),
        ("rfc5424micro", &["9 9999-99-99T99:99:99.999999"]),
    ] {
        let (socket, address) = udp(bed)?;
        let host = bed.busybox(&["--network", "host"], &["hostname"])?;
        let (address, format_option) = (
            format!("syslog-address=udp://{address}"),
            format!("syslog-format={format}"),
        );
        let options = [
            "--log-driver",
            "syslog",
            "--log-opt",
            &address,
            "--log-opt",
            &format_option,
            "--log-opt",
            "syslog-facility=local1",
            "--log-opt",
            "tag=t-{{printf \"x\"}}",
        ];
        let _container = bed.start(
            &options,
            &["sh", "-c", "echo; echo out; sleep 0.1; echo err >&2"],
        )?;
        for (priority, text) in [("<142>", "out"), ("<139>", "err")] {
            let line = String::from_utf8(datagram(&socket)?)?;
            let rest = line.strip_prefix(priority).with_context(|| line.clone())?;
            ensure!(rest.ends_with(&format!("{text}\n")), "{line:?}");
            let form = forms[0].replace("HOST", &alike(&host));
            let shown = alike(rest);
            let shown = match format {
                "" | "rfc3164" => format!("Mmm _9{}", &shown[6..]),
                _ => shown,
            };
            ensure!(shown.starts_with(&form), "{format}: {line:?}");
            let end = match format {
                "" | "rfc3164" => format!("t-x[999]: {text}\n"),
                _ => format!(" {} t-x 999 t-x - {text}\n", alike(&host)),
            };
            // Process ids have any number of digits.
            let squeezed = |text: &str| {
                let mut text = text.to_owned();
                while text.contains("99") {
                    text = text.replace("99", "9");
                }
                text
            };
            ensure!(
                squeezed(&alike(rest)).ends_with(&squeezed(&end)),
                "{format}: {line:?} {end:?}"
            );
        }
    }
    Ok(())
}

fn syslog_by_tcp_and_unix_sockets(bed: &Bed) -> anyhow::Result<()> {
    let (listener, address) = tcp(bed)?;
    let option = format!("syslog-address=tcp://{address}");
    let run = |option: &str| {
        let options = [
            "--log-driver",
            "syslog",
            "--log-opt",
            option,
            "--log-opt",
            "tag=x",
        ];
        bed.start(&options, &["sh", "-c", "echo one; echo two"])
    };
    let _container = run(&option)?;
    let lines: Vec<String> = BufReader::new(accept(&listener)?)
        .lines()
        .collect::<Result<_, _>>()?;
    ensure!(lines.len() == 2 && lines[1].ends_with(": two"), "{lines:?}");
    let folder = bed.folder()?;
    let path = folder.join("stream");
    let stream = UnixListener::bind(&path)?;
    let _container = run(&format!("syslog-address=unix://{}", path.display()))?;
    let (stream, _) = stream.accept()?;
    stream.set_read_timeout(Some(WITHIN))?;
    let lines: Vec<String> = BufReader::new(stream).lines().collect::<Result<_, _>>()?;
    ensure!(lines.len() == 2 && lines[0].ends_with(": one"), "{lines:?}");
    let path = folder.join("datagram");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(WITHIN))?;
    let _container = run(&format!("syslog-address=unixgram://{}", path.display()))?;
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes)?;
    ensure!(
        bytes[..length].ends_with(b": one\n"),
        "{:?}",
        &bytes[..length]
    );
    Ok(())
}

fn gelf_by_udp_is_compressed_and_in_chunks(bed: &Bed) -> anyhow::Result<()> {
    let (socket, address) = udp(bed)?;
    let option = format!("gelf-address=udp://{address}");
    let container = bed.start(
        &[
            "--log-driver",
            "gelf",
            "--log-opt",
            &option,
            "--label",
            "team=a",
            "--log-opt",
            "labels=team",
            "-e",
            "_X=y",
            "--log-opt",
            "env=_X",
        ],
        // Random bytes as text do not get small.
        &[
            "sh",
            "-c",
            "echo short; head -c 9000 /dev/urandom | base64 | tr -d '\\n'; echo; echo err >&2",
        ],
    )?;
    let unpack = |bytes: &[u8]| -> anyhow::Result<serde_json::Value> {
        ensure!(bytes.starts_with(&[0x1f, 0x8b]), "it is not gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    let (mut lines, mut chunks) = (Vec::new(), std::collections::BTreeMap::new());
    while lines.len() < 3 {
        let bytes = datagram(&socket)?;
        if bytes.starts_with(&[0x1e, 0x0f]) {
            let (number, count) = (bytes[10], usize::from(bytes[11]));
            chunks.insert(number, bytes[12..].to_vec());
            if chunks.len() == count {
                ensure!(count > 4, "{count}");
                lines.push(unpack(
                    &chunks.values().flatten().copied().collect::<Vec<_>>(),
                )?);
            }
        } else {
            lines.push(unpack(&bytes)?);
        }
    }
    let short = lines
        .iter()
        .find(|line| line["short_message"] == "short")
        .context("the short line")?;
    for (name, value) in [
        ("version", "1.1"),
        ("_container_name", container.name.as_str()),
        ("_container_id", &container.id),
        ("_image_name", "busybox"),
        ("_tag", &container.id[..12]),
        ("_team", "a"),
        ("_X", "y"),
    ] {
        ensure!(short[name] == value, "{name} in {short}");
    }
    ensure!(
        short["level"] == 6 && short["timestamp"].is_f64() | short["timestamp"].is_u64(),
        "{short}"
    );
    let created = inspect(bed, &container.name, "Created")?;
    ensure!(short["_created"] == created, "{short} {created}");
    ensure!(
        short["_command"]
            .as_str()
            .is_some_and(|command| command.starts_with("sh -c echo short")),
        "{short}"
    );
    let names: Vec<&String> = short.as_object().context("an object")?.keys().collect();
    ensure!(names.len() == 14, "{names:?}");
    let long = lines
        .iter()
        .filter_map(|line| line["short_message"].as_str())
        .map(str::len)
        .max();
    ensure!(long == Some(12_000), "{long:?}");
    ensure!(
        lines
            .iter()
            .any(|line| line["short_message"] == "err" && line["level"] == 3),
        "{lines:?}"
    );
    Ok(())
}

fn gelf_by_tcp_has_zero_bytes_between(bed: &Bed) -> anyhow::Result<()> {
    let (listener, address) = tcp(bed)?;
    let option = format!("gelf-address=tcp://{address}");
    let _container = bed.start(
        &["--log-driver", "gelf", "--log-opt", &option],
        &["sh", "-c", "echo one; echo two"],
    )?;
    let mut bytes = Vec::new();
    accept(&listener)?.read_to_end(&mut bytes)?;
    let mut documents = bytes.split(|byte| *byte == 0);
    for text in ["one", "two"] {
        let document: serde_json::Value =
            serde_json::from_slice(documents.next().context("a document")?)?;
        ensure!(document["short_message"] == text, "{document}");
    }
    ensure!(
        documents.next() == Some(&[]),
        "something after the last zero byte"
    );
    Ok(())
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn fluentd_gets_events_and_confirms_them(bed: &Bed) -> anyhow::Result<()> {
    let (listener, address) = tcp(bed)?;
    let option = format!("fluentd-address={address}");
    let container = bed.start(
        &[
            "--log-driver",
            "fluentd",
            "--log-opt",
            &option,
            "--log-opt",
            "tag=my.tag",
        ],
        &[
            "sh",
            "-c",
            "echo one; head -c 17000 /dev/zero | tr '\\0' x; echo",
        ],
    )?;
    let mut bytes = Vec::new();
    accept(&listener)?.read_to_end(&mut bytes)?;
    ensure!(
        bytes.starts_with(b"\x94\xa6my.tag\xd2"),
        "{:?}",
        &bytes[..20]
    );
    for part in [
        &b"\x84"[..],
        b"\xa6source\xa6stdout",
        b"\xa3log\xa3one",
        b"\xaccontainer_id\xd9\x40",
        b"\xafpartial_message\xa4true",
        b"\xafpartial_ordinal\xa12",
        b"\xacpartial_last\xa4true",
    ] {
        ensure!(has(&bytes, part), "{}", String::from_utf8_lossy(part));
    }
    let name = format!("\u{0}/{}", container.name);
    let name = name.as_bytes()[1..].to_vec();
    let length = 0xa0 | u8::try_from(name.len())?;
    ensure!(has(
        &bytes,
        &[b"\xaecontainer_name", &[length][..], &name].concat()
    ));
    // With confirmations and nanoseconds, over a socket: each event is sent again until it is confirmed.
    let path = bed.folder()?.join("socket");
    let unix = UnixListener::bind(&path)?;
    let option = format!("fluentd-address=unix://{}", path.display());
    let container = bed.start(
        &[
            "--log-driver",
            "fluentd",
            "--log-opt",
            &option,
            "--log-opt",
            "fluentd-request-ack=true",
            "--log-opt",
            "fluentd-sub-second-precision=true",
        ],
        &["echo", "confirmed"],
    )?;
    let mut seen = 0;
    for confirm in [false, true] {
        let (mut stream, _) = unix.accept()?;
        stream.set_read_timeout(Some(WITHIN))?;
        let mut bytes = vec![0; 65_536];
        let length = stream.read(&mut bytes)?;
        let bytes = &bytes[..length];
        ensure!(
            has(bytes, b"\xa3log\xa9confirmed") && has(bytes, b"\xd7\x00"),
            "{bytes:?}"
        );
        seen += 1;
        let at = bytes
            .windows(6)
            .position(|window| window == b"\xa5chunk")
            .context("an id")?
            + 6;
        let id = &bytes[at..];
        if confirm {
            stream.write_all(&[&b"\x81\xa3ack"[..], id].concat())?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest)?;
            ensure!(rest.is_empty(), "{rest:?}");
        }
    }
    ensure!(seen == 2);
    bed.docker.ok(&["wait", &container.name])?;
    Ok(())
}

fn the_journal_gets_fields(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.outside("/run/systemd/journal");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("socket");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(WITHIN))?;
    let checked = journal(bed, &socket);
    // Whoever comes later finds no journal again.
    std::fs::remove_file(path)?;
    checked
}

fn journal(bed: &Bed, socket: &UnixDatagram) -> anyhow::Result<()> {
    let container = bed.start(
        &[
            "--log-driver",
            "journald",
            "--label",
            "my.team=a",
            "--log-opt",
            "labels=my.team",
        ],
        &["sh", "-c", "echo one; sleep 0.1; echo two >&2"],
    )?;
    let mut bytes = vec![0; 65_536];
    for (text, priority) in [("one", "6"), ("two", "3")] {
        let length = socket.recv(&mut bytes)?;
        let entry = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let short = &container.id[..12];
        for field in [
            format!("PRIORITY={priority}"),
            format!("MESSAGE={text}"),
            format!("CONTAINER_ID={short}"),
            format!("CONTAINER_ID_FULL={}", container.id),
            format!("CONTAINER_NAME={}", container.name),
            format!("CONTAINER_TAG={short}"),
            format!("SYSLOG_IDENTIFIER={short}"),
            "IMAGE_NAME=busybox".to_owned(),
            "MY_TEAM=a".to_owned(),
            format!(
                "CONTAINER_LOG_ORDINAL={}",
                if text == "one" { 1 } else { 2 }
            ),
        ] {
            ensure!(
                entry.lines().any(|line| line == field),
                "{field} in {entry}"
            );
        }
        for name in ["SYSLOG_TIMESTAMP=", "CONTAINER_LOG_EPOCH="] {
            ensure!(
                entry.lines().any(|line| line.starts_with(name)),
                "{name} in {entry}"
            );
        }
        ensure!(entry.lines().count() == 12, "{entry}");
    }
    Ok(())
}

fn the_cache_is_read_and_can_be_disabled(bed: &Bed) -> anyhow::Result<()> {
    let (_socket, address) = udp(bed)?;
    let option = format!("syslog-address=udp://{address}");
    let container = bed.start(
        &["--log-driver", "syslog", "--log-opt", &option],
        &["sh", "-c", "echo one; echo two >&2; sleep 0.2; echo three"],
    )?;
    bed.docker.ok(&["wait", &container.name])?;
    let output = bed.docker.run(&["logs", &container.name])?;
    ensure!(
        output.text() == "one\nthree" && output.stderr == "two\n",
        "{output:?}"
    );
    ensure!(bed.docker.ok(&["logs", "--tail", "1", &container.name])? == "three");
    ensure!(inspect(bed, &container.name, "LogPath")? == "");
    let container = bed.start(
        &[
            "--log-driver",
            "syslog",
            "--log-opt",
            &option,
            "--log-opt",
            "cache-disabled=true",
        ],
        &["echo", "x"],
    )?;
    bed.docker.ok(&["wait", &container.name])?;
    let said = bed.docker.fails(&["logs", &container.name])?.stderr;
    ensure!(
        said.contains("configured logging driver does not support reading"),
        "{said}"
    );
    Ok(())
}

fn a_service_that_goes_away_does_not_end_the_container(bed: &Bed) -> anyhow::Result<()> {
    let (listener, address) = tcp(bed)?;
    let option = format!("syslog-address=tcp://{address}");
    let container = bed.start(
        &["-i", "--log-driver", "syslog", "--log-opt", &option],
        &[
            "sh",
            "-c",
            "echo one; read -r line; for i in 1 2 3 4 5; do echo $i; done",
        ],
    )?;
    let mut line = String::new();
    BufReader::new(accept(&listener)?).read_line(&mut line)?;
    ensure!(line.ends_with(": one\n"), "{line}");
    drop(listener);
    bed.docker.run_with(&["attach", &container.name], b"go\n")?;
    ensure!(bed.docker.ok(&["wait", &container.name])? == "0");
    Ok(())
}

fn a_service_that_takes_nothing_does_not_hold_a_non_blocking_container(
    bed: &Bed,
) -> anyhow::Result<()> {
    // Accepted by the kernel, read by nobody.
    let (_listener, address) = tcp(bed)?;
    let option = format!("syslog-address=tcp://{address}");
    let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; i=$((i+1)); done; touch /done; sleep 600";
    let container = bed.start(
        &[
            "--log-driver",
            "syslog",
            "--log-opt",
            &option,
            "--log-opt",
            "mode=non-blocking",
            "--log-opt",
            "max-buffer-size=100k",
        ],
        &["sh", "-c", script],
    )?;
    let wait = "while [ ! -e /done ]; do sleep 0.1; done; echo there";
    ensure!(
        bed.docker
            .ok(&["exec", &container.name, "sh", "-c", wait])?
            == "there"
    );
    bed.docker.ok(&["kill", &container.name])?;
    Ok(())
}
