//! A container's whole life by the API: create, start, wait, remove.

use serde_json::{Value, json};

use super::{IMAGE, timed};
use crate::{
    Options,
    client::Client,
    pair::{Pair, Side},
    report::{Bars, Row, Unit},
};

/// Lives in one block of those several at a time; blocks take turns.
const BLOCK: u32 = 50;
/// Blocks of each engine.
const BLOCKS: u32 = 4;
/// At a time.
pub(super) const WORKERS: u32 = 4;

pub(super) fn rows(pair: &Pair, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut clients = pair.each(Side::client)?;
    let mut rows = Vec::new();
    for (name, network, bar) in [
        ("API create+start+wait+remove, bridge", "bridge", 0.12),
        ("API create+start+wait+remove, no network", "none", 0.10),
    ] {
        let samples = pair.turns(&mut clients, options.rounds, |_, client| {
            timed(|| life(client, network))
        })?;
        rows.push(Row::new(
            name,
            Unit::Milliseconds,
            samples,
            Bars::ratio(bar),
        ));
    }
    let mut nothing = pair.each(|_| Ok(()))?;
    let samples = pair.turns(&mut nothing, BLOCKS, |side, ()| {
        timed(|| together(side, BLOCK, |client, _| life(client, "bridge")))
    })?;
    rows.push(Row::new(
        format!(
            "{} lives on a bridge, {WORKERS} at a time, a block of {BLOCK}",
            BLOCK * BLOCKS
        ),
        Unit::Milliseconds,
        samples,
        Bars::ratio(0.3),
    ));
    Ok(rows)
}

fn life(client: &mut Client, network: &str) -> anyhow::Result<()> {
    let id = ended(client, network)?;
    client.delete(&format!("/containers/{id}"))?;
    Ok(())
}

/// A container that ran and ended; its id.
pub(super) fn ended(client: &mut Client, network: &str) -> anyhow::Result<String> {
    let settings = json!({"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": network}});
    let made: Value = serde_json::from_slice(&client.post("/containers/create", &settings)?)?;
    let id = made["Id"].as_str().unwrap_or_default().to_owned();
    client.post(&format!("/containers/{id}/start"), &Value::Null)?;
    let exit: Value =
        serde_json::from_slice(&client.post(&format!("/containers/{id}/wait"), &Value::Null)?)?;
    anyhow::ensure!(exit["StatusCode"] == 0, "the program ended with {exit}");
    Ok(id)
}

/// Does a piece of work `count` times, several at a time, each worker on a connection of its own.
pub(super) fn together(
    side: &Side,
    count: u32,
    work: impl Fn(&mut Client, u32) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let work = &work;
                scope.spawn(move || {
                    let mut client = side.client()?;
                    (worker..count)
                        .step_by(WORKERS as usize)
                        .try_for_each(|number| work(&mut client, number))
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))
        })
    })
}
