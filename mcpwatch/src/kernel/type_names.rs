//! Names in a kernel's type information that nothing here asks for: those of functions and of their parameters. The parser
//! would keep them in many small pieces, which is half of what a start takes; so they are blanked before it sees them.
//!
//! The format is that of <https://docs.kernel.org/bpf/btf.html>.

/// Bytes of `struct btf_type`, with which each type begins: its name, its kind with the number of its parts, and a size or
/// another type.
const TYPE: usize = 12;
/// Bytes of `struct btf_param`, which begins with its name.
const PARAMETER: usize = 8;
const FUNCTION: u32 = 12;
const PROTOTYPE: u32 = 13;

/// Blanks the names of parameters, and of functions but the one to `keep`. From where the bytes are not of the format they
/// stay as they are: the parser says what is wrong.
pub fn blank(types: &mut [u8], keep: &str) {
    // It is none where the bytes end early.
    let _: Option<()> = blank_each(types, keep);
}

fn blank_each(bytes: &mut [u8], keep: &str) -> Option<()> {
    // `struct btf_header`: after its own length come places that count from its end.
    let from_header = |place| number(bytes, 4)?.checked_add(number(bytes, place)?);
    let (mut place, names) = (from_header(8)?, from_header(16)?);
    let end = place.checked_add(number(bytes, 12)?)?;
    while place < end {
        let info = u32::try_from(number(bytes, place + 4)?).ok()?;
        let (kind, parts) = ((info >> 24) & 0x1f, usize::try_from(info & 0xffff).ok()?);
        if kind == FUNCTION {
            let name = names.checked_add(number(bytes, place)?)?;
            let kept = bytes
                .get(name..)?
                .strip_prefix(keep.as_bytes())
                .is_some_and(|rest| rest.starts_with(&[0]));
            if !kept {
                blank_at(bytes, place)?;
            }
        }
        place += TYPE;
        if kind == PROTOTYPE {
            for parameter in 0..parts {
                blank_at(bytes, place + parameter * PARAMETER)?;
            }
        }
        place += behind(kind, parts)?;
    }
    Some(())
}

/// How many bytes follow a type of this kind; none for a kind that is not known.
fn behind(kind: u32, parts: usize) -> Option<usize> {
    Some(match kind {
        // Pointers, declarations ahead, other names, qualifiers, functions, floating point, tags of types.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structs, unions, sections of data, enumerations of 64 bits.
        4 | 5 | 15 | 19 => parts * 12,
        // Enumerations.
        6 => parts * 8,
        PROTOTYPE => parts * PARAMETER,
        _ => return None,
    })
}

fn number(bytes: &[u8], place: usize) -> Option<usize> {
    usize::try_from(u32::from_ne_bytes(*bytes.get(place..)?.first_chunk()?)).ok()
}

fn blank_at(bytes: &mut [u8], place: usize) -> Option<()> {
    *bytes.get_mut(place..)?.first_chunk_mut::<4>()? = [0; 4];
    Some(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use btfparse::TypeVariant;

    use super::*;
    use crate::kernel::offsets::{VMLINUX, types_of_file};
    use crate::kernel::rdonly_cast;

    const NAMES: &[u8] = b"\0one\0two\0onetwo\0argument\0";

    /// Type information of these words, and [`NAMES`].
    fn information(types: &[u32]) -> Vec<u8> {
        let length = |bytes: usize| u32::try_from(bytes).unwrap();
        let behind = length(types.len() * 4);
        let header = [0x0001_eb9f, 24, 0, behind, behind, length(NAMES.len())];
        let words = header.iter().chain(types);
        words.flat_map(|word| word.to_ne_bytes()).chain(NAMES.iter().copied()).collect()
    }

    #[test]
    fn names_of_functions_and_parameters_are_blanked_and_no_others() {
        // An integer, a prototype with two parameters, a struct with one member, and three functions.
        let types = [
            [1, 1 << 24, 4, 32].as_slice(),
            &[0, (13 << 24) | 2, 1, 16, 1, 5, 1],
            &[5, (4 << 24) | 1, 4, 16, 1, 0],
            &[1, 12 << 24, 2, 5, 12 << 24, 2, 9, 12 << 24, 2],
        ];
        let blanked = [
            types[0],
            &[0, (13 << 24) | 2, 1, 0, 1, 0, 1],
            types[2],
            &[1, 12 << 24, 2, 0, 12 << 24, 2, 0, 12 << 24, 2],
        ];
        let mut bytes = information(&types.concat());
        blank(&mut bytes, "one");
        assert_eq!(bytes, information(&blanked.concat()));
    }

    #[test]
    fn what_is_not_of_the_format_stays_as_it_is() {
        let whole = information(&[1, 12 << 24, 2, 5, 31 << 24, 2, 9, 12 << 24, 2]);
        let mut bytes = whole.clone();
        blank(&mut bytes, "none");
        // The function before the unknown kind is blanked, the one behind it is not.
        assert_eq!(bytes[24..28], [0; 4]);
        assert_eq!(bytes[28..], whole[28..]);
        for length in 0..whole.len() {
            blank(&mut whole[..length].to_vec(), "none");
        }
        for place in 4..24 {
            let mut bytes = whole.clone();
            bytes[place] = 0xff;
            blank(&mut bytes, "none");
            assert_eq!(bytes.len(), whole.len());
        }
    }

    #[test]
    fn of_the_running_kernel_only_functions_lose_their_names() {
        let path = Path::new(VMLINUX);
        let Ok(bytes) = std::fs::read(path) else {
            eprintln!("skipped: this kernel shows no BTF at {VMLINUX}");
            return;
        };
        let whole = btfparse::TypeInformation::new(&crate::kernel::offsets::Bytes(bytes)).unwrap();
        let types = types_of_file(path).unwrap();
        assert_eq!(types.get().len(), whole.get().len());
        let mut functions = 0;
        for (id, kind) in whole.get() {
            let name = whole.name_of(*id);
            if matches!(kind, TypeVariant::Func(_))
                && name.as_deref() != Some(rdonly_cast::FUNCTION)
            {
                functions += 1;
                assert_eq!(types.name_of(*id), None, "{name:?}");
            } else {
                assert_eq!(types.name_of(*id), name);
            }
        }
        assert!(functions > 10_000, "{functions} functions");
    }
}
