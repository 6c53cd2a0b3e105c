//! The watch set and the scope: who is captured. Decided here, in the kernel, so that nothing of a new
//! server's life is missed and descendants are followed without a race.

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use mcpwatch_common::control::{Channel, Instance, Probe, Watch, instance_id};

use crate::{
    bounds,
    emit::unreadable,
    kread::{self, Address},
    maps::{CHANNELS, INSTANCES, PAGE, SCOPE, WATCH, WATCHED, setting},
};

/// The running thread, as far as events name it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Task {
    /// Process (thread group) id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// When the process started, nanoseconds of `CLOCK_BOOTTIME`.
    pub start_time: u64,
    /// The instance it belongs to; 0 when it is not watched.
    pub instance: u64,
}

/// Process and thread id of the running thread.
#[inline(always)]
pub fn ids() -> (u32, u32) {
    // SAFETY: takes nothing and returns a number.
    let both = unsafe { bpf_get_current_pid_tgid() };
    ((both >> 32) as u32, both as u32)
}

/// Covers every place in a page of [`WATCHED`].
const IN_PAGE: i32 = 0xfff;

const _: () = assert!(PAGE == IN_PAGE as usize + 1);

/// The byte of a process in [`WATCHED`].
#[inline(always)]
fn byte_of(pid: u32) -> Option<*mut u8> {
    let page = WATCHED.get_ptr_mut(pid / PAGE as u32)?.cast::<u8>();
    // SAFETY: a masked place in a map value of that size.
    Some(unsafe { page.add(bounds::mask::<IN_PAGE>(pid as usize)) })
}

/// Notes whether a process is watched, after [`WATCH`] was changed.
#[inline(always)]
fn note(pid: u32, watched: bool) {
    if let Some(byte) = byte_of(pid) {
        // SAFETY: a byte of a map value.
        unsafe { byte.write_volatile(u8::from(watched)) };
    }
}

/// Whether the running process may be watched: all that one which is not has to pay.
#[inline(always)]
pub fn may_be_watched() -> bool {
    let (pid, _) = ids();
    // SAFETY: a byte of a map value.
    byte_of(pid).is_none_or(|byte| unsafe { byte.read_volatile() } != 0)
}

/// The running thread, if its process is watched.
#[inline(always)]
pub fn current() -> Option<Task> {
    if may_be_watched() { looked_up() } else { None }
}

/// The same, of a process that may be watched.
#[inline(always)]
pub fn looked_up() -> Option<Task> {
    let (pid, tid) = ids();
    // SAFETY: the value is copied at once; a concurrent update can only mix two states of one process.
    let watch = *unsafe { WATCH.get(pid) }?;
    Some(Task { pid, tid, start_time: watch.start_time, instance: watch.instance })
}

/// The instance the running process belongs to; 0 when it is not watched.
#[inline(always)]
pub fn current_instance() -> u64 {
    mcpwatch_current_instance()
}

/// [`current_instance`], as a global BPF function: its caller is verified once for both cases.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_current_instance() -> u64 {
    current().map_or(0, |task| task.instance)
}

/// The process may be captured at all: it is not the agent, and it is in the scope.
#[inline(always)]
pub fn in_scope(pid: u32) -> bool {
    if pid == setting!(agent_pid) {
        return false;
    }
    // SAFETY: only the presence of the key matters.
    setting!(scoped) == 0 || unsafe { SCOPE.get(pid) }.is_some()
}

/// A child enters the scope of its parent.
#[inline(always)]
pub fn inherit_scope(parent: u32, child: u32) {
    if setting!(scoped) != 0 && in_scope(parent) {
        // A full map loses the child from the scope: it is not captured, and that is counted.
        if SCOPE.insert(child, 0, 0).is_err() {
            unreadable(Probe::Fork);
        }
    }
}

/// What became of a child of a watched process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inherited {
    /// It is watched.
    Yes,
    /// Its parent's instance is watched no more, and so is the parent.
    Dropped,
    /// There is no room.
    Full,
}

/// A child joins the instance of its parent.
#[inline(always)]
pub fn inherit(parent: &Task, child: u32, child_start_time: u64) -> Inherited {
    if instance(parent.instance).is_none() {
        release(parent.pid);
        return Inherited::Dropped;
    }
    let watch = Watch { instance: parent.instance, start_time: child_start_time };
    if WATCH.insert(child, watch, 0).is_err() {
        return Inherited::Full;
    }
    note(child, true);
    Inherited::Yes
}

/// The instance's entry.
#[inline(always)]
pub fn instance(id: u64) -> Option<*mut Instance> {
    INSTANCES.get_ptr_mut(id)
}

/// What became of the attempt to found an instance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Founded {
    /// The process is not one to found an instance.
    No,
    /// It founded one and belongs to it now.
    Yes(u64),
    /// It would have, but the maps are full.
    Full,
}

/// Makes the process the first of a new instance with this channel.
#[inline(always)]
pub fn found(pid: u32, start_time: u64, stdin_inode: u64, stdout_inode: u64) -> Founded {
    let id = instance_id(pid, start_time);
    let entry = Instance { stdin_inode, stdout_inode, in_offset: 0, out_offset: 0 };
    if INSTANCES.insert(id, entry, 0).is_err() {
        return Founded::Full;
    }
    if WATCH.insert(pid, Watch { instance: id, start_time }, 0).is_err() {
        let _ = INSTANCES.remove(id);
        return Founded::Full;
    }
    note(pid, true);
    for inode in [stdin_inode, stdout_inode] {
        if inode != 0 {
            // Full: see the map.
            let _ = CHANNELS.insert(inode, Channel { instance: id }, 0);
        }
    }
    Founded::Yes(id)
}

/// The instance whose stdin or stdout this is, and whether it is the stdin.
#[inline(always)]
fn owner_of(inode: u64) -> Option<(u64, bool)> {
    // SAFETY: the value is copied at once.
    let Channel { instance: id } = *unsafe { CHANNELS.get(inode) }?;
    let owner = instance(id)?;
    // SAFETY: a map value that stays valid for the program's run; the fields are plain numbers.
    let (stdin, stdout) = unsafe { ((*owner).stdin_inode, (*owner).stdout_inode) };
    // Inode numbers are used again, and an instance may have been given up as a server.
    (inode == stdin || inode == stdout).then_some((id, inode == stdin))
}

/// The other instance whose stdin or stdout this is, and whether it is the stdin.
#[inline(always)]
pub fn channel_of_other(task: &Task, inode: u64) -> Option<(u64, bool)> {
    owner_of(inode).filter(|(owner, _)| *owner != task.instance)
}

/// Whether an executing process is a candidate, and then founds its instance: its stdin and stdout are
/// pipes or sockets that its parent does not itself have there. A parent that makes such a pair makes a
/// private channel; a process that merely inherits one belongs to whoever has it.
#[inline(always)]
pub fn found_at_exec(task: &Task, parent: Address, stdin_inode: u64, stdout_inode: u64) -> Founded {
    let Task { start_time, instance, .. } = *task;
    match mcpwatch_found_at_exec(start_time, instance, parent, stdin_inode, stdout_inode) {
        NOT_FOUNDED => Founded::No,
        NO_ROOM => Founded::Full,
        id => Founded::Yes(id),
    }
}

/// [`found_at_exec`], as a global BPF function: the id of the instance, or what stands for none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_found_at_exec(
    start_time: u64,
    watched: u64,
    parent: Address,
    stdin_inode: u64,
    stdout_inode: u64,
) -> u64 {
    let (pid, _) = ids();
    if setting!(sniff) == 0 || stdin_inode == 0 || stdout_inode == 0 {
        return NOT_FOUNDED;
    }
    // It has an instance of its own already, unless the agent has dropped that.
    if watched == instance_id(pid, start_time) && instance(watched).is_some() {
        return NOT_FOUNDED;
    }
    if kread::channel_inode(kread::task_file(parent, 0)) == stdin_inode
        || kread::channel_inode(kread::task_file(parent, 1)) == stdout_inode
    {
        return NOT_FOUNDED;
    }
    // A descendant of a server that is given a channel of another: it stays what it is, and what it writes there is
    // told as done by its server. That of its own server may be its: a container's runtime hands it on and ends.
    let is_anothers = |inode| owner_of(inode).is_some_and(|(owner, _)| owner != watched);
    if instance(watched).is_some() && (is_anothers(stdin_inode) || is_anothers(stdout_inode)) {
        return NOT_FOUNDED;
    }
    match found(pid, start_time, stdin_inode, stdout_inode) {
        Founded::Yes(id) => id,
        Founded::No => NOT_FOUNDED,
        Founded::Full => NO_ROOM,
    }
}

/// What stands for no instance where an id is expected.
const NOT_FOUNDED: u64 = 0;
const NO_ROOM: u64 = u64::MAX;

/// A process is no longer watched, but stays in the scope.
#[inline(always)]
pub fn release(pid: u32) {
    let _ = WATCH.remove(pid);
    note(pid, false);
    // Who put the process in meanwhile, on another processor or from the agent, may have noted it before that.
    // SAFETY: only the presence of the key matters.
    if unsafe { WATCH.get(pid) }.is_some() {
        note(pid, true);
    }
}

/// A process is gone.
#[inline(always)]
pub fn forget(pid: u32) {
    release(pid);
    if setting!(scoped) != 0 {
        let _ = SCOPE.remove(pid);
    }
}
