//! The program on the exit of all system calls, and by which of two ways the kernel runs it.
//!
//! A raw tracepoint is the cheaper way. But a preemptible kernel may, since 7.2, give the processor to another thread in the
//! middle of its program, and passes that program over for the calls of others until it goes on. By way of perf the processor
//! stays with it. So it is perf on these kernels, and where that does not work, the raw tracepoint, with the reason. It is
//! never perf after that again: only one of the two programs may be in its middle at any time (`emit::acquire` in the kernel).

use aya::Ebpf;
use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::programs::trace_point::TracePointLinkId;
use aya::programs::{Program, ProgramError, TracePoint};

use super::hooks::{SYS_EXIT, SYS_EXIT_PERF};
use super::{capabilities, with_causes};

/// Where perf has the tracepoint.
const CATEGORY: &str = "raw_syscalls";
const NO_PROGRAM: &str = "the kernel object has no such program";

/// What holds the program where it is.
enum Link {
    Raw(RawTracePointLinkId),
    Perf(TracePointLinkId),
}

/// The program, from load to drop.
#[derive(Default)]
pub struct SysExit {
    link: Option<Link>,
    by_perf: bool,
    refused: Option<String>,
}

impl SysExit {
    /// Takes the way that fits the kernel. The program on the raw tracepoint is loaded by others.
    pub fn choose(&mut self, ebpf: &mut Ebpf) {
        if !capabilities::tracepoints_of_calls_give_way() {
            return;
        }
        // For a moment it is attached: whether perf can be told of the tracepoint, only that shows.
        let tried = load(ebpf).and_then(|program| {
            let link = program.attach(CATEGORY, SYS_EXIT)?;
            program.detach(link)
        });
        match tried {
            Ok(()) => self.by_perf = true,
            Err(error) => {
                self.refused = Some(with_causes(&error));
                // The only error is that there is nothing to unload.
                let _ = by_perf(ebpf).and_then(TracePoint::unload);
            }
        }
    }

    /// Attaches it; gives why that cannot be done.
    pub fn attach(&mut self, ebpf: &mut Ebpf) -> Result<(), String> {
        if self.by_perf {
            match by_perf(ebpf).and_then(|program| program.attach(CATEGORY, SYS_EXIT)) {
                Ok(link) => {
                    self.link = Some(Link::Perf(link));
                    return Ok(());
                }
                Err(error) => {
                    // It stays loaded: it has the count of what it was passed over for.
                    self.by_perf = false;
                    self.refused = Some(with_causes(&error));
                }
            }
        }
        let Some(Program::RawTracePoint(program)) = ebpf.program_mut(SYS_EXIT) else {
            return Err(NO_PROGRAM.into());
        };
        match program.attach(SYS_EXIT) {
            Ok(link) => {
                self.link = Some(Link::Raw(link));
                Ok(())
            }
            Err(error) => {
                let by_perf = self.refused.iter().map(|reason| format!("; perf: {reason}"));
                Err(with_causes(&error) + &by_perf.collect::<String>())
            }
        }
    }

    /// Detaches it; false if it was not attached. By way of perf, the kernel waits until nobody can be in it: a tenth of a
    /// second.
    pub fn detach(&mut self, ebpf: &mut Ebpf) -> bool {
        let Some(link) = self.link.take() else { return false };
        // The only error of either is an unknown link: then it is detached.
        let program = ebpf.program_mut(program_of(&link));
        let _ = match (link, program) {
            (Link::Perf(link), Some(Program::TracePoint(program))) => program.detach(link),
            (Link::Raw(link), Some(Program::RawTracePoint(program))) => program.detach(link),
            _ => Ok(()),
        };
        true
    }

    /// It is attached.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    /// Why it is on the raw tracepoint where perf would be better.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let refused = self.refused.as_ref()?;
        Some(format!(
            "perf: {refused}; while a thread waits in the middle of the program, calls of others on its processor are \
             passed over (tracefs is to be mounted, and kernel.perf_event_paranoid to be 2 at most for an agent without \
             CAP_SYS_ADMIN)"
        ))
    }
}

const fn program_of(link: &Link) -> &'static str {
    match link {
        Link::Raw(_) => SYS_EXIT,
        Link::Perf(_) => SYS_EXIT_PERF,
    }
}

fn by_perf(ebpf: &mut Ebpf) -> Result<&mut TracePoint, ProgramError> {
    match ebpf.program_mut(SYS_EXIT_PERF) {
        Some(Program::TracePoint(program)) => Ok(program),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn load(ebpf: &mut Ebpf) -> Result<&mut TracePoint, ProgramError> {
    let program = by_perf(ebpf)?;
    program.load()?;
    Ok(program)
}
