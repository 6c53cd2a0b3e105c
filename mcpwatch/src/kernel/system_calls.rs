//! Which tier serves the system calls, and the passage from one to the other.
//!
//! Watching begins with `sys_exit` in either tier: attaching it takes a moment, and it sees calls that began
//! before it. In tier `fexit` the programs on single calls follow, one a step, since each takes the kernel far
//! longer. When all are attached, `sys_exit` stays until no watched thread is left in a call that began before
//! its program was there: that call passes the program by. Which of the two deals with a call meanwhile, is
//! settled in the kernel (`handover.rs` there).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, MapData};
use aya::{Btf, Ebpf};
use mcpwatch_common::control::{HANDOVER_BOTH, HANDOVER_END, HANDOVER_NONE, Handover};
use mcpwatch_common::syscalls::SYSTEM_CALLS;

use super::fexit::{Attached, Failed, Programs};
use super::hooks::{self, Hook, SYS_EXIT, Tier};
use super::sys_exit::SysExit;
use super::{KernelError, capabilities, map_error, take, with_causes};
use crate::config::TierChoice;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One thing of several: the next may follow at once.
    Working,
    /// Nothing, until a thread returns from a call; or there is nothing to do at all.
    Resting,
    /// The last thing: another set of programs serves now.
    Settled,
    /// What could not be attached when the watching began, is by now.
    Attached,
}

/// `sys_exit` could not be attached.
struct Refused {
    /// When that was tried last.
    at: Instant,
    reason: String,
}

/// The system-call programs.
pub struct SystemCalls {
    /// The tier in use.
    tier: Tier,
    /// Something is to be watched.
    wanted: bool,
    sys_exit: SysExit,
    /// Why that is not attached although it is needed.
    refused: Option<Refused>,
    /// Those of tier `fexit`.
    programs: Programs,
    /// When threads that are in a call were last looked at, since the last program was attached.
    looked: Option<Instant>,
    /// Why a hook is not in tier `fexit`.
    reasons: BTreeMap<&'static str, String>,
    /// Hooks of tier `fexit` on calls that this kernel does not have, and how that is known.
    absent: BTreeMap<&'static str, String>,
    handover: Array<MapData, u32>,
    claimed: HashMap<MapData, u32, u8>,
    in_flight: HashMap<MapData, u32, u32>,
}

impl SystemCalls {
    /// Takes the maps; no program is loaded yet.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            tier: Tier::Tracepoint,
            wanted: false,
            sys_exit: SysExit::default(),
            refused: None,
            programs: Programs::default(),
            looked: None,
            reasons: BTreeMap::new(),
            absent: BTreeMap::new(),
            handover: take(ebpf, "HANDOVER")?,
            claimed: take(ebpf, "CLAIMED")?,
            in_flight: take(ebpf, "IN_FLIGHT")?,
        })
    }

    /// Takes the way of attaching `sys_exit` that fits this kernel.
    pub fn choose_sys_exit(&mut self, ebpf: &mut Ebpf) {
        self.sys_exit.choose(ebpf);
    }

    /// Loads the programs of tier `fexit` and takes it if all of them work: a call it could not serve would need
    /// `sys_exit`, for which all calls of the host pay, so that the other programs would save nothing.
    pub fn choose(
        &mut self,
        ebpf: &mut Ebpf,
        btf: Option<&Btf>,
        choice: TierChoice,
    ) -> Result<(), KernelError> {
        if choice == TierChoice::Tracepoint {
            self.refuse_all("the settings ask for tier `tracepoint`");
            return Ok(());
        }
        match (capabilities::trampolines(), btf) {
            (Err(reason), _) => self.refuse_all(&reason),
            (Ok(()), None) => self.refuse_all("the kernel's type information cannot be read"),
            (Ok(()), Some(btf)) => self.load(ebpf, btf),
        }
        if self.reasons.is_empty() {
            self.tier = Tier::Fexit;
            if let Err((hook, reason)) = self.try_out(ebpf) {
                self.fall_back(ebpf, hook, reason);
            }
        }
        if self.tier == Tier::Fexit {
            return Ok(());
        }
        self.programs.unload(ebpf);
        match self.reasons.iter().next() {
            Some((hook, reason)) if choice == TierChoice::Fexit => {
                Err(KernelError::Tier { hook, reason: reason.clone() })
            }
            _ => Ok(()),
        }
    }

    fn refuse_all(&mut self, reason: &str) {
        self.reasons = hooks::system_calls().map(|hook| (hook.name, reason.to_owned())).collect();
    }

    fn load(&mut self, ebpf: &mut Ebpf, btf: &Btf) {
        let mut symbols = None;
        let release = capabilities::release();
        for hook in hooks::system_calls() {
            let Err(refused) = self.programs.load(ebpf, hook, btf) else { continue };
            // A kernel without a system call loses nothing when it is not watched.
            let symbols = symbols.get_or_insert_with(capabilities::kernel_symbols);
            match capabilities::lacks_function(symbols, hook, &release) {
                Ok(absent) => self.absent.insert(hook.name, absent),
                Err(_) if symbols.is_ok() => self.reasons.insert(hook.name, refused),
                Err(unknown) => self.reasons.insert(hook.name, format!("{refused} ({unknown})")),
            };
        }
    }

    /// Attaches one program for a moment: the kernel may load what it then does not attach.
    fn try_out(&mut self, ebpf: &mut Ebpf) -> Result<(), Failed> {
        let nothing = || Err((SYS_EXIT, "this kernel has none of the functions".into()));
        self.programs.try_out(ebpf).unwrap_or_else(nothing)
    }

    /// Tier `fexit` turned out not to work: what it has is detached, and `sys_exit` goes on alone.
    fn fall_back(&mut self, ebpf: &mut Ebpf, hook: &'static str, reason: String) {
        self.tier = Tier::Tracepoint;
        self.reasons.insert(hook, reason);
        // The kernel goes on looking for claims, so that none is dealt with twice.
        self.programs.unload(ebpf);
    }

    /// The tier in use.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    /// Why a hook cannot be in tier `fexit`.
    #[must_use]
    pub fn refused(&self, hook: &Hook) -> Option<&str> {
        self.reasons.get(hook.name).map(String::as_str)
    }

    /// How it is known that this kernel lacks the call a hook of tier `fexit` is for; nothing is missing then.
    #[must_use]
    pub fn absent(&self, hook: &Hook) -> Option<&str> {
        self.absent.get(hook.name).map(String::as_str)
    }

    /// Why a hook is not in tier `fexit`: its own reason, or another's.
    #[must_use]
    pub fn reason(&self, hook: &Hook) -> Option<String> {
        let own = self.reasons.get(hook.name).map(|reason| format!("fexit: {reason}"));
        own.or_else(|| {
            let (first, reason) = self.reasons.iter().next()?;
            Some(format!("fexit: only together with {first}, which has none: {reason}"))
        })
    }

    /// Why `sys_exit` is not attached although it is needed: in tier `tracepoint` no system call is seen then, in tier
    /// `fexit` those are not that began before the watching. It is tried again from time to time.
    #[must_use]
    pub fn sys_exit_refused(&self) -> Option<&str> {
        self.refused.as_ref().map(|refused| refused.reason.as_str())
    }

    /// The programs that serve are attached, whichever they are.
    #[must_use]
    pub const fn serving(&self) -> bool {
        self.sys_exit.is_attached() || (self.wanted && self.programs.are_attached())
    }

    /// `sys_exit` is attached.
    #[must_use]
    pub const fn sys_exit_attached(&self) -> bool {
        self.sys_exit.is_attached()
    }

    /// Why `sys_exit` is attached in another way than would be best.
    #[must_use]
    pub fn sys_exit_reason(&self) -> Option<String> {
        self.sys_exit.reason()
    }

    /// There is something to watch: attaches `sys_exit` at once. The rest is done by [`Self::step`].
    pub fn begin(&mut self, ebpf: &mut Ebpf) {
        self.wanted = true;
        self.looked = None;
        self.attach_sys_exit(ebpf);
    }

    fn attach_sys_exit(&mut self, ebpf: &mut Ebpf) {
        self.refused = None;
        if self.sys_exit.is_attached() {
            return;
        }
        if let Err(reason) = self.try_sys_exit(ebpf) {
            self.claim_no_more();
            self.refused = Some(Refused { at: Instant::now(), reason });
        }
    }

    fn try_sys_exit(&mut self, ebpf: &mut Ebpf) -> Result<(), String> {
        if self.tier == Tier::Fexit || self.programs.are_detaching() {
            self.handover
                .set(Handover::State as u32, HANDOVER_BOTH, 0)
                .map_err(|error| with_causes(&error))?;
        }
        self.sys_exit.attach(ebpf)
    }

    /// Tries anew from time to time what was refused.
    fn try_again(&mut self, ebpf: &mut Ebpf) -> Step {
        if self.refused.as_ref().is_none_or(|refused| refused.at.elapsed() < AGAIN) {
            return Step::Resting;
        }
        self.attach_sys_exit(ebpf);
        if self.refused.is_some() {
            return Step::Resting;
        }
        if self.tier == Tier::Tracepoint {
            return Step::Attached;
        }
        // The others serve all along. What was taken down may have returned unseen: it is looked for anew.
        let noted: Vec<u32> = self.in_flight.keys().filter_map(Result::ok).collect();
        for thread in noted {
            let _ = self.in_flight.remove(&thread);
        }
        self.looked = None;
        Step::Settled
    }

    /// `sys_exit` is not attached: what the others claim, nobody would take up.
    fn claim_no_more(&mut self) {
        let _ = self.handover.set(Handover::State as u32, HANDOVER_NONE, 0);
        // Claims of calls that returned after the detaching.
        let claims: Vec<u32> = self.claimed.keys().filter_map(Result::ok).collect();
        for thread in claims {
            let _ = self.claimed.remove(&thread);
        }
    }

    fn detach_sys_exit(&mut self, ebpf: &mut Ebpf) {
        if self.sys_exit.detach(ebpf) {
            self.claim_no_more();
        }
    }

    /// There is nothing to watch any more: everything is detached.
    pub fn end(&mut self, ebpf: &mut Ebpf) {
        self.wanted = false;
        self.refused = None;
        self.detach_sys_exit(ebpf);
        self.programs.detach(ebpf);
    }

    /// A process is watched from now on that may be in a call already.
    pub fn joined(&mut self, ebpf: &mut Ebpf, pid: u32) {
        if self.tier == Tier::Tracepoint || !self.wanted || self.looked.is_none() {
            return;
        }
        // What was refused is tried again in its own time.
        if self.note_calls_of(pid) && self.refused.is_none() {
            self.attach_sys_exit(ebpf);
        }
    }

    /// Does the next thing that is left to do. `watched` gives the watched processes.
    pub fn step(&mut self, ebpf: &mut Ebpf, watched: impl FnOnce() -> Vec<u32>) -> Step {
        if !self.wanted {
            return Step::Resting;
        }
        if self.tier == Tier::Tracepoint {
            return self.try_again(ebpf);
        }
        match self.programs.attach_next(ebpf) {
            Attached::One => return Step::Working,
            Attached::NotYet => return Step::Resting,
            Attached::All => {}
            Attached::Failed((hook, reason)) => {
                self.fall_back(ebpf, hook, reason);
                return Step::Settled;
            }
        }
        if !self.sys_exit.is_attached() && self.refused.is_none() {
            return Step::Resting;
        }
        let first = self.looked.is_none();
        match self.looked {
            Some(last) if last.elapsed() < LOOK => return Step::Resting,
            Some(_) => {}
            None => {
                for pid in watched() {
                    self.note_calls_of(pid);
                }
            }
        }
        self.looked = Some(Instant::now());
        if self.refused.is_some() {
            // What serves by now is told, without the calls that began before.
            return if first { Step::Settled } else { self.try_again(ebpf) };
        }
        if self.calls_in_flight() {
            return Step::Resting;
        }
        self.detach_sys_exit(ebpf);
        Step::Settled
    }

    /// Takes down the threads of a process that are in a system call, or may be; true when there are any.
    fn note_calls_of(&mut self, pid: u32) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
        let mut noted = false;
        for thread in threads.flatten() {
            let Some(tid) = thread.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let read = |name| fs::read_to_string(thread.path().join(name));
            let call = match read("syscall") {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
                // Else a thread that cannot be read is gone.
                line => Some(line.unwrap_or_default()),
            };
            if may_be_in_a_watched_call(call.as_deref())
                && !works_for_io_uring(&read("stat").unwrap_or_default())
            {
                // A full map counts as a thread that never returns: `sys_exit` stays.
                let _ = self.in_flight.insert(tid, pid, 0);
                noted = true;
            }
        }
        noted
    }

    /// A thread that was taken down has not returned yet.
    fn calls_in_flight(&mut self) -> bool {
        let noted: Vec<(u32, u32)> = self.in_flight.iter().filter_map(Result::ok).collect();
        let full = noted.len() >= IN_FLIGHT;
        let mut left = false;
        for (tid, pid) in noted {
            if fs::metadata(format!("/proc/{pid}/task/{tid}")).is_ok() {
                left = true;
            } else {
                let _ = self.in_flight.remove(&tid);
            }
        }
        left || full
    }

    /// Detaches `sys_exit` and mutes the programs of tier `fexit`: they are detached when the object is dropped, which
    /// takes longer than the end of a run may.
    pub fn close(&mut self, ebpf: &mut Ebpf) {
        self.wanted = false;
        self.detach_sys_exit(ebpf);
        let _ = self.handover.set(Handover::State as u32, HANDOVER_END, 0);
    }

    /// How often the kernel passed over programs of tier `fexit` because they ran on the same processor already.
    #[must_use]
    pub fn passed_over(&self, ebpf: &Ebpf) -> u64 {
        self.programs.passed_over(ebpf)
    }

    /// What stands at a place that the kernel programs set.
    pub fn told(&self, what: Handover) -> Result<u32, KernelError> {
        self.handover.get(&(what as u32), 0).map_err(|error| map_error("HANDOVER", &error))
    }

    /// Tells the kernel programs what they have to know of each other.
    pub fn tell(&mut self, what: Handover, so: bool) -> Result<(), KernelError> {
        let set = self.handover.set(what as u32, u32::from(so), 0);
        set.map_err(|error| map_error("HANDOVER", &error))
    }
}

/// How often threads in calls are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is tried to attach what was refused.
const AGAIN: Duration = Duration::from_secs(1);
/// Entries of the map `IN_FLIGHT`.
const IN_FLIGHT: usize = 4_096;
/// `PF_IO_WORKER` of `include/linux/sched.h`.
const IO_WORKER: u32 = 0x10;
/// Where the flags stand in `/proc/PID/task/TID/stat` behind the name: `proc_pid_stat(5)`, field 9.
const FLAGS_AFTER_NAME: usize = 6;

/// From a line of `/proc/PID/task/TID/syscall`: `running`, or the number of the call and its arguments, or -1 when
/// the thread waits elsewhere. `None` where it may not be read, not even by root with Yama's `ptrace_scope` 3: then nobody
/// knows.
fn may_be_in_a_watched_call(line: Option<&str>) -> bool {
    let Some(line) = line else { return true };
    let Some(first) = line.split_ascii_whitespace().next() else { return false };
    let Ok(number) = first.parse::<i64>() else { return first == "running" };
    let numbers = SYSTEM_CALLS.iter().filter_map(hooks::number);
    // The line does not say whether the call is a 32-bit one: to wait for one too many does no harm.
    let mut numbers = numbers.chain(hooks::compat_numbers());
    numbers.any(|watched| i64::from(watched) == number)
}

/// From a line of `/proc/PID/task/TID/stat`: the thread works for an `io_uring`. It shows the call its creator was in
/// when it made it, and never returns from that.
fn works_for_io_uring(line: &str) -> bool {
    // The name, in parentheses, may have any character.
    let rest = line.rsplit_once(')').map_or("", |(_, rest)| rest);
    let flags = rest.split_ascii_whitespace().nth(FLAGS_AFTER_NAME);
    flags.and_then(|flags| flags.parse::<u32>().ok()).is_some_and(|flags| flags & IO_WORKER != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_watched_calls_are_waited_for() {
        let read = SYSTEM_CALLS.iter().find(|call| call.name == "sys_read").and_then(hooks::number);
        let read = format!("{} 0x0 0x7f00 0x2000 0x0 0x0 0x0 0x7ffd 0x7f01\n", read.unwrap());
        // recvmsg(2) by a 32-bit thread; no number of a watched 64-bit call.
        let number = if cfg!(target_arch = "aarch64") { 297 } else { 372 };
        let compat = &format!("{number} 0x0 0x7f00 0x2000 0x0 0x0 0x0 0x7ffd 0x7f01\n");
        for (line, expected) in [
            (read.as_str(), true),
            (compat, true),
            ("running\n", true),
            ("-1 0x7ffd 0x7f01\n", false),
            // No call has this number.
            ("9999 0x0 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f01\n", false),
            ("", false),
        ] {
            assert_eq!(may_be_in_a_watched_call(Some(line)), expected, "{line}");
        }
    }

    #[test]
    fn a_call_that_nobody_may_see_is_waited_for() {
        assert!(may_be_in_a_watched_call(None));
    }

    #[test]
    fn threads_of_an_io_uring_are_not_waited_for() {
        for (line, expected) in [
            ("7 (iou-sqp-7) S 1 7 7 0 -1 4194384 0 0 0 0\n", true),
            ("7 (a) b) 1 16) R 1 7 7 0 -1 4194304 0 0 0 0\n", false),
            ("7 (python3) S 1 7 7 0 -1 4194368 0 0 0 0\n", false),
            ("", false),
        ] {
            assert_eq!(works_for_io_uring(line), expected, "{line}");
        }
    }
}
