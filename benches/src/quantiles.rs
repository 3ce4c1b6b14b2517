//! Three numbers that stand for many.

use serde_json::{Value, json};

/// Middle, tail and worst of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// Half of the values are not above it.
    pub p50: f64,
    /// 99 of 100 values are not above it.
    pub p99: f64,
    /// The greatest value.
    pub max: f64,
}

impl Quantiles {
    /// The quantiles of `values` by nearest rank; none of an empty series.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let max = *values.last()?;
        let at = |share: f64| values[((values.len() as f64 * share).ceil() as usize).max(1) - 1];
        Some(Self { p50: at(0.5), p99: at(0.99), max })
    }

    /// As the statistics of the example `word_count` write them.
    pub fn to_json(self) -> Value {
        json!({ "p50": self.p50, "p99": self.p99, "max": self.max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_series() {
        let hundred = (1..=100).rev().map(f64::from).collect();
        for (values, expected) in [
            (vec![], None),
            (vec![7.0], Some((7.0, 7.0, 7.0))),
            (vec![3.0, 1.0], Some((1.0, 3.0, 3.0))),
            (hundred, Some((50.0, 99.0, 100.0))),
        ] {
            assert_eq!(Quantiles::of(values).map(|q| (q.p50, q.p99, q.max)), expected);
        }
    }
}
