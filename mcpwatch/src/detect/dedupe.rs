//! One alert for many findings: those of one server, call (or relation), rule and object are raised
//! once and counted from then on; the count is published, never dropped.

use std::collections::{BTreeMap, HashMap};

use crate::record::Relation;

/// Most alerts that are counted at a time: about 4 KiB each, of the 60 MiB the agent may hold. The oldest
/// gives way, with its count published.
pub const CAPACITY: usize = 2 * 1024;

/// What an alert is counted by, besides rule and object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A call in flight: further findings are published as one count when it ends.
    Call(String),
    /// A call that has ended while a process of it goes on. Nothing will end that, so counts are
    /// published at powers of ten.
    AfterCall(String),
    /// No call: counts are published at powers of ten.
    Ongoing(Relation),
}

/// Findings with the same key are one alert.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The server's id.
    pub server: String,
    /// The call, or what stands for it.
    pub scope: Scope,
    /// The rule's id.
    pub rule: &'static str,
    /// The finding's object.
    pub object: String,
}

/// An alert that is to be published, with the number of findings it stands for so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// The alert as it was raised first.
    pub alert: T,
    /// How many findings it stands for, those published before included.
    pub count: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Findings that came in.
    pub findings: u64,
    /// Alerts that were raised.
    pub raised: u64,
    /// Alerts whose counting ended early because the table was full: the next finding of the kind is
    /// raised as a new alert.
    pub evicted: u64,
}

#[derive(Debug)]
struct Entry<T> {
    alert: T,
    count: u64,
    published: u64,
}

impl<T> Entry<T> {
    fn into_due(self) -> Option<Due<T>> {
        (self.count > self.published).then_some(Due { alert: self.alert, count: self.count })
    }
}

/// Counts findings. `T` is what is published: the alert's record.
#[derive(Debug)]
pub struct Dedupe<T> {
    capacity: usize,
    next: u64,
    /// Everything that is counted, the oldest first: order decides what is published when, so a
    /// replay gives the same records.
    entries: BTreeMap<u64, (Key, Entry<T>)>,
    by_key: HashMap<Key, u64>,
    by_call: HashMap<(String, String), Vec<u64>>,
    counters: Counters,
}

impl<T: Clone> Default for Dedupe<T> {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl<T: Clone> Dedupe<T> {
    /// Counts at most `capacity` alerts at a time (at least one).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            next: 0,
            entries: BTreeMap::new(),
            by_key: HashMap::new(),
            by_call: HashMap::new(),
            counters: Counters::default(),
        }
    }

    /// Counts a finding and adds to `due` what is to be published now: the alert itself when it is the
    /// first (`alert` makes it), a count that has become due, and the count of what gave way.
    pub fn admit(&mut self, key: Key, alert: impl FnOnce() -> T, due: &mut Vec<Due<T>>) {
        self.counters.findings += 1;
        let known = self.by_key.get(&key).and_then(|number| self.entries.get_mut(number));
        if let Some((_, entry)) = known {
            entry.count += 1;
            let waits = matches!(key.scope, Scope::Call(_));
            if !waits && is_power_of_ten(entry.count) {
                entry.published = entry.count;
                due.push(Due { alert: entry.alert.clone(), count: entry.count });
            }
            return;
        }
        if self.entries.len() >= self.capacity
            && let Some((&oldest, _)) = self.entries.first_key_value()
        {
            self.counters.evicted += 1;
            due.extend(self.remove(oldest).and_then(Entry::into_due));
        }
        self.counters.raised += 1;
        let alert = alert();
        due.push(Due { alert: alert.clone(), count: 1 });
        let number = self.next;
        self.next += 1;
        if let Scope::Call(call) = &key.scope {
            self.by_call.entry((key.server.clone(), call.clone())).or_default().push(number);
        }
        self.by_key.insert(key.clone(), number);
        self.entries.insert(number, (key, Entry { alert, count: 1, published: 1 }));
    }

    /// Ends the counting of a call; gives what has been counted since it was published.
    pub fn close_call(&mut self, server: &str, call: &str) -> Vec<Due<T>> {
        let numbers = self.by_call.remove(&(server.to_owned(), call.to_owned()));
        let numbers = numbers.unwrap_or_default();
        numbers.into_iter().filter_map(|number| self.remove(number)?.into_due()).collect()
    }

    /// Ends the counting of a server that is gone; gives what has been counted since it was published.
    pub fn close_server(&mut self, server: &str) -> Vec<Due<T>> {
        let of_server = |(_, (key, _)): &(&u64, &(Key, Entry<T>))| key.server == server;
        let numbers: Vec<u64> =
            self.entries.iter().filter(of_server).map(|(&number, _)| number).collect();
        numbers.into_iter().filter_map(|number| self.remove(number)?.into_due()).collect()
    }

    /// Ends all counting; gives what has been counted since it was published.
    pub fn close_all(&mut self) -> Vec<Due<T>> {
        self.by_key.clear();
        self.by_call.clear();
        let entries = std::mem::take(&mut self.entries);
        entries.into_values().filter_map(|(_, entry)| entry.into_due()).collect()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many alerts are being counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is being counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, number: u64) -> Option<Entry<T>> {
        let (key, entry) = self.entries.remove(&number)?;
        self.by_key.remove(&key);
        if let Scope::Call(call) = key.scope {
            let of_call = (key.server, call);
            if let Some(numbers) = self.by_call.get_mut(&of_call) {
                numbers.retain(|&other| other != number);
                if numbers.is_empty() {
                    self.by_call.remove(&of_call);
                }
            }
        }
        Some(entry)
    }
}

fn is_power_of_ten(count: u64) -> bool {
    count.checked_ilog10().is_some_and(|digits| 10_u64.pow(digits) == count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scope: Scope, object: &str) -> Key {
        Key { server: "s".into(), scope, rule: "r", object: object.into() }
    }

    fn call(uid: &str) -> Scope {
        Scope::Call(uid.into())
    }

    fn admit(dedupe: &mut Dedupe<&'static str>, key: &Key) -> Vec<(&'static str, u64)> {
        let mut due = Vec::new();
        dedupe.admit(key.clone(), || "alert", &mut due);
        due.into_iter().map(|due| (due.alert, due.count)).collect()
    }

    #[test]
    fn the_first_is_raised_and_the_rest_are_counted_until_the_call_ends() {
        let mut dedupe = Dedupe::default();
        let key = key(call("c1"), "x");
        assert_eq!(admit(&mut dedupe, &key), [("alert", 1)]);
        for _ in 0..99 {
            assert_eq!(admit(&mut dedupe, &key), []);
        }
        assert_eq!(dedupe.close_call("s", "c1"), [Due { alert: "alert", count: 100 }]);
        assert_eq!(dedupe.close_call("s", "c1"), []);
        assert!(dedupe.is_empty());
    }

    #[test]
    fn a_single_finding_is_not_published_twice() {
        let mut dedupe = Dedupe::default();
        admit(&mut dedupe, &key(call("c1"), "x"));
        assert_eq!(dedupe.close_call("s", "c1"), []);
    }

    #[test]
    fn without_a_call_counts_are_published_at_powers_of_ten() {
        for scope in [Scope::Ongoing(Relation::Background), Scope::AfterCall("c1".into())] {
            let mut dedupe = Dedupe::default();
            let key = key(scope, "x");
            let published: Vec<u64> =
                (0..1234).flat_map(|_| admit(&mut dedupe, &key)).map(|(_, count)| count).collect();
            assert_eq!(published, [1, 10, 100, 1000]);
            assert_eq!(dedupe.close_server("other"), []);
            assert_eq!(dedupe.close_server("s"), [Due { alert: "alert", count: 1234 }]);
        }
    }

    #[test]
    fn rule_object_call_and_server_tell_alerts_apart() {
        let mut dedupe = Dedupe::default();
        let first = key(call("c1"), "x");
        let others = [
            Key { server: "t".into(), ..first.clone() },
            Key { scope: call("c2"), ..first.clone() },
            Key { scope: Scope::AfterCall("c1".into()), ..first.clone() },
            Key { rule: "q", ..first.clone() },
            Key { object: "y".into(), ..first.clone() },
        ];
        assert_eq!(admit(&mut dedupe, &first).len(), 1);
        for other in &others {
            assert_eq!(admit(&mut dedupe, other), [("alert", 1)], "{other:?}");
        }
    }

    #[test]
    fn at_every_fill_level_each_finding_is_published_or_counted() {
        for capacity in [1, 2, 8] {
            for kinds in [0, 1, capacity / 2, capacity - 1, capacity, 8 * capacity] {
                let mut dedupe = Dedupe::new(capacity);
                let mut due = Vec::new();
                for number in 0..kinds {
                    for _ in 0..3 {
                        let key = key(call(&format!("c{}", number % 2)), &number.to_string());
                        dedupe.admit(key, || number, &mut due);
                        assert!(dedupe.len() <= capacity);
                    }
                }
                due.extend(dedupe.close_call("s", "c0"));
                due.extend(dedupe.close_all());
                let mut last = HashMap::new();
                for Due { alert, count } in due {
                    last.insert(alert, count);
                }
                assert_eq!(last.len(), kinds);
                assert!(last.values().all(|&count| count == 3));
                let counters = dedupe.counters();
                assert_eq!(counters.findings, 3 * kinds as u64);
                assert_eq!(counters.raised, kinds as u64);
                assert_eq!(counters.evicted, kinds.saturating_sub(capacity) as u64);
                assert!(dedupe.by_call.is_empty() && dedupe.by_key.is_empty());
            }
        }
    }
}
