//! What was lost, anywhere: turned into `loss` records, each with what came since the last.

use std::collections::BTreeMap;

use crate::record::Loss;

/// Most kinds of loss that are told apart.
const KINDS: usize = 1_024;

/// Running totals of every kind of loss.
#[derive(Debug, Default)]
pub struct Losses {
    totals: BTreeMap<(&'static str, String, String), Total>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    now: u64,
    told: u64,
}

impl Losses {
    /// Adds to a kind of loss.
    pub fn add(&mut self, stage: &'static str, what: &str, reason: &str, lost: u64) {
        if lost > 0 {
            self.total(stage, what, reason).now += lost;
        }
    }

    /// Sets a kind of loss that somebody else counts.
    pub fn set(&mut self, stage: &'static str, what: &str, reason: &str, total: u64) {
        if total > 0 {
            self.total(stage, what, reason).now = total;
        }
    }

    fn total(&mut self, stage: &'static str, what: &str, reason: &str) -> &mut Total {
        // Kinds are few; a made-up recording may name any number of outputs.
        let key = if self.totals.len() < KINDS {
            (stage, what.to_owned(), reason.to_owned())
        } else {
            (stage, "other".to_owned(), "other".to_owned())
        };
        self.totals.entry(key).or_default()
    }

    /// What has not been told yet.
    pub fn take(&mut self) -> Vec<Loss> {
        let mut losses = Vec::new();
        for ((stage, what, reason), total) in &mut self.totals {
            if total.now > total.told {
                losses.push(Loss {
                    stage,
                    what: what.clone(),
                    reason: reason.clone(),
                    lost: total.now - total.told,
                    total: total.now,
                });
                total.told = total.now;
            }
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_is_told_once() {
        let mut losses = Losses::default();
        losses.set("kernel", "open", "ring_full", 5);
        losses.add("decode", "events", "malformed", 1);
        assert_eq!(losses.take().len(), 2);
        assert!(losses.take().is_empty());
        losses.set("kernel", "open", "ring_full", 8);
        let told = losses.take();
        assert_eq!((told[0].lost, told[0].total), (3, 8));
    }
}
