//! Programs at the return of kernel functions, and some at their entry: loaded together, attached one at a time, since the
//! kernel takes long for each, and detached in a thread, since it takes longer still.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::thread::JoinHandle;

use aya::programs::fentry::{FEntryLink, FEntryLinkId};
use aya::programs::fexit::{FExitLink, FExitLinkId};
use aya::programs::{FEntry, FExit, Program, ProgramError};
use aya::{Btf, Ebpf};

use super::hooks::{Hook, Part, Tier};
use super::with_causes;

/// A hook and what became of it: why it does not work.
pub type Failed = (&'static str, String);

const NO_PROGRAM: &str = "the kernel object has no such program";

/// What an attempt to attach the next one came to.
pub enum Attached {
    /// One more is attached.
    One,
    /// The last watch is still being detached: a program cannot be attached again before its last link is gone.
    NotYet,
    /// All were attached already.
    All,
    /// The next one cannot be.
    Failed(Failed),
}

/// Programs that come and go together.
#[derive(Default)]
pub struct Programs {
    loaded: Vec<Loaded>,
    /// Of those that are attached, in the order of `loaded`.
    links: Vec<LinkId>,
    /// Detaches those of the last watch.
    detaching: Option<JoinHandle<()>>,
    /// While programs are attached: the kernel's type information, if it is needed.
    btf: Option<Btf>,
}

#[derive(Clone)]
struct Loaded {
    hook: &'static str,
    program: &'static str,
    function: String,
}

/// A program of the object.
enum AtFunction<'e> {
    Entry(&'e mut FEntry),
    Return(&'e mut FExit),
}

/// What holds it where it is, as it stands in the object.
enum LinkId {
    Entry(FEntryLinkId),
    Return(FExitLinkId),
}

/// The same, taken out: it is detached when this is dropped.
enum Link {
    Entry { _held: FEntryLink },
    Return { _held: FExitLink },
}

impl AtFunction<'_> {
    fn load(&mut self, function: &str, btf: &Btf) -> Result<(), ProgramError> {
        match self {
            Self::Entry(program) => program.load(function, btf),
            Self::Return(program) => program.load(function, btf),
        }
    }

    fn attach(&mut self) -> Result<LinkId, ProgramError> {
        match self {
            Self::Entry(program) => program.attach().map(LinkId::Entry),
            Self::Return(program) => program.attach().map(LinkId::Return),
        }
    }

    /// `None` when there is no such link: then it is detached.
    fn take_link(&mut self, id: LinkId) -> Option<Link> {
        match (self, id) {
            (Self::Entry(program), LinkId::Entry(id)) => {
                program.take_link(id).ok().map(|link| Link::Entry { _held: link })
            }
            (Self::Return(program), LinkId::Return(id)) => {
                program.take_link(id).ok().map(|link| Link::Return { _held: link })
            }
            _ => None,
        }
    }

    fn unload(&mut self) -> Result<(), ProgramError> {
        match self {
            Self::Entry(program) => program.unload(),
            Self::Return(program) => program.unload(),
        }
    }
}

impl Programs {
    /// Loads the program of a hook, for the first of its functions that this kernel has.
    pub fn load(&mut self, ebpf: &mut Ebpf, hook: &'static Hook, btf: &Btf) -> Result<(), String> {
        let Some(way) = hook.way(Tier::Fexit) else { return Err(NO_PROGRAM.into()) };
        let mut refused = NO_PROGRAM.to_owned();
        for function in way.point.functions() {
            match self.load_at(ebpf, hook, way.program, function, btf) {
                Ok(()) => return Ok(()),
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }

    /// Loads the programs that together do what that of a hook does. The error is the first that is refused.
    pub fn load_parts(
        &mut self,
        ebpf: &mut Ebpf,
        hook: &'static Hook,
        parts: &[Part],
        btf: &Btf,
    ) -> Result<(), String> {
        parts.iter().try_for_each(|part| {
            self.load_at(ebpf, hook, part.program, part.function.to_owned(), btf)
                .map_err(|reason| format!("{}: {reason}", part.function))
        })
    }

    fn load_at(
        &mut self,
        ebpf: &mut Ebpf,
        hook: &'static Hook,
        name: &'static str,
        function: String,
        btf: &Btf,
    ) -> Result<(), String> {
        let mut program = program(ebpf, name).ok_or(NO_PROGRAM)?;
        program.load(&function, btf).map_err(|error| with_causes(&error))?;
        self.loaded.push(Loaded { hook: hook.name, program: name, function });
        Ok(())
    }

    /// There are some, and each is attached.
    #[must_use]
    pub const fn are_attached(&self) -> bool {
        !self.loaded.is_empty() && self.links.len() == self.loaded.len()
    }

    /// Attaches the last program for a moment: the kernel may load what it then does not attach. `None` when there is
    /// no program.
    pub fn try_out(&mut self, ebpf: &mut Ebpf) -> Option<Result<(), Failed>> {
        let last = self.loaded.last()?;
        let link = match attach(ebpf, last, &mut None) {
            Ok(link) => link,
            Err(reason) => return Some(Err((last.hook, reason))),
        };
        if let Some(mut program) = program(ebpf, last.program) {
            drop(program.take_link(link));
        }
        Some(Ok(()))
    }

    /// Attaches the next one.
    pub fn attach_next(&mut self, ebpf: &mut Ebpf) -> Attached {
        if self.detaching.take_if(|thread| thread.is_finished()).is_none()
            && self.detaching.is_some()
        {
            return Attached::NotYet;
        }
        let Some(next) = self.loaded.get(self.links.len()) else {
            self.btf = None;
            return Attached::All;
        };
        match attach(ebpf, next, &mut self.btf) {
            Ok(link) => self.links.push(link),
            Err(reason) => return Attached::Failed((next.hook, reason)),
        }
        Attached::One
    }

    /// Detaches all that are attached. For each the kernel waits until nobody can be in the code around its function
    /// any more, tens of milliseconds: a thread does that, so that the next server finds the agent ready.
    pub fn detach(&mut self, ebpf: &mut Ebpf) {
        let mut links = Vec::new();
        for (loaded, id) in self.loaded.iter().zip(self.links.drain(..)) {
            if let Some(mut program) = program(ebpf, loaded.program) {
                links.extend(program.take_link(id));
            }
        }
        if !links.is_empty() {
            // Without a thread the links are dropped here and now.
            let thread = std::thread::Builder::new().name("detach".into());
            self.detaching = thread.spawn(move || drop(links)).ok();
        }
    }

    /// Some of those that were attached may be yet.
    #[must_use]
    pub fn are_detaching(&self) -> bool {
        self.detaching.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Detaches and unloads them for good; those that are attached in their own time, as [`Self::detach`] says.
    pub fn unload(&mut self, ebpf: &mut Ebpf) {
        self.detach(ebpf);
        for loaded in self.loaded.drain(..) {
            if let Some(mut program) = program(ebpf, loaded.program) {
                // The only error is that it is not loaded.
                let _ = program.unload();
            }
        }
    }

    /// How often the kernel passed over one of them because it ran on the same processor already.
    #[must_use]
    pub fn passed_over(&self, ebpf: &Ebpf) -> u64 {
        self.loaded.iter().filter_map(|loaded| passed_over(ebpf, loaded.program)).sum()
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Option<AtFunction<'e>> {
    match ebpf.program_mut(name) {
        Some(Program::FEntry(program)) => Some(AtFunction::Entry(program)),
        Some(Program::FExit(program)) => Some(AtFunction::Return(program)),
        _ => None,
    }
}

/// Attaches a program. `btf` keeps the kernel's type information between calls, once it was needed.
fn attach(ebpf: &mut Ebpf, loaded: &Loaded, btf: &mut Option<Btf>) -> Result<LinkId, String> {
    let mut program = program(ebpf, loaded.program).ok_or(NO_PROGRAM)?;
    let text = |error: ProgramError| with_causes(&error);
    match program.attach() {
        // Before 5.13 (f3a95075549e), a program that was attached before is to be loaded again.
        Err(ProgramError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            program.unload().map_err(text)?;
            let types = match btf.take() {
                Some(types) => types,
                None => Btf::from_sys_fs().map_err(|error| with_causes(&error))?,
            };
            program.load(&loaded.function, btf.insert(types)).map_err(text)?;
            program.attach().map_err(text)
        }
        result => result.map_err(text),
    }
}

/// How often the kernel passed over a program because it ran on the same processor already; `None` when it is not
/// loaded, or the kernel does not tell.
pub fn passed_over(ebpf: &Ebpf, program: &str) -> Option<u64> {
    let fd = match ebpf.program(program)? {
        Program::FEntry(program) => program.fd(),
        Program::FExit(program) => program.fd(),
        Program::RawTracePoint(program) => program.fd(),
        Program::TracePoint(program) => program.fd(),
        _ => return None,
    };
    let fd = fd.ok()?.as_fd().as_raw_fd();
    recursion_misses(&fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?)
}

/// From the description of a program in `/proc/PID/fdinfo`, which has the number since 5.12.
fn recursion_misses(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_passed_over_is_read() {
        let text = "prog_type:\t26\nprog_jited:\t1\nrun_cnt:\t0\nrecursion_misses:\t17\n";
        assert_eq!(recursion_misses(text), Some(17));
        assert_eq!(recursion_misses("prog_type:\t26\n"), None);
    }
}
