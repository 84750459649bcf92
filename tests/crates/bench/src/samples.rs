//! Measured values.

/// Values of one thing, in the order they were measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn one(value: f64) -> Self {
        Self(vec![value])
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }

    /// The middle one; of an even number the mean of the two in the middle; 0 of none.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        match (sorted.len() % 2, sorted.get(half)) {
            (_, None) => 0.0,
            (1, Some(middle)) => *middle,
            (_, Some(upper)) => f64::midpoint(sorted[half - 1], *upper),
        }
    }

    /// The least; 0 of none.
    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().reduce(f64::min).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        for (values, median, least) in [
            (vec![], 0.0, 0.0),
            (vec![3.0], 3.0, 3.0),
            (vec![9.0, 1.0], 5.0, 1.0),
            (vec![9.0, 1.0, 2.0], 2.0, 1.0),
        ] {
            let samples = Samples(values);
            assert_eq!((samples.median(), samples.least()), (median, least));
        }
    }
}
