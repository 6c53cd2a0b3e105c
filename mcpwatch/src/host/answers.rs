//! Names of addresses that a server learnt from name service. Kept for each server alone: what one server was
//! told says nothing about another.
//!
//! A name explains where a server goes only when one of the host's own name servers said so. A server can ask
//! a name server of its own for any name it likes, and be told any address: such names are shown, marked, and
//! explain nothing.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::dns::{Message, Value};

/// Most addresses of one server; the one learnt longest ago goes first.
const ADDRESSES: usize = 512;
/// Most names of one address, of each kind.
const NAMES: usize = 4;
/// Longest chain of aliases that is followed; resolvers stop at about as many.
const CHAIN: usize = 16;

/// A name only somebody else than the host's name servers gives an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub name: String,
    /// The name server that said so.
    pub from: IpAddr,
}

/// What one server was told.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    by_address: HashMap<IpAddr, Known>,
    /// Addresses by when they were learnt last.
    order: BTreeMap<u64, IpAddr>,
    next: u64,
    /// How many addresses are known for a name by the host's own name servers.
    resolved: HashMap<String, usize>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    learnt: u64,
    /// From the host's own name servers.
    names: Vec<String>,
    /// From others.
    claims: Vec<Claim>,
}

impl Answers {
    /// Takes in an answer of the name server `from`; `trusted` when it is one of the host's own. Only addresses
    /// that the question leads to, over aliases or at once, get its name: whatever else stands in the message
    /// was not asked for.
    pub fn learn(&mut self, message: &Message, from: IpAddr, trusted: bool) {
        let mut chain = vec![message.question.name.as_str()];
        while chain.len() < CHAIN {
            let last = chain.last().copied().unwrap_or_default();
            let next = message.answers.iter().find_map(|answer| match &answer.value {
                Value::Name(alias) if answer.kind == "CNAME" && answer.name == last => Some(alias),
                _ => None,
            });
            match next {
                Some(alias) if !chain.contains(&alias.as_str()) => chain.push(alias),
                _ => break,
            }
        }
        for answer in &message.answers {
            let Value::Address(address) = answer.value else { continue };
            if !chain.contains(&answer.name.as_str()) {
                continue;
            }
            for name in &chain {
                self.add(address, name, from, trusted);
            }
        }
    }

    fn add(&mut self, address: IpAddr, name: &str, from: IpAddr, trusted: bool) {
        self.make_room(address);
        self.next += 1;
        let known = self.by_address.entry(address).or_default();
        self.order.remove(&known.learnt);
        known.learnt = self.next;
        self.order.insert(self.next, address);
        if trusted {
            if known.names.iter().any(|one| one == name) {
                return;
            }
            if known.names.len() >= NAMES {
                let oldest = known.names.remove(0);
                forget(&mut self.resolved, &oldest);
            }
            known.names.push(name.to_owned());
            *self.resolved.entry(name.to_owned()).or_default() += 1;
        } else {
            if known.claims.iter().any(|one| one.name == name) {
                return;
            }
            if known.claims.len() >= NAMES {
                known.claims.remove(0);
            }
            known.claims.push(Claim { name: name.to_owned(), from });
        }
    }

    fn make_room(&mut self, address: IpAddr) {
        if self.by_address.len() < ADDRESSES || self.by_address.contains_key(&address) {
            return;
        }
        let Some((_, oldest)) = self.order.pop_first() else { return };
        if let Some(known) = self.by_address.remove(&oldest) {
            for name in &known.names {
                forget(&mut self.resolved, name);
            }
        }
    }

    /// Names the host's own name servers gave the address.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> &[String] {
        self.by_address.get(&address).map_or(&[], |known| &known.names)
    }

    /// Names that only others gave it.
    #[must_use]
    pub fn claims(&self, address: IpAddr) -> &[Claim] {
        self.by_address.get(&address).map_or(&[], |known| &known.claims)
    }

    /// The host's own name servers gave addresses for this name (in lower case), so that it is known which.
    #[must_use]
    pub fn resolves(&self, name: &str) -> bool {
        self.resolved.contains_key(name)
    }
}

fn forget(resolved: &mut HashMap<String, usize>, name: &str) {
    if let Some(count) = resolved.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            resolved.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::dns::{Answer, Question};

    fn message(question: &str, answers: &[(&str, &str)]) -> Message {
        let answers = answers.iter().map(|(name, value)| match value.parse() {
            Ok(address) => {
                Answer { name: (*name).into(), kind: "A".into(), value: Value::Address(address) }
            }
            Err(_) => Answer {
                name: (*name).into(),
                kind: "CNAME".into(),
                value: Value::Name((*value).into()),
            },
        });
        Message {
            id: 1,
            response: true,
            question: Question { name: question.into(), kind: "A".into() },
            rcode: "NOERROR".into(),
            answers: answers.collect(),
            cut: false,
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const RESOLVER: &str = "192.0.2.53";

    #[test]
    fn aliases_are_followed_and_what_was_not_asked_for_is_not_learnt() {
        let mut answers = Answers::default();
        let said = message(
            "www.example",
            &[
                ("www.example", "cdn.example"),
                ("cdn.example", "edge.example"),
                ("edge.example", "203.0.113.7"),
                ("edge.example", "203.0.113.8"),
                ("bank.example", "203.0.113.9"),
            ],
        );
        answers.learn(&said, address(RESOLVER), true);
        let expected = ["www.example", "cdn.example", "edge.example"];
        assert_eq!(answers.names(address("203.0.113.7")), expected);
        assert_eq!(answers.names(address("203.0.113.8")), expected);
        assert!(answers.names(address("203.0.113.9")).is_empty());
        assert!(answers.resolves("www.example") && !answers.resolves("bank.example"));
    }

    #[test]
    fn a_ring_of_aliases_ends() {
        let mut answers = Answers::default();
        let ring = [("a.example", "b.example"), ("b.example", "a.example")];
        answers.learn(&message("a.example", &ring), address(RESOLVER), true);
        assert!(answers.by_address.is_empty());
    }

    #[test]
    fn what_another_name_server_says_is_a_claim_and_stays_one() {
        let mut answers = Answers::default();
        let said = message("api.example", &[("api.example", "203.0.113.66")]);
        answers.learn(&said, address("198.51.100.1"), false);
        let evil = address("203.0.113.66");
        assert!(answers.names(evil).is_empty() && !answers.resolves("api.example"));
        let claim = Claim { name: "api.example".into(), from: address("198.51.100.1") };
        assert_eq!(answers.claims(evil), [claim]);
    }

    #[test]
    fn what_is_learnt_is_bounded_and_the_oldest_goes() {
        let mut answers = Answers::default();
        for number in 0..10_000_u32 {
            let name = format!("n{number}.example");
            let to = std::net::Ipv4Addr::from(0x0a00_0000 + number % 2_000).to_string();
            let trusted = number % 3 > 0;
            answers.learn(&message(&name, &[(&name, &to)]), address(RESOLVER), trusted);
            assert!(answers.by_address.len() <= ADDRESSES);
            assert_eq!(answers.by_address.len(), answers.order.len());
        }
        let names: usize = answers.by_address.values().map(|known| known.names.len()).sum();
        assert_eq!(answers.resolved.values().sum::<usize>(), names);
        assert!(names <= ADDRESSES * NAMES);
        assert!(answers.resolves("n9998.example") && !answers.resolves("n1.example"));
    }
}
