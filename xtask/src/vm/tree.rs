//! The files of a guest: agent, client, servers and the test program, all static, and a busybox. The play
//! runs on this host in the same files first.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::arch::Arch;
use super::archive::Archive;
use crate::failure::Failure;
use crate::process::{self, Background, Step};
use crate::run::find_sudo;
use crate::system;
use crate::toolchain::Toolchain;
use crate::workspace;

/// The programs of the workspace that a guest has.
const PROGRAMS: [&str; 6] = ["mcpwatch", "guest", "anchor", "drive", "labelled", "load"];

/// Where they are built: other flags would have cargo build everything anew each time in the usual folder.
fn target() -> PathBuf {
    workspace::target().join("vm")
}

/// Cargo that builds them, statically.
fn cargo(toolchain: &Toolchain, arches: &[&Arch]) -> Command {
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--package=mcpwatch", "--package=mcpwatch-tests"])
        .args(PROGRAMS.map(|program| format!("--bin={program}")))
        .arg("--target-dir")
        .arg(target())
        // What would be stripped is not made in the first place.
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("CARGO_PROFILE_DEV_STRIP", "symbols")
        // With `--target`, these are not the flags of build scripts.
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    for arch in arches {
        cargo.args(["--target", arch.target]).envs(arch.linker());
    }
    cargo
}

/// Begins to build the programs, for when [`Tree::build`] asks for them; that one waits for this, and tells
/// what fails.
pub fn build_ahead(toolchain: &Toolchain, arches: &[&Arch]) -> Result<Background, Failure> {
    let target = target();
    fs::create_dir_all(&target).map_err(|error| Failure::file("create", &target, &error))?;
    Background::start(&cargo(toolchain, arches), &target.join("ahead.log"))
}

/// What the agent wrote of the play on this host.
#[derive(Default)]
pub struct Records(Vec<u8>);

/// The files for one architecture, in a folder of the build folder.
pub struct Tree {
    folder: PathBuf,
}

impl Tree {
    /// Builds the programs and puts everything in its place.
    pub fn build(toolchain: &Toolchain, arch: &Arch, busybox: &Path) -> Result<Self, Failure> {
        let step = Step::start(format!(
            "Building the agent and the guest's programs statically for {}",
            arch.debian
        ));
        process::run(&mut cargo(toolchain, &[arch]))?;
        step.done();

        let target = target();
        let tree = Self { folder: target.join(format!("tree-{}", arch.debian)) };
        tree.fill(&target.join(arch.target).join("debug"), busybox)
            .map_err(|error| Failure::file("fill", &tree.folder, &error))?;
        Ok(tree)
    }

    fn fill(&self, built: &Path, busybox: &Path) -> std::io::Result<()> {
        let _ = fs::remove_dir_all(&self.folder);
        let bin = self.folder.join("bin");
        fs::create_dir_all(&bin)?;
        for program in PROGRAMS {
            fs::copy(built.join(program), bin.join(program))?;
        }
        fs::copy(busybox, bin.join("busybox"))?;
        fs::set_permissions(bin.join("busybox"), fs::Permissions::from_mode(0o755))?;
        symlink("/bin/guest", self.folder.join("init"))
    }

    /// Runs the play on this host; what its agent wrote is what every kernel has to give.
    pub fn play_on_host(&self) -> Result<Records, Failure> {
        let step = Step::start("Playing on this host");
        let guest = self.folder.join("bin/guest");
        let mut command = if system::is_root() {
            Command::new(&guest)
        } else {
            let mut command = Command::new(find_sudo("watching the kernel")?);
            command.arg("--").arg(&guest);
            command
        };
        command.arg("--on-host").arg(&self.folder).stdin(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().map_err(|error| process::not_started(&command, &error))?;
        if !output.status.success() {
            return Err(Failure::Command(format!(
                "the play failed on this host ({}):\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        step.done();
        Ok(Records(output.stdout))
    }

    /// All of it as an initial RAM file system.
    pub fn initrd(&self, expected: &Records) -> Result<PathBuf, Failure> {
        let path = self.folder.with_extension("cpio");
        self.write_initrd(&path, expected)
            .map_err(|error| Failure::file("write", &path, &error))?;
        Ok(path)
    }

    fn write_initrd(&self, path: &Path, Records(expected): &Records) -> std::io::Result<()> {
        let mut archive = Archive::new(BufWriter::new(File::create(path)?));
        for folder in ["bin", "dev", "proc", "sys", "tmp"] {
            archive.folder(folder)?;
        }
        for program in PROGRAMS.into_iter().chain(["busybox"]) {
            let name = format!("bin/{program}");
            archive.program(&name, &fs::read(self.folder.join(&name))?)?;
        }
        archive.link("init", "/bin/guest")?;
        archive.file("expected.jsonl", expected)?;
        archive.finish().map(drop)
    }
}
