//! How long ago, in the words `docker ps` shows. Pure.

use super::{container::Life, state::Phase};
use crate::ports::world::Timestamp;

/// `Up 3 minutes`, `Exited (0) 2 hours ago`, ….
pub(super) fn status(life: &Life, now: Timestamp) -> String {
    let state = &life.state;
    let since = |then: Timestamp| ago((now.0 - then.0).max(0) / 1_000_000_000);
    if life.removing {
        return "Removal In Progress".to_owned();
    }
    match state.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running => match &state.health {
            Some(health) => format!(
                "Up {} ({})",
                since(state.started),
                health.status.in_status()
            ),
            None => format!("Up {}", since(state.started)),
        },
        Phase::Paused => format!("Up {} (Paused)", since(state.started)),
        Phase::Restarting => format!(
            "Restarting ({}) {} ago",
            state.exit_code,
            since(state.finished)
        ),
        Phase::Dead => "Dead".to_owned(),
        Phase::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
    }
}

fn ago(seconds: i64) -> String {
    const HOUR: i64 = 3600;
    const DAY: i64 = 24;
    let (minutes, hours) = (seconds / 60, (seconds + HOUR / 2) / HOUR);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 2 * DAY => format!("{hours} hours"),
        _ if hours < 14 * DAY => format!("{} days", hours / DAY),
        _ if hours < 60 * DAY => format!("{} weeks", hours / DAY / 7),
        _ if hours < 730 * DAY => format!("{} months", hours / DAY / 30),
        _ => format!("{} years", hours / DAY / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_docker_tells_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (179, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (2 * 3600, "2 hours"),
            (47 * 3600, "47 hours"),
            (49 * 3600, "2 days"),
            (15 * 86_400, "2 weeks"),
            (90 * 86_400, "3 months"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(ago(seconds), text, "{seconds}");
        }
    }
}
