//! One alert for many findings: those of one server, call, relation, rule and severity are raised once and
//! counted from then on, with what they are about; the count is published, never dropped. Where no call ends the
//! counting, each object is an alert of its own: a server could hide the next one behind those it has shown.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::reason::clip;
use crate::record::{Relation, Severity};

/// Most alerts that are counted at a time: about 4 KiB each, of the 60 MiB the agent may hold. The oldest
/// gives way, with its count published.
pub const CAPACITY: usize = 2 * 1024;
/// Most objects that an alert lists; findings about any other are counted only.
pub const OBJECTS: usize = 8;
/// Longest object, in bytes.
const OBJECT: usize = 512;
/// Nanoseconds until further objects are published: several at once make one record.
const GATHERED: u64 = 1_000_000_000;

/// What an alert is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A call in flight: its end ends the counting.
    Call(String),
    /// A call that has ended while a process of it goes on.
    AfterCall(String),
    /// No call.
    Ongoing,
}

/// Findings with the same key are one alert.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The server's id.
    pub server: String,
    /// The call, or what stands for it.
    pub scope: Scope,
    /// What it was asked for and what it was not are two alerts of one call.
    pub relation: Relation,
    /// The rule's id.
    pub rule: &'static str,
    /// A finding that matters more is never counted with those that matter less.
    pub severity: Severity,
    /// The finding's object, where no call in flight ends the counting.
    pub object: Option<String>,
}

/// An alert that is to be published, with the number of findings it stands for so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// The alert as it was raised first.
    pub alert: T,
    /// How many findings it stands for, those published before included.
    pub count: u64,
    /// What they are about, the first ones.
    pub objects: Vec<String>,
    /// Whether there were more objects than are listed.
    pub cut: bool,
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
    objects: Vec<String>,
    cut: bool,
    /// It waits for its further objects to be published.
    gathering: bool,
}

impl<T: Clone> Entry<T> {
    fn new(alert: T, object: &str) -> Self {
        let objects = vec![clip(object, OBJECT).into_owned()];
        Self { alert, count: 1, published: 0, objects, cut: false, gathering: false }
    }

    /// Whether it is about something it was not about before.
    fn is_about_more(&mut self, object: &str) -> bool {
        let object = clip(object, OBJECT);
        if self.cut || self.objects.iter().any(|known| *known == object) {
            return false;
        }
        if self.objects.len() == OBJECTS {
            self.cut = true;
        } else {
            self.objects.push(object.into_owned());
        }
        true
    }

    fn publish(&mut self) -> Due<T> {
        self.published = self.count;
        let (alert, objects) = (self.alert.clone(), self.objects.clone());
        Due { alert, count: self.count, objects, cut: self.cut }
    }

    /// What has not been published.
    fn rest(mut self) -> Option<Due<T>> {
        (self.count > self.published).then(|| self.publish())
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
    /// Which have further objects to publish, and when; each stands here once at most.
    gathering: VecDeque<(u64, u64)>,
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
            gathering: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Counts a finding about `object` at the time `now`, in nanoseconds, and adds to `due` what is to be
    /// published at once: the alert itself when it is the first (`alert` makes it), a count that is a power of
    /// ten, and the count of what gave way.
    pub fn admit(
        &mut self,
        key: Key,
        object: &str,
        now: u64,
        alert: impl FnOnce() -> T,
        due: &mut Vec<Due<T>>,
    ) {
        self.counters.findings += 1;
        let number = self.by_key.get(&key).copied();
        if let Some(number) = number
            && let Some((_, entry)) = self.entries.get_mut(&number)
        {
            entry.count += 1;
            if entry.is_about_more(object) && !entry.gathering {
                entry.gathering = true;
                self.gathering.push_back((now.saturating_add(GATHERED), number));
            }
            if is_power_of_ten(entry.count) {
                due.push(entry.publish());
            }
            return;
        }
        if self.entries.len() >= self.capacity
            && let Some((&oldest, _)) = self.entries.first_key_value()
        {
            self.counters.evicted += 1;
            due.extend(self.remove(oldest).and_then(Entry::rest));
        }
        self.counters.raised += 1;
        let mut entry = Entry::new(alert(), object);
        due.push(entry.publish());
        let number = self.next;
        self.next += 1;
        if let Scope::Call(call) = &key.scope {
            self.by_call.entry((key.server.clone(), call.clone())).or_default().push(number);
        }
        self.by_key.insert(key.clone(), number);
        self.entries.insert(number, (key, entry));
    }

    /// What has come to further objects a while ago.
    pub fn gathered(&mut self, now: u64) -> Vec<Due<T>> {
        let mut due = Vec::new();
        while let Some(&(time, number)) = self.gathering.front()
            && time <= now
        {
            self.gathering.pop_front();
            if let Some((_, entry)) = self.entries.get_mut(&number) {
                entry.gathering = false;
                if entry.count > entry.published {
                    due.push(entry.publish());
                }
            }
        }
        due
    }

    /// Ends the counting of a call; gives what has been counted since it was published.
    pub fn close_call(&mut self, server: &str, call: &str) -> Vec<Due<T>> {
        let numbers = self.by_call.remove(&(server.to_owned(), call.to_owned()));
        let numbers = numbers.unwrap_or_default();
        numbers.into_iter().filter_map(|number| self.remove(number)?.rest()).collect()
    }

    /// Ends the counting of a server that is gone; gives what has been counted since it was published.
    pub fn close_server(&mut self, server: &str) -> Vec<Due<T>> {
        let of_server = |(_, (key, _)): &(&u64, &(Key, Entry<T>))| key.server == server;
        let numbers: Vec<u64> =
            self.entries.iter().filter(of_server).map(|(&number, _)| number).collect();
        numbers.into_iter().filter_map(|number| self.remove(number)?.rest()).collect()
    }

    /// Ends all counting; gives what has been counted since it was published.
    pub fn close_all(&mut self) -> Vec<Due<T>> {
        self.by_key.clear();
        self.by_call.clear();
        self.gathering.clear();
        let entries = std::mem::take(&mut self.entries);
        entries.into_values().filter_map(|(_, entry)| entry.rest()).collect()
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
        if entry.gathering {
            self.gathering.retain(|&(_, other)| other != number);
        }
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

    fn key(scope: Scope) -> Key {
        Key {
            server: "s".into(),
            scope,
            relation: Relation::Covert,
            rule: "r",
            severity: Severity::High,
            object: None,
        }
    }

    fn call(uid: &str) -> Scope {
        Scope::Call(uid.into())
    }

    /// Counts of what is published, and how many objects are listed.
    fn admit(
        dedupe: &mut Dedupe<&'static str>,
        key: &Key,
        object: &str,
        now: u64,
    ) -> Vec<(u64, usize)> {
        let mut due = Vec::new();
        dedupe.admit(key.clone(), object, now, || "alert", &mut due);
        shown(due)
    }

    fn shown(due: Vec<Due<&'static str>>) -> Vec<(u64, usize)> {
        due.into_iter().map(|due| (due.count, due.objects.len())).collect()
    }

    #[test]
    fn the_first_is_raised_and_the_rest_are_counted_until_the_call_ends() {
        let mut dedupe = Dedupe::default();
        let key = key(call("c1"));
        assert_eq!(admit(&mut dedupe, &key, "x", 0), [(1, 1)]);
        for _ in 0..8 {
            assert_eq!(admit(&mut dedupe, &key, "x", 0), []);
        }
        assert_eq!(shown(dedupe.gathered(u64::MAX)), [], "nothing new to say but a number");
        assert_eq!(shown(dedupe.close_call("s", "c1")), [(9, 1)]);
        assert_eq!(dedupe.close_call("s", "c1"), []);
        assert!(dedupe.is_empty());
    }

    #[test]
    fn a_single_finding_is_not_published_twice() {
        let mut dedupe = Dedupe::default();
        admit(&mut dedupe, &key(call("c1")), "x", 0);
        assert_eq!(dedupe.close_call("s", "c1"), []);
    }

    #[test]
    fn counts_are_published_at_powers_of_ten() {
        for scope in [Scope::Ongoing, call("c1"), Scope::AfterCall("c1".into())] {
            let mut dedupe = Dedupe::default();
            let key = key(scope);
            let published: Vec<_> =
                (0..1234).flat_map(|_| admit(&mut dedupe, &key, "x", 0)).collect();
            assert_eq!(published, [(1, 1), (10, 1), (100, 1), (1000, 1)]);
            assert_eq!(dedupe.close_server("other"), []);
            assert_eq!(shown(dedupe.close_server("s")), [(1234, 1)]);
        }
    }

    #[test]
    fn further_objects_are_published_together_within_a_second() {
        let mut dedupe = Dedupe::default();
        let key = key(call("c1"));
        assert_eq!(admit(&mut dedupe, &key, "a", 5), [(1, 1)]);
        for object in ["b", "a", "c"] {
            assert_eq!(admit(&mut dedupe, &key, object, 7), []);
        }
        assert_eq!(dedupe.gathered(7 + GATHERED - 1), []);
        let due = dedupe.gathered(7 + GATHERED);
        assert_eq!(due.iter().map(|due| due.objects.join(" ")).collect::<Vec<_>>(), ["a b c"]);
        assert_eq!(shown(due), [(4, 3)]);
        assert_eq!(dedupe.gathered(u64::MAX), [], "once");
        assert_eq!(dedupe.close_call("s", "c1"), []);
    }

    #[test]
    fn more_objects_than_are_listed_are_counted_and_that_is_said() {
        let mut dedupe = Dedupe::default();
        let key = key(call("c1"));
        let (mut due, mut now) = (Vec::new(), 0);
        for number in 0..50 {
            now += GATHERED;
            dedupe.admit(key.clone(), &number.to_string(), now, || "alert", &mut due);
            due.extend(dedupe.gathered(now));
        }
        due.extend(dedupe.close_call("s", "c1"));
        assert!(due.len() <= OBJECTS + 4, "{} for fifty objects", due.len());
        let last = due.pop().unwrap();
        assert_eq!((last.count, last.objects.len(), last.cut), (50, OBJECTS, true));
        assert!(!due[0].cut);
    }

    #[test]
    fn rule_relation_severity_call_and_server_tell_alerts_apart() {
        let mut dedupe = Dedupe::default();
        let first = key(call("c1"));
        let others = [
            Key { server: "t".into(), ..first.clone() },
            Key { scope: call("c2"), ..first.clone() },
            Key { scope: Scope::AfterCall("c1".into()), ..first.clone() },
            Key { relation: Relation::Requested, ..first.clone() },
            Key { rule: "q", ..first.clone() },
            Key { severity: Severity::Critical, ..first.clone() },
            Key { object: Some("y".into()), ..first.clone() },
        ];
        assert_eq!(admit(&mut dedupe, &first, "x", 0).len(), 1);
        for other in &others {
            assert_eq!(admit(&mut dedupe, other, "x", 0), [(1, 1)], "{other:?}");
        }
    }

    #[test]
    fn at_every_fill_level_each_finding_is_published_or_counted() {
        for capacity in [1, 2, 8] {
            for kinds in [0, 1, capacity / 2, capacity - 1, capacity, 8 * capacity] {
                let mut dedupe = Dedupe::new(capacity);
                let mut due = Vec::new();
                for number in 0..kinds {
                    let uid = format!("c{}", number % 2);
                    let key = Key { server: format!("s{number}"), ..key(call(&uid)) };
                    for finding in 0..3 {
                        let object = finding.to_string();
                        dedupe.admit(key.clone(), &object, 0, || number, &mut due);
                        assert!(dedupe.len() <= capacity);
                        assert!(dedupe.gathering.len() <= capacity);
                    }
                }
                due.extend(dedupe.close_call("s0", "c0"));
                due.extend(dedupe.close_all());
                let mut last = HashMap::new();
                for Due { alert, count, objects, .. } in due {
                    last.insert(alert, (count, objects.len()));
                }
                assert_eq!(last.len(), kinds);
                assert!(last.values().all(|&count| count == (3, 3)));
                let counters = dedupe.counters();
                assert_eq!(counters.findings, 3 * kinds as u64);
                assert_eq!(counters.raised, kinds as u64);
                assert_eq!(counters.evicted, kinds.saturating_sub(capacity) as u64);
                assert!(dedupe.by_call.is_empty() && dedupe.by_key.is_empty());
                assert!(dedupe.gathering.is_empty());
            }
        }
    }
}
