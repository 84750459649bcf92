//! Both engines, and taking turns.

use anyhow::Context;
use harness::{Docker, Engine, Kind};

use crate::{client::Client, samples::Samples};

/// One engine with its ways in.
pub(crate) struct Side {
    pub(crate) engine: Engine,
    pub(crate) docker: Docker,
}

impl Side {
    fn start(kind: Kind) -> anyhow::Result<Self> {
        let engine = Engine::start(kind)?;
        let docker = engine.docker()?;
        Ok(Self { engine, docker })
    }

    /// A connection of its own to the API.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.engine.socket())
    }
}

/// Ours and theirs.
pub(crate) struct Pair {
    pub(crate) ours: Side,
    pub(crate) theirs: Side,
}

/// A value of each.
pub(crate) struct Both<T> {
    pub(crate) ours: T,
    pub(crate) theirs: T,
}

impl Pair {
    /// Starts both.
    ///
    /// # Errors
    /// When one is missing or does not answer.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            ours: Side::start(Kind::Ours).context("start our engine")?,
            theirs: Side::start(Kind::Reference).context("start the reference engine")?,
        })
    }

    /// Something for each, one after the other.
    ///
    /// # Errors
    /// The first that fails, with whose it is.
    pub(crate) fn each<T>(
        &self,
        mut make: impl FnMut(&Side) -> anyhow::Result<T>,
    ) -> anyhow::Result<Both<T>> {
        Ok(Both {
            ours: make(&self.ours).context("ours")?,
            theirs: make(&self.theirs).context("theirs")?,
        })
    }

    /// Measures each `rounds` times, taking turns; who begins changes, too. One turn before them warms up and does not count.
    ///
    /// # Errors
    /// The first measurement that fails.
    pub(crate) fn turns<T>(
        &self,
        with: &mut Both<T>,
        rounds: u32,
        mut measure: impl FnMut(&Side, &mut T) -> anyhow::Result<f64>,
    ) -> anyhow::Result<Both<Samples>> {
        let mut found = Both {
            ours: Samples::default(),
            theirs: Samples::default(),
        };
        measure(&self.ours, &mut with.ours).context("ours")?;
        measure(&self.theirs, &mut with.theirs).context("theirs")?;
        for round in 0..rounds {
            for ours in [round % 2 == 0, round % 2 != 0] {
                if ours {
                    let value = measure(&self.ours, &mut with.ours).context("ours")?;
                    found.ours.push(value);
                } else {
                    let value = measure(&self.theirs, &mut with.theirs).context("theirs")?;
                    found.theirs.push(value);
                }
            }
        }
        Ok(found)
    }
}
