//! Long steps, shown: a spinner with the phase's name on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

/// Runs a step under its name and says how long it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    let bar = spinner(name);
    let done = work();
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    match &done {
        Ok(_) => say(&format!("  {name}: done in {seconds:.1} s")),
        Err(_) => say(&format!("  {name}: failed after {seconds:.1} s")),
    }
    done
}

/// Says a line to the person who waits.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Runs a program whose output is shown only when it fails.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("start {shown}"))?;
    ensure!(
        output.status.success(),
        "{shown} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn spinner(name: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        say(&format!("  {name} ..."));
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
