//! Revisions of the protocol and the methods of each: who may send what. From the specification's
//! `schema/<revision>/schema.ts`.

use crate::event::Direction;

/// A revision of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revision {
    /// 2024-11-05.
    V2024_11_05,
    /// 2025-03-26: batches.
    V2025_03_26,
    /// 2025-06-18: elicitation, no batches.
    V2025_06_18,
    /// 2025-11-25: tasks.
    V2025_11_25,
    /// 2026-07-28: stateless.
    V2026_07_28,
}

impl Revision {
    /// Every revision, the oldest first.
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// As it stands on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision of that name; `None` for drafts and revisions to come.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.name() == name)
    }

    /// Arrays of messages are allowed: added in 2025-03-26, removed in 2025-06-18.
    #[must_use]
    pub fn allows_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What kind of message a method makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Wants a response.
    Request,
    /// Wants none.
    Notification,
}

/// A method of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// What kind of message it makes.
    pub shape: Shape,
    /// Revisions in which the client may send it.
    client: u8,
    /// Revisions in which the server may send it.
    server: u8,
    /// The request stays open as long as the client listens: it asks for nothing to be done, and
    /// nothing done meanwhile is done for it.
    pub standing: bool,
}

impl Method {
    /// Whether it may go that way; without a revision, whether it may in any.
    #[must_use]
    pub fn may_go(&self, direction: Direction, revision: Option<Revision>) -> bool {
        let revisions = match direction {
            Direction::ClientToServer => self.client,
            Direction::ServerToClient => self.server,
        };
        revisions & revision.map_or(ALL, Revision::bit) != 0
    }
}

/// The method of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

const NONE: u8 = 0;
const ALL: u8 = 0b1_1111;
/// 2024-11-05 to 2025-11-25.
const HANDSHAKE: u8 = 0b0_1111;
/// 2025-06-18 and 2025-11-25.
const ELICITATION: u8 = 0b0_1100;
const NOVEMBER: u8 = Revision::V2025_11_25.bit();
const STATELESS: u8 = Revision::V2026_07_28.bit();

const fn request(name: &'static str, client: u8, server: u8) -> Method {
    Method { name, shape: Shape::Request, client, server, standing: false }
}

const fn notification(name: &'static str, client: u8, server: u8) -> Method {
    Method { name, shape: Shape::Notification, client, server, standing: false }
}

const fn standing(method: Method) -> Method {
    Method { standing: true, ..method }
}

/// Every method: revisions in which the client sends it, and in which the server does. The methods of
/// the extension `io.modelcontextprotocol/tasks` stand with the revision it belongs to.
pub const METHODS: &[Method] = &[
    request("initialize", HANDSHAKE, NONE),
    request("ping", HANDSHAKE, HANDSHAKE),
    request("server/discover", STATELESS, NONE),
    request("tools/call", ALL, NONE),
    request("tools/list", ALL, NONE),
    request("prompts/get", ALL, NONE),
    request("prompts/list", ALL, NONE),
    request("resources/list", ALL, NONE),
    request("resources/read", ALL, NONE),
    request("resources/templates/list", ALL, NONE),
    request("resources/subscribe", HANDSHAKE, NONE),
    request("resources/unsubscribe", HANDSHAKE, NONE),
    request("completion/complete", ALL, NONE),
    request("logging/setLevel", HANDSHAKE, NONE),
    standing(request("subscriptions/listen", STATELESS, NONE)),
    request("roots/list", NONE, HANDSHAKE),
    request("sampling/createMessage", NONE, HANDSHAKE),
    request("elicitation/create", NONE, ELICITATION),
    request("tasks/get", NOVEMBER | STATELESS, NOVEMBER),
    request("tasks/result", NOVEMBER, NOVEMBER),
    request("tasks/list", NOVEMBER, NOVEMBER),
    request("tasks/cancel", NOVEMBER | STATELESS, NOVEMBER),
    request("tasks/update", STATELESS, NONE),
    notification("notifications/initialized", HANDSHAKE, NONE),
    notification("notifications/roots/list_changed", HANDSHAKE, NONE),
    notification("notifications/cancelled", ALL, ALL),
    notification("notifications/progress", HANDSHAKE, ALL),
    notification("notifications/message", NONE, ALL),
    notification("notifications/prompts/list_changed", NONE, ALL),
    notification("notifications/resources/list_changed", NONE, ALL),
    notification("notifications/resources/updated", NONE, ALL),
    notification("notifications/tools/list_changed", NONE, ALL),
    notification("notifications/subscriptions/acknowledged", NONE, STATELESS),
    notification("notifications/elicitation/complete", NONE, NOVEMBER),
    notification("notifications/tasks/status", NOVEMBER, NOVEMBER),
    notification("notifications/tasks", NONE, STATELESS),
];

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT_REQUESTS: &str = "initialize ping completion/complete logging/setLevel prompts/get \
        prompts/list resources/list resources/read resources/subscribe resources/unsubscribe \
        resources/templates/list tools/call tools/list";
    const SERVER_NOTIFICATIONS: &str = "notifications/cancelled notifications/progress \
        notifications/message notifications/prompts/list_changed notifications/resources/list_changed \
        notifications/resources/updated notifications/tools/list_changed";
    const CLIENT_NOTIFICATIONS: &str = "notifications/cancelled notifications/progress \
        notifications/initialized notifications/roots/list_changed";
    const TASKS: &str = "tasks/get tasks/result tasks/list tasks/cancel notifications/tasks/status";

    /// What each revision's schema allows, written down independently of the table: from the client,
    /// and from the server.
    fn schema(revision: Revision) -> (Vec<String>, Vec<String>) {
        let (client, server) = match revision {
            Revision::V2024_11_05 | Revision::V2025_03_26 => (
                format!("{CLIENT_REQUESTS} {CLIENT_NOTIFICATIONS}"),
                format!("ping roots/list sampling/createMessage {SERVER_NOTIFICATIONS}"),
            ),
            Revision::V2025_06_18 => (
                format!("{CLIENT_REQUESTS} {CLIENT_NOTIFICATIONS}"),
                format!(
                    "ping roots/list sampling/createMessage elicitation/create \
                     {SERVER_NOTIFICATIONS}"
                ),
            ),
            Revision::V2025_11_25 => (
                format!("{CLIENT_REQUESTS} {CLIENT_NOTIFICATIONS} {TASKS}"),
                format!(
                    "ping roots/list sampling/createMessage elicitation/create \
                     {SERVER_NOTIFICATIONS} {TASKS} notifications/elicitation/complete"
                ),
            ),
            Revision::V2026_07_28 => (
                "server/discover completion/complete prompts/get prompts/list resources/list \
                 resources/read resources/templates/list subscriptions/listen tools/call tools/list \
                 notifications/cancelled tasks/get tasks/update tasks/cancel"
                    .to_owned(),
                format!(
                    "{SERVER_NOTIFICATIONS} notifications/subscriptions/acknowledged \
                     notifications/tasks"
                ),
            ),
        };
        let words = |text: String| {
            let mut words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
            words.sort();
            words
        };
        (words(client), words(server))
    }

    #[test]
    fn the_table_says_what_the_schemas_say() {
        for revision in Revision::ALL {
            let of = |direction| {
                let mut names: Vec<_> = METHODS
                    .iter()
                    .filter(|method| method.may_go(direction, Some(revision)))
                    .map(|method| method.name.to_owned())
                    .collect();
                names.sort();
                names
            };
            let (client, server) = schema(revision);
            assert_eq!(of(Direction::ClientToServer), client, "{}", revision.name());
            assert_eq!(of(Direction::ServerToClient), server, "{}", revision.name());
        }
    }

    #[test]
    fn each_method_is_there_once_and_has_the_shape_its_name_says() {
        for method in METHODS {
            assert_eq!(find(method.name), Some(method));
            assert_eq!(METHODS.iter().filter(|other| other.name == method.name).count(), 1);
            let notification = method.name.starts_with("notifications/");
            assert_eq!(method.shape == Shape::Notification, notification, "{}", method.name);
            assert!(method.client | method.server != 0, "{}", method.name);
        }
        assert_eq!(find("tools/Call"), None);
    }

    #[test]
    fn revisions_are_read_as_written() {
        for revision in Revision::ALL {
            assert_eq!(Revision::parse(revision.name()), Some(revision));
        }
        assert_eq!(Revision::parse("DRAFT-2026-v1"), None);
        assert_eq!(Revision::ALL.into_iter().filter(|r| r.allows_batches()).count(), 1);
    }
}
