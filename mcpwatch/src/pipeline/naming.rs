//! Names: what servers ask name service and are told, and the names their TLS clients ask for.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::attribute::{Attribution, Object};
use crate::detect::{Action, Lookup};
use crate::event::{Event, Net, NetOperation, Packet, ProcessKey};
use crate::host::answers::{Answers, Claim};
use crate::host::dns::{self, Message, Question, Value};
use crate::host::tls;
use crate::record::{DnsAnswer, DnsDetail, NetDetail, Record, RecordType, TlsDetail};

use super::Pipeline;
use super::instance::Role;
use super::net::net_detail;

/// How long an answer is waited for, in nanoseconds: the C library asks again after as long.
pub(super) const PATIENCE: u64 = 5_000_000_000;
/// Most questions of one server that wait for an answer; the oldest is told without one.
const WAITING: usize = 256;

/// What a server asked, and was told.
#[derive(Debug, Default)]
pub struct Naming {
    /// Names of addresses.
    pub answers: Answers,
    waiting: VecDeque<Waiting>,
}

/// A question without an answer yet.
#[derive(Debug)]
struct Waiting {
    socket: u64,
    resolver: SocketAddr,
    id: u16,
    question: Question,
    sent: u64,
    /// What is told of it in the end.
    record: Record,
}

impl Pipeline {
    /// A message of name service to or from a process of a server.
    pub(super) fn name_service(&mut self, event: &Event, packet: &Packet) {
        let Some(owner) = self.owner(event.instance) else { return };
        let messages = match (packet.stream, packet.incoming) {
            (false, _) => vec![dns::parse(&packet.data)],
            (true, false) => dns::questions_of_stream(&packet.data),
            (true, true) => vec![dns::answer_of_stream(&packet.data)],
        };
        for message in messages {
            self.message_of_name_service(event, owner, packet, message);
        }
    }

    fn message_of_name_service(
        &mut self,
        event: &Event,
        owner: u64,
        packet: &Packet,
        message: Option<Message>,
    ) {
        match (message, packet.incoming) {
            (Some(message), false) => self.asked(event, owner, packet, message),
            (Some(message), true) => self.answered(event, owner, packet, &message),
            // Whatever it is, it went to where name service is.
            (None, false) => {
                let attribution = self.attribute(event.process, owner, Object::Name(""));
                let mut record = self.dns_record(event, owner, packet, &attribution);
                record.dns = Some(Box::new(DnsDetail {
                    host_resolver: self.is_own_resolver(owner, packet),
                    ..unread()
                }));
                self.records.push(record);
            }
            // Answers nothing that can be told; its question is told as one without an answer.
            (None, true) => {}
        }
    }

    fn asked(&mut self, event: &Event, owner: u64, packet: &Packet, message: Message) {
        let again = self.naming(owner).and_then(|naming| {
            naming.waiting.iter_mut().find(|one| one.is(packet, message.id, &message.question))
        });
        if let Some(detail) = again.and_then(|one| one.record.dns.as_mut()) {
            detail.tries = detail.tries.saturating_add(1);
            return;
        }
        let question = message.question;
        let attribution = self.attribute(event.process, owner, Object::Name(&question.name));
        let lookup = Lookup {
            name: question.name.clone(),
            kind: question.kind.clone(),
            resolver: packet.peer,
        };
        let process = self.shown_process(event);
        self.detect(event, owner, &process, Action::Lookup(&lookup), &attribution);
        let mut record = self.dns_record(event, owner, packet, &attribution);
        record.dns = Some(Box::new(DnsDetail {
            question: Some(question.name.clone()),
            kind: Some(question.kind.clone()),
            host_resolver: self.is_own_resolver(owner, packet),
            ..unread()
        }));
        let waiting = Waiting {
            socket: packet.socket,
            resolver: packet.peer,
            id: message.id,
            question,
            sent: event.time,
            record,
        };
        let Some(naming) = self.naming(owner) else { return };
        naming.waiting.push_back(waiting);
        let given_up = (naming.waiting.len() > WAITING).then(|| naming.waiting.pop_front());
        self.records.extend(given_up.flatten().map(|one| one.record));
    }

    /// An answer counts when it came to the socket the question left by, from whom it was asked, with its
    /// number: anything else nobody asked for.
    fn answered(&mut self, event: &Event, owner: u64, packet: &Packet, message: &Message) {
        let trusted = self.is_own_resolver(owner, packet);
        let Some(naming) = self.naming(owner) else { return };
        let Some(at) = naming
            .waiting
            .iter()
            .position(|one| message.response && one.is(packet, message.id, &message.question))
        else {
            return;
        };
        let Some(mut waiting) = naming.waiting.remove(at) else { return };
        naming.answers.learn(message, packet.peer.ip(), trusted);
        if let Some(net) = &mut waiting.record.net {
            net.result = "ok".into();
        }
        if let Some(detail) = &mut waiting.record.dns {
            detail.rcode = Some(message.rcode.clone());
            detail.duration_ns = Some(event.time.saturating_sub(waiting.sent));
            detail.answers = message.answers.iter().map(shown).collect();
        }
        if message.cut {
            waiting.record.truncated.push("dns.answers");
        }
        self.records.push(waiting.record);
    }

    /// Whether a packet is one to or from the host's own name servers: in their network namespace, since in a
    /// new one anybody can be at any address.
    fn is_own_resolver(&self, owner: u64, packet: &Packet) -> bool {
        packet.namespace == self.network_namespace
            && self
                .serving(owner)
                .is_some_and(|serving| serving.given.resolvers.contains(&packet.peer.ip()))
    }

    fn naming(&mut self, owner: u64) -> Option<&mut Naming> {
        Some(&mut self.instances.get_mut(&owner)?.serving_mut()?.naming)
    }

    fn dns_record(
        &mut self,
        event: &Event,
        owner: u64,
        packet: &Packet,
        attribution: &Attribution,
    ) -> Record {
        let mut record = self.effect_record(RecordType::NetDns, event, owner, attribution);
        record.process = Some(self.shown_process(event));
        record.net = Some(Box::new(lookup_net(packet.peer, packet.stream)));
        record
    }

    /// A question as it stands in an alert.
    pub(super) fn dns_detail(&self, owner: u64, lookup: &Lookup) -> DnsDetail {
        let resolvers = self.serving(owner).map(|serving| &serving.given.resolvers);
        DnsDetail {
            question: Some(lookup.name.clone()),
            kind: Some(lookup.kind.clone()),
            host_resolver: resolvers.is_some_and(|all| all.contains(&lookup.resolver.ip())),
            ..unread()
        }
    }

    /// Tells the questions of a server that were asked before `time` as those without an answer.
    pub(super) fn give_up_questions(&mut self, owner: u64, time: u64) {
        while let Some(naming) = self.naming(owner)
            && naming.waiting.front().is_some_and(|one| one.sent < time)
        {
            let given_up = naming.waiting.pop_front();
            self.records.extend(given_up.map(|one| one.record));
        }
    }

    /// Those of all servers: the run ends.
    pub(super) fn give_up_all_questions(&mut self) {
        let servers: Vec<u64> = self
            .instances
            .iter()
            .filter(|(_, one)| matches!(one.role, Role::Server(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in servers {
            self.give_up_questions(id, u64::MAX);
        }
    }

    /// The first message of a TLS client.
    pub(super) fn tls(&mut self, event: &Event, packet: &Packet) {
        let Some(owner) = self.owner(event.instance) else { return };
        let Some(hello) = tls::parse(&packet.data) else { return };
        // It belongs where the connection does.
        let net = Net {
            operation: NetOperation::Connect,
            family: family_of(packet.peer),
            socket_type: 1,
            protocol: 6,
            endpoint: Some(packet.peer),
            other: None,
            unix_path: None,
            bound_path: None,
            result: Some(Ok(0)),
        };
        let (names, claims) = self.names_of(owner, &net);
        let attribution = self.attribute_endpoint(event.process, owner, &net, &names);
        let mut record = self.effect_record(RecordType::NetTls, event, owner, &attribution);
        record.process = Some(self.shown_process(event));
        let is_known = |asked: &String| names.iter().any(|name| name.eq_ignore_ascii_case(asked));
        record.tls = Some(Box::new(TlsDetail {
            name_known: hello.server_name.as_ref().filter(|_| !names.is_empty()).map(is_known),
            server_name: hello.server_name,
            alpn: hello.alpn,
            encrypted_hello: hello.encrypted_hello,
        }));
        record.net = Some(Box::new(net_detail(&net, names, &claims)));
        if event.truncated {
            record.truncated.push("tls");
        }
        self.records.push(record);
    }

    /// The names of a destination: those that can explain it, and those that cannot.
    pub(super) fn names_of(&self, owner: u64, net: &Net) -> (Vec<String>, Vec<Claim>) {
        let Some(address) = net.endpoint.map(|endpoint| endpoint.ip()) else {
            return (Vec::new(), Vec::new());
        };
        let mut names = self.names.of(address).to_vec();
        let Some(serving) = self.serving(owner) else { return (names, Vec::new()) };
        let answers = &serving.naming.answers;
        for name in answers.names(address) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        (names, answers.claims(address).to_vec())
    }

    pub(super) fn attribute_endpoint(
        &self,
        process: ProcessKey,
        owner: u64,
        net: &Net,
        names: &[String],
    ) -> Attribution {
        let nothing = Answers::default();
        let answers = self.serving(owner).map_or(&nothing, |serving| &serving.naming.answers);
        self.attribute(process, owner, Object::Endpoint(net, names, answers))
    }
}

impl Waiting {
    fn is(&self, packet: &Packet, id: u16, question: &Question) -> bool {
        self.socket == packet.socket
            && self.resolver == packet.peer
            && self.id == id
            && self.question == *question
    }
}

/// A name server as the other end.
pub(super) fn lookup_net(resolver: SocketAddr, stream: bool) -> NetDetail {
    NetDetail {
        family: if resolver.is_ipv4() { "inet".into() } else { "inet6".into() },
        protocol: Some(if stream { "tcp" } else { "udp" }),
        address: Some(resolver.ip()),
        port: Some(resolver.port()),
        path: None,
        bound_path: None,
        netlink: None,
        vsock: None,
        packet: None,
        result: "unknown".into(),
        names: Vec::new(),
        claimed_names: Vec::new(),
    }
}

fn unread() -> DnsDetail {
    DnsDetail {
        question: None,
        kind: None,
        host_resolver: false,
        tries: 1,
        rcode: None,
        answers: Vec::new(),
        duration_ns: None,
    }
}

fn shown(answer: &dns::Answer) -> DnsAnswer {
    DnsAnswer {
        name: answer.name.clone(),
        kind: answer.kind.clone(),
        value: match &answer.value {
            Value::Address(address) => Some(address.to_string()),
            Value::Name(name) => Some(name.clone()),
            Value::Other => None,
        },
    }
}

fn family_of(peer: SocketAddr) -> u16 {
    u16::try_from(if peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }).unwrap_or(0)
}
