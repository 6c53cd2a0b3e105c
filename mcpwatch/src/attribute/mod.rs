//! Effect → call: which of the calls in flight caused what a process of the server's tree just did,
//! how sure that is, and whether the call asked for it.
//!
//! What counts, in this order:
//! 1. *Lineage*: a process forked while calls were in flight belongs to those calls, and stays theirs
//!    after the response.
//! 2. *Mention*: the effect's object stands in the call's arguments ([`Mentions`]).
//! 3. *Kind*: a tool call does things; a `ping` or `tools/list` hardly ever does.
//! 4. *Recency*: of several calls the one that began last.

pub mod mentions;

use std::sync::Arc;

use crate::event::{Change, Exec, Net, Open, Privilege};
use crate::host::answers::Answers;
use crate::record::Relation;
use crate::session::Call;

pub use mentions::Mentions;

/// What is known of the cause of one effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// How the effect stands to the likeliest call.
    pub relation: Relation,
    /// The calls it may belong to with the share of the evidence each has (they add up to 1 or less),
    /// the likeliest first. Empty for `background` and `startup`.
    pub candidates: Vec<(Arc<Call>, f64)>,
    /// The text of the likeliest call's arguments that names the effect's object, when one does.
    pub matched: Option<String>,
    /// The process was forked in a call that has been answered since: it outlives its call.
    pub outlived: bool,
}

impl Attribution {
    /// The likeliest call.
    #[must_use]
    pub fn call(&self) -> Option<&Arc<Call>> {
        self.candidates.first().map(|(call, _)| call)
    }

    /// An effect without a call.
    #[must_use]
    pub const fn without_call(relation: Relation) -> Self {
        Self { relation, candidates: Vec::new(), matched: None, outlived: false }
    }
}

/// What an effect is about: what a call's arguments may mention.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// A program and its arguments.
    Program(&'a Exec),
    /// A file, by its resolved path and by the argument it was opened with.
    File(&'a Open),
    /// A change of a file, by its paths and by the arguments that named them.
    Change(&'a Change),
    /// An address, with the names it is known by and what the server was told of others.
    Endpoint(&'a Net, &'a [String], &'a Answers),
    /// A name that is asked for, in lower case.
    Name(&'a str),
    /// A change of privileges: by the paths in it, or by the program that makes it.
    Privilege(&'a Privilege, &'a str),
    /// Another process, by its id.
    Process(u32),
    /// What no call can name.
    Nothing,
}

/// A call an effect may belong to.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// The call.
    pub call: Arc<Call>,
    /// What its arguments mention.
    pub mentions: Arc<Mentions>,
}

impl Suspect {
    /// What records show of the call, and nothing of what it was given.
    #[must_use]
    pub fn without_arguments(&self) -> Self {
        let call = Call { arguments: None, clipped: None, ..(*self.call).clone() };
        Self { call: Arc::new(call), mentions: Arc::default() }
    }

    /// About what it takes in memory, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.call.weight() + self.mentions.weight()
    }

    /// The same call.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.call, &other.call)
    }
}

/// The circumstances of one effect.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Calls in flight on the server.
    pub in_flight: &'a [Suspect],
    /// Calls that were in flight when the process was forked; empty for the server's own processes.
    pub lineage: &'a [Suspect],
    /// The server has been asked before.
    pub asked: bool,
}

/// How sure a call without further evidence is: a thread of the server may act by itself.
const LONE: f64 = 0.9;
/// What all calls that mention the object have together, when there are others too.
const MENTION_SHARE: f64 = 0.95;
/// What the call a process was forked in has, when the object is none of it and another call asks for it.
const LINEAGE_SHARE: f64 = 0.6;
/// What a call of another method weighs against a tool call.
const OTHER_METHOD_WEIGHT: f64 = 0.2;
/// What each older call weighs against the next younger one.
const RECENCY_WEIGHT: f64 = 0.8;

/// Methods that make a server work on something outside itself.
const WORKING_METHODS: &[&str] =
    &["tools/call", "resources/read", "prompts/get", "resources/list", "completion/complete"];

/// Finds the cause of an effect.
#[must_use]
pub fn attribute<'a>(object: Object<'_>, circumstances: Circumstances<'a>) -> Attribution {
    let Circumstances { in_flight, lineage, asked } = circumstances;
    let by_lineage = !lineage.is_empty();
    let answered =
        by_lineage && !lineage.iter().any(|born| in_flight.iter().any(|one| one.is(born)));
    // A worker that was started in one call may work for another: one that asks for this very object.
    let asks = |one: &&Suspect| {
        let born = lineage.iter().any(|born| one.is(born));
        !born && one.mentions.of(object).is_some()
    };
    let weigh = |suspects: &mut dyn Iterator<Item = &'a Suspect>| -> Vec<Weighed<'a>> {
        suspects.map(|suspect| Weighed::of(suspect, object)).collect()
    };
    let (mut weighed, mut asking) = if !by_lineage {
        (weigh(&mut in_flight.iter()), Vec::new())
    } else if answered {
        (weigh(&mut lineage.iter().chain(in_flight.iter().filter(asks))), Vec::new())
    } else {
        (weigh(&mut lineage.iter()), weigh(&mut in_flight.iter().rev().filter(asks)))
    };
    if weighed.is_empty() {
        return Attribution::without_call(if asked {
            Relation::Background
        } else {
            Relation::Startup
        });
    }
    // Those that mention the object before the others, the younger before the older.
    weighed.sort_by_key(|one| std::cmp::Reverse((one.mention.is_some(), one.call.number)));
    let mentions = weighed.partition_point(|one| one.mention.is_some());
    let (mentioning, others) = weighed.split_at_mut(mentions);
    let all = match (asking.is_empty(), mentioning.is_empty()) {
        (true, _) => 1.0,
        (false, false) => MENTION_SHARE,
        (false, true) => LINEAGE_SHARE,
    };
    let mention_share = if others.is_empty() { 1.0 } else { MENTION_SHARE };
    if mentioning.is_empty() {
        let sure = if by_lineage && !answered && others.len() == 1 { 1.0 } else { LONE };
        share_out(others, all * sure);
    } else {
        share_out(mentioning, all * mention_share);
        share_out(others, all * (1.0 - mention_share));
    }
    share_out(&mut asking, 1.0 - all);
    weighed.append(&mut asking);
    weighed.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let matched = weighed.first().and_then(|one| one.mention).map(str::to_owned);
    let likeliest = weighed.first().map(|one| one.call);
    let candidates = weighed.iter().map(|one| (Arc::clone(one.call), round(one.weight))).collect();
    let outlived = answered && lineage.iter().any(|born| Some(&born.call) == likeliest);
    Attribution {
        relation: if matched.is_some() { Relation::Requested } else { Relation::Covert },
        candidates,
        matched,
        outlived,
    }
}

/// A suspect under consideration.
struct Weighed<'a> {
    call: &'a Arc<Call>,
    mention: Option<&'a str>,
    weight: f64,
}

impl<'a> Weighed<'a> {
    fn of(suspect: &'a Suspect, object: Object<'_>) -> Self {
        let works = WORKING_METHODS.contains(&suspect.call.method.as_str());
        Self {
            call: &suspect.call,
            mention: suspect.mentions.of(object),
            weight: if works { 1.0 } else { OTHER_METHOD_WEIGHT },
        }
    }
}

/// Gives calls, the youngest first, their parts of `share`: by method and recency.
fn share_out(calls: &mut [Weighed<'_>], share: f64) {
    let mut recency = 1.0;
    for one in calls.iter_mut() {
        one.weight *= recency;
        recency *= RECENCY_WEIGHT;
    }
    let total: f64 = calls.iter().map(|one| one.weight).sum();
    for one in calls {
        one.weight *= share / total;
    }
}

/// Two digits: more would pretend to a precision there is not.
fn round(share: f64) -> f64 {
    (share * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Direction;

    fn call(number: u64, method: &str, arguments: Value) -> Suspect {
        let call = Arc::new(Call {
            number,
            id: json!(number),
            method: method.into(),
            tool: Some("t".into()),
            prompt: None,
            annotations: crate::session::Annotations::default(),
            arguments: Some(arguments),
            clipped: None,
            direction: Direction::ClientToServer,
            session: None,
            started: number,
            request_bytes: 1,
        });
        Suspect { mentions: Arc::new(Mentions::of_call(&call)), call }
    }

    fn open(path: &str) -> Open {
        Open {
            flags: 0,
            mode: 0,
            inode: 0,
            device: 0,
            result: Ok(3),
            result_unknown: false,
            path: path.into(),
            argument: path.into(),
            inner_path: None,
            mount_namespace: 0,
            host_path: None,
            unlinked: false,
            via: None,
        }
    }

    fn cause(path: &str, in_flight: &[Suspect], lineage: &[Suspect], asked: bool) -> Attribution {
        attribute(Object::File(&open(path)), Circumstances { in_flight, lineage, asked })
    }

    #[test]
    fn without_a_call_it_is_startup_or_background() {
        assert_eq!(cause("/x", &[], &[], false).relation, Relation::Startup);
        assert_eq!(cause("/x", &[], &[], true).relation, Relation::Background);
    }

    #[test]
    fn the_call_that_names_the_path_wins_over_the_younger_one() {
        let calls = [
            call(1, "tools/call", json!({"path": "/data/a.txt"})),
            call(2, "tools/call", json!({})),
        ];
        let found = cause("/data/a.txt", &calls, &[], true);
        assert_eq!(found.relation, Relation::Requested);
        assert_eq!(found.matched.as_deref(), Some("/data/a.txt"));
        let order: Vec<u64> = found.candidates.iter().map(|(call, _)| call.number).collect();
        assert_eq!(order, [1, 2]);
        assert!(found.candidates[0].1 > 0.9 && found.candidates[1].1 < 0.1);
    }

    #[test]
    fn of_many_calls_the_oldest_is_found_by_its_mention() {
        let calls: Vec<Suspect> = (1..=50)
            .map(|number| {
                call(number, "tools/call", json!({"path": format!("/data/{number}.txt")}))
            })
            .collect();
        let found = cause("/data/1.txt", &calls, &[], true);
        assert_eq!(found.call().map(|call| call.number), Some(1));
        assert!(found.candidates[0].1 > 0.9);
    }

    #[test]
    fn a_covert_effect_goes_to_the_youngest_tool_call_with_what_doubt_there_is() {
        let calls = [
            call(1, "tools/call", json!({"city": "Bern"})),
            call(2, "tools/call", json!({"city": "Genf"})),
            call(3, "tools/list", json!({})),
        ];
        let found = cause("/root/.ssh/id_rsa", &calls, &[], true);
        assert_eq!(found.relation, Relation::Covert);
        assert_eq!(found.call().map(|call| call.number), Some(2));
        let sum: f64 = found.candidates.iter().map(|(_, share)| share).sum();
        assert!(sum <= 0.92, "{sum}");
    }

    #[test]
    fn a_child_stays_with_the_call_it_was_forked_in() {
        let born = [call(1, "tools/call", json!({}))];
        let later = [call(2, "tools/call", json!({"path": "/x"}))];
        let during = cause("/y", &born, &born, true);
        assert!((during.candidates[0].1 - 1.0).abs() < f64::EPSILON);
        assert!(!during.outlived);
        let after = cause("/y", &later, &born, true);
        assert_eq!(after.call().map(|call| call.number), Some(1));
        assert_eq!((after.relation, after.outlived), (Relation::Covert, true));
        assert!(after.candidates[0].1 < 1.0);
    }

    #[test]
    fn a_child_may_work_for_another_call_that_asks_while_its_own_is_in_flight() {
        let [first, second] = [
            call(1, "tools/call", json!({"path": "/x"})),
            call(2, "tools/call", json!({"path": "/y"})),
        ];
        let born = [first.clone()];
        let both = [first.clone(), second.clone()];
        let ranked = |found: &Attribution| -> Vec<(u64, f64)> {
            found.candidates.iter().map(|(call, share)| (call.number, *share)).collect()
        };
        // Lineage goes before arguments.
        let found = cause("/y", &both, &born, true);
        assert_eq!(found.relation, Relation::Covert);
        assert_eq!(ranked(&found), [(1, 0.6), (2, 0.4)]);
        let found = cause("/x", &both, &born, true);
        assert_eq!((found.relation, ranked(&found)), (Relation::Requested, vec![(1, 1.0)]));
        // Forked in several, its lineage says little.
        let third = call(3, "tools/call", json!({"path": "/z"}));
        let found = cause("/z", &[first.clone(), second.clone(), third], &both, true);
        assert_eq!(found.relation, Relation::Requested);
        assert_eq!(found.call().map(|call| call.number), Some(3));
        assert_eq!(found.candidates.len(), 3);
    }

    #[test]
    fn a_worker_of_an_answered_call_works_for_the_call_that_asks() {
        let born = [call(1, "tools/call", json!({"path": "/x"}))];
        let later = [call(2, "tools/call", json!({"path": "/y"}))];
        let found = cause("/y", &later, &born, true);
        assert_eq!(found.call().map(|call| call.number), Some(2));
        assert_eq!((found.relation, found.outlived), (Relation::Requested, false));
    }
}
