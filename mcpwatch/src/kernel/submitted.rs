//! The tracepoint on requests submitted to an `io_uring`: its name, and where among its arguments the request stands,
//! have changed; the kernel's own types say which it is. Where the kernel keeps the address of a socket, they do not say
//! between 6.10 and 6.15, and it changed within the series: there the agent asks for an address that it knows.

use std::hash::{BuildHasher as _, RandomState};
use std::io;

use btfparse::{TypeInformation, TypeVariant};
use io_uring::{IoUring, opcode, types::Fd};
use mcpwatch_common::control::{ABSENT, Offsets};

/// Bytes of one argument of a raw tracepoint.
const ARGUMENT: u32 = 8;

/// Why it is missing on kernels that have one without a request.
const NO_REQUEST: &str = "the tracepoint `io_uring_submit_sqe` of this kernel does not show the request (before 5.15, \
     and 5.10.162 of that series)";
/// Why it is missing on kernels that have none.
const NO_TRACEPOINT: &str = "the type information of this kernel has no tracepoint for submitted requests (it may be \
     built without io_uring)";

/// The tracepoint of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracepoint {
    /// One of those the hook names.
    pub name: &'static str,
    /// Where `struct io_kiocb *` stands among its arguments, in bytes.
    pub request: u32,
}

/// Which of these tracepoints a kernel has, or why none can be used.
pub fn tracepoint(
    types: &TypeInformation,
    offsets: &Offsets,
    names: &[&'static str],
) -> Result<Tracepoint, String> {
    // The oldest of the operations, and what every one of them needs.
    let fields = [
        (offsets.io_kiocb_opcode, "io_kiocb.opcode"),
        (offsets.io_open_path, "io_open.filename"),
        (offsets.io_rename_path, "io_rename.oldpath"),
        (offsets.io_unlink_path, "io_unlink.filename"),
        (offsets.filename_name, "filename.name"),
    ];
    let found = names.iter().find_map(|name| Some((*name, arguments(types, name)?)));
    let (name, arguments) = found.ok_or(NO_TRACEPOINT)?;
    if let Some((_, field)) = fields.iter().find(|(offset, _)| *offset == ABSENT) {
        return Err(format!("the type information of this kernel has no `{field}`"));
    }
    let position = place(types, &arguments).ok_or(NO_REQUEST)?;
    Ok(Tracepoint { name, request: position * ARGUMENT })
}

/// Whether the kernel's types leave open where it keeps the address of a socket in a request.
pub const fn address_is_open(offsets: &Offsets) -> bool {
    // Before 6.10 it has a type of its own; since 6.15 what the address is told from begins with a pointer.
    offsets.io_connect_late == ABSENT
        && offsets.io_message_address != ABSENT
        && offsets.io_message_vector != 0
}

/// An address of a unix socket that nobody can guess, so that nobody can have put it beside.
pub fn address_of_chance() -> [u32; 4] {
    let chance = RandomState::new();
    let mut address = [chance.hash_one(0_u8), chance.hash_one(1_u8)].map(u64::to_ne_bytes).concat();
    let family = u16::try_from(libc::AF_UNIX).unwrap_or_default().to_ne_bytes();
    address.splice(..family.len(), family);
    bytemuck::pod_read_unaligned(&address)
}

/// Asks an `io_uring` of the agent's own to connect to an address. The kernel takes the address before it looks for the
/// socket, of which there is none.
pub fn ask_for(address: &[u32; 4]) -> io::Result<()> {
    let mut ring = IoUring::new(1)?;
    let len = u32::try_from(size_of_val(address)).map_err(io::Error::other)?;
    let connect = opcode::Connect::new(Fd(-1), address.as_ptr().cast(), len).build();
    // SAFETY: what the request points to outlives it: it is waited for.
    unsafe { ring.submission().push(&connect) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    Ok(())
}

/// What each of a tracepoint's arguments points to, `None` if it does not: `btf_trace_NAME` is a pointer to a function of
/// a context and of these.
fn arguments(types: &TypeInformation, name: &str) -> Option<Vec<Option<u32>>> {
    let id = types.id_of(&format!("btf_trace_{name}"))?;
    match types.from_id(types.pointee_tid(id).ok()?)? {
        TypeVariant::FuncProto(function) => {
            let own = function.parameter_list().iter().skip(1);
            Some(own.map(|argument| types.pointee_tid(argument.tid()).ok()).collect())
        }
        _ => None,
    }
}

/// The position of the request: first since 5.19, by its type; before, second behind the ring, both as `void *`.
fn place(types: &TypeInformation, arguments: &[Option<u32>]) -> Option<u32> {
    match arguments {
        [Some(first), ..] if types.name_of(*first).as_deref() == Some("io_kiocb") => Some(0),
        [Some(_), Some(_), ..] => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::hooks::SUBMITTED;
    use super::super::offsets;
    use super::*;

    #[test]
    fn addresses_of_chance_are_of_unix_sockets_and_all_different() {
        let addresses = [address_of_chance(), address_of_chance()];
        assert_ne!(addresses[0], addresses[1]);
        for address in addresses {
            assert_eq!(address[0].to_ne_bytes()[..2], 1_u16.to_ne_bytes());
        }
    }

    #[test]
    fn the_running_kernel_has_one_of_them() {
        if !Path::new(offsets::VMLINUX).exists() {
            eprintln!("skipped: this kernel shows no BTF at {}", offsets::VMLINUX);
            return;
        }
        let types = offsets::types_of_running_kernel().unwrap();
        let offsets = offsets::resolve(&types).unwrap();
        let found = tracepoint(&types, &offsets, SUBMITTED).unwrap();
        assert!(SUBMITTED.contains(&found.name) && [0, 8].contains(&found.request), "{found:?}");
        assert_eq!(tracepoint(&types, &offsets, &["no_such"]), Err(NO_TRACEPOINT.to_owned()));
        // One of another kind shows none: `struct pt_regs *` and a number.
        assert_eq!(tracepoint(&types, &offsets, &["sys_exit"]), Err(NO_REQUEST.to_owned()));
        let without = Offsets { io_unlink_path: ABSENT, ..offsets };
        assert!(
            tracepoint(&types, &without, SUBMITTED).unwrap_err().contains("io_unlink.filename")
        );
    }
}
