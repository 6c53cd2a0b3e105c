//! What servers and clients say: lines, JSON-RPC, conversations.

use std::collections::BTreeSet;

use mcpwatch::event::{Direction, Payload};
use mcpwatch::session::{Conversation, Said};
use mcpwatch::wire::lines::{Frame, Framer};
use mcpwatch::wire::{Limits, jsonrpc, salvage, text};

use super::bytes::Bytes;

/// Small enough that inputs of a few hundred bytes reach every limit.
const SMALL: Limits = Limits {
    message_bytes: 256,
    clip_bytes: 32,
    argument_bytes: 128,
    in_flight: 4,
    in_flight_bytes: 1024,
    tools: 4,
    catalogue_bytes: 1024,
    cancel_grace: 1_000,
    loss_grace: 1_000,
};

/// Frames of a stream are the same however it is cut, and hold no more than the limits allow.
pub fn lines(data: &[u8]) {
    let mut input = Bytes(data);
    let cut = usize::from(input.byte()).max(1);
    let stream = input.0;
    let cut_into = |piece: usize| {
        let (mut framer, mut out, mut offset) = (Framer::new(SMALL), Vec::new(), 0);
        for chunk in stream.chunks(piece) {
            framer.push(offset, chunk, &mut out);
            offset += chunk.len() as u64;
        }
        (out, framer.pending())
    };
    let whole = cut_into(stream.len().max(1));
    assert_eq!(whole, cut_into(cut), "cut into pieces of {cut}");
    bounded(&whole.0);

    // The same bytes with holes and overlaps where the first bytes of each piece say so.
    let (mut framer, mut out, mut offset) = (Framer::new(SMALL), Vec::new(), 0_u64);
    let mut input = Bytes(stream);
    while !input.is_empty() {
        let gap = input.byte();
        let piece = input.piece();
        offset = match gap {
            0..128 => offset,
            128..250 => offset.saturating_add(u64::from(gap)),
            250..254 => offset.saturating_sub(u64::from(gap)),
            _ => u64::MAX - u64::from(gap),
        };
        framer.push(offset, piece, &mut out);
        offset = offset.saturating_add(piece.len() as u64);
    }
    bounded(&out);
}

fn bounded(frames: &[Frame]) {
    for frame in frames {
        match frame {
            Frame::Line { bytes, .. } => assert!(bytes.len() <= SMALL.message_bytes),
            Frame::Clipped(clipped) => {
                assert!(clipped.head.len() <= SMALL.clip_bytes);
                assert!(clipped.tail.len() <= SMALL.clip_bytes);
            }
            Frame::Hole { .. } => {}
        }
    }
}

/// One line as text: whole, and what can be salvaged of it when it is cut at any place.
pub fn jsonrpc(data: &[u8]) {
    let (line, _) = text(data);
    match jsonrpc::line(&line) {
        Ok(jsonrpc::Line::One(one)) => {
            let _ = jsonrpc::message(one);
        }
        Ok(jsonrpc::Line::Batch(elements)) => {
            for element in elements {
                let _ = jsonrpc::message(element.get());
            }
        }
        Err(complaint) => assert!(!complaint.detail.is_empty()),
    }
    let (head, tail) = data.split_at(data.len() / 2);
    let ((head, _), (tail, _)) = (text(head), text(tail));
    let _ = salvage::salvage_object(&head, &tail);
    if let Some(salvage::Salvaged::Message(message)) = salvage::salvage(&head, &tail) {
        // What is made of the parts is read as a message again.
        let message = serde_json::Value::Object(message).to_string();
        let _ = jsonrpc::message(&message);
    }
}

/// A conversation: every call that starts ends once, whatever is said and lost.
pub fn conversation(data: &[u8]) {
    let mut input = Bytes(data);
    let first = input.byte();
    let limits = if first & 1 == 0 { Limits::DEFAULT } else { SMALL };
    let mut conversation = Conversation::new(&limits);
    if first & 2 != 0 {
        conversation.joined_mid_stream();
    }
    let (mut said, mut offsets, mut time) = (Vec::new(), [0_u64; 2], 1);
    while !input.is_empty() {
        let how = input.byte();
        let (direction, offset) = match (how & 1, &mut offsets) {
            (0, [offset, _]) => (Direction::ClientToServer, offset),
            (_, [_, offset]) => (Direction::ServerToClient, offset),
        };
        if how & 6 == 6 {
            *offset += u64::from(how);
        }
        time += u64::from(how) * 100;
        // A quarter of a line at a time, or up to its end: most inputs should be lines.
        let mut bytes = if how & 8 == 0 { line(&mut input) } else { input.piece() }.to_vec();
        if how & 8 == 0 {
            bytes.push(b'\n');
        }
        let payload = Payload { direction, offset: *offset, data: bytes, last: how & 16 == 0 };
        *offset += payload.data.len() as u64;
        conversation.bytes(time, &payload, &mut said);
        conversation.tick(time, &mut said);
        assert!(conversation.in_flight().count() <= limits.in_flight);
    }
    conversation.end(time, &mut said);
    let mut open = BTreeSet::new();
    for said in &said {
        match said {
            Said::Started(call) => assert!(open.insert(call.number), "started twice: {call:?}"),
            Said::Ended(ended) => {
                assert!(open.remove(&ended.call.number), "ended but not in flight: {ended:?}");
            }
            Said::InDoubt(call) => {
                assert!(open.contains(&call.number), "in doubt but not in flight: {call:?}");
            }
            Said::Problem(problem) => {
                let unsafe_text = problem.detail.chars().any(char::is_control);
                assert!(!unsafe_text, "{:?}", problem.detail);
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "calls that never ended: {open:?}");
}

/// Up to the end of a line.
fn line<'a>(input: &mut Bytes<'a>) -> &'a [u8] {
    let end = input.0.iter().position(|byte| *byte == b'\n').unwrap_or(input.0.len());
    let (line, rest) = input.0.split_at(end);
    input.0 = rest.get(1..).unwrap_or_default();
    line
}
