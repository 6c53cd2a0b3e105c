//! The only room that knows aya: load, attach, offsets, ring reader, watch set.

pub mod capabilities;
mod fexit;
pub mod hooks;
mod io_uring_opens;
pub mod object;
pub mod offsets;
mod rdonly_cast;
pub mod ring;
mod submitted;
mod sys_exit;
mod system_calls;
mod type_names;
mod watched;

use std::path::PathBuf;

/// Why this host cannot be watched. Each says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Capabilities are missing.
    #[error(
        "mcpwatch may not load BPF programs: it lacks {missing}. Run it as root (`sudo mcpwatch run`), as \
         the systemd service, or in a privileged container"
    )]
    NotPermitted {
        /// Names of the capabilities.
        missing: String,
    },
    /// No type information.
    #[error(
        "{path}: {reason}. mcpwatch needs the kernel's type information (BTF) to know where its structs \
         hold what: use a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution's is), and \
         mount sysfs at /sys"
    )]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The kernel is older than any that was tried.
    #[error(
        "this kernel is {release}; mcpwatch needs 5.10 or newer: update the kernel of this host"
    )]
    TooOld {
        /// `uname -r`.
        release: String,
    },
    /// A struct field is not where any known kernel has it.
    #[error(
        "this kernel's `struct {owner}` has no field `{member}` under any name known to mcpwatch: it is newer \
         than this version; update mcpwatch, or report it with the output of `uname -r`"
    )]
    UnknownField {
        /// The struct.
        owner: &'static str,
        /// The field; empty when the struct itself is missing.
        member: &'static str,
    },
    /// A struct's name is not unique.
    #[error(
        "this kernel has two different `struct {name}`: mcpwatch cannot tell which one is meant; report it"
    )]
    AmbiguousStruct {
        /// The struct.
        name: &'static str,
    },
    /// The kernel forbids reading its memory.
    #[error(
        "the kernel is locked down (`{mode}` in /sys/kernel/security/lockdown), which forbids BPF programs to \
         read kernel memory: boot with lockdown=integrity or none, or without Secure Boot's confidentiality mode"
    )]
    Lockdown {
        /// The active mode.
        mode: String,
    },
    /// The object did not load.
    #[error(
        "the kernel refused mcpwatch's programs: {reason}. Update mcpwatch, or report it with the output of \
         `mcpwatch doctor --json`"
    )]
    Load {
        /// The error with all its causes.
        reason: String,
    },
    /// The tier that was asked for does not work here.
    #[error(
        "tier `fexit` was asked for, but this kernel does not take it: {hook}: {reason}. Leave the choice to \
         mcpwatch (`tier = \"auto\"` in [kernel], or no --tier), or ask for `tracepoint`; `mcpwatch doctor` shows \
         what each hook can do"
    )]
    Tier {
        /// The first hook that fails.
        hook: &'static str,
        /// The error with all its causes.
        reason: String,
    },
    /// A hook nothing works without could not be attached.
    #[error(
        "the hook {hook} cannot be attached: {reason}. Without it these go unseen: {lost}. `mcpwatch doctor` shows \
         what this kernel allows; update it, or report it with the output of `mcpwatch doctor --json`"
    )]
    Attach {
        /// The hook.
        hook: &'static str,
        /// The error with all its causes.
        reason: String,
        /// What mcpwatch cannot do without it.
        lost: &'static str,
    },
    /// A map could not be used.
    #[error(
        "the map {map} of the kernel programs cannot be used: {reason}. Update mcpwatch, or report it with the \
         output of `mcpwatch doctor --json`"
    )]
    Map {
        /// The map.
        map: &'static str,
        /// The error.
        reason: String,
    },
}

/// Takes a map out of the object.
pub(crate) fn take<T>(ebpf: &mut aya::Ebpf, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| absent(name))?;
    T::try_from(map).map_err(|error| map_error(name, &error))
}

pub(crate) fn absent(map: &'static str) -> KernelError {
    KernelError::Map { map, reason: "the kernel object does not have it".into() }
}

pub(crate) fn map_error(map: &'static str, error: &aya::maps::MapError) -> KernelError {
    KernelError::Map { map, reason: with_causes(error) }
}

/// An error with all its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    // The verifier says nothing when it was not asked.
    text.trim_end().trim_end_matches(". Verifier output:").to_owned()
}
