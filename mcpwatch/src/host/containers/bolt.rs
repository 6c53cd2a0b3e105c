//! Looking up one value in a bbolt database, without opening it: podman (until it changed to `SQLite`) and
//! containerd keep labels in one.
//!
//! Read only, without a lock, and page by page: bbolt never writes to a page that its last committed root
//! leads to, so a look that takes a moment sees one state, and one that is overtaken fails a check or finds
//! nothing. Layout: <https://github.com/etcd-io/bbolt/blob/main/internal/common/page.go>. Pure.

/// First number of the meta page's body.
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const PAGE_HEADER: usize = 16;
const ELEMENT: usize = 16;
const BUCKET_HEADER: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
/// The value of an element is a bucket.
const IS_BUCKET: u32 = 0x01;
/// Deepest tree that is followed: with two children a page, this is more than any disk holds.
const DEPTH: usize = 32;
/// Longest page with what overflows from it.
const PAGE_BYTES: usize = 4 << 20;
/// Most entries listed of one bucket.
const ENTRIES: usize = 1_024;

/// Reads this many bytes at an offset of the database.
pub type Read<'a> = dyn Fn(u64, usize) -> Option<Vec<u8>> + 'a;

/// A database.
pub struct Database<'a> {
    read: &'a Read<'a>,
    page_size: u64,
    root: u64,
}

/// A bucket: a tree of its own, or a page within its parent's.
pub enum Bucket {
    /// Page its tree begins at.
    Root(u64),
    /// The page.
    Inline(Vec<u8>),
}

/// What stands under a key.
enum Value {
    Bytes(Vec<u8>),
    Bucket(Bucket),
}

impl<'a> Database<'a> {
    /// Finds the last committed root. `None` for what is no such database.
    #[must_use]
    pub fn open(read: &'a Read<'a>) -> Option<Self> {
        let first = Meta::read(read, 0);
        // When the first page is torn, the second stands one page on: of a size that is then a guess.
        let size = first.as_ref().map_or(4_096, |meta| u64::from(meta.page_size));
        let second = Meta::read(read, size);
        let meta = [first, second].into_iter().flatten().max_by_key(|meta| meta.transaction)?;
        Some(Self { read, page_size: u64::from(meta.page_size), root: meta.root })
    }

    /// The bucket at the end of a path of names.
    #[must_use]
    pub fn bucket(&self, path: &[&str]) -> Option<Bucket> {
        path.iter().try_fold(Bucket::Root(self.root), |bucket, name| {
            match self.find(&bucket, name.as_bytes())? {
                Value::Bucket(inner) => Some(inner),
                Value::Bytes(_) => None,
            }
        })
    }

    /// The value under a key of a bucket.
    #[must_use]
    pub fn get(&self, bucket: &Bucket, key: &str) -> Option<Vec<u8>> {
        match self.find(bucket, key.as_bytes())? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Bucket(_) => None,
        }
    }

    /// Keys and values of a bucket without those that are buckets, in order, in bounded number.
    #[must_use]
    pub fn entries(&self, bucket: &Bucket) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut pages = ENTRIES;
        match bucket {
            Bucket::Inline(page) => list(page, &mut found),
            Bucket::Root(root) => self.walk(*root, DEPTH, &mut pages, &mut found),
        }
        found
    }

    fn walk(
        &self,
        page: u64,
        depth: usize,
        pages: &mut usize,
        found: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) {
        let (Some(depth), Some(left)) = (depth.checked_sub(1), pages.checked_sub(1)) else {
            return;
        };
        *pages = left;
        let Some(page) = self.page(page) else { return };
        match flags(&page) {
            Some(LEAF) => list(&page, found),
            Some(BRANCH) => {
                for index in 0..count(&page) {
                    if let Some((_, child)) = branch(&page, index) {
                        self.walk(child, depth, pages, found);
                    }
                }
            }
            _ => {}
        }
    }

    fn find(&self, bucket: &Bucket, key: &[u8]) -> Option<Value> {
        let mut page = match bucket {
            Bucket::Inline(page) => return leaf_value(page, key),
            Bucket::Root(root) => self.page(*root)?,
        };
        for _ in 0..DEPTH {
            match flags(&page)? {
                LEAF => return leaf_value(&page, key),
                BRANCH => {
                    // The last child that begins at or before the key.
                    let after = position(count(&page), |index| {
                        branch(&page, index).is_some_and(|(first, _)| first <= key)
                    });
                    let (_, child) = branch(&page, after.saturating_sub(1))?;
                    page = self.page(child)?;
                }
                _ => return None,
            }
        }
        None
    }

    fn page(&self, number: u64) -> Option<Vec<u8>> {
        let at = number.checked_mul(self.page_size)?;
        let size = usize::try_from(self.page_size).ok()?;
        let page = (self.read)(at, size)?;
        let overflow = usize::try_from(u32_at(&page, 12)?).ok()?;
        if u64_at(&page, 0)? != number {
            return None;
        }
        if overflow == 0 {
            return Some(page);
        }
        let all = size.checked_mul(overflow.checked_add(1)?)?;
        if all > PAGE_BYTES {
            return None;
        }
        (self.read)(at, all)
    }
}

struct Meta {
    page_size: u32,
    root: u64,
    transaction: u64,
}

impl Meta {
    fn read(read: &Read<'_>, at: u64) -> Option<Self> {
        let page = read(at, PAGE_HEADER + 64)?;
        let body = page.get(PAGE_HEADER..)?;
        let sum = u64_at(body, 56)?;
        let page_size = u32_at(body, 8)?;
        let valid = u32_at(body, 0)? == MAGIC
            && u32_at(body, 4)? == VERSION
            && fnv1a(body.get(..56)?) == sum
            && page_size.is_power_of_two()
            && (512..=1 << 20).contains(&page_size);
        valid.then_some(())?;
        Some(Self { page_size, root: u64_at(body, 16)?, transaction: u64_at(body, 48)? })
    }
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// How many of `count` elements, in order, fulfil what only the first ones do.
fn position(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn flags(page: &[u8]) -> Option<u16> {
    u16_at(page, 8)
}

fn count(page: &[u8]) -> usize {
    u16_at(page, 10).map_or(0, usize::from)
}

/// First key and page of a child.
fn branch(page: &[u8], index: usize) -> Option<(&[u8], u64)> {
    let at = PAGE_HEADER.checked_add(index.checked_mul(ELEMENT)?)?;
    let key = slice(page, at.checked_add(size_at(page, at)?)?, size_at(page, at + 4)?)?;
    Some((key, u64_at(page, at + 8)?))
}

/// Key, value, and whether that is a bucket.
fn leaf(page: &[u8], index: usize) -> Option<(&[u8], &[u8], bool)> {
    let at = PAGE_HEADER.checked_add(index.checked_mul(ELEMENT)?)?;
    let bucket = u32_at(page, at)? & IS_BUCKET != 0;
    let (position, key, value) =
        (size_at(page, at + 4)?, size_at(page, at + 8)?, size_at(page, at + 12)?);
    let key_at = at.checked_add(position)?;
    Some((slice(page, key_at, key)?, slice(page, key_at.checked_add(key)?, value)?, bucket))
}

fn leaf_value(page: &[u8], key: &[u8]) -> Option<Value> {
    let before =
        position(count(page), |index| leaf(page, index).is_some_and(|(one, ..)| one < key));
    let (found, value, bucket) = leaf(page, before)?;
    if found != key {
        return None;
    }
    if !bucket {
        return Some(Value::Bytes(value.to_vec()));
    }
    Some(Value::Bucket(match u64_at(value, 0)? {
        0 => Bucket::Inline(value.get(BUCKET_HEADER..)?.to_vec()),
        root => Bucket::Root(root),
    }))
}

fn list(page: &[u8], found: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    for index in 0..count(page) {
        if found.len() >= ENTRIES {
            return;
        }
        if let Some((key, value, false)) = leaf(page, index) {
            found.push((key.to_vec(), value.to_vec()));
        }
    }
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// Numbers are in the byte order of the machine that wrote them: this one.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(slice(bytes, at, 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(slice(bytes, at, 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(slice(bytes, at, 8)?.try_into().ok()?))
}

fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINERD: &[u8] = include_bytes!("../../../fixtures/containers/containerd.bolt");
    const PODMAN: &[u8] = include_bytes!("../../../fixtures/containers/podman.bolt");
    const ID: &str = "4c6d8a9b0e1f22334455667788990011aabbccddeeff00112233445566778899";

    fn reader(bytes: &[u8]) -> impl Fn(u64, usize) -> Option<Vec<u8>> + '_ {
        move |at, len| {
            let at = usize::try_from(at).ok()?;
            let end = at.checked_add(len)?.min(bytes.len());
            Some(bytes.get(at..end)?.to_vec())
        }
    }

    /// All that is asked of both databases; for one that was tampered with, whatever comes.
    fn ask(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
        let read = reader(bytes);
        let database = Database::open(&read)?;
        let labels = database.bucket(&["v1", "default", "containers", ID, "labels"]);
        let labels = labels.map(|bucket| database.entries(&bucket).len()).unwrap_or_default();
        let podman = "223f4b8c7f7654bc890c944ad09f88df903d80bc6d03acde09df7640f31ca94d";
        let row = database.bucket(&["ctr", podman]).and_then(|ctr| database.get(&ctr, "config"));
        Some((labels, row.unwrap_or_default()))
    }

    #[test]
    fn values_are_found_in_databases_of_real_programs() {
        // The labels fill more than one page.
        let (labels, _) = ask(CONTAINERD).unwrap();
        assert_eq!(labels, 101);
        let read = reader(CONTAINERD);
        let database = Database::open(&read).unwrap();
        let bucket = database.bucket(&["v1", "default", "containers", ID, "labels"]).unwrap();
        assert_eq!(database.get(&bucket, "com.example.mcp").unwrap(), b"weather");
        for number in 1..=100 {
            let value = database.get(&bucket, &format!("key-{number:03}")).unwrap();
            assert!(value.ends_with(format!("-{number:03}").as_bytes()));
        }
        for missing in ["", "a", "key-0505", "zzz", "key-"] {
            assert_eq!(database.get(&bucket, missing), None, "{missing}");
        }
        for path in [&["v2"][..], &["v1", "x"], &["v1", "default", "containers", ID, "image", "x"]]
        {
            assert!(database.bucket(path).is_none(), "{path:?}");
        }
        // A value longer than a page.
        let (_, row) = ask(PODMAN).unwrap();
        assert!(row.len() > 4_096 && row.starts_with(b"{") && row.ends_with(b"}"));
    }

    #[test]
    fn of_two_meta_pages_the_newer_valid_one_counts() {
        for torn in [0, 4_096] {
            let mut bytes = PODMAN.to_vec();
            bytes[torn + PAGE_HEADER + 20] ^= 1;
            assert!(ask(&bytes).is_some(), "{torn}: the other is whole");
            bytes[4_096 - torn + PAGE_HEADER + 20] ^= 1;
            assert!(ask(&bytes).is_none());
        }
        assert!(ask(b"").is_none() && ask(&[0; 100]).is_none() && ask(&[0xff; 9_000]).is_none());
    }

    #[test]
    fn what_was_tampered_with_ends() {
        // Every byte in turn of what is followed, and every number made large or circular.
        for original in [PODMAN, CONTAINERD] {
            let mut bytes = original.to_vec();
            for at in (8_192..original.len()).step_by(37) {
                for value in [0, 1, 2, 0x7f, 0xff] {
                    bytes[at] = value;
                    let _ = ask(&bytes);
                }
                bytes[at] = original[at];
            }
            for cut in (0..original.len()).step_by(511) {
                let _ = ask(&original[..cut]);
            }
        }
    }
}
