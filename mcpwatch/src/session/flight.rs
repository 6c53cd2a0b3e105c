//! The calls of a channel that wait for a response, by direction and id. There is no time to live: a
//! call waits until it is answered, given up by its sender, or the channel ends. Where the answer may
//! have been among bytes that were lost it waits as long, but after a while it is in doubt: no cause of
//! what the server does from then on.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem::size_of;
use std::sync::Arc;

use serde_json::Value;

use super::{Call, methods};
use crate::event::Direction;

/// Ids of calls that are over are remembered for this many calls: a late or second response to one of
/// them is not one to an unknown id.
const REMEMBERED: usize = 256;

/// Who asked, and with which id or progress token. Either is its JSON text: `"1"` is not `1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    direction: Direction,
    id: String,
}

impl Key {
    fn new(direction: Direction, id: &Value) -> Self {
        Self { direction, id: id.to_string() }
    }
}

/// A call that waits for a response.
#[derive(Debug)]
pub(super) struct Flight {
    /// The call.
    pub(super) call: Arc<Call>,
    /// When its sender cancelled it.
    pub(super) cancelled: Option<u64>,
    /// When it is given up, once cancelled, or else comes to be in doubt, if it is not answered before.
    deadline: Option<u64>,
    /// Its answer was probably among bytes that were lost.
    pub(super) in_doubt: bool,
    /// It asks for nothing to be done ([`Method::standing`](super::methods::Method::standing)).
    pub(super) standing: bool,
    /// The token under which its progress is told.
    token: Option<Key>,
    weight: usize,
}

/// How a call that is over came to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It was answered.
    Answered,
    /// It was given up: cancelled and not answered by its deadline, or pushed out of the table.
    GivenUp,
}

/// What becomes of a call whose deadline has passed.
#[derive(Debug)]
pub(super) enum Due {
    /// It was cancelled, and leaves.
    Over(Flight),
    /// It stays, and is in doubt.
    InDoubt(Arc<Call>),
}

/// The calls in flight, both directions together.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// By number: the oldest first.
    calls: BTreeMap<u64, Flight>,
    /// Numbers of the calls with an id, the oldest first. More than one when an id was used again
    /// before its response.
    numbers: HashMap<Key, Vec<u64>>,
    /// Numbers of the calls with a progress token.
    tokens: HashMap<Key, Vec<u64>>,
    /// Deadlines, each with the number of its call.
    deadlines: BTreeSet<(u64, u64)>,
    /// Numbers of the calls in doubt.
    in_doubt: BTreeSet<u64>,
    /// Sum of the weights.
    bytes: usize,
    remembered: VecDeque<(Key, Gone)>,
}

impl Flights {
    /// The calls of that direction, the oldest first.
    pub(super) fn calls(&self, direction: Direction) -> impl Iterator<Item = &Flight> {
        self.calls.values().filter(move |flight| flight.call.direction == direction)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// What their arguments take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a call with that id waits.
    pub(super) fn contains(&self, direction: Direction, id: &Value) -> bool {
        self.numbers.contains_key(&Key::new(direction, id))
    }

    /// Whether the call with that id asks for nothing to be done.
    pub(super) fn is_standing(&self, direction: Direction, id: &Value) -> bool {
        let numbers = self.numbers.get(&Key::new(direction, id));
        let number = numbers.and_then(|numbers| numbers.last());
        number.and_then(|number| self.calls.get(number)).is_some_and(|flight| flight.standing)
    }

    /// The call whose progress is told under that token: it has not been answered yet, and is not in doubt. A
    /// token has to be unique among the requests in flight (specification, Progress): of several calls that use
    /// it at once it is none's.
    pub(super) fn in_progress(
        &mut self,
        direction: Direction,
        token: &Value,
    ) -> Option<&Arc<Call>> {
        let [number] = self.tokens.get(&Key::new(direction, token))?.as_slice() else {
            return None;
        };
        let flight = self.calls.get_mut(number)?;
        if flight.cancelled.is_none() {
            if let Some(deadline) = flight.deadline.take() {
                self.deadlines.remove(&(deadline, *number));
            }
            flight.in_doubt = false;
            self.in_doubt.remove(number);
        }
        Some(&flight.call)
    }

    /// A new call with the token for its progress. `weight` is what its arguments take.
    pub(super) fn insert(&mut self, call: Arc<Call>, token: Option<&Value>, weight: usize) {
        let token = token.map(|token| Key::new(call.direction, token));
        if let Some(token) = &token {
            self.tokens.entry(token.clone()).or_default().push(call.number);
        }
        self.numbers.entry(Key::new(call.direction, &call.id)).or_default().push(call.number);
        self.bytes += weight;
        let standing = methods::find(&call.method).is_some_and(|method| method.standing);
        let number = call.number;
        let flight = Flight {
            call,
            cancelled: None,
            deadline: None,
            in_doubt: false,
            standing,
            token,
            weight,
        };
        self.calls.insert(number, flight);
    }

    /// The response to a request of `direction` has come: its call leaves.
    ///
    /// When an id was used twice, the newest call is the one answered: clients come to use an id
    /// again by giving up on the older call or by starting anew, and then no answer to that comes.
    pub(super) fn answer(&mut self, direction: Direction, id: &Value) -> Option<Flight> {
        let number = *self.numbers.get(&Key::new(direction, id))?.last()?;
        self.remove(number, Gone::Answered)
    }

    /// At `time` the sender gave up on a call. It stays until `deadline`, for the answer may be on its
    /// way.
    pub(super) fn cancel(
        &mut self,
        direction: Direction,
        id: &Value,
        time: u64,
        deadline: u64,
    ) -> bool {
        let number = self.numbers.get(&Key::new(direction, id)).and_then(|numbers| numbers.last());
        let Some(flight) = number.and_then(|number| self.calls.get_mut(number)) else {
            return false;
        };
        if flight.cancelled.is_none() {
            flight.cancelled = Some(time);
            set_deadline(flight, deadline, &mut self.deadlines);
        }
        true
    }

    /// The answers to the calls of that direction may have been among bytes that were lost: those that
    /// are not answered by `deadline` are in doubt from then on.
    pub(super) fn doubt(&mut self, direction: Direction, deadline: u64) {
        for flight in self.calls.values_mut() {
            let settled = flight.in_doubt || flight.deadline.is_some();
            if flight.call.direction == direction && !settled {
                set_deadline(flight, deadline, &mut self.deadlines);
            }
        }
    }

    /// What becomes of the next call whose deadline is before `time`.
    pub(super) fn due(&mut self, time: u64) -> Option<Due> {
        let (_, number) = *self.deadlines.first().filter(|(deadline, _)| *deadline < time)?;
        self.deadlines.pop_first();
        let flight = self.calls.get_mut(&number)?;
        flight.deadline = None;
        if flight.cancelled.is_some() {
            return self.remove(number, Gone::GivenUp).map(Due::Over);
        }
        flight.in_doubt = true;
        self.in_doubt.insert(number);
        Some(Due::InDoubt(Arc::clone(&flight.call)))
    }

    /// The oldest call leaves.
    pub(super) fn give_up_oldest(&mut self) -> Option<Flight> {
        let number = *self.calls.first_key_value()?.0;
        self.remove(number, Gone::GivenUp)
    }

    /// The oldest of the calls in doubt leaves.
    pub(super) fn give_up_in_doubt(&mut self) -> Option<Flight> {
        let number = *self.in_doubt.first()?;
        self.remove(number, Gone::GivenUp)
    }

    /// The last call with that id leaves if it is in doubt: its sender uses the id again.
    pub(super) fn give_up_in_doubt_of(
        &mut self,
        direction: Direction,
        id: &Value,
    ) -> Option<Flight> {
        let number = *self.numbers.get(&Key::new(direction, id))?.last()?;
        if self.in_doubt.contains(&number) { self.remove(number, Gone::GivenUp) } else { None }
    }

    /// What became of a call that is over, if it was among the last.
    pub(super) fn remember(&self, direction: Direction, id: &Value) -> Option<Gone> {
        let key = Key::new(direction, id);
        self.remembered.iter().rev().find(|(other, _)| *other == key).map(|(_, gone)| *gone)
    }

    fn remove(&mut self, number: u64, gone: Gone) -> Option<Flight> {
        let flight = self.calls.remove(&number)?;
        self.bytes = self.bytes.saturating_sub(flight.weight);
        if let Some(deadline) = flight.deadline {
            self.deadlines.remove(&(deadline, number));
        }
        self.in_doubt.remove(&number);
        let key = Key::new(flight.call.direction, &flight.call.id);
        leave(&mut self.numbers, &key, number);
        if let Some(token) = &flight.token {
            leave(&mut self.tokens, token, number);
        }
        if self.remembered.len() >= REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((key, gone));
        Some(flight)
    }
}

/// Takes a call off the list of those with its id, or its token.
fn leave(lists: &mut HashMap<Key, Vec<u64>>, key: &Key, number: u64) {
    if let Some(numbers) = lists.get_mut(key) {
        numbers.retain(|other| *other != number);
        if numbers.is_empty() {
            lists.remove(key);
        }
    }
}

/// Gives a call a deadline in place of the one it may have.
fn set_deadline(flight: &mut Flight, deadline: u64, deadlines: &mut BTreeSet<(u64, u64)>) {
    let number = flight.call.number;
    if let Some(before) = flight.deadline.replace(deadline) {
        deadlines.remove(&(before, number));
    }
    deadlines.insert((deadline, number));
}

/// About what a value takes in memory, in bytes.
pub(super) fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(members) => {
            // A hash and an index beside each key and value.
            members.iter().map(|(key, value)| 48 + key.len() + weight(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + inside
}
