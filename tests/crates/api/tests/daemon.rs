//! The daemon's own settings: files, flags, reload and TCP with TLS, on Debian's dockerd first, then on ours.
//!
//! Needs root. `BERTH_TEST_ONLY=ours` or `reference` picks one engine.
#![allow(clippy::print_stdout, reason = "a test runner prints")]

use std::{
    path::Path,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{Docker, Engine, Kind};
use libtest_mimic::{Arguments, Failed, Trial};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

type Check = fn(Kind) -> Result<()>;
const CHECKS: [(&str, Check); 5] = [
    ("process_1_is_docker_init_when_the_file_says_so", init),
    ("defaults_for_containers_come_from_the_file", defaults),
    ("wrong_files_are_refused", wrong_files),
    ("a_hang_up_reads_the_file_again", reload),
    ("tcp_is_served_to_those_with_a_certificate", tls),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if let Some(reason) = harness::native_lane_missing() {
        println!("skipped: the native lane {reason}");
        return ExitCode::SUCCESS;
    }
    let only = std::env::var("BERTH_TEST_ONLY").unwrap_or_default();
    let mut trials = Vec::new();
    for (kind, engine) in [(Kind::Reference, "reference"), (Kind::Ours, "ours")] {
        if !only.is_empty() && only != engine {
            continue;
        }
        if kind == Kind::Reference && harness::tools::reference().is_none() {
            println!("skipped: no reference engine; `cargo xtask setup` unpacks it");
            continue;
        }
        trials.extend(CHECKS.map(|(name, check)| {
            Trial::test(format!("{engine}::{name}"), move || {
                check(kind).map_err(|error| Failed::from(format!("{error:#}")))
            })
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The flag that names the settings file.
fn config_flag(kind: Kind) -> &'static str {
    match kind {
        Kind::Ours => "--config",
        Kind::Reference => "--config-file",
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a plain path")
}

fn start(kind: Kind, folder: &TempDir, settings: &str) -> Result<Engine> {
    let file = folder.path().join("daemon.json");
    std::fs::write(&file, settings)?;
    Engine::start_with(kind, &[config_flag(kind), text(&file)?])
}

fn load_busybox(docker: &Docker, folder: &TempDir) -> Result<()> {
    let archive = folder.path().join("busybox.tar");
    harness::busybox()?.write_archive("library/busybox:latest", &archive)?;
    docker.ok(&["load", "-i", text(&archive)?])?;
    Ok(())
}

fn defaults(kind: Kind) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = start(
        kind,
        &folder,
        r#"{
            "log-driver": "local", "log-opts": {"max-size": "7m"},
            "default-shm-size": "32m", "no-new-privileges": true, "default-cgroupns-mode": "host",
            "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 2048, "Soft": 1024}},
            "dns": ["192.0.2.53"], "dns-search": ["example.test"], "dns-opts": ["ndots:3"],
            "labels": ["rack=a"], "insecure-registries": ["reg.test:5000"], "debug": true
        }"#,
    )?;
    let docker = engine.docker()?;
    load_busybox(&docker, &folder)?;
    let info = |format: &str| docker.ok(&["info", "--format", format]);
    for (format, shown) in [
        ("{{.LoggingDriver}}", "local"),
        ("{{.Debug}}", "true"),
        ("{{json .Labels}}", r#"["rack=a"]"#),
        (
            "{{(index .RegistryConfig.IndexConfigs \"reg.test:5000\").Secure}}",
            "false",
        ),
    ] {
        ensure!(info(format)? == shown, "{format}: {}", info(format)?);
    }
    docker.ok(&["run", "--name", "aa", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn; cat /etc/resolv.conf; grep NoNewPrivs /proc/self/status; df -k /dev/shm | tail -1"])?;
    let said = docker.ok(&["logs", "aa"])?;
    for line in [
        "1024",
        "2048",
        "nameserver 192.0.2.53",
        "search example.test",
        "options ndots:3",
    ] {
        ensure!(said.lines().any(|one| one == line), "{line} in {said}");
    }
    ensure!(said.contains("NoNewPrivs:\t1"), "{said}");
    ensure!(said.contains(" 32768 "), "{said}");
    let inspect = |format: &str| docker.ok(&["inspect", "--format", format, "aa"]);
    for (format, shown) in [
        (
            "{{json .HostConfig.LogConfig}}",
            r#"{"Type":"local","Config":{"max-size":"7m"}}"#,
        ),
        ("{{.HostConfig.ShmSize}}", "33554432"),
        ("{{.HostConfig.CgroupnsMode}}", "host"),
        ("{{json .HostConfig.Dns}}", "[]"),
    ] {
        ensure!(inspect(format)? == shown, "{format}: {}", inspect(format)?);
    }
    Ok(())
}

fn init(kind: Kind) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = start(kind, &folder, r#"{"init": true}"#)?;
    let docker = engine.docker()?;
    load_busybox(&docker, &folder)?;
    let said = docker.ok(&["run", "--rm", "busybox", "cat", "/proc/1/comm"])?;
    ensure!(said == "docker-init", "{said}");
    Ok(())
}

fn wrong_files(kind: Kind) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (settings, said) in [
        (
            r#"{"bogus": 1}"#,
            "the following directives don't match any configuration option: bogus",
        ),
        (
            r#"{"exec-root": "/run/x"}"#,
            "the following directives are specified both as a flag and in the configuration file: exec-root: (from flag: /run/",
        ),
        (r#"{"log-level": "x"}"#, "invalid logging level: x"),
        (r#"{"labels": ["x"]}"#, "bad attribute format: x"),
        (
            r#"{"max-concurrent-downloads": -1}"#,
            "invalid max concurrent downloads: -1",
        ),
        (
            r#"{"log-driver": "json-file", "log-opts": {"x": "1"}}"#,
            "failed to set log opts: unknown log opt 'x' for json-file log driver",
        ),
    ] {
        let Err(error) = start(kind, &folder, settings) else {
            anyhow::bail!("it started with {settings}");
        };
        let error = format!("{error:#}");
        ensure!(
            error.replace("\\\"", "\"").contains(said),
            "{settings}: {error}"
        );
    }
    Ok(())
}

fn reload(kind: Kind) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = start(kind, &folder, r#"{"labels": ["rack=a"]}"#)?;
    let docker = engine.docker()?;
    let since = docker.ok(&["info", "--format", "{{.SystemTime}}"])?;
    let file = folder.path().join("daemon.json");
    std::fs::write(
        &file,
        r#"{"labels": ["rack=b"], "debug": true, "shutdown-timeout": 3, "max-concurrent-uploads": 7}"#,
    )?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(engine.pid()?)?).context("a pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
    let end = Instant::now() + Duration::from_secs(15);
    let told = loop {
        let until = docker.ok(&["info", "--format", "{{.SystemTime}}"])?;
        let told = docker.ok(&[
            "events",
            "--since",
            &since,
            "--until",
            &until,
            "--filter",
            "type=daemon",
            "--format",
            "json",
        ])?;
        if !told.is_empty() {
            break told;
        }
        ensure!(
            Instant::now() < end,
            "nothing was told: {}",
            engine.log_tail()
        );
    };
    let event: serde_json::Value = serde_json::from_str(&told)?;
    ensure!(event["Action"] == "reload", "{event}");
    let id = docker.ok(&["info", "--format", "{{.ID}}"])?;
    let name = docker.ok(&["info", "--format", "{{.Name}}"])?;
    ensure!(event["Actor"]["ID"] == id.as_str(), "{event} {id}");
    let attributes = event["Actor"]["Attributes"]
        .as_object()
        .context("attributes")?;
    for (key, value) in [
        ("debug", "true"),
        ("labels", r#"["rack=b"]"#),
        ("live-restore", "false"),
        ("shutdown-timeout", "3"),
        ("max-concurrent-downloads", "3"),
        ("max-concurrent-uploads", "7"),
        ("max-download-attempts", "5"),
        ("insecure-registries", "[]"),
        ("registry-mirrors", "[]"),
        ("default-shm-size", "67108864"),
        ("default-ipc-mode", "private"),
        ("default-runtime", "runc"),
        ("name", &name),
    ] {
        ensure!(
            attributes.get(key).is_some_and(|one| one == value),
            "{key}: {event}"
        );
    }
    for key in ["features", "runtimes", "default-cgroupns-mode"] {
        ensure!(attributes.contains_key(key), "{key}: {event}");
    }
    ensure!(attributes.len() == 16, "{event}");
    ensure!(
        docker.ok(&["info", "--format", "{{json .Labels}} {{.Debug}}"])? == r#"["rack=b"] true"#
    );
    Ok(())
}

/// Makes a key and a certificate that an authority signed, as `NAME-cert.pem` and `NAME-key.pem`.
fn certificate(
    folder: &Path,
    name: &str,
    issuer: &CertifiedIssuer<'static, KeyPair>,
) -> Result<()> {
    let key = KeyPair::generate()?;
    let parameters = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let certificate = parameters.signed_by(&key, issuer)?;
    std::fs::write(folder.join(format!("{name}-cert.pem")), certificate.pem())?;
    std::fs::write(folder.join(format!("{name}-key.pem")), key.serialize_pem())?;
    Ok(())
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(
        parameters,
        KeyPair::generate()?,
    )?)
}

fn tls(kind: Kind) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (known, unknown) = (authority()?, authority()?);
    std::fs::write(folder.path().join("ca.pem"), known.pem())?;
    certificate(folder.path(), "server", &known)?;
    certificate(folder.path(), "client", &known)?;
    certificate(folder.path(), "stranger", &unknown)?;
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let engine = Engine::start_with(
        kind,
        &[
            "-H",
            "tcp://127.0.0.1:2376",
            "--tlsverify",
            "--tlscacert",
            &file("ca.pem"),
            "--tlscert",
            &file("server-cert.pem"),
            "--tlskey",
            &file("server-key.pem"),
        ],
    )?;
    load_busybox(&engine.docker()?, &folder)?;
    let client = harness::tools::docker()?;
    let run = |options: &[&str], command: &[&str]| -> Result<std::process::Output> {
        // The port is on the loopback of the engine's network.
        let mut one = engine.sandbox().command(&client);
        one.args(["-H", "tcp://127.0.0.1:2376"])
            .args(options)
            .args(command);
        one.env_remove("DOCKER_HOST")
            .env("DOCKER_CONFIG", folder.path().join("config"));
        Ok(one.stdin(Stdio::null()).output()?)
    };
    let (ca, cert, key) = (
        file("ca.pem"),
        file("client-cert.pem"),
        file("client-key.pem"),
    );
    let proven = [
        "--tlsverify",
        "--tlscacert",
        &ca,
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
    ];
    let output = run(&proven, &["run", "--rm", "busybox", "echo", "over TLS"])?;
    ensure!(
        output.status.success() && output.stdout == b"over TLS\n",
        "{output:?}"
    );
    let (cert, key) = (file("stranger-cert.pem"), file("stranger-key.pem"));
    for options in [
        &[][..],
        &["--tls"],
        &["--tlsverify", "--tlscacert", &ca],
        &[
            "--tlsverify",
            "--tlscacert",
            &ca,
            "--tlscert",
            &cert,
            "--tlskey",
            &key,
        ],
    ] {
        let output = run(options, &["version", "--format", "{{.Server.Version}}"])?;
        ensure!(!output.status.success(), "{options:?}: {output:?}");
    }
    let output = run(&proven, &["version", "--format", "{{.Server.Os}}"])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}
