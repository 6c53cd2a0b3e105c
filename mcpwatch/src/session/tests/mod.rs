//! Conversations as they go over a channel, and what is made of them.

mod random;
mod recorded;

use serde_json::{Value, json};

use super::*;
use crate::event::Direction::{ClientToServer, ServerToClient};
use crate::event::Payload;
use crate::wire::Limits;

/// A channel that is fed whole lines or raw bytes.
struct Channel {
    conversation: Conversation,
    offsets: [u64; 2],
    time: u64,
    said: Vec<Said>,
}

impl Channel {
    fn new() -> Self {
        Self::limited(&Limits::default())
    }

    fn limited(limits: &Limits) -> Self {
        let conversation = Conversation::new(limits);
        Self { conversation, offsets: [0; 2], time: 0, said: Vec::new() }
    }

    /// A channel whose session has been opened with that revision.
    fn opened(version: &str) -> Self {
        let mut channel = Self::new();
        channel.open(version);
        channel.take();
        channel
    }

    fn open(&mut self, version: &str) {
        let client = json!({"name": "client", "version": "1"});
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client});
        self.client(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
        let server = json!({"name": "server", "version": "2"});
        let result = json!({"protocolVersion": version, "capabilities": {}, "serverInfo": server});
        self.server(&json!({"jsonrpc": "2.0", "id": 0, "result": result}));
        self.client(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    fn bytes(&mut self, direction: Direction, data: &[u8]) {
        let offset = &mut self.offsets[usize::from(direction == ServerToClient)];
        let payload = Payload { direction, offset: *offset, data: data.to_vec(), last: true };
        *offset += data.len() as u64;
        self.time += 1;
        self.conversation.bytes(self.time, &payload, &mut self.said);
    }

    fn skip(&mut self, direction: Direction, bytes: u64) {
        self.offsets[usize::from(direction == ServerToClient)] += bytes;
    }

    fn line(&mut self, direction: Direction, text: &str) {
        self.bytes(direction, format!("{text}\n").as_bytes());
    }

    fn client(&mut self, message: &Value) {
        self.line(ClientToServer, &message.to_string());
    }

    fn server(&mut self, message: &Value) {
        self.line(ServerToClient, &message.to_string());
    }

    fn call(&mut self, id: impl Into<Value>, tool: &str, arguments: &Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.request(id, "tools/call", &params);
    }

    fn request(&mut self, id: impl Into<Value>, method: &str, params: &Value) {
        let id: Value = id.into();
        self.client(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    }

    fn answer(&mut self, id: impl Into<Value>, result: &Value) {
        let id: Value = id.into();
        self.server(&json!({"result": result, "jsonrpc": "2.0", "id": id}));
    }

    fn end(&mut self) -> Vec<Said> {
        self.time += 1;
        self.conversation.end(self.time, &mut self.said);
        self.take()
    }

    fn take(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    fn words(&mut self) -> Vec<&'static str> {
        words(&self.take())
    }

    fn in_flight(&self) -> Vec<Value> {
        self.conversation.in_flight().map(|call| call.id.clone()).collect()
    }
}

fn words(said: &[Said]) -> Vec<&'static str> {
    said.iter()
        .filter_map(|said| match said {
            Said::Problem(problem) => Some(problem.fault.word()),
            _ => None,
        })
        .collect()
}

fn started(said: &[Said]) -> Vec<&Call> {
    said.iter()
        .filter_map(|said| match said {
            Said::Started(call) => Some(call.as_ref()),
            _ => None,
        })
        .collect()
}

fn ended(said: &[Said]) -> Vec<(Value, CallStatus)> {
    said.iter()
        .filter_map(|said| match said {
            Said::Ended(ended) => Some((ended.call.id.clone(), ended.status)),
            _ => None,
        })
        .collect()
}

fn in_doubt(said: &[Said]) -> Vec<Value> {
    said.iter()
        .filter_map(|said| match said {
            Said::InDoubt(call) => Some(call.id.clone()),
            _ => None,
        })
        .collect()
}

fn sessions(said: &[Said]) -> Vec<&Session> {
    said.iter()
        .filter_map(|said| match said {
            Said::Session(session) => Some(session),
            _ => None,
        })
        .collect()
}

#[test]
fn a_handshake_and_a_call_are_told_in_order() {
    let mut channel = Channel::new();
    channel.open("2025-06-18");
    assert!(channel.conversation.spoke_mcp());
    assert_eq!(channel.conversation.first_request(), Some(1));
    channel.call(1, "read_file", &json!({"path": "/etc/hosts"}));
    assert_eq!(channel.in_flight(), [json!(1)]);
    channel.answer(1, &json!({"content": [{"type": "text", "text": "x"}]}));
    assert!(channel.in_flight().is_empty());

    let said = channel.take();
    assert_eq!(words(&said), [""; 0]);
    let opened = sessions(&said);
    assert_eq!(opened[0].client.as_ref().unwrap().name, "client");
    assert_eq!(opened[0].protocol_version, None);
    assert_eq!(opened[1].protocol_version.as_deref(), Some("2025-06-18"));
    assert_eq!(opened[1].server.as_ref().unwrap().version.as_deref(), Some("2"));
    assert_eq!((opened[1].id.as_str(), opened[1].era), ("s1", HANDSHAKE));

    let call = started(&said)[1];
    assert_eq!((call.number, call.method.as_str()), (2, "tools/call"));
    assert_eq!(call.tool.as_deref(), Some("read_file"));
    assert_eq!(call.arguments, Some(json!({"path": "/etc/hosts"})));
    assert_eq!((call.session.as_deref(), call.started), (Some("s1"), 4));
    assert_eq!(ended(&said), [(json!(0), CallStatus::Ok), (json!(1), CallStatus::Ok)]);
    let Some(Said::Ended(last)) = said.last() else { panic!("{said:?}") };
    assert_eq!((last.time, last.response_bytes), (5, Some(74)));
}

#[test]
fn statuses_say_how_a_call_went() {
    let mut channel = Channel::opened("2025-11-25");
    for id in 1..=3 {
        channel.call(id, "t", &json!({}));
    }
    let content = json!([{"type": "image"}, {"type": "text", "text": "x".repeat(300)}]);
    channel.answer(2, &json!({"content": content, "isError": true}));
    let error = json!({"code": -32602, "message": "no such tool"});
    channel.server(&json!({"jsonrpc": "2.0", "id": 1, "error": error}));
    channel.answer(3, &json!({"content": [], "isError": false}));
    let said = channel.take();
    assert_eq!(
        ended(&said),
        [
            (json!(2), CallStatus::ToolError),
            (json!(1), CallStatus::RpcError),
            (json!(3), CallStatus::Ok)
        ]
    );
    let errors: Vec<_> = said
        .iter()
        .filter_map(|said| match said {
            Said::Ended(ended) => ended.error.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(errors[0], CallError { code: None, message: "x".repeat(256) });
    assert_eq!(errors[1], CallError { code: Some(-32602), message: "no such tool".into() });
}

#[test]
fn arguments_are_what_the_method_makes_them() {
    let mut channel = Channel::opened("2025-11-25");
    let meta = json!({"progressToken": 1});
    channel.request(1, "resources/read", &json!({"uri": "file:///x", "_meta": meta}));
    channel.request(2, "prompts/get", &json!({"name": "p", "arguments": {"a": "b"}}));
    channel.request(3, "tools/list", &json!({"_meta": meta}));
    channel.request(4, "tools/call", &json!({"name": "t"}));
    let said = channel.take();
    let given: Vec<_> = started(&said).iter().map(|call| call.arguments.clone()).collect();
    assert_eq!(given, [Some(json!({"uri": "file:///x"})), Some(json!({"a": "b"})), None, None]);
}

#[test]
fn a_call_carries_the_name_of_its_prompt_and_what_was_said_of_its_tool_when_it_began() {
    let mut channel = Channel::opened("2025-11-25");
    let list = |channel: &mut Channel, id: u64, read_only: bool| {
        channel.request(id, "tools/list", &json!({}));
        let hints = json!({"readOnlyHint": read_only});
        channel.answer(id, &json!({"tools": [{"name": "t", "annotations": hints}]}));
    };
    channel.request(1, "prompts/get", &json!({"name": "p", "arguments": {}}));
    channel.call(2, "t", &json!({}));
    list(&mut channel, 3, true);
    channel.call(4, "t", &json!({}));
    list(&mut channel, 5, false);
    channel.call(6, "t", &json!({}));
    let said = channel.take();
    let calls = started(&said);
    assert_eq!((calls[0].prompt.as_deref(), calls[0].tool.as_deref()), (Some("p"), None));
    let hints: Vec<_> = calls
        .iter()
        .filter(|call| call.method == "tools/call")
        .map(|call| (call.tool.as_deref(), call.annotations.read_only))
        .collect();
    assert_eq!(hints, [(Some("t"), None), (Some("t"), Some(true)), (Some("t"), Some(false))]);
}

#[test]
fn roots_are_what_the_client_answered_last() {
    let mut channel = Channel::opened("2025-11-25");
    assert!(channel.conversation.roots().is_empty());
    let ask = |channel: &mut Channel, id: u64, roots: Value| {
        channel.server(&json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"}));
        channel.client(&json!({"jsonrpc": "2.0", "id": id, "result": {"roots": roots}}));
    };
    ask(
        &mut channel,
        1,
        json!([
            {"uri": "file:///srv/my%20notes/", "name": "notes"}, {"uri": "https://example.com/x"},
            {"uri": "nonsense"}, {"name": "none"}, 7, {"uri": "file:///srv/b"},
        ]),
    );
    assert_eq!(channel.conversation.roots()[..], ["/srv/my notes", "/srv/b"]);
    ask(&mut channel, 2, json!([{"uri": "file:///srv/c"}]));
    assert_eq!(channel.conversation.roots()[..], ["/srv/c"]);
    // A server cannot give itself roots.
    channel.client(&json!({"jsonrpc": "2.0", "id": 3, "method": "roots/list"}));
    channel.answer(3, &json!({"roots": [{"uri": "file:///"}]}));
    assert_eq!(channel.conversation.roots()[..], ["/srv/c"]);
    let many: Vec<Value> = (0..1000).map(|n| json!({"uri": format!("file:///{n}")})).collect();
    ask(&mut channel, 4, json!(many));
    assert_eq!(channel.conversation.roots().len(), 64);
}

#[test]
fn a_string_id_is_no_integer_id_and_directions_do_not_mix() {
    let mut channel = Channel::opened("2025-11-25");
    channel.call(1, "a", &json!({}));
    channel.call("1", "b", &json!({}));
    channel.server(&json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage",
        "params": {"messages": []}}));
    assert_eq!(channel.in_flight(), [json!(1), json!("1")]);
    assert_eq!(channel.conversation.asked_of_client().count(), 1);
    channel.client(&json!({"jsonrpc": "2.0", "id": 1, "result": {"role": "assistant"}}));
    assert_eq!(channel.conversation.asked_of_client().count(), 0);
    channel.answer("1", &json!({}));
    assert_eq!(channel.in_flight(), [json!(1)]);
    channel.answer(1, &json!({}));
    let said = channel.take();
    assert_eq!(words(&said), [""; 0]);
    let directions: Vec<_> = started(&said).iter().map(|call| call.direction).collect();
    assert_eq!(directions, [ClientToServer, ClientToServer, ServerToClient]);
}

#[test]
fn a_stateless_client_needs_no_handshake() {
    let meta = |version: &str| {
        json!({"io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": {"name": "modern", "version": "3"},
            "io.modelcontextprotocol/clientCapabilities": {}})
    };
    let mut channel = Channel::new();
    channel.request(0, "server/discover", &json!({"_meta": meta("2026-07-28")}));
    assert!(channel.conversation.spoke_mcp());
    assert!(channel.conversation.session().is_none());
    let info = json!({"io.modelcontextprotocol/serverInfo": {"name": "srv", "version": "9"}});
    channel.answer(0, &json!({"supportedVersions": ["2026-07-28"], "_meta": info}));
    channel.request(1, "tools/call", &json!({"name": "t", "_meta": meta("2026-07-28")}));
    channel.answer(1, &json!({"resultType": "complete", "content": [], "_meta": info}));
    let said = channel.take();
    assert_eq!(words(&said), [""; 0]);
    let last = (*sessions(&said).last().unwrap()).clone();
    assert_eq!((last.id.as_str(), last.era), ("s1", STATELESS));
    assert_eq!(last.protocol_version.as_deref(), Some("2026-07-28"));
    assert_eq!(last.client.unwrap().name, "modern");
    assert_eq!(last.server.unwrap().name, "srv");
    assert_eq!(started(&said)[1].session.as_deref(), Some("s1"));

    // What the revision took away, and what only the other side may send.
    channel.request(2, "logging/setLevel", &json!({"level": "debug", "_meta": meta("2026-07-28")}));
    channel.server(&json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage"}));
    channel.server(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call"}));
    channel.request(3, "tools/invent", &json!({"_meta": meta("2026-07-28")}));
    let expected = ["not_in_revision", "not_in_revision", "wrong_direction", "unknown_method"];
    assert_eq!(channel.words(), expected);
}

#[test]
fn a_probe_that_fails_falls_back_to_a_handshake() {
    let mut channel = Channel::new();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    channel.request(0, "server/discover", &json!({"_meta": meta}));
    let error = json!({"code": -32601, "message": "Method not found"});
    channel.server(&json!({"jsonrpc": "2.0", "id": 0, "error": error}));
    channel.open("2025-11-25");
    let said = channel.take();
    assert_eq!(words(&said), [""; 0]);
    assert!(sessions(&said).iter().all(|session| session.era == HANDSHAKE));
}

#[test]
fn both_eras_share_a_channel() {
    let mut channel = Channel::opened("2025-11-25");
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    channel.request(1, "tools/call", &json!({"name": "t", "_meta": meta}));
    channel.request(2, "ping", &json!({}));
    channel.request(3, "tools/call", &json!({"name": "t", "_meta": meta}));
    let said = channel.take();
    channel.client(&json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}));
    assert_eq!(channel.words(), [""; 0]);
    let of: Vec<_> = started(&said).iter().map(|call| call.session.clone().unwrap()).collect();
    assert_eq!(of, ["s2", "s1", "s2"]);
    assert_eq!(words(&said), [""; 0]);
    assert_eq!(sessions(&said).len(), 1);
}

#[test]
fn batches_belong_to_one_revision() {
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/list"}]"#;
    for revision in methods::Revision::ALL.into_iter().filter(|one| one.name() < "2026") {
        let mut channel = Channel::opened(revision.name());
        channel.line(ClientToServer, batch);
        assert_eq!(channel.in_flight(), [json!(1), json!(2)], "{revision:?}");
        let allowed = revision.name() == "2025-03-26";
        let expected: &[&str] = if allowed { &[] } else { &["batch_not_allowed"] };
        assert_eq!(channel.words(), expected, "{revision:?}");
    }
    let mut channel = Channel::opened("2025-03-26");
    channel.line(ClientToServer, &format!("[{}1]", "7,".repeat(1000)));
    assert_eq!(channel.words(), ["not_jsonrpc"; 8]);
}

#[test]
fn a_stateless_client_may_send_no_batch_either() {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let list = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": {"_meta": meta}});
    // As its first message, and in a session that its `_meta` opened.
    for opened in [false, true] {
        let mut channel = Channel::new();
        if opened {
            channel.client(&list(0));
            channel.answer(0, &json!({"tools": []}));
        }
        channel.client(&json!([list(1), list(2)]));
        assert_eq!(channel.in_flight(), [json!(1), json!(2)], "{opened}");
        assert_eq!(channel.words(), ["batch_not_allowed"], "{opened}");
    }
    let mut both = Channel::opened("2025-06-18");
    both.client(&json!([list(1), list(2)]));
    assert_eq!(both.words(), ["batch_not_allowed"]);
}

#[test]
fn an_id_used_twice_is_told_and_the_newest_is_answered() {
    let mut channel = Channel::opened("2025-11-25");
    channel.call(1, "old", &json!({}));
    channel.call(1, "new", &json!({}));
    assert_eq!(channel.words(), ["duplicate_id"]);
    channel.answer(1, &json!({}));
    assert_eq!(channel.conversation.in_flight().next().unwrap().tool.as_deref(), Some("old"));
    channel.answer(1, &json!({}));
    channel.answer(1, &json!({}));
    channel.answer(99, &json!({}));
    assert_eq!(channel.words(), ["second_response", "unknown_response"]);
}

#[test]
fn a_cancelled_call_may_still_be_answered_for_a_while() {
    let cancel = |id: u64| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    let mut channel = Channel::opened("2025-11-25");
    for id in 1..=3 {
        channel.call(id, "t", &json!({}));
    }
    channel.client(&cancel(1));
    channel.client(&cancel(2));
    channel.client(&cancel(77));
    channel.answer(1, &json!({}));
    assert_eq!(channel.in_flight(), [json!(2), json!(3)]);
    let said = channel.take();
    assert_eq!(ended(&said), [(json!(1), CallStatus::Ok)]);
    assert_eq!(words(&said), ["unknown_cancel"]);

    let Channel { conversation, said, time, .. } = &mut channel;
    conversation.tick(*time + 29_000_000_000, said);
    assert!(said.is_empty());
    conversation.tick(*time + 31_000_000_000, said);
    assert_eq!(ended(&channel.take()), [(json!(2), CallStatus::Cancelled)]);
    channel.answer(2, &json!({}));
    assert_eq!(channel.words(), [""; 0]);
    // Minutes later the other one is in flight as before.
    channel.time += 3_600_000_000_000;
    channel.client(&cancel(3));
    assert_eq!(channel.in_flight(), [json!(3)]);
    assert_eq!(ended(&channel.end()), [(json!(3), CallStatus::Cancelled)]);
}

#[test]
fn a_server_that_dies_ends_its_calls() {
    let mut channel = Channel::opened("2025-11-25");
    channel.call(1, "t", &json!({}));
    channel.server(&json!({"jsonrpc": "2.0", "id": "r", "method": "roots/list"}));
    channel.bytes(ServerToClient, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"res");
    let said = channel.end();
    assert_eq!(words(&said), ["unterminated"]);
    assert_eq!(
        ended(&said),
        [(json!(1), CallStatus::NoResponse), (json!("r"), CallStatus::NoResponse)]
    );
}

#[test]
fn a_subscription_is_no_cause_and_the_server_may_end_it() {
    let mut channel = Channel::new();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    channel.request(5, "subscriptions/listen", &json!({"_meta": meta}));
    assert!(channel.in_flight().is_empty());
    channel.server(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 5}}));
    let said = channel.end();
    assert_eq!(ended(&said), [(json!(5), CallStatus::Cancelled)]);
    assert_eq!(words(&said), [""; 0]);
}

/// Ids of the calls whose progress was told, and how far they were.
fn progress(said: &[Said]) -> Vec<String> {
    said.iter()
        .filter_map(|said| match said {
            Said::Notification { method, call, progress, .. }
                if method == "notifications/progress" =>
            {
                let id = call.as_ref().map_or("-".to_owned(), |call| call.id.to_string());
                Some(match progress {
                    Some(Progress { value, total: Some(total) }) => format!("{id} {value}/{total}"),
                    Some(Progress { value, total: None }) => format!("{id} {value}"),
                    None => id,
                })
            }
            _ => None,
        })
        .collect()
}

impl Channel {
    fn call_with_token(&mut self, id: u64, token: &Value) {
        let meta = json!({"progressToken": token, "io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        self.request(id, "tools/call", &json!({"name": "t", "arguments": {}, "_meta": meta}));
    }

    fn progresses(&mut self, direction: Direction, params: &Value) -> Vec<String> {
        let message =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        self.line(direction, &message.to_string());
        progress(&self.take())
    }
}

#[test]
fn progress_belongs_to_the_call_with_its_token() {
    for revision in methods::Revision::ALL {
        let mut channel = Channel::new();
        let mut meta = json!({"progressToken": "a"});
        if revision == methods::Revision::V2026_07_28 {
            meta["io.modelcontextprotocol/protocolVersion"] = json!(revision.name());
        } else {
            channel.open(revision.name());
        }
        channel.request(1, "tools/call", &json!({"name": "t", "_meta": meta}));
        meta["progressToken"] = json!(7);
        channel.request(2, "resources/read", &json!({"uri": "x", "_meta": meta}));
        channel.take();
        let params = json!({"progressToken": "a", "progress": 1, "total": 4, "message": "on it"});
        assert_eq!(channel.progresses(ServerToClient, &params), ["1 1/4"], "{revision:?}");
        let params = json!({"progressToken": 7, "progress": 0.5});
        assert_eq!(channel.progresses(ServerToClient, &params), ["2 0.5"], "{revision:?}");
        channel.answer(1, &json!({}));
        channel.take();
        let params = json!({"progressToken": "a", "progress": 2});
        assert_eq!(channel.progresses(ServerToClient, &params), ["- 2"], "{revision:?}");
    }
}

#[test]
fn a_token_that_names_no_call_for_certain_names_none() {
    let mut channel = Channel::new();
    let long = "x".repeat(crate::wire::MAX_ID_BYTES);
    for (id, token) in [(1, json!("7")), (2, json!(long)), (3, json!(1.5)), (4, json!([7]))] {
        channel.call_with_token(id, &token);
    }
    channel.call_with_token(5, &json!("twice"));
    channel.call_with_token(6, &json!("twice"));
    assert_eq!(channel.words(), [""; 0]);
    for (params, expected) in [
        (json!({"progressToken": "7", "progress": 1}), "1 1"),
        // A string is no integer, and only the other side tells how far it is.
        (json!({"progressToken": 7, "progress": 1}), "- 1"),
        (json!({"progressToken": long, "progress": 1}), "- 1"),
        (json!({"progressToken": 1.5, "progress": 1}), "- 1"),
        (json!({"progressToken": [7], "progress": 1}), "- 1"),
        (json!({"progressToken": "twice", "progress": 1}), "- 1"),
        (json!({"progressToken": "7", "progress": "far", "total": []}), "1"),
        (json!({"progressToken": "7", "progress": 1, "total": {}}), "1 1"),
        (json!({}), "-"),
        (json!([]), "-"),
    ] {
        assert_eq!(channel.progresses(ServerToClient, &params), [expected], "{params}");
    }
    let params = json!({"progressToken": "7", "progress": 1});
    assert_eq!(channel.progresses(ClientToServer, &params), ["- 1"]);
    // With one of the two gone, the token means the other.
    channel.answer(5, &json!({}));
    channel.take();
    let params = json!({"progressToken": "twice", "progress": 1});
    assert_eq!(channel.progresses(ServerToClient, &params), ["6 1"]);
    // What the server asks has tokens of its own.
    let mut channel = Channel::opened("2025-11-25");
    channel.request(1, "tools/call", &json!({"name": "t", "_meta": {"progressToken": 1}}));
    channel.server(&json!({"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage",
        "params": {"messages": [], "maxTokens": 1, "_meta": {"progressToken": 1}}}));
    channel.take();
    let params = json!({"progressToken": 1, "progress": 2});
    assert_eq!(channel.progresses(ServerToClient, &params), ["1 2"]);
    assert_eq!(channel.progresses(ClientToServer, &params), ["\"s\" 2"]);
}

#[test]
fn noise_does_not_stop_the_reading() {
    let mut channel = Channel::opened("2025-11-25");
    channel.line(ServerToClient, "Server listening\u{1b}[0m");
    channel.bytes(ServerToClient, b"\xff\xfe\n");
    channel.bytes(ClientToServer, b"\xef\xbb\xbf");
    channel.call(1, "t", &json!({}));
    channel
        .bytes(ServerToClient, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":\"\xff\"}}\r\n");
    let said = channel.take();
    assert_eq!(words(&said), ["not_json", "invalid_utf8", "invalid_utf8"]);
    assert_eq!(ended(&said), [(json!(1), CallStatus::Ok)]);
    let Said::Problem(noise) = &said[0] else { panic!() };
    assert!(
        noise.detail.starts_with(r#""Server listening\u{1b}[0m" is not JSON"#),
        "{}",
        noise.detail
    );
}

#[test]
fn a_request_before_the_handshake_is_told() {
    let mut channel = Channel::new();
    channel.request(1, "ping", &json!({}));
    channel.call(2, "t", &json!({}));
    channel.open("2025-11-25");
    channel.open("2025-11-25");
    assert_eq!(channel.words(), ["before_initialize", "second_initialize"]);
    assert_eq!(channel.conversation.session().unwrap().id, "s2");
}

#[test]
fn other_protocols_are_not_taken_for_mcp() {
    for params in [json!({"processId": 1}), json!({"protocolVersion": 1}), json!([]), json!(null)] {
        let mut channel = Channel::new();
        channel.request(0, "initialize", &params);
        channel.answer(0, &json!({"capabilities": {}}));
        channel.request(1, "ping", &json!({}));
        channel.answer(1, &json!({}));
        channel.request(2, "textDocument/hover", &json!({}));
        channel.answer(2, &json!({}));
        assert!(!channel.conversation.spoke_mcp(), "{params}");
    }
}

#[test]
fn joining_a_channel_in_use_blames_nobody() {
    let mut channel = Channel::new();
    channel.skip(ClientToServer, 5000);
    channel.skip(ServerToClient, 9000);
    channel.line(ServerToClient, r#"lo"}]},"jsonrpc":"2.0","id":7}"#);
    channel.line(ClientToServer, r#"{"path":"/x"}},"jsonrpc":"2.0","id":8}"#);
    channel.answer(8, &json!({}));
    assert_eq!(channel.words(), ["joined_mid_stream", "joined_mid_stream"]);
    assert!(!channel.conversation.spoke_mcp());
    channel.call(9, "t", &json!({}));
    assert_eq!(channel.conversation.first_request(), Some(0));
    channel.answer(9, &json!({}));
    assert_eq!(channel.words(), [""; 0]);
    assert!(channel.conversation.spoke_mcp());
    channel.answer(10, &json!({}));
    assert_eq!(channel.words(), ["unknown_response"]);
}

#[test]
fn a_hole_between_lines_is_told_and_reading_goes_on() {
    let mut channel = Channel::opened("2025-11-25");
    channel.call(1, "t", &json!({}));
    channel.skip(ClientToServer, 100);
    channel.line(ClientToServer, r#"x"}},"jsonrpc":"2.0"}"#);
    channel.call(3, "t", &json!({}));
    channel.answer(2, &json!({}));
    channel.answer(3, &json!({}));
    let said = channel.take();
    assert_eq!(words(&said), ["hole", "clipped"]);
    assert_eq!(ended(&said), [(json!(3), CallStatus::Ok)]);
}

#[test]
fn a_call_whose_answer_may_be_lost_is_in_doubt_after_a_while_and_awaited_all_the_same() {
    let mut channel = Channel::opened("2025-11-25");
    channel.call(1, "lost", &json!({}));
    channel.call(2, "slow", &json!({}));
    channel.skip(ServerToClient, 100);
    channel.bytes(ServerToClient, b"\n");
    channel.call(3, "later", &json!({}));
    channel.time += 599_000_000_000;
    channel.answer(2, &json!({}));
    assert_eq!(channel.in_flight(), [json!(1), json!(3)]);
    channel.take();
    channel.time += 2_000_000_000;
    channel.request(4, "ping", &json!({}));
    let said = channel.take();
    assert_eq!(in_doubt(&said), [json!(1)]);
    assert_eq!(ended(&said), []);
    assert_eq!(channel.in_flight(), [json!(3), json!(4)]);
    // The answer was not lost, only late.
    channel.time += 3_600_000_000_000;
    channel.answer(1, &json!({}));
    assert_eq!(ended(&channel.take()), [(json!(1), CallStatus::Ok)]);
    channel.answer(1, &json!({}));
    assert_eq!(channel.words(), ["second_response"]);
}

#[test]
fn the_id_of_a_call_in_doubt_may_be_used_again() {
    let mut channel = Channel::opened("2025-11-25");
    channel.call(1, "lost", &json!({}));
    channel.skip(ServerToClient, 100);
    channel.bytes(ServerToClient, b"\n");
    channel.time += 601_000_000_000;
    channel.take();
    channel.call(1, "next", &json!({}));
    let said = channel.take();
    assert_eq!(words(&said), [""; 0]);
    assert_eq!(ended(&said), [(json!(1), CallStatus::NoResponse)]);
    assert_eq!(channel.in_flight(), [json!(1)]);
}

#[test]
fn a_call_whose_progress_is_told_is_not_in_doubt() {
    let progress = |token: u64| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
    let mut channel = Channel::opened("2025-11-25");
    for id in 1..=2 {
        let params = json!({"name": "t", "arguments": {}, "_meta": {"progressToken": id}});
        channel.request(id, "tools/call", &params);
    }
    channel.skip(ServerToClient, 100);
    channel.bytes(ServerToClient, b"\n");
    channel.server(&progress(1));
    channel.time += 601_000_000_000;
    channel.take();
    channel.server(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": ""}}));
    assert_eq!(in_doubt(&channel.take()), [json!(2)]);
    assert_eq!(channel.in_flight(), [json!(1)]);
    channel.server(&progress(2));
    assert_eq!(channel.in_flight(), [json!(1), json!(2)]);
    channel.time += 601_000_000_000;
    let said = channel.end();
    assert_eq!(in_doubt(&said), [] as [Value; 0]);
    assert_eq!(
        ended(&said),
        [(json!(1), CallStatus::NoResponse), (json!(2), CallStatus::NoResponse)]
    );
}

#[test]
fn a_call_in_doubt_gives_way_first_and_may_be_cancelled() {
    let limits = Limits { in_flight: 3, ..Limits::DEFAULT };
    let mut channel = Channel::limited(&limits);
    channel.open("2025-11-25");
    channel.take();
    for id in 1..=3 {
        channel.call(id, "t", &json!({}));
        if id == 2 {
            channel.skip(ServerToClient, 100);
            channel.bytes(ServerToClient, b"\n");
        }
    }
    channel.client(
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
    );
    channel.time += 601_000_000_000;
    channel.request(4, "ping", &json!({}));
    let said = channel.take();
    assert_eq!(ended(&said), [(json!(1), CallStatus::Cancelled)]);
    assert_eq!(in_doubt(&said), [json!(2)]);
    channel.request(5, "ping", &json!({}));
    let said = channel.take();
    assert_eq!(ended(&said), [(json!(2), CallStatus::NoResponse)]);
    assert_eq!(channel.in_flight(), [json!(3), json!(4), json!(5)]);
    channel.request(6, "ping", &json!({}));
    assert_eq!(ended(&channel.take()), [(json!(3), CallStatus::NoResponse)]);
}

#[test]
fn the_end_of_an_answer_is_enough() {
    let mut channel = Channel::opened("2025-11-25");
    channel.call(1, "t", &json!({}));
    channel.call(2, "t", &json!({}));
    channel.skip(ServerToClient, 100);
    channel.line(ServerToClient, r#"text"}]},"jsonrpc":"2.0","id":1}"#);
    channel.bytes(ServerToClient, br#"{"result":{"content":[{"type":"text","text":"no"#);
    channel.skip(ServerToClient, 3_000_000);
    channel.line(ServerToClient, r#"xx"}],"isError":true},"jsonrpc":"2.0","id":2}"#);
    let said = channel.take();
    assert_eq!(words(&said), ["hole"]);
    assert_eq!(ended(&said), [(json!(1), CallStatus::Ok), (json!(2), CallStatus::ToolError)]);
    let Some(Said::Ended(last)) = said.last() else { panic!() };
    assert!(last.clipped);
    assert_eq!(last.error.as_ref().unwrap().message, "no");
    assert!(last.response_bytes.unwrap() > 3_000_000);
}

#[test]
fn megabytes_are_followed_by_their_ends() {
    let mut channel = Channel::opened("2025-11-25");
    let blob = "é".repeat(2_500_000);
    channel.call("big", "echo", &json!({"path": "/tmp/x", "message": blob}));
    // The order of the TypeScript SDK.
    let text = format!(
        r#"{{"method":"tools/call","params":{{"name":"echo","arguments":{{"path":"/y","message":"{blob}"}}}},"jsonrpc":"2.0","id":5}}"#
    );
    channel.line(ClientToServer, &text);
    channel.answer("big", &json!({"content": [{"type": "text", "text": blob}]}));
    channel.answer(5, &json!({"content": [{"type": "text", "text": blob}], "isError": true}));
    let said = channel.take();
    assert_eq!(words(&said), [""; 0]);
    for (call, path) in started(&said).into_iter().zip(["/tmp/x", "/y"]) {
        assert_eq!(call.tool.as_deref(), Some("echo"));
        assert!(call.request_bytes > 5_000_000);
        let given = call.arguments.as_ref().unwrap();
        assert_eq!(given["path"], path);
        assert!(given["message"].as_str().unwrap().starts_with("éé"));
        let clipped = call.clipped.as_ref().unwrap();
        assert!(clipped.len() < (64 << 10) + 16 && clipped.contains(path));
    }
    assert_eq!(ended(&said), [(json!("big"), CallStatus::Ok), (json!(5), CallStatus::ToolError)]);
    assert_eq!(channel.conversation.counters().clipped, 4);
}

#[test]
fn long_arguments_of_a_whole_message_are_kept_by_their_ends() {
    let mut channel = Channel::opened("2025-11-25");
    let blob = "b".repeat(300_000);
    channel.call(1, "write", &json!({"path": "/a", "content": blob, "mode": "w"}));
    let said = channel.take();
    let call = started(&said)[0];
    let given = call.arguments.as_ref().unwrap();
    assert_eq!((&given["path"], &given["mode"]), (&json!("/a"), &json!("w")));
    let kept = (64 << 10) - r#"{"path":"/a","content":""#.len();
    assert_eq!(given["content"].as_str().unwrap().len(), kept);
    assert!(call.clipped.as_ref().unwrap().ends_with(r#","mode":"w"}"#));
}

#[test]
fn the_table_is_bounded_in_number_and_memory() {
    let limits = Limits { in_flight: 10, in_flight_bytes: 100_000, ..Limits::default() };
    let mut channel = Channel::limited(&limits);
    channel.open("2025-11-25");
    channel.take();
    for id in 1..=30 {
        channel.call(id, "t", &json!({"text": "x".repeat(20_000)}));
    }
    assert_eq!(channel.conversation.in_flight().count(), 10);
    let kept: usize = channel
        .conversation
        .in_flight()
        .map(|call| call.arguments.as_ref().map_or(0, |given| given.to_string().len()))
        .sum();
    assert!(kept <= 100_000, "{kept}");
    let counters = channel.conversation.counters();
    assert_eq!(counters.evicted, 20);
    assert!(counters.without_arguments > 0);
    let said = channel.take();
    assert_eq!(words(&said), ["table_full"; 20]);
    assert_eq!(ended(&said)[0], (json!(1), CallStatus::NoResponse));
    // An answer to one that was given up is no surprise.
    channel.answer(1, &json!({}));
    assert_eq!(channel.words(), [""; 0]);
}

#[test]
fn the_catalogue_follows_the_pages() {
    let mut channel = Channel::opened("2025-11-25");
    channel.request(1, "tools/list", &json!({}));
    channel.answer(1, &json!({"tools": [{"name": "a"}], "nextCursor": "n"}));
    channel.request(2, "tools/list", &json!({"cursor": "n"}));
    channel.answer(2, &json!({"tools": [{"name": "b", "description": "B"}]}));
    assert!(matches!(
        channel.take().last_chunk(),
        Some([Said::Catalogue { tools: 2 }, Said::Ended(_)])
    ));
    let catalogue = channel.conversation.catalogue();
    assert_eq!(catalogue.definition("b"), Some(r#"{"description":"B","name":"b"}"#));
    channel.server(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    assert!(channel.conversation.catalogue().stale());
}

#[test]
fn every_word_that_is_said_is_in_the_table() {
    let mut channel = Channel::new();
    let hostile: &[&str] = &[
        "x",
        "[]",
        "{}",
        "[[]]",
        "null",
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"error":1}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"notifications/cancelled"}"#,
    ];
    for text in hostile {
        channel.line(ClientToServer, text);
        channel.line(ServerToClient, text);
    }
    for word in channel.words() {
        assert!(PROBLEMS.iter().any(|(known, _)| *known == word), "{word}");
    }
}
