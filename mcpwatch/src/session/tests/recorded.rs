//! Conversations of real clients and servers, see `fixtures/conversations/README.md`.

use super::*;
use crate::wire::lines::{Frame, Framer};

const HANDSHAKE_RECORDING: &str = include_str!("../../../fixtures/conversations/handshake.jsonl");
const STATELESS_RECORDING: &str = include_str!("../../../fixtures/conversations/stateless.jsonl");
const PYTHON_RECORDING: &str = include_str!("../../../fixtures/conversations/python.jsonl");

/// The reads of a recording.
fn reads(recording: &str) -> Vec<(Direction, String)> {
    recording
        .lines()
        .map(|line| {
            let read: Value = serde_json::from_str(line).unwrap();
            let client = read["from"] == "client";
            let direction = if client { ClientToServer } else { ServerToClient };
            (direction, read["text"].as_str().unwrap().to_owned())
        })
        .collect()
}

/// Everything said, with the reads cut into pieces of at most `size` bytes.
fn follow(recording: &str, size: usize) -> (Channel, Vec<Said>) {
    let mut channel = Channel::new();
    for (direction, text) in reads(recording) {
        for piece in text.as_bytes().chunks(size) {
            channel.bytes(direction, piece);
        }
    }
    let mut said = channel.take();
    said.extend(channel.end());
    (channel, said)
}

/// A line for each call: id, method, tool, how it ended.
fn calls(said: &[Said]) -> Vec<String> {
    said.iter()
        .filter_map(|said| match said {
            Said::Ended(Ended { call, status, .. }) => Some(format!(
                "{} {} {} {}",
                call.id,
                call.method,
                call.tool.as_deref().unwrap_or("-"),
                status.name()
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn a_handshake_session_of_the_first_typescript_sdk() {
    let (channel, said) = follow(HANDSHAKE_RECORDING, 4096);
    assert_eq!(words(&said), [""; 0]);
    assert_eq!(
        calls(&said),
        [
            "0 initialize - ok",
            "1 tools/list - ok",
            "2 tools/call echo ok",
            "3 tools/call get-sum tool_error",
            "4 tools/call no-such-tool tool_error",
            "5 tools/call get-sum ok",
            "6 tools/call get-sum ok",
            "7 tools/call get-sum ok",
            "8 tools/call get-sum ok",
            "0 roots/list - ok",
            "9 tools/call trigger-long-running-operation ok",
            "1 sampling/createMessage - ok",
            "10 tools/call trigger-sampling-request ok",
            "12 resources/list - ok",
            "13 resources/read - ok",
            "14 resources/read - rpc_error",
            "15 prompts/get - ok",
            "16 ping - ok",
            "11 tools/call trigger-long-running-operation cancelled",
        ]
    );
    let conversation = &channel.conversation;
    assert!(conversation.spoke_mcp());
    let session = conversation.session().unwrap();
    assert_eq!(session.protocol_version.as_deref(), Some("2025-11-25"));
    assert_eq!(session.client.as_ref().unwrap().name, "recording-client");
    assert!(conversation.catalogue().complete() && conversation.catalogue().len() > 10);
    let definition = conversation.catalogue().definition("echo").unwrap();
    assert!(definition.starts_with(r#"{"annotations":"#), "{definition}");
    let echo = started(&said)[2];
    assert_eq!(echo.arguments, Some(json!({"message": "Grüße, \"world\" 😀\n"})));
}

#[test]
fn a_stateless_session_of_the_second_typescript_sdk() {
    let (channel, said) = follow(STATELESS_RECORDING, 4096);
    assert_eq!(words(&said), [""; 0]);
    assert_eq!(
        calls(&said),
        [
            "0 tools/list - ok",
            "1 tools/call repeat ok",
            "2 tools/call fail tool_error",
            "3 tools/call missing rpc_error",
        ]
    );
    assert!(channel.conversation.spoke_mcp());
    let session = channel.conversation.session().unwrap();
    assert_eq!(
        (session.era, session.revision()),
        (STATELESS, Some(methods::Revision::V2026_07_28))
    );
    assert_eq!(session.server.as_ref().unwrap().name, "recorded-server");
}

#[test]
fn a_stateless_session_of_the_python_sdk() {
    let (channel, said) = follow(PYTHON_RECORDING, 4096);
    assert_eq!(words(&said), [""; 0]);
    assert_eq!(
        calls(&said),
        [
            "1 server/discover - ok",
            "2 tools/list - ok",
            "3 tools/call get_current_time ok",
            "4 tools/call get_current_time tool_error",
        ]
    );
    assert_eq!(channel.conversation.session().unwrap().era, STATELESS);
    assert!(channel.conversation.session().unwrap().server.is_some());
}

#[test]
fn the_size_of_the_pieces_changes_nothing_but_the_times() {
    for recording in [HANDSHAKE_RECORDING, STATELESS_RECORDING, PYTHON_RECORDING] {
        let (_, whole) = follow(recording, 4096);
        for size in (1..40).chain([64, 100, 1000, 4095]) {
            let (_, cut) = follow(recording, size);
            assert_eq!(calls(&cut), calls(&whole), "pieces of {size}");
            assert_eq!(cut.len(), whole.len(), "pieces of {size}");
        }
    }
}

#[test]
fn the_lines_are_the_same_wherever_the_stream_is_cut() {
    for recording in [HANDSHAKE_RECORDING, STATELESS_RECORDING, PYTHON_RECORDING] {
        for direction in [ClientToServer, ServerToClient] {
            let reads = reads(recording).into_iter().filter(|(from, _)| *from == direction);
            let stream: String = reads.map(|(_, text)| text).collect();
            let expected: Vec<_> = stream.lines().map(str::as_bytes).collect();
            for cut in 0..=stream.len() {
                let (mut framer, mut out) = (Framer::new(Limits::default()), Vec::new());
                framer.push(0, &stream.as_bytes()[..cut], &mut out);
                framer.push(cut as u64, &stream.as_bytes()[cut..], &mut out);
                assert_eq!(out.len(), expected.len());
                for (frame, line) in out.iter().zip(&expected) {
                    assert!(matches!(frame, Frame::Line { bytes, .. } if bytes == line));
                }
            }
        }
    }
}

#[test]
fn a_recording_joined_anywhere_blames_nobody() {
    let reads = reads(HANDSHAKE_RECORDING);
    for skipped in 1..reads.len() {
        let mut channel = Channel::new();
        channel.conversation.joined_mid_stream();
        for (index, (direction, text)) in reads.iter().enumerate() {
            if index < skipped {
                channel.skip(*direction, text.len() as u64);
            } else {
                channel.bytes(*direction, text.as_bytes());
            }
        }
        let mut words = channel.words();
        words.retain(|word| *word != "joined_mid_stream");
        assert!(words.is_empty(), "{skipped}: {words:?}");
    }
}
