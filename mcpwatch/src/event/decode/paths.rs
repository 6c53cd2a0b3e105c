//! Paths and texts as the kernel programs send them.

use mcpwatch_common::event as wire;

use super::super::Place;
use super::take;

/// Components from the leaf up, NUL-terminated, as an absolute path. One whose root was not reached, like
/// that of a pipe, stays relative.
pub(super) fn path_text(components: &[u8], complete: bool) -> String {
    let components = components.strip_suffix(b"\0").unwrap_or(components);
    if components.is_empty() {
        return "/".into();
    }
    let mut path = String::with_capacity(components.len() + 1);
    for name in components.rsplit(|byte| *byte == 0) {
        if complete || !path.is_empty() {
            path.push('/');
        }
        push_text(&mut path, name);
    }
    path
}

/// Components from the leaf up, parted at the process's root directory: those above it, and those below. Only
/// where it is not the root of the process's mounts.
pub(super) fn split_at_root(components: &[u8], root: Option<u16>) -> Option<(&[u8], &[u8])> {
    let (inner, outer) = components.split_at_checked(root?.into())?;
    (!outer.is_empty()).then_some((outer, inner))
}

/// The path an argument means from a base directory, and the path below the process's own root directory
/// where that differs. What climbs with `..` stops at that root, as it does in the kernel.
pub(super) fn from_base(
    base: &[u8],
    complete: bool,
    root: Option<u16>,
    argument: &str,
) -> (String, Option<String>) {
    if let Some((outer, inner)) = split_at_root(base, root) {
        let inner = join(&path_text(inner, true), argument);
        let outer = path_text(outer, complete);
        let below = if inner == "/" { "" } else { inner.as_str() };
        return (format!("{outer}{below}"), Some(inner));
    }
    let base = path_text(base, complete);
    (if argument.is_empty() { base } else { join(&base, argument) }, None)
}

/// A file a system call named.
pub(super) fn place(place: wire::Place, tail: &mut &[u8]) -> Option<Place> {
    let base = take(tail, place.base_len.into())?;
    let argument = text(take(tail, place.argument_len.into())?);
    let flag = |flag: u16| place.flags & flag != 0;
    let (path, inner_path) = if flag(wire::PLACE_BASED) {
        let root = flag(wire::BASE_ROOTED).then_some(place.base_root);
        let rest = if flag(wire::PLACE_RESOLVED) { "" } else { argument.as_str() };
        from_base(base, flag(wire::BASE_COMPLETE), root, rest)
    } else {
        (argument.clone(), None)
    };
    Some(Place {
        path,
        argument,
        inner_path,
        mount_namespace: place.mount_namespace,
        host_path: None,
        unlinked: flag(wire::UNLINKED),
    })
}

/// A relative path below a directory, with `.` and `..` taken out as text: it was not opened, so there is
/// no better answer.
#[must_use]
pub fn join(base: &str, argument: &str) -> String {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in argument.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let mut path = String::with_capacity(base.len() + argument.len() + 1);
    for part in parts {
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() { "/".into() } else { path }
}

/// Text of bytes that should be UTF-8; bytes that are not stand as `\xNN`, so that nothing is lost and two
/// names never become one.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_text(&mut text, bytes);
    text
}

fn push_text(text: &mut String, bytes: &[u8]) {
    use std::fmt::Write;
    if let Ok(whole) = std::str::from_utf8(bytes) {
        text.push_str(whole);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
}
