//! Conversations nobody thought of: made by a seeded generator, cut anywhere, with holes and with
//! broken bytes.

use std::collections::BTreeMap;

use super::*;

/// Marsaglia's xorshift64: the same numbers on every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn value(&mut self, depth: usize) -> Value {
        const TEXTS: &[&str] = &["", "/etc/passwd", "a\"b\\", "é\u{1f600}\n", "{[,:", "\u{202e}"];
        match self.below(if depth == 0 { 4 } else { 6 }) {
            0 => json!(null),
            1 => json!(self.below(1000)),
            2 => json!(self.pick(TEXTS).repeat(self.below(40))),
            3 => json!(self.below(2) == 0),
            4 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let members = (0..self.below(5))
                    .map(|n| (format!("{}{n}", self.pick(TEXTS)), self.value(depth - 1)));
                Value::Object(members.collect())
            }
        }
    }
}

/// One side's line, and whether it is a message.
type Line = (Direction, String);

/// A conversation with what must be made of it: for each id how its call ended, and its arguments.
fn conversation(random: &mut Random) -> (Vec<Line>, BTreeMap<String, (CallStatus, Value)>) {
    let (mut lines, mut waiting, mut truth) = (Vec::new(), Vec::new(), BTreeMap::new());
    for number in 0..60 {
        if random.below(2) == 0 {
            let id = if random.below(2) == 0 { json!(number) } else { json!(number.to_string()) };
            let arguments = json!({"given": random.value(3), "path": "/tmp"});
            let params = json!({"name": "tool", "arguments": arguments});
            let line = if random.below(2) == 0 {
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
            } else {
                json!({"method": "tools/call", "params": params, "jsonrpc": "2.0", "id": id})
            };
            lines.push((ClientToServer, line.to_string()));
            truth.insert(id.to_string(), (CallStatus::NoResponse, arguments));
            waiting.push(id);
        } else if !waiting.is_empty() {
            let id = waiting.remove(random.below(waiting.len()));
            let (line, status) = match random.below(3) {
                0 => {
                    let error = json!({"code": -1, "message": "m", "data": random.value(2)});
                    (json!({"jsonrpc": "2.0", "id": id, "error": error}), CallStatus::RpcError)
                }
                1 => {
                    let result = json!({"content": [random.value(2)], "isError": true});
                    (json!({"result": result, "jsonrpc": "2.0", "id": id}), CallStatus::ToolError)
                }
                _ => {
                    let result = json!({"structuredContent": random.value(3)});
                    (json!({"jsonrpc": "2.0", "id": id, "result": result}), CallStatus::Ok)
                }
            };
            truth.get_mut(&id.to_string()).unwrap().0 = status;
            lines.push((ServerToClient, line.to_string()));
        }
        if random.below(8) == 0 {
            let params = json!({"level": "info", "data": random.value(2)});
            let line =
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
            lines.push((ServerToClient, line.to_string()));
        }
    }
    (lines, truth)
}

/// Every call that starts ends once, after `end` at the latest.
fn assert_balanced(said: &[Said]) {
    let mut open = std::collections::BTreeSet::new();
    for said in said {
        match said {
            Said::Started(call) => assert!(open.insert(call.number), "started twice"),
            Said::Ended(ended) => assert!(open.remove(&ended.call.number), "ended twice"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?} never ended");
}

#[test]
fn any_conversation_cut_anywhere_is_understood() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (lines, truth) = conversation(&mut random);
        let mut channel = Channel::new();
        channel.open("2025-11-25");
        channel.take();
        let ending = *random.pick(&["\n", "\r\n"]);
        for (direction, line) in lines {
            let mut rest = format!("{line}{ending}").into_bytes();
            while !rest.is_empty() {
                let piece = rest.split_off(rest.len().min(1 + random.below(200)));
                channel.bytes(direction, &rest);
                rest = piece;
            }
        }
        let mut said = channel.take();
        said.extend(channel.end());
        assert_balanced(&said);
        assert_eq!(words(&said), [""; 0], "seed {seed}");
        let found: BTreeMap<_, _> = said
            .iter()
            .filter_map(|said| match said {
                Said::Ended(Ended { call, status, .. }) => {
                    Some((call.id.to_string(), (*status, call.arguments.clone().unwrap())))
                }
                _ => None,
            })
            .collect();
        assert_eq!(found, truth, "seed {seed}");
    }
}

#[test]
fn holes_lose_calls_but_invent_none() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (lines, truth) = conversation(&mut random);
        let limits = Limits { message_bytes: 600, clip_bytes: 100, ..Limits::default() };
        let mut channel = Channel::limited(&limits);
        for (direction, line) in lines {
            let mut rest = format!("{line}\n").into_bytes();
            while !rest.is_empty() {
                let piece = rest.split_off(rest.len().min(1 + random.below(200)));
                if random.below(10) == 0 {
                    channel.skip(direction, rest.len() as u64);
                } else {
                    channel.bytes(direction, &rest);
                }
                rest = piece;
            }
        }
        let mut said = channel.take();
        said.extend(channel.end());
        assert_balanced(&said);
        for call in started(&said) {
            assert!(truth.contains_key(&call.id.to_string()), "seed {seed}: {call:?}");
            assert_eq!(call.method, "tools/call");
            assert!(call.tool.as_deref().is_none_or(|tool| tool == "tool"));
        }
    }
}

#[test]
fn broken_bytes_break_nothing() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (lines, _) = conversation(&mut random);
        let limits = Limits {
            message_bytes: 400,
            clip_bytes: 50,
            argument_bytes: 100,
            in_flight: 5,
            in_flight_bytes: 2000,
            ..Limits::default()
        };
        let mut channel = Channel::limited(&limits);
        for (direction, line) in lines {
            let mut bytes = format!("{line}\n").into_bytes();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = *random.pick(b"{}[]\",:\\\n\r\0\xff0"),
                    1 => {
                        bytes.remove(at);
                    }
                    _ => bytes.insert(at, *random.pick(b"{}[]\",:\\\n\r\0\xff0")),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            channel.bytes(direction, &bytes);
        }
        assert!(channel.conversation.in_flight().count() <= 5);
        let mut said = channel.take();
        said.extend(channel.end());
        assert_balanced(&said);
        for said in &said {
            if let Said::Problem(problem) = said {
                assert!(problem.detail.len() < 1200, "{}", problem.detail);
                assert!(!problem.detail.chars().any(char::is_control), "{:?}", problem.detail);
            }
        }
    }
}
