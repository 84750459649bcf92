//! Logs in files: what is kept, where it is cut, and how it is read back.

use anyhow::{Context, ensure};

use super::{checks, inspect};
use crate::Bed;

checks![
    json_file_is_rotated_compressed_and_read_back,
    json_file_carries_labels_variables_and_a_tag,
    long_lines_are_kept_in_pieces,
    local_has_its_own_files_and_reads_the_same,
    since_and_until_pick_entries,
    follow_goes_over_rotations,
    wrong_log_options_are_refused,
    wrong_log_values_are_found_at_the_start,
    a_log_that_is_none_cannot_be_read,
];

/// `count` lines with numbers, then the end.
fn numbers(count: usize) -> String {
    format!("i=0; while [ $i -lt {count} ]; do echo line $i; i=$((i+1)); done")
}

fn json_file_is_rotated_compressed_and_read_back(bed: &Bed) -> anyhow::Result<()> {
    let options = [
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=3",
        "--log-opt",
        "compress=true",
    ];
    let container = bed.start(&options, &["sh", "-c", &numbers(1000)])?;
    bed.docker.ok(&["wait", &container.name])?;
    let path = inspect(bed, &container.name, "LogPath")?;
    let path = path.as_str().context("a path")?.to_owned();
    ensure!(path.ends_with("-json.log"), "{path}");
    for (ending, there) in [
        ("", true),
        (".1.gz", true),
        (".2.gz", true),
        (".1", false),
        (".3.gz", false),
    ] {
        let file = format!("{path}{ending}");
        ensure!(std::path::Path::new(&file).exists() == there, "{file}");
    }
    let all = bed.docker.ok(&["logs", &container.name])?;
    let lines: Vec<&str> = all.lines().collect();
    ensure!(lines.last() == Some(&"line 999"), "{lines:?}");
    // About 80 bytes a line: three files keep a good part, not all.
    ensure!(lines.len() > 400 && lines.len() < 1000, "{}", lines.len());
    let first = 1000 - lines.len();
    let expected: Vec<String> = (first..1000)
        .map(|number| format!("line {number}"))
        .collect();
    ensure!(lines == expected, "{lines:?}");
    for tail in [1, 300, lines.len() - 1, lines.len() + 5] {
        let text = bed
            .docker
            .ok(&["logs", "--tail", &tail.to_string(), &container.name])?;
        let from = expected.len().saturating_sub(tail);
        ensure!(
            text.lines().eq(expected[from..].iter()),
            "tail {tail}: {text}"
        );
    }
    Ok(())
}

fn json_file_carries_labels_variables_and_a_tag(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[
            "--label",
            "team=a b",
            "--label",
            "tier=1",
            "--env",
            "MODE=x,y",
            "--env",
            "HIDDEN=1",
            "--log-opt",
            "labels=team,none",
            "--log-opt",
            "labels-regex=^ti",
            "--log-opt",
            "env=MODE",
            "--log-opt",
            "tag={{.ImageName}}/{{.Name}}/{{upper .DaemonName}}",
        ],
        &["echo", "x"],
    )?;
    bed.docker.ok(&["wait", &container.name])?;
    let shown = bed.docker.ok(&["logs", "--details", &container.name])?;
    let expected = format!(
        "MODE=x%2Cy,tag=busybox%2F{}%2FDOCKER,team=a+b,tier=1 x",
        container.name
    );
    ensure!(shown == expected, "{shown}");
    let path = inspect(bed, &container.name, "LogPath")?;
    let line = std::fs::read_to_string(path.as_str().context("a path")?)?;
    let start = format!(
        "{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{{\"MODE\":\"x,y\",\"tag\":\"busybox/{}/DOCKER\",\"team\":\"a b\",\"tier\":\"1\"}},\"time\":\"",
        container.name
    );
    ensure!(line.starts_with(&start), "{line}");
    // Without anything to show there is a space all the same.
    let plain = bed.start(&[], &["echo", "x"])?;
    bed.docker.ok(&["wait", &plain.name])?;
    let shown = bed
        .docker
        .run(&["logs", "--details", "-t", &plain.name])?
        .text();
    ensure!(shown.ends_with("Z  x"), "{shown}");
    Ok(())
}

fn long_lines_are_kept_in_pieces(bed: &Bed) -> anyhow::Result<()> {
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; head -c 20000 /dev/zero | tr '\\0' y";
    for driver in ["json-file", "local"] {
        let container = bed.start(&["--log-driver", driver], &["sh", "-c", script])?;
        bed.docker.ok(&["wait", &container.name])?;
        let output = bed.docker.run(&["logs", &container.name])?;
        let expected = ["x".repeat(40_000), "\n".to_owned(), "y".repeat(20_000)].concat();
        ensure!(
            output.stdout == expected.as_bytes(),
            "{} bytes",
            output.stdout.len()
        );
        let output = bed.docker.run(&["logs", "-t", &container.name])?.text();
        // Each piece shows its time, which is that of the line.
        let stamps: Vec<&str> = output
            .split_inclusive("Z ")
            .filter(|part| part.ends_with("Z "))
            .filter_map(|part| part.get(part.len().checked_sub(31)?..))
            .collect();
        ensure!(stamps.len() == 5, "{driver}: {stamps:?}");
        ensure!(
            stamps[0] == stamps[1] && stamps[1] == stamps[2],
            "{driver}: {stamps:?}"
        );
        ensure!(stamps[3] == stamps[4], "{driver}: {stamps:?}");
        let tail = bed.docker.run(&["logs", "--tail", "2", &container.name])?;
        ensure!(
            tail.stdout == "y".repeat(20_000).as_bytes(),
            "{driver}: {}",
            tail.stdout.len()
        );
    }
    Ok(())
}

fn local_has_its_own_files_and_reads_the_same(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[
            "--log-driver",
            "local",
            "--log-opt",
            "max-size=10k",
            "--log-opt",
            "max-file=3",
        ],
        &[
            "sh",
            "-c",
            &format!(
                "{}; sleep 0.2; echo error >&2; sleep 0.2; printf end",
                numbers(1000)
            ),
        ],
    )?;
    bed.docker.ok(&["wait", &container.name])?;
    ensure!(inspect(bed, &container.name, "LogPath")? == "");
    ensure!(inspect(bed, &container.name, "HostConfig/LogConfig/Type")? == "local");
    let output = bed.docker.run(&["logs", &container.name])?;
    ensure!(output.stderr == "error\n", "{}", output.stderr);
    let text = output.text();
    ensure!(text.ends_with("line 999\nend"), "{text}");
    let lines = text.lines().count();
    ensure!(lines > 400 && lines < 1000, "{lines}");
    let tail = bed.docker.run(&["logs", "--tail", "3", &container.name])?;
    ensure!(
        tail.text() == "line 999\nend" && tail.stderr == "error\n",
        "{tail:?}"
    );
    Ok(())
}

fn since_and_until_pick_entries(bed: &Bed) -> anyhow::Result<()> {
    for driver in ["json-file", "local"] {
        let script = "for i in 1 2 3 4 5; do echo $i; sleep 0.05; done";
        let container = bed.start(&["--log-driver", driver], &["sh", "-c", script])?;
        bed.docker.ok(&["wait", &container.name])?;
        let stamped = bed.docker.ok(&["logs", "-t", &container.name])?;
        let times: Vec<&str> = stamped
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        ensure!(times.len() == 5, "{stamped}");
        let shown = |options: &[&str]| {
            let mut arguments = vec!["logs"];
            arguments.extend_from_slice(options);
            arguments.push(&container.name);
            bed.docker.ok(&arguments)
        };
        ensure!(shown(&["--since", times[2]])? == "3\n4\n5");
        ensure!(shown(&["--until", times[2]])? == "1\n2\n3");
        ensure!(shown(&["--since", times[1], "--until", times[3], "--tail", "3"])? == "3\n4");
        ensure!(shown(&["--since", "1h"])? == "1\n2\n3\n4\n5");
        ensure!(shown(&["--until", "1h"])?.is_empty());
    }
    Ok(())
}

fn follow_goes_over_rotations(bed: &Bed) -> anyhow::Result<()> {
    for driver in ["json-file", "local"] {
        let script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.02; done";
        let options = [
            "--log-driver",
            driver,
            "--log-opt",
            "max-size=30k",
            "--log-opt",
            "max-file=4",
            "--log-opt",
            "compress=true",
        ];
        let container = bed.start(&options, &["sh", "-c", script])?;
        let text = bed.docker.ok(&["logs", "-f", &container.name])?;
        let got: Vec<&str> = text.lines().collect();
        let first = 2000 - got.len();
        let expected: Vec<String> = (first..2000)
            .map(|number| format!("line {number}"))
            .collect();
        ensure!(got == expected, "{driver}: {} lines", got.len());
    }
    Ok(())
}

fn wrong_log_options_are_refused(bed: &Bed) -> anyhow::Result<()> {
    for (driver, options, text) in [
        (
            "json-file",
            &["bogus=1"][..],
            "unknown log opt 'bogus' for json-file log driver",
        ),
        (
            "local",
            &["tag=1"],
            "unknown log opt 'tag' for log driver local",
        ),
        (
            "syslog",
            &["bogus=1"],
            "unknown log opt 'bogus' for syslog log driver",
        ),
        (
            "syslog",
            &["syslog-address=http://h"],
            "unsupported scheme: 'http'",
        ),
        (
            "syslog",
            &["syslog-address=udp://a:b:c"],
            "parse \"udp://a:b:c\": invalid port \":c\" after host",
        ),
        ("syslog", &["syslog-facility=24"], "invalid syslog facility"),
        ("syslog", &["syslog-format=x"], "Invalid syslog format"),
        ("gelf", &[], "gelf-address is a required parameter"),
        (
            "gelf",
            &["gelf-address=unix://h:1"],
            "gelf: endpoint needs to be TCP or UDP",
        ),
        (
            "gelf",
            &["gelf-address=udp://h"],
            "gelf: please provide gelf-address as proto://host:port",
        ),
        (
            "gelf",
            &["gelf-address=tcp://h:1", "gelf-compression-type=gzip"],
            "compression is only supported on UDP",
        ),
        (
            "gelf",
            &["gelf-address=udp://h:1", "gelf-compression-type=x"],
            "unknown value \"x\" for log opt \"gelf-compression-type\" for gelf log driver",
        ),
        (
            "gelf",
            &["gelf-address=udp://h:1", "gelf-compression-level=10"],
            "unknown value \"10\" for log opt \"gelf-compression-level\" for gelf log driver",
        ),
        (
            "gelf",
            &["gelf-address=udp://h:1", "gelf-tcp-max-reconnect=1"],
            "\"gelf-tcp-max-reconnect\" is only valid for TCP",
        ),
        (
            "gelf",
            &["gelf-address=tcp://h:1", "gelf-tcp-reconnect-delay=-1"],
            "\"gelf-tcp-reconnect-delay\" must be a positive integer",
        ),
        (
            "gelf",
            &["gelf-address=udp://h:1", "bogus=1"],
            "unknown log opt \"bogus\" for gelf log driver",
        ),
        (
            "fluentd",
            &["bogus=1"],
            "unknown log opt 'bogus' for fluentd log driver",
        ),
        (
            "fluentd",
            &["fluentd-address=tcp://h:1/x"],
            "invalid fluentd-address (tcp://h:1/x): should not contain a path element",
        ),
        (
            "fluentd",
            &["fluentd-address=unix://"],
            "invalid fluentd-address (unix://): path is empty",
        ),
        (
            "fluentd",
            &["fluentd-address=udp://h"],
            "invalid fluentd-address (udp://h): unsupported scheme: 'udp'",
        ),
        (
            "fluentd",
            &["fluentd-address=h:99999"],
            "invalid fluentd-address (h:99999): invalid port: strconv.ParseUint: parsing \"99999\": value out of range",
        ),
        (
            "fluentd",
            &["fluentd-async=x"],
            "strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "fluentd",
            &["fluentd-async-reconnect-interval=11s"],
            "invalid value for fluentd-async-reconnect-interval: value (\"11s\") must be between 100ms and 10s",
        ),
        (
            "fluentd",
            &["fluentd-max-retries=x"],
            "strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "fluentd",
            &["fluentd-max-retries=4294967295"],
            "invalid fluentd-max-retries: value out of range",
        ),
        (
            "fluentd",
            &["fluentd-retry-wait=5"],
            "time: missing unit in duration \"5\"",
        ),
        (
            "fluentd",
            &["fluentd-write-timeout=-1s"],
            "invalid value for fluentd-write-timeout: value must be a duration that is non-negative",
        ),
        ("fluentd", &["fluentd-buffer-limit=x"], "invalid size: 'x'"),
        (
            "journald",
            &["bogus=1"],
            "unknown log opt 'bogus' for journald log driver",
        ),
        (
            "json-file",
            &["mode=x"],
            "logger: logging mode not supported: x",
        ),
        (
            "json-file",
            &["max-buffer-size=1m"],
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "json-file",
            &["mode=non-blocking", "max-buffer-size=x"],
            "error parsing option max-buffer-size: invalid size: 'x'",
        ),
        (
            "json-file",
            &["cache-disabled=x"],
            "invalid value for option cache-disabled: x",
        ),
    ] {
        let container = bed.named("refused");
        let mut arguments = vec!["create", "--name", &container.name, "--log-driver", driver];
        for option in options {
            arguments.extend(["--log-opt", option]);
        }
        arguments.push("busybox");
        let said = bed.docker.fails(&arguments)?.stderr;
        ensure!(
            said.trim() == format!("Error response from daemon: {text}"),
            "{options:?}: {said}"
        );
    }
    Ok(())
}

fn wrong_log_values_are_found_at_the_start(bed: &Bed) -> anyhow::Result<()> {
    for (driver, options, text) in [
        ("json-file", &["max-size=x"][..], "invalid size: 'x'"),
        ("json-file", &["max-size=-1"], "invalid size: '-1'"),
        ("json-file", &["max-size=1x"], "invalid suffix: 'x'"),
        (
            "json-file",
            &["max-size=0"],
            "max-size must be a positive number",
        ),
        (
            "json-file",
            &["max-file=0"],
            "max-file cannot be less than 1",
        ),
        (
            "json-file",
            &["max-file=x"],
            "strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "json-file",
            &["compress=x"],
            "strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "json-file",
            &["compress=true"],
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        (
            "json-file",
            &["tag={{.Foo}}"],
            "template: log-tag:1:2: executing \"log-tag\" at <.Foo>: can't evaluate field Foo in type *logger.Info",
        ),
        (
            "json-file",
            &["tag={{foo}}"],
            "template: log-tag:1: function \"foo\" not defined",
        ),
        (
            "local",
            &["max-file=1"],
            "compression cannot be enabled when max file count is 1",
        ),
        (
            "local",
            &["max-size=x"],
            "invalid value for max-size: x: invalid size: 'x'",
        ),
        (
            "local",
            &["compress=x"],
            "error reading compress log option: strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "syslog",
            &["syslog-address=tcp://127.0.0.1:9"],
            "dial tcp 127.0.0.1:9: connect: connection refused",
        ),
        (
            "fluentd",
            &["fluentd-address=127.0.0.1:9"],
            "dial tcp 127.0.0.1:9: connect: connection refused",
        ),
        (
            "gelf",
            &["gelf-address=tcp://127.0.0.1:9"],
            "gelf: cannot connect to GELF endpoint: 127.0.0.1:9 dial tcp 127.0.0.1:9: connect: connection refused",
        ),
        ("journald", &[], "journald is not enabled on this host"),
    ] {
        let container = bed.named("refused");
        let mut arguments = vec!["run", "--name", &container.name, "--log-driver", driver];
        for option in options {
            arguments.extend(["--log-opt", option]);
        }
        arguments.extend(["busybox", "true"]);
        let output = bed.docker.fails(&arguments)?;
        let expected = format!(
            "docker: Error response from daemon: failed to create task for container: failed to initialize logging driver: {text}"
        );
        ensure!(
            output.stderr.lines().any(|line| line == expected),
            "{options:?}: {}",
            output.stderr
        );
        ensure!(output.code == 125, "{}", output.code);
        let code = inspect(bed, &container.name, "State/ExitCode")?;
        ensure!(code == 128, "{options:?}: {code}");
    }
    Ok(())
}

fn a_log_that_is_none_cannot_be_read(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["--log-driver", "none"], &["echo", "x"])?;
    bed.docker.ok(&["wait", &container.name])?;
    let said = bed.docker.fails(&["logs", &container.name])?.stderr;
    ensure!(
        said.trim()
            == "Error response from daemon: configured logging driver does not support reading",
        "{said}"
    );
    Ok(())
}
