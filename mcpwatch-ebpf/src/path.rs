//! The path of a file as the kernel resolved it: walked from the dentry to the root of the mount namespace,
//! across mounts. Symbolic links, `..`, rename races and `/proc/self/root` hide nothing here. On the way the
//! walk notes where the process's own root directory lies, which chroot(2) may have put below, and it notes the
//! mount namespace, in whose terms the path is.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use mcpwatch_common::event::{COMPONENT_BYTES, PATH_BYTES, PATH_COMPONENTS};

use crate::{
    bounds,
    emit::{Draft, Room},
    kread::{Address, current_task, field, follow, read_both},
    maps::{Root, Walk, offset, setting},
};

/// What is read of the name of one component: a byte more than it may have, so that a longer one is not taken for whole.
const COMPONENT: u32 = COMPONENT_BYTES as u32 + 1;
/// `S_IFMT` and `S_IFDIR`, see `inode(7)`.
const FORMAT: u16 = 0o170_000;
const DIRECTORY: u16 = 0o040_000;
/// Components and mount points that are crossed.
const STEPS: usize = PATH_COMPONENTS + 16;
/// So many of them between two calls of a BPF function, which cost as much as a step.
const AT_ONCE: usize = 2;
/// Positions in a scratch buffer a walk may write at stay below this.
const POSITION: i32 = 0x7fff;
/// A path's length stays below this.
const LENGTH: i32 = 0x1fff;
/// Set in the result of [`mcpwatch_path_walk`] when the root of the mount namespace was reached.
const COMPLETE: u64 = 1 << 32;
/// Set in the result of [`mcpwatch_path_walk`] when the process's root directory was met.
const ROOTED: u64 = 1 << 33;
/// [`Root::met_at`] while the process's root directory was not met.
const NOT_MET: u64 = 0xffff;

/// Results of [`mcpwatch_path_step`]: there is more; it cannot be read, or is too long; the root of the mount
/// namespace.
const GO_ON: u64 = 0;
const STUCK: u64 = 1;
const TOP: u64 = 2;

/// What a walk gave.
#[derive(Clone, Copy)]
pub struct Walked {
    /// Bytes written: NUL-terminated components from the leaf up.
    pub len: usize,
    /// How many of them lie below the process's root directory.
    pub root: u16,
    /// The root of the mount namespace was reached.
    pub complete: bool,
    /// The process's root directory was met.
    pub rooted: bool,
}

/// Writes the components of a `struct path` into the event in a scratch buffer, from byte `start` of it on.
#[inline(always)]
pub fn walk(path: Address, room: Room, start: usize) -> Walked {
    let walked = mcpwatch_path_walk(path, start as u64, room as u64);
    Walked {
        len: bounds::mask::<LENGTH>(walked as usize),
        root: (walked >> 16) as u16,
        complete: walked & COMPLETE != 0,
        rooted: walked & ROOTED != 0,
    }
}

/// Inode number of the mount namespace that the last walk into a scratch buffer began in; 0 when it was in none.
#[inline(always)]
pub fn namespace(draft: &Draft) -> u32 {
    // SAFETY: a field of the scratch buffer, written by the walk.
    unsafe { (&raw const (*draft.root()).namespace).read_volatile() as u32 }
}

/// [`walk`], as a global BPF function: the verifier proves it once, whatever its callers know.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_path_walk(path: Address, start: u64, room: u64) -> u64 {
    if mcpwatch_path_begin(path, start, room) == 0 {
        return 0;
    }
    let Some(draft) = Draft::new(Room::from_number(room)) else { return 0 };
    let mut complete = 0;
    for _ in 0..STEPS.div_ceil(AT_ONCE) {
        let reached = mcpwatch_path_step(room);
        if reached != GO_ON {
            complete = if reached == TOP { COMPLETE } else { 0 };
            break;
        }
    }
    // SAFETY: a field of the scratch buffer.
    let met = unsafe { (&raw const (*draft.root()).met_at).read_volatile() };
    let rooted = if met == NOT_MET { 0 } else { ROOTED | (met & 0x1fff) << 16 };
    draft.len() as u64 | rooted | complete
}

/// Puts the walk's beginning into the scratch buffer; 0 without a scratch buffer. A global BPF function: what it needs
/// of the 512 bytes of stack, which are for all that call one another, is free again for the steps.
///
/// The state of the walk lives in the map, not in registers: the verifier forgets what it knew of it there. It
/// would otherwise follow each number of components apart from every other, and give up.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_path_begin(path: Address, start: u64, room: u64) -> u64 {
    let Some(draft) = Draft::new(Room::from_number(room)) else { return 0 };
    let root_at = follow(current_task(), offset!(task_fs)) + u64::from(offset!(fs_root));
    let [vfsmount, dentry] = read_both(path, offset!(path_mnt), offset!(path_dentry));
    let [root_vfsmount, root_dentry] = read_both(root_at, offset!(path_mnt), offset!(path_dentry));
    // That of the file, not of the process: a descriptor from elsewhere leads elsewhere.
    let mount = vfsmount - u64::from(offset!(mount_mnt));
    let namespace = follow(mount, offset!(mount_namespace));
    let own = Root {
        vfsmount: root_vfsmount,
        dentry: root_dentry,
        met_at: NOT_MET,
        namespace: u64::from(field::<u32>(namespace, offset!(namespace_number))),
    };
    let walk = Walk { vfsmount, top: follow(vfsmount, offset!(vfsmount_root)), dentry, start };
    // SAFETY: fields of the scratch buffer; volatile, so that the verifier knows nothing of the values.
    unsafe {
        draft.root().write_volatile(own);
        draft.walk().write_volatile(walk);
    }
    draft.set_len(0);
    1
}

/// Deals with the next components of the walk in the scratch buffer, up to [`AT_ONCE`] of them, or of mounts that the path
/// crosses.
///
/// A global BPF function, too: before 6.8 the verifier tells the ways through one step from those through the
/// next, and walks a hundred times as much.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_path_step(room: u64) -> u64 {
    let Some(draft) = Draft::new(Room::from_number(room)) else { return STUCK };
    for _ in 0..AT_ONCE - 1 {
        let reached = step(&draft);
        if reached != GO_ON {
            return reached;
        }
    }
    step(&draft)
}

#[inline(always)]
fn step(draft: &Draft) -> u64 {
    // SAFETY: as in `mcpwatch_path_begin`.
    let (walk, root) = unsafe { (draft.walk().read_volatile(), draft.root().read_volatile()) };
    let Walk { mut vfsmount, mut top, mut dentry, start } = walk;
    let len = draft.len();
    if dentry == 0 || vfsmount == 0 || len > PATH_BYTES {
        return STUCK;
    }
    if dentry == root.dentry && vfsmount == root.vfsmount {
        // SAFETY: as in `mcpwatch_path_begin`.
        unsafe { (&raw mut (*draft.root()).met_at).write_volatile(len as u64) };
    }
    let (parent, name) = parent_and_name(dentry);
    let is_top = dentry == top;
    // The top of this mount: go on where it is mounted. `struct mount` embeds `struct vfsmount`.
    let mount = vfsmount - u64::from(offset!(mount_mnt));
    let [above, mountpoint] = if is_top {
        read_both(mount, offset!(mount_parent), offset!(mount_mountpoint))
    } else {
        [0; 2]
    };
    // A file that is mounted by itself and nowhere, as container runtimes do with their own program: its path is
    // that on its file system.
    let is_loose = is_top && above == mount && len == 0 && dentry != parent && is_file(dentry);
    // Out of its mount: opened by a handle, or moved away. Its path is that on its file system, in no namespace.
    if dentry == parent && !is_top && len > 0 {
        // SAFETY: as in `mcpwatch_path_begin`.
        unsafe { (&raw mut (*draft.root()).namespace).write_volatile(0) };
        return TOP;
    }
    if !is_loose && is_top {
        if above == mount {
            return TOP;
        }
        if above == 0 {
            return STUCK;
        }
        dentry = mountpoint;
        vfsmount = above + u64::from(offset!(mount_mnt));
        top = follow(vfsmount, offset!(vfsmount_root));
    } else {
        // SAFETY: a masked position and one component lie within the scratch buffer; the helper writes at
        // most `COMPONENT` bytes.
        let (written, first) = unsafe {
            let to = draft.start().add(bounds::mask::<POSITION>(start as usize + len));
            (copy_name(to, name), to.read_volatile())
        };
        // A file at hand without its folder, as one opened by a handle may be, is called `/`. Part of a name might be
        // taken for another name.
        let least = 1 + i64::from(dentry != parent);
        if written < least || written > COMPONENT_BYTES as i64 || first == b'/' {
            return STUCK;
        }
        // A file without a folder: made in memory, with a name (`memfd:…`); a pipe or socket, without.
        if dentry == parent {
            if written > 1 {
                draft.set_len(written as usize);
            }
            return TOP;
        }
        draft.set_len(len + written as usize);
        dentry = parent;
    }
    // SAFETY: as in `mcpwatch_path_begin`.
    unsafe { draft.walk().write_volatile(Walk { vfsmount, top, dentry, start }) };
    GO_ON
}

/// Copies the name of a component with its zero, and gives how many bytes that is; less than 1 when it cannot be read.
///
/// # Safety
/// `to` must point to [`COMPONENT`] bytes in a scratch buffer.
#[inline(always)]
unsafe fn copy_name(to: *mut u8, name: Address) -> i64 {
    /// Most names are shorter.
    const WORDS: usize = 3;
    const WORD: usize = size_of::<u64>();
    // What is aligned lies in one page: behind the zero of a name there may be none.
    if setting!(rdonly_cast) != 0 && name != 0 && name.is_multiple_of(WORD as u64) {
        for place in (0..WORDS * WORD).step_by(WORD) {
            let word = field::<u64>(name, place as u32);
            // SAFETY: within the component, by the function's contract.
            unsafe { bounds::store(to.add(place), word) };
            if let Some(zero) = first_zero(word) {
                return (place + zero + 1) as i64;
            }
        }
    }
    // SAFETY: the helper writes at most as many bytes as it is told.
    unsafe { bpf_probe_read_kernel_str(to.cast(), COMPONENT, name as *const _) }
}

/// Which byte of a word is the first that is zero.
#[inline(always)]
fn first_zero(word: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The highest bit of each byte that is zero, and of some above it.
    let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
    // As many bytes of ones as there are below the first; their number stands in the highest byte of the sum.
    let below = ((zeros & zeros.wrapping_neg()) >> 7).wrapping_sub(1) & ONES;
    (zeros != 0).then_some((below.wrapping_mul(ONES) >> 56) as usize)
}

/// The parent of a dentry, and where its name stands, with the name's hash and length between them: side by side, except
/// in kernels whose structs are shuffled.
#[inline(always)]
fn parent_and_name(dentry: Address) -> (Address, Address) {
    const TWO: u32 = 2 * size_of::<u64>() as u32;
    let name_at = offset!(dentry_name).wrapping_add(offset!(qstr_name));
    let parent_at = offset!(dentry_parent);
    if name_at == parent_at.wrapping_add(TWO) {
        let [parent, _, name] = field(dentry, parent_at);
        (parent, name)
    } else {
        (follow(dentry, parent_at), follow(dentry, name_at))
    }
}

/// Whether a dentry stands for anything but a directory.
#[inline(always)]
fn is_file(dentry: Address) -> bool {
    let inode = follow(dentry, offset!(dentry_inode));
    field::<u16>(inode, offset!(inode_mode)) & FORMAT != DIRECTORY
}
