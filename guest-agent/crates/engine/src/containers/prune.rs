//! Removes every container that does not run.

use std::sync::Arc;

use docker_api::volume::ContainersPruned;
use errdefs::{Error, ErrorKind, Result};

use super::{
    RemoveOptions,
    list::{Filters, check_names, labels_fit, values},
    state::Phase,
};
use crate::{Engine, ports::world::Timestamp};

impl Engine {
    /// Removes them. Filters: `until` (RFC 3339, seconds, or `10m` ago), `label`, `label!`. Docker API: POST /containers/prune.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad filter.
    pub async fn prune_containers(self: &Arc<Self>, filters: &Filters) -> Result<ContainersPruned> {
        check_names(filters, &["until", "label", "label!"])?;
        let until = until(filters, self.ports.world.now())?;
        let mut pruned = ContainersPruned::default();
        for container in self.containers.all() {
            let (record, life) = (container.record(), container.life());
            let idle = matches!(
                life.state.phase,
                Phase::Created | Phase::Exited | Phase::Dead
            ) && !life.removing;
            let labels = record.config.labels.as_ref();
            let unwanted = filters.contains_key("label!") && labels_fit(filters, "label!", labels);
            if !idle
                || unwanted
                || !labels_fit(filters, "label", labels)
                || until.is_some_and(|until| record.created >= until)
            {
                continue;
            }
            let size = self
                .ports
                .rootfs
                .usage(&record.id)
                .await
                .map_or(0, |(own, _)| own);
            if self
                .remove_container(record.id.as_str(), RemoveOptions::default())
                .await
                .is_ok()
            {
                pruned
                    .containers_deleted
                    .get_or_insert_default()
                    .push(record.id.to_string());
                pruned.space_reclaimed += size;
            }
        }
        self.tell(
            "container",
            "prune",
            "",
            &[("reclaimed", &pruned.space_reclaimed.to_string())],
        );
        Ok(pruned)
    }
}

/// The moment of an `until` filter.
pub(crate) fn until(filters: &Filters, now: Timestamp) -> Result<Option<Timestamp>> {
    let mut all = values(filters, "until");
    let Some(text) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            "more than one until filter specified",
        ));
    }
    moment_of(text, now).map(Some)
}

/// The earliest moment of all `until` filters.
pub(crate) fn earliest(filters: &Filters, now: Timestamp) -> Result<Option<Timestamp>> {
    let moments = values(filters, "until").map(|text| moment_of(text, now));
    Ok(moments.collect::<Result<Vec<_>>>()?.into_iter().min())
}

fn moment_of(text: &str, now: Timestamp) -> Result<Timestamp> {
    moment(text, now).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidParameter,
            format!("failed to parse value as time or duration: {text:?}"),
        )
    })
}

/// A moment as Docker's clients write it: RFC 3339, seconds with a fraction, or a Go duration before now.
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(at) = crate::time::parse_rfc3339(text.as_bytes()) {
        return Some(at);
    }
    if let Some(at) = seconds(text) {
        return Some(at);
    }
    let mut rest = text;
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let nanoseconds: i64 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(nanoseconds)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Timestamp(now.0.saturating_sub(total)))
}

/// `1136073600.000000001`, as the CLI sends times.
#[must_use]
pub fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    // What is too far away to be counted is as good as the end of time.
    let nanoseconds = whole.saturating_mul(1_000_000_000).saturating_add(fraction);
    Some(Timestamp(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_three_forms() {
        let now = Timestamp(100_000_000_000_000);
        assert_eq!(moment("1.5", now), Some(Timestamp(1_500_000_000)));
        assert_eq!(moment("12", now), Some(Timestamp(12_000_000_000)));
        assert_eq!(moment("32472144000.0", now), Some(Timestamp(i64::MAX)));
        assert_eq!(
            moment("1h1m", now),
            Some(Timestamp(100_000_000_000_000 - 3_660_000_000_000))
        );
        assert_eq!(
            moment("1970-01-01T00:00:01Z", now),
            Some(Timestamp(1_000_000_000))
        );
        for bad in ["", "x", "1x", "h", "1.0000000001"] {
            assert_eq!(moment(bad, now), None, "{bad}");
        }
    }
}
