//! Messages of name service: bytes → question and answers. Pure; the bytes are a watched process's, or those
//! of whoever it asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{Name, Packet, QTYPE};

use crate::event::decode::text;

/// Most answers that are kept; no resolver sends as many for one name.
pub const ANSWERS: usize = 64;
/// Bytes of a message's header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// Least bytes of a question: a root name, type and class.
const LEAST_QUESTION: usize = 5;
/// Least bytes of an answer: a root name, type, class, time to live and length.
const LEAST_ANSWER: usize = 11;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The number by which an answer finds its question.
    pub id: u16,
    /// It says of itself that it is an answer.
    pub response: bool,
    /// What is asked.
    pub question: Question,
    /// How it went (RFC 1035, section 4.1.1, and its successors), by its usual name.
    pub rcode: String,
    /// What is answered, in the order of the message.
    pub answers: Vec<Answer>,
    /// There were more answers than are kept, or something of the message cannot be read.
    pub cut: bool,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// In lower case, without a dot at the end.
    pub name: String,
    /// `A`, `AAAA`, `TXT`, …
    pub kind: String,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose it is, in the form of [`Question::name`].
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, …
    pub kind: String,
    /// What it says.
    pub value: Value,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An address.
    Address(IpAddr),
    /// Another name: of `CNAME` and `PTR`.
    Name(String),
    /// Anything else.
    Other,
}

/// Reads a message. `None` when it is none, or does not ask exactly one question, as all do.
#[must_use]
pub fn parse(data: &[u8]) -> Option<Message> {
    let header: &[u8; HEADER] = data.first_chunk()?;
    let [_, _, flags, code, q1, q2, a1, a2, n1, n2, x1, x2] = *header;
    let questions = u16::from_be_bytes([q1, q2]);
    let answers = [[a1, a2], [n1, n2], [x1, x2]].map(u16::from_be_bytes);
    if questions != 1 {
        return None;
    }
    let least = LEAST_QUESTION
        + answers.iter().map(|count| usize::from(*count) * LEAST_ANSWER).sum::<usize>();
    // The library makes room for as many as the header says: no more than the message has room for.
    let whole = (data.len() >= HEADER + least).then(|| Packet::parse(data).ok()).flatten();
    let (packet, cut) = match &whole {
        Some(packet) => (packet, packet.answers.len() > ANSWERS),
        // A message that is spoilt behind its question has asked it all the same.
        None => return question_alone(data),
    };
    let question = packet.questions.first()?;
    Some(Message {
        id: packet.id(),
        response: flags & 0x80 != 0,
        question: Question { name: plain(&question.qname), kind: kind_of(question.qtype) },
        rcode: code_name(code & 0xf),
        answers: packet.answers.iter().take(ANSWERS).map(answer).collect(),
        cut,
    })
}

/// The questions in a segment of a stream: messages, each behind its length (RFC 1035, section 4.2.2), up to the first
/// that cannot be read, which is `None`. The first length may have come in a segment of its own.
#[must_use]
pub fn questions_of_stream(data: &[u8]) -> Vec<Option<Message>> {
    let mut found = Vec::new();
    let mut rest = data;
    while let Some((message, more)) = framed(rest) {
        found.push(parse(message));
        rest = if matches!(found.last(), Some(None)) { &[] } else { more };
    }
    if let [None] | [] = found.as_slice() { vec![parse(data)] } else { found }
}

/// The answer that a segment of a stream begins with. Others are not looked for: their text is that of whoever answers,
/// who could write what looks like an answer into it.
#[must_use]
pub fn answer_of_stream(data: &[u8]) -> Option<Message> {
    parse(framed(data)?.0)
}

/// A message behind its length, cut if there is no more of it, and what follows.
fn framed(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    Some(rest.split_at_checked(u16::from_be_bytes(*length).into()).unwrap_or((rest, &[])))
}

fn question_alone(data: &[u8]) -> Option<Message> {
    // No other sections, and a type and class that the library knows: what they are is read here.
    let at = after_name(data)?;
    let kind = u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?);
    let mut bytes = data.get(..at)?.to_vec();
    bytes.extend([0, 1, 0, 1]);
    bytes.get_mut(6..HEADER)?.fill(0);
    let packet = Packet::parse(&bytes).ok()?;
    let question = packet.questions.first()?;
    Some(Message {
        id: packet.id(),
        response: data.get(2)? & 0x80 != 0,
        question: Question { name: plain(&question.qname), kind: kind_name(kind) },
        rcode: code_name(data.get(3)? & 0xf),
        answers: Vec::new(),
        cut: true,
    })
}

/// Where the name of the first question ends.
fn after_name(data: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match *data.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            // Nothing stands before it that it could point to.
            _ => return None,
        }
    }
}

fn answer(record: &simple_dns::ResourceRecord<'_>) -> Answer {
    let value = match &record.rdata {
        RData::A(found) => Value::Address(Ipv4Addr::from(found.address).into()),
        RData::AAAA(found) => {
            Value::Address(IpAddr::from(Ipv6Addr::from(found.address)).to_canonical())
        }
        RData::CNAME(found) => Value::Name(plain(&found.0)),
        RData::PTR(found) => Value::Name(plain(&found.0)),
        _ => Value::Other,
    };
    let kind = kind_of(QTYPE::TYPE(record.rdata.type_code()));
    Answer { name: plain(&record.name), kind, value }
}

/// A name as people write it: in lower case, labels joined by dots; a dot within a label as `\.`.
fn plain(name: &Name<'_>) -> String {
    let mut plain = String::new();
    for label in name.iter() {
        if !plain.is_empty() {
            plain.push('.');
        }
        plain.push_str(&text(label.as_ref()).replace('.', "\\."));
    }
    plain.make_ascii_lowercase();
    if plain.is_empty() { ".".into() } else { plain }
}

fn kind_of(kind: QTYPE) -> String {
    kind_name(u16::from(kind))
}

fn kind_name(number: u16) -> String {
    KINDS
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| format!("TYPE{number}"), |(_, name)| (*name).to_owned())
}

/// From the IANA registry "Domain Name System (DNS) Parameters"; any other is shown as RFC 3597 has it.
const KINDS: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (10, "NULL"),
    (12, "PTR"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (43, "DS"),
    (48, "DNSKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (252, "AXFR"),
    (255, "ANY"),
    (257, "CAA"),
];

fn code_name(code: u8) -> String {
    match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        other => return format!("RCODE{other}"),
    }
    .to_owned()
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
