//! Kernel memory that programs load from by an instruction, which costs a fraction of the helper that reads it: since 6.17 the
//! kernel's function `bpf_rdonly_cast` makes a pointer of any address. Its number differs from kernel to kernel, so that it is
//! put into the object where that calls [`mcpwatch_common::control::RDONLY_CAST`].

use btfparse::{TypeInformation, TypeVariant};

/// Where in the object it is called, four bytes a place.
static CALLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/casts"));

pub(super) const FUNCTION: &str = "bpf_rdonly_cast";
/// How a kernel says that the function takes any address.
const FEATURES: &str = "bpf_features";
const FEATURE: &str = "BPF_FEAT_RDONLY_CAST_TO_VOID";

/// In the second byte of a call, whose upper half is its source register: `BPF_PSEUDO_KFUNC_CALL`.
const OF_THE_KERNEL: u8 = 2 << 4;

/// The number of the function, in a kernel in which it takes any address.
pub fn function(types: &TypeInformation) -> Option<u32> {
    let TypeVariant::Enum(features) = types.from_id(types.id_of(FEATURES)?)? else { return None };
    features.named_value_list().iter().find(|value| value.name == FEATURE)?;
    let id = types.id_of(FUNCTION)?;
    matches!(types.get().get(&id)?, TypeVariant::Func(_)).then_some(id)
}

/// The object with the number of the function where it is called.
pub fn put_into(object: &[u8], function: u32) -> Vec<u8> {
    let mut object = object.to_vec();
    for place in calls() {
        if let Some([_code, registers, _, _, number @ ..]) =
            object.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<8>)
        {
            *registers = OF_THE_KERNEL;
            *number = function.to_le_bytes();
        }
    }
    object
}

fn calls() -> impl Iterator<Item = usize> {
    let (places, _) = CALLS.as_chunks::<4>();
    places.iter().filter_map(|place| usize::try_from(u32::from_le_bytes(*place)).ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mcpwatch_common::control::RDONLY_CAST;

    use super::*;
    use crate::kernel::object::OBJECT;
    use crate::kernel::offsets;

    #[test]
    fn the_function_is_called_wherever_the_object_asks_for_it_and_nothing_else_is_changed() {
        let changed = put_into(OBJECT, 0x0403_0201);
        assert_eq!(changed.len(), OBJECT.len());
        let mut expected = OBJECT.to_vec();
        for place in calls() {
            let call = &mut expected[place..place + 8];
            assert_eq!(call[..4], [0x85, 0, 0, 0]);
            assert_eq!(call[4..], RDONLY_CAST.to_le_bytes());
            call.copy_from_slice(&[0x85, 0x20, 0, 0, 1, 2, 3, 4]);
        }
        // Wherever there is one; an instruction begins at a multiple of its size.
        let mut call = vec![0x85, 0, 0, 0];
        call.extend(RDONLY_CAST.to_le_bytes());
        let found = OBJECT.chunks(8).enumerate().filter(|(_, bytes)| *bytes == call);
        let found: Vec<usize> = found.map(|(index, _)| index * 8).collect();
        assert_eq!(calls().collect::<Vec<_>>(), found);
        assert_ne!(found, Vec::<usize>::new());
        assert!(changed == expected);
    }

    #[test]
    fn a_kernel_that_has_the_feature_has_the_function() {
        let Ok(bytes) = std::fs::read(offsets::VMLINUX) else {
            eprintln!("skipped: this kernel shows no BTF at {}", offsets::VMLINUX);
            return;
        };
        let has_feature = bytes.windows(FEATURE.len()).any(|window| window == FEATURE.as_bytes());
        let types = offsets::types_of_file(Path::new(offsets::VMLINUX)).unwrap();
        let function = function(&types);
        assert_eq!(function.is_some(), has_feature);
        if let Some(id) = function {
            assert_eq!(types.name_of(id).as_deref(), Some(FUNCTION));
        }
    }
}
