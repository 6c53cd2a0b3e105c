//! The programs on files opened through an `io_uring`: at the functions that do such requests, or, where these do not
//! serve, at the one that every open of the host comes by.

use aya::maps::{HashMap, MapData};
use aya::{Btf, Ebpf};
use mcpwatch_common::control::{ABSENT, OPENING_BYTES, Offsets};

use super::fexit::{Attached, Programs};
use super::hooks::{HOOKS, Hook, IO_URING_OPEN, IO_URING_OPEN_PARTS, IO_URING_OPEN_PARTS_SINCE};
use super::{KernelError, capabilities, take, with_causes};

/// Why no open can be told for that of an `io_uring` where a field is missing that says whose work a thread does.
const NO_IO_WORKERS: &str = " (before 5.12, and 5.10.162 of that series, threads of the kernel that belong to no \
     process work for an io_uring)";

/// The programs, whichever they are.
pub struct IoUringOpens {
    programs: Programs,
    /// What is being opened, by thread.
    openings: HashMap<MapData, u32, [u8; OPENING_BYTES]>,
    /// Why every open of the host pays.
    all_opens_pay: Option<String>,
    /// Why the program for which they do cannot be taken.
    by_path: Result<(), String>,
}

impl IoUringOpens {
    /// Takes the map; no program is loaded yet.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            programs: Programs::default(),
            openings: take(ebpf, "OPENING")?,
            all_opens_pay: None,
            by_path: Ok(()),
        })
    }

    /// Loads those that serve. The error is why none do.
    pub fn load(
        &mut self,
        ebpf: &mut Ebpf,
        btf: Option<&Btf>,
        offsets: &Offsets,
    ) -> Result<(), String> {
        self.by_path = can_be_told_by_path(offsets);
        let loaded = self.load_best(ebpf, btf, offsets);
        if loaded.is_err() {
            self.programs.unload(ebpf);
        }
        loaded
    }

    fn load_best(
        &mut self,
        ebpf: &mut Ebpf,
        btf: Option<&Btf>,
        offsets: &Offsets,
    ) -> Result<(), String> {
        capabilities::trampolines()?;
        let btf = btf.ok_or("the kernel's type information cannot be read")?;
        match self.load_parts(ebpf, btf, offsets) {
            Ok(()) => Ok(()),
            Err(reason) => self.fall_back(ebpf, btf, reason),
        }
    }

    /// Loads those on the functions that open what an `io_uring` is to open, for which nobody else pays.
    fn load_parts(&mut self, ebpf: &mut Ebpf, btf: &Btf, offsets: &Offsets) -> Result<(), String> {
        serve(capabilities::version(&capabilities::release()), offsets)?;
        self.programs.load_parts(ebpf, hook()?, IO_URING_OPEN_PARTS, btf)?;
        self.try_out(ebpf)
    }

    /// Takes the one on the function that every open of the host comes by.
    fn fall_back(&mut self, ebpf: &mut Ebpf, btf: &Btf, reason: String) -> Result<(), String> {
        self.programs.unload(ebpf);
        self.by_path.clone().map_err(|why| format!("{reason}; {why}"))?;
        self.all_opens_pay = Some(reason);
        self.programs.load(ebpf, hook()?, btf)?;
        self.try_out(ebpf)
    }

    fn try_out(&mut self, ebpf: &mut Ebpf) -> Result<(), String> {
        match self.programs.try_out(ebpf) {
            Some(Err((_, reason))) => Err(reason),
            _ => Ok(()),
        }
    }

    /// Attaches the next one. Should it fail, the other way is taken, with the next call.
    pub fn attach_next(&mut self, ebpf: &mut Ebpf) -> Attached {
        match self.programs.attach_next(ebpf) {
            Attached::Failed((name, reason)) => {
                let again = if self.all_opens_pay.is_none() {
                    Btf::from_sys_fs()
                        .map_err(|error| with_causes(&error))
                        .and_then(|btf| self.fall_back(ebpf, &btf, reason))
                } else {
                    Err(reason)
                };
                again.map_or_else(
                    |reason| {
                        self.programs.unload(ebpf);
                        Attached::Failed((name, reason))
                    },
                    |()| Attached::NotYet,
                )
            }
            attached => attached,
        }
    }

    /// Each is attached.
    #[must_use]
    pub const fn are_attached(&self) -> bool {
        self.programs.are_attached()
    }

    /// Detaches them, in their own time.
    pub fn detach(&mut self, ebpf: &mut Ebpf) {
        self.programs.detach(ebpf);
    }

    /// What was being opened when the last watch ended: nobody saw the end of that.
    pub fn forget(&mut self) {
        let threads: Vec<u32> = self.openings.keys().filter_map(Result::ok).collect();
        for thread in threads {
            // An absent entry is what is wanted.
            let _ = self.openings.remove(&thread);
        }
    }

    /// Why every open of the host pays, where it does.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let why = self.all_opens_pay.as_ref()?;
        Some(format!("at the function that every open of the host comes by ({why})"))
    }

    /// How often the kernel passed over one of them because it ran on the same processor already.
    #[must_use]
    pub fn passed_over(&self, ebpf: &Ebpf) -> u64 {
        self.programs.passed_over(ebpf)
    }
}

fn hook() -> Result<&'static Hook, String> {
    let hook = HOOKS.iter().find(|hook| hook.name == IO_URING_OPEN);
    hook.ok_or_else(|| "there is no such hook".into())
}

/// Whether the functions that open what an `io_uring` is to open leave everything where it can be read.
fn serve(running: Option<(u32, u32)>, offsets: &Offsets) -> Result<(), String> {
    let (major, minor) = IO_URING_OPEN_PARTS_SINCE;
    if running.is_some_and(|running| running < (major, minor)) {
        return Err(format!(
            "before Linux {major}.{minor} the functions of io_uring do not leave the result in the request"
        ));
    }
    all_there(&[
        (offsets.filename_name, "filename.name", ""),
        (offsets.io_kiocb_opcode, "io_kiocb.opcode", ""),
        (offsets.io_kiocb_result, "io_kiocb.cqe.res", ""),
        (offsets.io_open_directory, "io_open.dfd", ""),
        (offsets.io_open_path, "io_open.filename", ""),
        (offsets.io_open_flags, "io_open.how.flags", ""),
        (offsets.io_open_slot, "io_open.file_slot", ""),
    ])
}

/// Whether an open of an `io_uring` can be told from others where all come by.
fn can_be_told_by_path(offsets: &Offsets) -> Result<(), String> {
    all_there(&[
        (offsets.task_worker, "task_struct.worker_private", NO_IO_WORKERS),
        (offsets.task_io_uring, "task_struct.io_uring", " (it may be built without io_uring)"),
        (offsets.filename_name, "filename.name", ""),
        (offsets.open_flags_flags, "open_flags.open_flag", ""),
        (offsets.open_flags_lookup, "open_flags.lookup_flags", ""),
    ])
}

fn all_there(fields: &[(u32, &str, &str)]) -> Result<(), String> {
    match fields.iter().find(|(offset, ..)| *offset == ABSENT) {
        Some((_, field, why)) => {
            Err(format!("the type information of this kernel has no `{field}`{why}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    #[test]
    fn what_does_not_serve_is_named() {
        let known = Offsets::zeroed();
        assert_eq!(serve(Some((6, 0)), &known), Ok(()));
        assert_eq!(serve(None, &known), Ok(()), "a release that says nothing may be a new one");
        assert!(serve(Some((5, 19)), &known).unwrap_err().contains("before Linux 6.0"));
        let without = Offsets { io_kiocb_result: ABSENT, ..known };
        assert!(serve(Some((7, 3)), &without).unwrap_err().contains("`io_kiocb.cqe.res`"));
        assert_eq!(can_be_told_by_path(&without), Ok(()));
        let without = Offsets { task_worker: ABSENT, ..known };
        assert_eq!(serve(Some((7, 3)), &without), Ok(()));
        let reason = can_be_told_by_path(&without).unwrap_err();
        assert!(reason.contains("worker_private") && reason.contains("5.12"), "{reason}");
    }
}
