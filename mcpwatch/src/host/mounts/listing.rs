//! A `/proc/PID/mountinfo`: its mounts as a tree, and which of them is at a path.
//!
//! Read as bytes and in five fields only: mount points are named by whoever may mount, in any bytes, and a parser
//! that fails on one of them would leave its neighbours standing for it.

use std::collections::HashMap;

use super::Steps;
use crate::event::decode::text;

/// How long a listing may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    pub(super) mounts: usize,
}

/// A container has some dozens. Whoever may mount there (in a user namespace, anybody) decides how many.
pub(super) const NAMESPACE: Limit = Limit { bytes: 256 << 10, mounts: 1_024 };
/// The host of many containers has some thousands.
pub(super) const HOST: Limit = Limit { bytes: 4 << 20, mounts: 8_192 };
/// Most components of a path that is looked for: those of an event have fewer.
const COMPONENTS: usize = 128;
/// Bits of a minor number in the kernel's encoding of a device (`MINORBITS`).
const MINOR_BITS: u32 = 20;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    id: u64,
    parent: u64,
    /// As the kernel encodes it.
    pub(super) device: u32,
    /// Which directory, or file, of the device it is.
    pub(super) root: String,
    /// Where it is mounted.
    pub(super) point: String,
}

/// All mounts of a namespace.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) mounts: Vec<Mount>,
    /// The one at the root of the tree.
    top: usize,
    /// By the mount they are mounted on.
    children: HashMap<u64, Vec<usize>>,
    /// By the mount they are mounted on, and where.
    points: HashMap<(u64, String), usize>,
    /// By device, those first that show most of it.
    devices: HashMap<u32, Vec<usize>>,
}

impl Listing {
    /// `None` when it is not whole: too long, with a line that cannot be read, or without a root.
    pub(super) fn parse(bytes: &[u8], limit: Limit) -> Option<Self> {
        if u64::try_from(bytes.len()).ok()? >= limit.bytes {
            return None;
        }
        let mut listing = Self::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if listing.mounts.len() >= limit.mounts {
                return None;
            }
            listing.mounts.push(Mount::parse(line)?);
        }
        let ids: HashMap<u64, usize> =
            listing.mounts.iter().enumerate().map(|(number, mount)| (mount.id, number)).collect();
        // Two with one id: it changed while it was read.
        if ids.len() != listing.mounts.len() {
            return None;
        }
        let mut tops = Vec::new();
        for (number, mount) in listing.mounts.iter().enumerate() {
            listing.devices.entry(mount.device).or_default().push(number);
            if mount.id != mount.parent && ids.contains_key(&mount.parent) {
                listing.children.entry(mount.parent).or_default().push(number);
                listing.points.insert((mount.parent, mount.point.clone()), number);
            } else {
                tops.push(number);
            }
        }
        let mounts = &listing.mounts;
        for numbers in listing.devices.values_mut() {
            numbers.sort_by_key(|number| mounts.get(*number).map_or(0, |mount| mount.root.len()));
        }
        listing.top = match *tops {
            [top] if mounts.get(top)?.point == "/" => top,
            _ => return None,
        };
        Some(listing)
    }

    /// The number of the mount that a path comes to, from the root down: what is mounted nearer to the root
    /// hides what is mounted below it.
    pub(super) fn visible(&self, path: &str, steps: &Steps) -> Option<usize> {
        let mut number = self.top;
        // In a tree there are no more steps than mounts; a made-up listing may hold a ring.
        let mut left = self.mounts.len() + COMPONENTS;
        for part in parts(path) {
            loop {
                left = left.checked_sub(1)?;
                steps.take()?;
                let key = (self.mounts.get(number)?.id, part.to_owned());
                // One mounted on the root of another has the same mount point.
                let Some(next) = self.points.get(&key) else { break };
                number = *next;
            }
        }
        Some(number)
    }

    /// The mounts of a device, those first that show most of it, with their numbers.
    pub(super) fn of_device(&self, device: u32) -> impl Iterator<Item = (usize, &Mount)> {
        let numbers = self.devices.get(&device).into_iter().flatten();
        numbers.filter_map(move |number| Some((*number, self.mounts.get(*number)?)))
    }

    /// What is mounted on a mount.
    pub(super) fn children(&self, mount: &Mount) -> impl Iterator<Item = &Mount> {
        let numbers = self.children.get(&mount.id).into_iter().flatten();
        numbers.filter_map(move |number| self.mounts.get(*number))
    }
}

/// The path from its first component on: `/`, `/a`, `/a/b`.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    let longer = ends.chain((path.len() > 1).then_some(path.len()));
    path.get(..1).into_iter().chain(longer.filter_map(move |end| path.get(..end)))
}

impl Mount {
    /// A line begins with id, parent's id, `major:minor`, root and mount point.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut next = || fields.next().filter(|field| !field.is_empty());
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        let (id, parent) = (number(next()?)?, number(next()?)?);
        let mut device = next()?.splitn(2, |byte| *byte == b':');
        let major = u32::try_from(number(device.next()?)?).ok()?;
        let minor = u32::try_from(number(device.next()?)?).ok()?;
        if major >> (u32::BITS - MINOR_BITS) != 0 || minor >> MINOR_BITS != 0 {
            return None;
        }
        let path = |field: &[u8]| {
            let path = text(&unescaped(field));
            // What is no path stands for a thing without a place, as `net:[…]` of a mounted namespace does.
            if path.starts_with('/') { path } else { format!("//{path}") }
        };
        let (root, point) = (path(next()?), path(next()?));
        Some(Self { id, parent, device: major << MINOR_BITS | minor, root, point })
    }
}

/// A field with its escapes resolved: `mangle` in `fs/proc_namespace.c` writes space, tab, line feed, backslash
/// and `#` as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| {
            *first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit))
        });
        let value = digits.and_then(|digits| {
            let value = digits.iter().fold(0_u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
            u8::try_from(value).ok()
        });
        if let Some(value) = value {
            bytes.push(value);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}
