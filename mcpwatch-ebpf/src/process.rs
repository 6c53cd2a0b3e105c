//! Process life: fork, exec, exit.

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_uid_gid, bpf_probe_read_user,
};
use mcpwatch_common::{
    control::Probe,
    event::{
        ANCESTORS, ARGV_BYTES, Ancestor, EXEC_CANDIDATE, EXEC_FILE_CAPABILITIES,
        EXEC_MORE_ANCESTORS, EXEC_SET_GROUP_ID, EXEC_SET_USER_ID, EXEC_UNLINKED, EXEC_WATCH_FULL,
        Exec, Exit, FLAG_TRUNCATED, FLAG_UNREADABLE, Fork, Kind,
    },
};

use crate::{
    bounds,
    emit::{self, Draft, Notice, Room, Wake, filtered, unreadable},
    kread::{self, Address, field, follow, read},
    maps::{OPENING, offset},
    network, path,
    watch::{self, Founded, Inherited, Task},
};

/// Bytes of the ancestors before the tail of an exec.
const ANCESTRY: usize = ANCESTORS * size_of::<Ancestor>();
/// Set in the result of [`mcpwatch_ancestors`] when there are more than it wrote.
const MORE: u64 = 1 << 16;
/// Tail offsets of an exec event stay below this: two paths of up to `PATH_BYTES` and a component each.
const TAIL_MASK: i32 = 0x3fff;
/// Covers every length up to [`ARGV_BYTES`].
const ARGV_MASK: i32 = 0xffff;

const _: () = assert!(ARGV_BYTES <= ARGV_MASK as usize);

/// A task was created; a thread of the same process is nothing new.
#[inline(always)]
pub fn on_fork(child: Address) {
    let (parent_pid, _) = watch::ids();
    let child_pid = kread::task_tgid(child);
    if child_pid == parent_pid || child_pid == 0 {
        return;
    }
    watch::inherit_scope(parent_pid, child_pid);
    let Some(parent) = watch::current() else { return };
    let child_start_time = kread::task_start_time(child);
    match watch::inherit(&parent, child_pid, child_start_time) {
        Inherited::Yes => {}
        Inherited::Dropped => return filtered(Probe::Fork),
        Inherited::Full => return unreadable(Probe::Fork),
    }
    let body = Fork { child_pid, padding: 0, child_start_time };
    emit::send(&parent, &Notice::of_call(Probe::Fork, Kind::Fork, 0), body);
}

/// The running process replaced its program.
#[inline(always)]
pub fn on_exec(current: Address) {
    let (pid, tid) = watch::ids();
    if !watch::in_scope(pid) {
        return;
    }
    let before = watch::current_instance();
    let mut task = Task { pid, tid, start_time: kread::task_start_time(current), instance: before };
    let parent = follow(current, offset!(task_real_parent));
    let stdin_inode = kread::channel_inode(kread::task_file(current, 0));
    let stdout_inode = kread::channel_inode(kread::task_file(current, 1));
    let mut exec_flags = 0;
    let mut wake = Wake::Soon;
    match watch::found_at_exec(&task, parent, stdin_inode, stdout_inode) {
        Founded::No => {}
        Founded::Yes(instance) => {
            task.instance = instance;
            exec_flags |= EXEC_CANDIDATE;
            // The agent may have to attach the system-call program for this one.
            wake = Wake::Now;
        }
        Founded::Full => exec_flags |= EXEC_WATCH_FULL,
    }
    let Some(draft) = Draft::new(Room::Exec) else { return };
    let found = mcpwatch_ancestors(Room::Exec as u64);
    let ancestors = found as u16;
    if found & MORE != 0 {
        exec_flags |= EXEC_MORE_ANCESTORS;
    }
    let tail_at = Draft::tail_at::<Exec>() + ANCESTRY;
    let mut flags = 0;

    exec_flags |= mcpwatch_program_flags(current) as u16;
    let exe = follow(follow(current, offset!(task_mm)), offset!(mm_exe_file));
    let exe = path::walk(exe + u64::from(offset!(file_path)), Room::Exec, tail_at);
    let mount_namespace = path::namespace(&draft);
    let cwd = follow(current, offset!(task_fs)) + u64::from(offset!(fs_pwd));
    let cwd = path::walk(cwd, Room::Exec, tail_at + exe.len);
    if !exe.complete || !cwd.complete {
        flags |= FLAG_TRUNCATED;
    }

    let argv_at = bounds::mask::<TAIL_MASK>(exe.len + cwd.len);
    let argv = mcpwatch_argv(current, argv_at as u64);
    let argv_len = bounds::mask::<ARGV_MASK>(argv as usize);
    flags |= (argv >> 32) as u32;

    // SAFETY: both helpers take nothing and return a number.
    let (ids, cgroup) = unsafe { (bpf_get_current_uid_gid(), bpf_get_current_cgroup_id()) };
    draft.body(Exec {
        ppid: kread::task_tgid(parent),
        uid: ids as u32,
        parent_start_time: kread::task_start_time(parent),
        parent_instance: before,
        stdin_inode,
        stdout_inode,
        cgroup,
        gid: (ids >> 32) as u32,
        argv_len: argv_len as u32,
        path_len: exe.len as u16,
        cwd_len: cwd.len as u16,
        flags: exec_flags,
        stdin_family: kread::socket_family(current, 0),
        stdout_family: kread::socket_family(current, 1),
        ancestors,
        mount_namespace,
    });
    let notice = Notice { flags, wake, ..Notice::of_call(Probe::Exec, Kind::Exec, 0) };
    draft.send::<Exec>(&task, notice, ANCESTRY + argv_at + argv_len);
}

/// What is special about the program a task executed: `EXEC_UNLINKED`, `EXEC_SET_USER_ID` and its kin. A global BPF
/// function, as [`mcpwatch_argv`] is: each branch in the program itself doubles what the verifier walks, before 6.8.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_program_flags(current: Address) -> u64 {
    let exe = follow(follow(current, offset!(task_mm)), offset!(mm_exe_file));
    let mut flags = 0;
    if read::<u32>(follow(exe, offset!(file_inode)), offset!(inode_links)) == Some(0) {
        flags |= EXEC_UNLINKED;
    }
    let cred = follow(current, offset!(task_cred));
    let id = |offset| field::<u32>(cred, offset);
    let (user, acting_user) = (id(offset!(cred_uid)), id(offset!(cred_euid)));
    if user != acting_user {
        flags |= EXEC_SET_USER_ID;
    }
    if id(offset!(cred_gid)) != id(offset!(cred_egid)) {
        flags |= EXEC_SET_GROUP_ID;
    }
    if user != 0 && acting_user != 0 && has_more_than_was_handed_on(cred) {
        flags |= EXEC_FILE_CAPABILITIES;
    }
    u64::from(flags)
}

/// Whether one who is not root may do more after an exec than the ambient capabilities that were handed on: the rest is
/// the file's gift (`capabilities(7)`). In the first user namespace alone: in others, root has another number.
#[inline(always)]
fn has_more_than_was_handed_on(cred: Address) -> bool {
    let set = |offset| field::<u64>(cred, offset);
    let namespace = follow(cred, offset!(cred_user_namespace));
    set(offset!(cred_permitted)) & !set(offset!(cred_ambient)) != 0
        && read::<u32>(namespace, offset!(user_namespace_level)) == Some(0)
}

/// Writes the argument vector of a task behind the two paths of an exec, which take `at` bytes; gives its length,
/// and in the upper half `FLAG_*`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_argv(current: Address, at: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Exec) else { return 0 };
    let mm = follow(current, offset!(task_mm));
    let argv = field::<u64>(mm, offset!(mm_arg_start));
    let argv_end = field::<u64>(mm, offset!(mm_arg_end));
    let argv_all = bounds::opaque(argv_end.saturating_sub(argv) as usize);
    let mut len = ARGV_BYTES;
    let mut flags = 0;
    if argv_all <= ARGV_BYTES {
        len = argv_all;
    } else {
        flags |= FLAG_TRUNCATED;
    }
    // SAFETY: at most `TAIL_MASK` bytes of paths and `ARGV_BYTES` of arguments fit into the scratch.
    let failed = unsafe {
        let to = draft.tail::<Exec>().add(ANCESTRY + bounds::mask::<TAIL_MASK>(at as usize));
        bpf_probe_read_user(to.cast(), len as u32, argv as *const _)
    };
    if failed != 0 {
        len = 0;
        flags |= FLAG_UNREADABLE;
    }
    len as u64 | u64::from(flags) << 32
}

/// Writes the ancestors of the running process behind the body of an exec, from its parent up to process 1, or
/// to the edge of the scope; gives their number, and whether there are more. A global BPF function, so that its
/// caller is verified for any number, not for each.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_ancestors(room: u64) -> u64 {
    let Some(draft) = Draft::new(Room::from_number(room)) else { return 0 };
    // SAFETY: within the buffer, as asserted in `mcpwatch_common::event`.
    let to = unsafe { draft.start().add(Draft::tail_at::<Exec>()).cast::<Ancestor>() };
    let mut task = kread::current_task();
    let mut found = 0;
    for number in 0..ANCESTORS {
        task = follow(task, offset!(task_real_parent));
        let pid = kread::task_tgid(task);
        // The idle task is the parent of process 1.
        if pid == 0 || !watch::in_scope(pid) {
            break;
        }
        let start_time = kread::task_start_time(task);
        // SAFETY: one of the ancestors there is room for.
        unsafe { to.add(number).write(Ancestor { pid, padding: 0, start_time }) };
        found += 1;
    }
    if found < ANCESTORS as u64 {
        return found;
    }
    let next = kread::task_tgid(follow(task, offset!(task_real_parent)));
    if next != 0 && watch::in_scope(next) { found | MORE } else { found }
}

/// A thread ended; with the last one of a process, the process has.
#[inline(always)]
pub fn on_exit(current: Address) {
    let (pid, tid) = watch::ids();
    // Whether or not the process is watched: another of its threads may have taken itself for the last.
    network::flush(pid, tid);
    // Taken apart at once: the compiler would copy the parts even where there are none, and the verifier refuses
    // to copy a register nobody wrote.
    let (mut start_time, mut instance) = (0, 0);
    if let Some(task) = watch::current() {
        (start_time, instance) = (task.start_time, task.instance);
        // There is one if the program at the end of its open was passed over.
        let _ = OPENING.remove(tid);
    }
    let signal = follow(current, offset!(task_signal));
    // `do_exit` lowers the number of live threads before this tracepoint: two may see that none is left, and the end is
    // told twice. Who takes the process out of the watch set does not decide, for the agent does that, too.
    if read::<u32>(signal, offset!(signal_live)) != Some(0) {
        return;
    }
    // Whether or not it is in the scope: where that had no room for it, it may be watched nevertheless.
    let in_scope = watch::in_scope(pid);
    watch::forget(pid);
    if !in_scope {
        return;
    }
    let task = Task {
        pid,
        tid,
        start_time: if start_time == 0 { kread::task_start_time(current) } else { start_time },
        instance,
    };
    let body = Exit { status: field(current, offset!(task_exit_code)), padding: 0 };
    emit::send(&task, &Notice::of_call(Probe::Exit, Kind::Exit, 0), body);
}
