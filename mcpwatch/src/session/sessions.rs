//! The sessions of a channel. An `initialize` opens one of the handshake era; a version in a request's
//! `_meta` makes one of the stateless era. A channel may carry both at once, so the era is judged
//! message by message.

use serde_json::value::RawValue;

use super::Session;
use super::methods::Revision;
use crate::record::Party;
use crate::wire::jsonrpc::{pick, string};
use crate::wire::{MAX_NAME_CHARS, shorten};

/// Name of [`Session::era`] up to 2025-11-25.
pub const HANDSHAKE: &str = "handshake";
/// Name of [`Session::era`] since 2026-07-28.
pub const STATELESS: &str = "stateless";

/// What a message's `_meta` says of its sender (2026-07-28, Base Protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// `io.modelcontextprotocol/protocolVersion`, on requests.
    pub(super) version: Option<String>,
    /// `io.modelcontextprotocol/clientInfo`, on requests.
    pub(super) client: Option<Party>,
    /// `io.modelcontextprotocol/serverInfo`, on results.
    pub(super) server: Option<Party>,
}

impl Meta {
    /// Reads the `_meta` of parameters or of a result.
    pub(super) fn read(meta: Option<&RawValue>) -> Self {
        let keys = [
            "io.modelcontextprotocol/protocolVersion",
            "io.modelcontextprotocol/clientInfo",
            "io.modelcontextprotocol/serverInfo",
        ];
        let Some(picked) = meta.and_then(|meta| pick(meta.get(), keys)) else {
            return Self::default();
        };
        let [version, client, server] = picked.values;
        Self {
            version: version.and_then(name),
            client: client.and_then(party),
            server: server.and_then(party),
        }
    }
}

/// The sessions of one channel. At most one of each era is open.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    handshake: Option<Session>,
    stateless: Option<Session>,
    opened: u64,
    /// The last message belonged to the stateless one.
    stateless_last: bool,
    /// What the last `server/discover` said of its sender. It opens no session until it is answered:
    /// a client that speaks both eras tries it on every server.
    probe: Meta,
}

impl Sessions {
    /// The session the last message belonged to.
    pub(super) fn current(&self) -> Option<&Session> {
        if self.stateless_last { self.stateless.as_ref() } else { self.handshake.as_ref() }
    }

    /// The revision in use, as far as a message that does not name its own can be judged by it: with
    /// both eras on the channel, it cannot.
    pub(super) fn revision(&self) -> Option<Revision> {
        match (&self.handshake, &self.stateless) {
            (Some(only), None) | (None, Some(only)) => only.revision(),
            _ => None,
        }
    }

    /// The session of the handshake era.
    pub(super) fn handshake(&self) -> Option<&Session> {
        self.handshake.as_ref()
    }

    /// An `initialize` with these parameters opens a session.
    pub(super) fn initialize(&mut self, client: Option<&RawValue>) -> Session {
        let session = Session { client: client.and_then(party), ..self.open(HANDSHAKE) };
        self.stateless_last = false;
        self.handshake.insert(session).clone()
    }

    /// The answer to the `initialize` of session `id`: what was agreed.
    pub(super) fn agree(&mut self, id: Option<&str>, result: &str) -> Option<Session> {
        let [version, server] = pick(result, ["protocolVersion", "serverInfo"])?.values;
        let session = self.handshake.as_mut().filter(|session| Some(session.id.as_str()) == id)?;
        session.protocol_version = version.and_then(name);
        session.server = server.and_then(party);
        Some(session.clone())
    }

    /// A request of the handshake era, or of a time before any session.
    pub(super) fn without_meta(&mut self) -> Option<&Session> {
        if self.handshake.is_some() {
            self.stateless_last = false;
        }
        self.current()
    }

    /// A request of the stateless era. Returns the session when there is news of it.
    pub(super) fn stateless(&mut self, meta: Meta) -> Option<Session> {
        self.stateless_last = true;
        let mut session = self.stateless.take().unwrap_or_else(|| self.open(STATELESS));
        let before = (session.protocol_version.clone(), session.client.clone());
        let fresh = before.0.is_none();
        session.protocol_version = meta.version.or(session.protocol_version);
        session.client = meta.client.or(session.client);
        let news = fresh || before != (session.protocol_version.clone(), session.client.clone());
        let session = self.stateless.insert(session);
        news.then(|| session.clone())
    }

    /// A `server/discover` was sent.
    pub(super) fn probe(&mut self, meta: Meta) {
        self.probe = meta;
    }

    /// A `server/discover` was answered with a result: the server speaks the stateless era. Drafts
    /// have `serverInfo` in the result, the revision itself has it in `_meta`.
    pub(super) fn discovered(&mut self, result: &str) -> Option<Session> {
        let probe = std::mem::take(&mut self.probe);
        let news = self.stateless(probe);
        let server = pick(result, ["serverInfo"]).and_then(|picked| picked.values[0]);
        self.served_by(server.and_then(party)).or(news)
    }

    /// A result of the stateless era named its server. Returns the session when that is news.
    pub(super) fn served_by(&mut self, server: Option<Party>) -> Option<Session> {
        let session = self.stateless.as_mut()?;
        if server.is_none() || session.server == server {
            return None;
        }
        session.server = server;
        Some(session.clone())
    }

    fn open(&mut self, era: &'static str) -> Session {
        self.opened += 1;
        Session { id: format!("s{}", self.opened), era, ..Session::default() }
    }
}

impl Session {
    /// The revision in use, when it is a known one.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.protocol_version.as_deref().and_then(Revision::parse)
    }
}

fn party(raw: &RawValue) -> Option<Party> {
    let [name, version] = pick(raw.get(), ["name", "version"])?.values;
    Some(Party { name: self::name(name?)?, version: version.and_then(self::name) })
}

fn name(raw: &RawValue) -> Option<String> {
    string(raw).map(|text| shorten(&text, MAX_NAME_CHARS).to_owned())
}
