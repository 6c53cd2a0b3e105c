//! The few numbers that many measurements come down to.

use serde_json::{Value, json};

/// Median, quartiles and extremes. The extremes of many rounds tell of the machine's neighbours more than of what is
/// measured; of a few, they tell how far one may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest one.
    pub least: f64,
    /// The middle one.
    pub median: f64,
    /// A quarter is not above this.
    pub low: f64,
    /// Three quarters are not above this.
    pub high: f64,
    /// The largest one.
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Self {
        let sorted = sorted(values);
        let [least, low, median, high, most] =
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share));
        Self { least, median, low, high, most }
    }

    /// For the JSON file.
    pub fn json(self) -> Value {
        json!({
            "median": self.median,
            "lower_quartile": self.low,
            "upper_quartile": self.high,
            "smallest": self.least,
            "largest": self.most,
        })
    }
}

/// The values in order.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The smallest of the sorted values that `share` of them do not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank from 1 to the number of values"
)]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil().max(1.0);
    sorted[(rank as usize).min(sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        for (share, value) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            assert!((quantile(&values, share) - value).abs() < f64::EPSILON, "{share}");
        }
        assert_eq!(
            Spread::of(&[4.0, 3.0, 5.0, 1.0, 2.0]),
            Spread { least: 1.0, low: 2.0, median: 3.0, high: 4.0, most: 5.0 }
        );
        assert_eq!(
            Spread::of(&[7.0]),
            Spread { least: 7.0, low: 7.0, median: 7.0, high: 7.0, most: 7.0 }
        );
    }
}
