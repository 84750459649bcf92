//! Our engine is killed and comes back: what watched containers goes on. Needs root, else skipped and said so.
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use anyhow::ensure;
use harness::Engine;

#[test]
fn a_container_is_probed_again_after_the_engine_came_back() -> anyhow::Result<()> {
    let Some((mut engine, docker)) = Engine::ours_or_skipped()? else {
        return Ok(());
    };
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "probed",
        "--health-cmd",
        "true",
        "--health-interval",
        "200ms",
        "busybox",
        "sleep",
        "600",
    ])?;
    engine.kill()?;
    engine.run()?;
    // No probe has run since: what the one before thought is forgotten.
    let status = docker.ok(&["inspect", "probed", "--format", "{{.State.Health.Status}}"])?;
    ensure!(status == "starting" || status == "healthy", "{status}");
    // The new engine tells only of its own time.
    let mut listener = docker.command(&[
        "events",
        "--since",
        "1m",
        "--filter",
        "event=health_status: healthy",
        "--format",
        "{{.Action}}",
    ]);
    let mut listener = listener.stdout(std::process::Stdio::piped()).spawn()?;
    let mut line = String::new();
    if let Some(output) = listener.stdout.take() {
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
    }
    let _ = (listener.kill(), listener.wait());
    ensure!(line.trim_end() == "health_status: healthy", "{line}");
    Ok(())
}
