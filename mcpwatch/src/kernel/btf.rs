//! Structs and their members in the kernel's type information (BTF), read in place: a parser that keeps
//! every type as a value of its own needs ten times the five megabytes of the file, which would be most of
//! the agent's memory. The format: `Documentation/bpf/btf.rst`.

/// First bytes of BTF, in the byte order of the machine that wrote it.
const MAGIC: u16 = 0xeb9f;
/// Bytes every type begins with: name, info, size or type.
const TYPE_BYTES: usize = 12;
/// Bytes of one member of a struct or union: name, type, offset.
const MEMBER_BYTES: usize = 12;
/// Anonymous structs and unions within each other that are followed; kernels have three.
const DEPTH: usize = 16;

const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// Why bytes are no BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Something else.
    #[error("it does not begin as BTF does")]
    NotBtf,
    /// It ends before its own sizes say.
    #[error("the BTF ends before its own sizes say")]
    Cut,
    /// A kind of type that is not known, so that its length is not either.
    #[error("the BTF has types of the unknown kind {kind}")]
    Kind {
        /// Its number.
        kind: u32,
    },
}

/// Type information, checked once from end to end.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    /// Where each type begins; types are numbered from 1.
    types: Vec<u32>,
    /// Where the names begin, and where they end.
    names: (usize, usize),
}

/// A struct or union by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struct(u32);

impl Btf {
    /// Finds the types.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at: usize| word(&bytes, at).ok_or(BtfError::Cut);
        let magic = bytes.first_chunk().copied().map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError::NotBtf);
        }
        let header = word(4)?;
        // Both sections count from the end of the header.
        let section = |offset: usize, len: usize| {
            let begin = usize::try_from(u64::from(header) + u64::from(word(offset)?));
            let begin = begin.map_err(|_| BtfError::Cut)?;
            let end = begin.checked_add(word(len)? as usize).ok_or(BtfError::Cut)?;
            if end <= bytes.len() { Ok((begin, end)) } else { Err(BtfError::Cut) }
        };
        let (mut at, end) = section(8, 12)?;
        let names = section(16, 20)?;
        let mut types = Vec::new();
        while at < end {
            types.push(u32::try_from(at).map_err(|_| BtfError::Cut)?);
            let info = word(at + 4)?;
            at += TYPE_BYTES + tail_bytes(info)?;
        }
        if at == end { Ok(Self { bytes, types, names }) } else { Err(BtfError::Cut) }
    }

    /// All structs of a name, in the order of the file.
    pub fn structs<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Struct> + 'a {
        (1..).zip(&self.types).filter_map(move |(number, &at)| {
            let at = at as usize;
            let is_struct = kind(word(&self.bytes, at + 4)?) == STRUCT;
            let named = is_struct && self.is_named(word(&self.bytes, at)?, name);
            named.then_some(Struct(number))
        })
    }

    /// Offset in bytes of a member, also within anonymous structs and unions; `None` when there is none
    /// of the name, or it is a bit field.
    #[must_use]
    pub fn offset_of(&self, owner: Struct, member: &str) -> Option<u32> {
        let bits = self.bits_of(owner.0, member, DEPTH)?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    fn bits_of(&self, owner: u32, wanted: &str, depth: usize) -> Option<u32> {
        let at = *self.types.get((owner as usize).checked_sub(1)?)? as usize;
        let info = word(&self.bytes, at + 4)?;
        if !matches!(kind(info), STRUCT | UNION) {
            return None;
        }
        let has_bit_fields = info >> 31 == 1;
        (0..members(info)).find_map(|number| {
            let at = at + TYPE_BYTES + number * MEMBER_BYTES;
            let (name, of, offset) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            // With bit fields, the upper byte is the width: 0 for an ordinary member.
            let (width, offset) =
                if has_bit_fields { (offset >> 24, offset & 0xff_ffff) } else { (0, offset) };
            if name == 0 {
                let within = self.bits_of(of, wanted, depth.checked_sub(1)?)?;
                return offset.checked_add(within);
            }
            (width == 0 && self.is_named(name, wanted)).then_some(offset)
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        word(&self.bytes, at)
    }

    fn is_named(&self, name: u32, wanted: &str) -> bool {
        let (begin, end) = self.names;
        let names = self.bytes.get(begin..end).unwrap_or_default();
        names
            .get(name as usize..)
            .and_then(|text| text.strip_prefix(wanted.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn members(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes that follow a type's own, by its kind.
fn tail_bytes(info: u32) -> Result<usize, BtfError> {
    // Row by row: bytes in any case, and for each member.
    let (fixed, each) = match kind(info) {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => (0, 0),
        // Integer, variable, declaration tag.
        1 | 14 | 17 => (4, 0),
        // Array.
        3 => (12, 0),
        STRUCT | UNION => (0, MEMBER_BYTES),
        // Enumeration, prototype.
        6 | 13 => (0, 8),
        // Section, enumeration of 64 bits.
        15 | 19 => (0, 12),
        kind => return Err(BtfError::Kind { kind }),
    };
    Ok(fixed + each * members(info))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; union { long b; struct { int c; int d:3; int e; }; }; }`, `union lone`,
    /// and a second `struct outer`, empty.
    fn sample() -> Vec<u8> {
        const NAMES: &[u8] = b"\0outer\0a\0b\0c\0d\0e\0lone\0";
        let name = |wanted: &str| {
            let wanted = [b"\0", wanted.as_bytes(), b"\0"].concat();
            let at = NAMES.windows(wanted.len()).position(|window| window == wanted).unwrap();
            u32::try_from(at).unwrap() + 1
        };
        let types: Vec<u32> = [
            // 1: an integer.
            vec![0, 1 << 24, 4, 32],
            // 2: the inner struct, with a bit field.
            vec![0, 1 << 31 | STRUCT << 24 | 3, 12],
            vec![name("c"), 1, 0],
            vec![name("d"), 1, 3 << 24 | 32],
            vec![name("e"), 1, 64],
            // 3: the union.
            vec![0, UNION << 24 | 2, 16, name("b"), 1, 0, 0, 2, 0],
            // 4: the struct; its union stands at byte 8.
            vec![name("outer"), STRUCT << 24 | 2, 24, name("a"), 1, 0, 0, 3, 64],
            // 5 and 6.
            vec![name("lone"), UNION << 24, 0],
            vec![name("outer"), STRUCT << 24, 0],
        ]
        .concat();
        let len = |len: usize| u32::try_from(len).unwrap();
        let header = [24, 0, len(types.len() * 4), len(types.len() * 4), len(NAMES.len())];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        bytes.extend(header.iter().chain(&types).flat_map(|word| word.to_ne_bytes()));
        bytes.extend(NAMES);
        bytes
    }

    #[test]
    fn members_are_found_within_anonymous_ones() {
        let btf = Btf::parse(sample()).unwrap();
        let outer = btf.structs("outer").next().unwrap();
        for (member, offset) in [
            ("a", Some(0)),
            ("b", Some(8)),
            ("c", Some(8)),
            ("d", None),
            ("e", Some(16)),
            ("f", None),
            ("", None),
        ] {
            assert_eq!(btf.offset_of(outer, member), offset, "{member}");
        }
    }

    #[test]
    fn structs_of_one_name_are_all_found_and_unions_are_none() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.structs("outer").collect::<Vec<_>>(), [Struct(4), Struct(6)]);
        assert_eq!(btf.structs("lone").count() + btf.structs("oute").count(), 0);
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = sample();
        for end in 0..whole.len() {
            assert!(Btf::parse(whole[..end].to_vec()).is_err(), "{end}");
        }
    }

    #[test]
    fn any_changed_byte_is_an_error_or_harmless() {
        for at in 0..sample().len() {
            for change in [1, 0x80, 0xff] {
                let mut bytes = sample();
                bytes[at] ^= change;
                let Ok(btf) = Btf::parse(bytes) else { continue };
                // A struct within itself ends at the depth limit.
                for owner in btf.structs("outer") {
                    let _ = btf.offset_of(owner, "e");
                }
            }
        }
    }

    #[test]
    fn kinds_of_the_future_are_named() {
        let mut bytes = sample();
        let info = 24 + 4;
        bytes[info..info + 4].copy_from_slice(&(31_u32 << 24).to_ne_bytes());
        assert_eq!(Btf::parse(bytes).unwrap_err(), BtfError::Kind { kind: 31 });
    }
}
