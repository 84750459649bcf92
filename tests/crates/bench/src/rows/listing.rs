//! The list of many stopped containers.

use std::sync::Mutex;

use serde_json::Value;

use super::{
    cycles::{ended, together},
    timed,
};
use crate::{
    Options,
    pair::{Pair, Side},
    report::{Bars, Row, Unit},
};

pub(super) fn rows(pair: &Pair, options: &Options) -> anyhow::Result<Vec<Row>> {
    let count = if options.full { 1000 } else { 200 };
    let containers = pair.each(|side| stopped(side, count))?;
    let mut clients = pair.each(Side::client)?;
    let samples = pair.turns(&mut clients, options.rounds, |_, client| {
        let mut body = Vec::new();
        let time = timed(|| {
            body = client.get("/containers/json?all=1")?;
            Ok(())
        })?;
        let list: Vec<Value> = serde_json::from_slice(&body)?;
        anyhow::ensure!(
            list.len() >= count as usize,
            "{} containers of {count}",
            list.len()
        );
        Ok(time)
    })?;
    for (side, ids) in [
        (&pair.ours, &containers.ours),
        (&pair.theirs, &containers.theirs),
    ] {
        together(side, count, |client, number| {
            let id = &ids[number as usize];
            client.delete(&format!("/containers/{id}")).map(drop)
        })?;
    }
    Ok(vec![Row::new(
        format!("list of {count} stopped containers"),
        Unit::Milliseconds,
        samples,
        Bars::ratio(0.2),
    )])
}

fn stopped(side: &Side, count: u32) -> anyhow::Result<Vec<String>> {
    let ids = Mutex::new(Vec::new());
    together(side, count, |client, _| {
        let id = ended(client, "none")?;
        ids.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(id);
        Ok(())
    })?;
    Ok(ids
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}
