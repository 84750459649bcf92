//! What a person at the docker CLI waits for.

use super::{IMAGE, remove, start_staying, timed};
use crate::{
    Options,
    pair::{Both, Pair},
    report::{Bars, Row, Unit},
};

pub(super) fn rows(pair: &Pair, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut containers = pair.each(start_staying)?;
    let mut measure = |arguments: fn(&str) -> Vec<&str>| {
        pair.turns(&mut containers, options.rounds, |side, container| {
            timed(|| side.docker.ok(&arguments(container)))
        })
    };
    // The CLI alone is measured before and after, so that a drift of the machine meets it as well.
    let mut version = measure(|_| vec!["version"])?;
    let run = measure(|_| vec!["run", "--rm", IMAGE, "true"])?;
    let exec = measure(|container| vec!["exec", container, "true"])?;
    let after = measure(|_| vec!["version"])?;
    for (all, more) in [
        (&mut version.ours, &after.ours),
        (&mut version.theirs, &after.theirs),
    ] {
        more.values().iter().for_each(|&value| all.push(value));
    }
    remove(&pair.ours, &containers.ours)?;
    remove(&pair.theirs, &containers.theirs)?;
    let own = || Both {
        ours: version.ours.median(),
        theirs: version.theirs.median(),
    };
    let net = |name: &str, samples| {
        let mut row = Row::new(name, Unit::Milliseconds, samples, Bars::ratio(0.25));
        row.own = own();
        row
    };
    let rows = [
        net("docker run --rm busybox true, net", run),
        net("docker exec C true, net", exec),
    ];
    let mut all = vec![Row::new(
        "docker version: the CLI's own time",
        Unit::Milliseconds,
        version,
        Bars::NONE,
    )];
    all.extend(rows);
    Ok(all)
}
