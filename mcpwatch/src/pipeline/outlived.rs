//! Calls that are over while processes live that were forked in them: of how many the arguments are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use foldhash::HashMap;

use crate::attribute::{Mentions, Suspect};

use super::Pipeline;

/// Most calls of one server, and bytes of their arguments and what these mention: as of those in flight
/// ([`Limits`](crate::wire::Limits)). A server decides how many of its children stay.
const CALLS: usize = 4_096;
const BYTES: usize = 16 << 20;

/// The calls of one server that processes have outlived, the oldest first, each with what it weighs. It is the processes
/// that hold them.
#[derive(Debug, Default)]
pub(super) struct Outlived {
    calls: VecDeque<(Weak<Mentions>, usize)>,
    bytes: usize,
}

impl Outlived {
    /// A call is over. Gives those whose arguments are to be kept no longer: of half of all that there is room for, since
    /// every process is looked at for that.
    pub(super) fn add(&mut self, call: &Suspect) -> Vec<Weak<Mentions>> {
        // No process that lives was forked in it.
        if Arc::strong_count(&call.mentions) == 1 {
            return Vec::new();
        }
        let weight = call.weight().max(BYTES / CALLS);
        self.bytes = self.bytes.saturating_add(weight);
        self.calls.push_back((Arc::downgrade(&call.mentions), weight));
        if self.bytes <= BYTES {
            return Vec::new();
        }
        self.calls.retain(|(call, _)| call.strong_count() > 0);
        self.bytes = self.calls.iter().map(|(_, weight)| weight).sum();
        let mut oldest = Vec::new();
        while self.bytes > BYTES / 2
            && let Some((call, weight)) = self.calls.pop_front()
        {
            self.bytes -= weight;
            oldest.push(call);
        }
        oldest
    }
}

impl Pipeline {
    /// Keeps of calls what records show, without their arguments; of several that a process was forked in, the last.
    pub(super) fn shorten(&mut self, calls: &[Weak<Mentions>]) {
        if calls.is_empty() {
            return;
        }
        self.losses.add("pipeline", "calls", "table_full", calls.len() as u64);
        let mut short: HashMap<*const Mentions, Option<Suspect>> =
            calls.iter().map(|call| (call.as_ptr(), None)).collect();
        for entry in self.processes.iter_mut() {
            let is_kept = |one: &&Suspect| !short.contains_key(&Arc::as_ptr(&one.mentions));
            let mut kept: Vec<Suspect> = entry.lineage.iter().filter(is_kept).cloned().collect();
            if kept.len() == entry.lineage.len() {
                continue;
            }
            if kept.is_empty()
                && let Some(last) = entry.lineage.last()
                && let Some(short) = short.get_mut(&Arc::as_ptr(&last.mentions))
            {
                kept.push(short.get_or_insert_with(|| last.without_arguments()).clone());
            }
            entry.lineage = Arc::from(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Direction;
    use crate::session::{Annotations, Call};

    fn call(bytes: usize) -> Suspect {
        let call = Call {
            number: 1,
            id: json!(1),
            method: "tools/call".into(),
            tool: Some("t".into()),
            prompt: None,
            annotations: Annotations::default(),
            arguments: Some(json!("x".repeat(bytes))),
            clipped: None,
            direction: Direction::ClientToServer,
            session: None,
            started: 1,
            request_bytes: 1,
        };
        Suspect { call: Arc::new(call), mentions: Arc::default() }
    }

    #[test]
    fn the_oldest_are_to_be_shortened_when_there_are_too_many() {
        for (bytes, most) in [(1 << 20, 16), (0, CALLS)] {
            let mut outlived = Outlived::default();
            let mut lineages = Vec::new();
            let mut shortened = 0;
            for number in 1..=2 * most {
                let call = call(bytes);
                assert!(outlived.add(&call).is_empty(), "nobody was forked in it");
                lineages.push(call.clone());
                for old in outlived.add(&call) {
                    let oldest: &Suspect = &lineages[shortened];
                    assert_eq!(old.as_ptr(), Arc::as_ptr(&oldest.mentions));
                    shortened += 1;
                }
                assert!(number - shortened <= most && outlived.bytes <= BYTES, "{number}");
                assert_eq!(outlived.calls.len(), number - shortened);
            }
            assert!(shortened >= most);
        }
    }

    #[test]
    fn who_has_ended_takes_no_room() {
        let mut outlived = Outlived::default();
        for _ in 0..100 {
            let call = call(1 << 20);
            let process = call.clone();
            assert!(outlived.add(&call).is_empty());
            drop(process);
        }
        assert!(outlived.calls.len() <= 16);
    }
}
