//! What was found: rows with their bars, as a table and as JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::{pair::Both, samples::Samples};

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Megabytes,
}

/// What ours must not be over. Without any, the row only informs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bars {
    /// Ours divided by theirs.
    pub(crate) ratio: Option<f64>,
    /// Ours, in the row's unit.
    pub(crate) absolute: Option<f64>,
}

impl Bars {
    pub(crate) const NONE: Self = Self {
        ratio: None,
        absolute: None,
    };

    pub(crate) fn ratio(ratio: f64) -> Self {
        Self {
            ratio: Some(ratio),
            absolute: None,
        }
    }
}

/// One thing measured on both.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) samples: Both<Samples>,
    /// Taken off each median: the CLI's own time.
    pub(crate) own: Both<f64>,
    pub(crate) bars: Bars,
}

impl Row {
    pub(crate) fn new(
        name: impl Into<String>,
        unit: Unit,
        samples: Both<Samples>,
        bars: Bars,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            samples,
            own: Both {
                ours: 0.0,
                theirs: 0.0,
            },
            bars,
        }
    }

    fn ours(&self) -> f64 {
        (self.samples.ours.median() - self.own.ours).max(0.0)
    }

    fn theirs(&self) -> f64 {
        (self.samples.theirs.median() - self.own.theirs).max(0.0)
    }

    /// None when theirs is too small to divide by.
    fn ratio(&self) -> Option<f64> {
        (self.theirs() > 0.0).then(|| self.ours() / self.theirs())
    }

    /// None when the row has no bar.
    fn within(&self) -> Option<bool> {
        let of_ratio = self
            .bars
            .ratio
            .map(|bar| self.ratio().is_some_and(|ratio| ratio <= bar));
        let of_value = self.bars.absolute.map(|bar| self.ours() <= bar);
        match (of_ratio, of_value) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(true) && other.unwrap_or(true)),
        }
    }

    fn json(&self) -> Value {
        let side = |samples: &Samples, value: f64| json!({"value": value, "least": samples.least(), "samples": samples.values()});
        json!({
            "name": self.name,
            "unit": self.unit.to_string(),
            "ours": side(&self.samples.ours, self.ours()),
            "theirs": side(&self.samples.theirs, self.theirs()),
            "ratio": self.ratio(),
            "bar": {"ratio": self.bars.ratio, "absolute": self.bars.absolute},
            "within": self.within(),
        })
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Milliseconds => "ms",
            Self::Megabytes => "MB",
        })
    }
}

/// All rows.
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn all_within(&self) -> bool {
        self.rows.iter().all(|row| row.within() != Some(false))
    }

    pub(crate) fn json(&self) -> anyhow::Result<Vec<u8>> {
        let first_line = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().next().unwrap_or_default().to_owned()
        };
        let report = json!({
            "machine": {
                "processors": std::thread::available_parallelism().map_or(0, usize::from),
                "kernel": first_line("/proc/sys/kernel/osrelease"),
                "load": first_line("/proc/loadavg"),
            },
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        });
        Ok(serde_json::to_vec_pretty(&report)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            to,
            "{:<44} {:>11} {:>11} {:>7}  {:<16} ",
            "", "ours", "theirs", "ratio", "bar"
        )?;
        for row in &self.rows {
            let value = |value: f64| format!("{value:.1} {}", row.unit);
            let ratio = row
                .ratio()
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
            let bars = [
                row.bars.ratio.map(|bar| format!("{bar}")),
                row.bars.absolute.map(|bar| format!("{bar} {}", row.unit)),
            ];
            let verdict = match row.within() {
                None => "",
                Some(true) => "ok",
                Some(false) => "over",
            };
            writeln!(
                to,
                "{:<44} {:>11} {:>11} {:>7}  {:<16} {verdict}",
                row.name,
                value(row.ours()),
                value(row.theirs()),
                ratio,
                bars.into_iter().flatten().collect::<Vec<_>>().join(", "),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, theirs: f64, bars: Bars) -> Row {
        let samples = Both {
            ours: Samples::one(ours),
            theirs: Samples::one(theirs),
        };
        let mut row = Row::new("row", Unit::Milliseconds, samples, bars);
        row.own = Both {
            ours: 10.0,
            theirs: 10.0,
        };
        row
    }

    #[test]
    fn a_row_is_within_when_all_its_bars_are_kept() {
        let both = |ratio, absolute| Bars {
            ratio: Some(ratio),
            absolute: Some(absolute),
        };
        for (bars, expected) in [
            (Bars::NONE, None),
            (Bars::ratio(0.1), Some(true)),
            (Bars::ratio(0.09), Some(false)),
            (both(0.1, 10.0), Some(true)),
            (both(0.1, 9.0), Some(false)),
        ] {
            assert_eq!(row(20.0, 110.0, bars).within(), expected, "{bars:?}");
        }
    }

    #[test]
    fn without_theirs_nothing_is_within_a_ratio() {
        assert_eq!(row(20.0, 10.0, Bars::ratio(1.0)).within(), Some(false));
    }
}
