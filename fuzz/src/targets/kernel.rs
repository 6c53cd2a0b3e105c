//! The decoder of what comes out of the ring buffer, or out of a recording.

use mcpwatch::event::decode;
use mcpwatch::event::{Event, EventKind};
use mcpwatch_common::event::{Header, WIRE_VERSION};

/// Decodes a batch to its end. Every event takes at least a header off it, so the end comes; what was
/// decoded is not longer than what it was decoded from allows.
pub fn events(data: &[u8]) {
    // The first byte chooses whether versions are put right: without that, hardly any input would get
    // past the first check.
    let Some((choice, batch)) = data.split_first() else { return };
    let mut batch = batch.to_vec();
    if choice % 4 != 0 {
        stamp(&mut batch);
    }
    let mut rest = batch.as_slice();
    loop {
        let before = rest.len();
        let Some(decoded) = decode::next(&mut rest) else { break };
        let taken = before - rest.len();
        assert!(taken >= size_of::<Header>() || rest.is_empty(), "the batch does not get shorter");
        if let Ok(event) = decoded {
            assert!(text_bytes(&event) <= 5 * taken, "{taken} bytes became {event:?}");
        }
    }
    assert!(rest.is_empty());
}

/// Writes the version into every header of a batch.
pub fn stamp(batch: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = batch.get_mut(at..at + size_of::<Header>()) {
        // `version`, `kind`, `size` begin a header.
        let [v0, v1, _, _, a, b, c, d, ..] = header else { break };
        [*v0, *v1] = WIRE_VERSION.to_ne_bytes();
        let size = u32::from_ne_bytes([*a, *b, *c, *d]) as usize;
        at = at.saturating_add(size.max(size_of::<Header>()));
    }
}

/// Bytes of text an event holds. A byte that is no UTF-8 becomes four characters, a path gets a slash a
/// component.
fn text_bytes(event: &Event) -> usize {
    match &event.kind {
        EventKind::Exec(exec) => {
            exec.path.len() + exec.cwd.len() + exec.argv.iter().map(String::len).sum::<usize>()
        }
        EventKind::Open(open) => open.path.len().max(open.argument.len()),
        EventKind::Net(net) => net.unix_path.as_ref().map_or(0, String::len),
        EventKind::Payload(payload) => payload.data.len(),
        EventKind::Dns(packet) | EventKind::Tls(packet) => packet.data.len(),
        _ => 0,
    }
}
