//! The architectures of the guests: what each is called by whom, and what it takes to build and to run programs of it.

use std::env::consts;

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Fix, Missing};
use crate::process;
use crate::system;
use crate::workspace;

/// An architecture.
#[derive(Debug)]
pub struct Arch {
    /// What Rust calls it.
    pub name: &'static str,
    /// What Debian calls it.
    pub debian: &'static str,
    /// What its programs are built for.
    pub target: &'static str,
    /// The emulator, and Debian's package of it.
    pub emulator: [&'static str; 2],
    /// The machine that is emulated.
    pub machine: &'static [&'static str],
    /// What goes on the kernel's command line on this machine alone, the console first.
    pub command_line: &'static str,
    /// How much longer than usual the guest's tests wait for things.
    pub slowness: u32,
    /// The linker for its programs on a machine of another architecture.
    linker: &'static str,
    /// Debian's packages of what links them there: the linker, and the C library.
    linking: [&'static str; 2],
    /// A file of the C library's package.
    library: &'static str,
}

/// Most of the matrix.
pub static X86_64: Arch = Arch {
    name: "x86_64",
    debian: "amd64",
    target: "x86_64-unknown-linux-gnu",
    emulator: ["qemu-system-x86_64", "qemu-system-x86"],
    // The emulator's cmpxchg16b is not atomic towards its own flags: kernels that allocate with it die at boot now
    // and then (seen with 7.2).
    machine: &["-cpu", "max,-cx16"],
    command_line: "console=ttyS0 no_timer_check",
    slowness: 8,
    linker: "x86_64-linux-gnu-gcc",
    linking: ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
    library: "/usr/x86_64-linux-gnu/lib/libc.a",
};

/// The other one there is support for.
pub static AARCH64: Arch = Arch {
    name: "aarch64",
    debian: "arm64",
    target: "aarch64-unknown-linux-gnu",
    emulator: ["qemu-system-aarch64", "qemu-system-arm"],
    // A processor with atomic instructions and without signed pointers, which cost the emulator most.
    machine: &["-machine", "virt", "-cpu", "neoverse-n1"],
    command_line: "console=ttyAMA0",
    slowness: 16,
    linker: "aarch64-linux-gnu-gcc",
    linking: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    library: "/usr/aarch64-linux-gnu/lib/libc.a",
};

impl Arch {
    /// It is that of this machine.
    pub fn is_ours(&self) -> bool {
        self.name == consts::ARCH
    }

    /// The variable that names cargo the linker of its programs; see [`Arch::ensure_linking`].
    pub fn linker(&self) -> Option<(String, &'static str)> {
        let target = self.target.to_uppercase().replace('-', "_");
        (!self.is_ours()).then(|| (format!("CARGO_TARGET_{target}_LINKER"), self.linker))
    }

    /// Installs the emulator where that is possible.
    pub fn ensure_emulator(&self) -> Result<(), Failure> {
        let [program, package] = self.emulator;
        system::ensure(|| {
            process::find_program(program).map(|_| ()).ok_or_else(|| Missing {
                what: format!("the matrix of kernels needs the emulator `{program}`"),
                fix: system::package_fix(package),
            })
        })
    }

    /// Installs what programs of another architecture are linked with: Rust's standard library, the C library and a
    /// linker.
    pub fn ensure_linking(&self) -> Result<(), Failure> {
        system::ensure(|| self.find_standard_library())?;
        let [linker, library] = self.linking;
        system::ensure(|| {
            process::find_program(self.linker).map(|_| ()).ok_or_else(|| Missing {
                what: format!("programs for {} need the linker `{}`", self.debian, self.linker),
                fix: system::package_fix(linker),
            })
        })?;
        system::ensure(|| {
            let there = Path::new(self.library).exists();
            there.then_some(()).ok_or_else(|| Missing {
                what: format!("programs for {} need the C library `{}`", self.debian, self.library),
                fix: system::package_fix(library),
            })
        })
    }

    fn find_standard_library(&self) -> Result<(), Missing> {
        let sysroot = process::output(
            Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()),
        );
        let there = sysroot.is_some_and(|sysroot| {
            Path::new(&sysroot).join("lib/rustlib").join(self.target).join("lib").is_dir()
        });
        there.then_some(()).ok_or_else(|| Missing {
            what: format!("programs for {} need Rust's standard library for it", self.debian),
            fix: Fix::run(["rustup", "target", "add", self.target]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_by_many_names_is_one_thing() {
        for arch in [&X86_64, &AARCH64] {
            assert!(arch.target.starts_with(arch.name), "{arch:?}");
            assert!(arch.emulator[0].ends_with(arch.name), "{arch:?}");
            assert!(arch.linking[1].ends_with(&format!("{}-cross", arch.debian)), "{arch:?}");
        }
        assert!([&X86_64, &AARCH64].iter().filter(|arch| arch.is_ours()).count() <= 1);
    }
}
