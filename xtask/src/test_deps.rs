//! What the end-to-end tests need from outside, put into one folder of the build folder: official
//! MCP servers and SDKs, a Prometheus, and a root file system for containers. Nothing of it is installed into
//! the system, but the programs that the tests call by name are.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Fix, Missing};
use crate::process::{self, Step};
use crate::run::find_sudo;
use crate::system;
use crate::workspace;

/// The oldest Node.js that the MCP SDK v2 runs on.
const NODE_MAJOR: u32 = 20;

/// The oldest Python that the MCP SDK runs on.
const PYTHON_MINOR: u32 = 10;

/// Programs the tests call by name, with the Debian packages that have them.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("git", "git"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3"),
    ("podman", "podman"),
    ("crun", "crun"),
    ("debootstrap", "debootstrap"),
    ("/usr/sbin/mkfs.ext4", "e2fsprogs"),
];

/// One set of dependencies, installed together into a folder of its own.
pub struct Set {
    /// The folder's name, and what the set is called.
    pub name: &'static str,
    /// What is in it, for people.
    pub content: &'static str,
    /// The files below `tests/deps` that say what to install.
    manifests: &'static [&'static str],
    /// Programs whose version matters to what was installed: another version installs anew.
    built_by: &'static [&'static str],
    /// Installs it into the folder given, which is new and empty.
    install: fn(&Path, &Log) -> Result<(), Failure>,
}

/// Where the output of the installing programs goes.
struct Log(PathBuf);

/// All of them.
pub const SETS: &[Set] = &[
    Set {
        name: "npm",
        content: "MCP servers and SDKs from npm",
        manifests: &["package.json", "package-lock.json"],
        built_by: &["node"],
        install: install_npm,
    },
    Set {
        name: "python",
        content: "MCP servers and SDKs from PyPI",
        manifests: &["requirements.txt", "constraints.txt"],
        built_by: &["python3"],
        install: install_python,
    },
    Set {
        name: "debian",
        content: "Prometheus and promtool",
        manifests: &[],
        built_by: &[],
        install: install_prometheus,
    },
    Set {
        name: "rootfs",
        content: "a Debian root file system for containers",
        manifests: &[],
        built_by: &["debootstrap"],
        install: install_root_file_system,
    },
];

/// Installs what is missing or out of date; returns the folder of all of it.
pub fn ensure() -> Result<PathBuf, Failure> {
    for (program, package) in PROGRAMS {
        system::ensure(|| find_program(program, package))?;
    }
    system::ensure(find_venv)?;

    let folder = workspace::test_deps();
    fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, &error))?;
    // Two runs at once must not install into the same folder. Released on return.
    let lock = folder.join(".lock");
    let file = File::create(&lock).map_err(|error| Failure::file("create", &lock, &error))?;
    file.lock().map_err(|error| Failure::file("lock", &lock, &error))?;

    for set in SETS.iter().filter(|set| !set.is_current(&folder)) {
        set.install(&folder)?;
    }
    Ok(folder)
}

/// A program of [`PROGRAMS`], recent enough: where it is.
pub fn find_program(program: &str, package: &str) -> Result<PathBuf, Missing> {
    let path = process::find_program(program).ok_or_else(|| Missing {
        what: format!("the tests need the program `{program}`"),
        fix: system::package_fix(package),
    })?;
    let version = process::output(Command::new(&path).arg("--version")).unwrap_or_default();
    let too_old = match (program, numbers(&version).as_slice()) {
        ("node", [major, ..]) if *major < NODE_MAJOR => format!("Node.js {NODE_MAJOR}"),
        ("python3", [3, minor, ..]) if *minor < PYTHON_MINOR => format!("Python 3.{PYTHON_MINOR}"),
        _ => return Ok(path),
    };
    Err(Missing {
        what: format!("the tests need {too_old} or newer; {} is {version}", path.display()),
        fix: Fix::Tell(format!("put a newer `{program}` first on PATH")),
    })
}

/// The part of Python that makes virtual environments, which Debian packages apart.
pub fn find_venv() -> Result<(), Missing> {
    process::output(Command::new("python3").args(["-c", "import venv, ensurepip"]))
        .map(|_| ())
        .ok_or_else(|| Missing {
            what: "the tests need Python's `venv` and `ensurepip`".into(),
            fix: system::package_fix("python3-venv"),
        })
}

/// The numbers in a version: "v20.20.2" and "Python 3.11.7" alike.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .filter_map(|part| part.parse().ok())
        .collect()
}

impl Set {
    /// Whether the folder holds exactly what the manifests ask for now.
    pub fn is_current(&self, folder: &Path) -> bool {
        let stamp = fs::read_to_string(self.stamp_path(folder));
        folder.join(self.name).is_dir()
            && matches!((stamp, self.stamp()), (Ok(old), Ok(new)) if old == new)
    }

    fn install(&self, folder: &Path) -> Result<(), Failure> {
        let step = Step::start(format!("Installing {} into {}", self.content, folder.display()));
        let stamp = self.stamp()?;
        // Made beside the old one and stamped last, so an interrupted run leaves no half set behind.
        let stamp_path = self.stamp_path(folder);
        remove(&stamp_path)?;
        let target = folder.join(self.name);
        remove(&target)?;
        fs::create_dir_all(&target).map_err(|error| Failure::file("create", &target, &error))?;
        (self.install)(&target, &Log(folder.join(format!("{}.log", self.name))))?;
        fs::write(&stamp_path, stamp)
            .map_err(|error| Failure::file("write", &stamp_path, &error))?;
        step.done();
        Ok(())
    }

    fn stamp_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.stamp", self.name))
    }

    /// Everything the set depends on: the manifests' text and the versions of what installs them.
    fn stamp(&self) -> Result<String, Failure> {
        let mut stamp = String::new();
        for program in self.built_by {
            stamp += &process::output(Command::new(program).arg("--version")).unwrap_or_default();
            stamp.push('\n');
        }
        for name in self.manifests {
            let path = manifest(name);
            stamp +=
                &fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        }
        Ok(stamp)
    }
}

fn manifest(name: &str) -> PathBuf {
    workspace::root().join("tests/deps").join(name)
}

/// Removes a file or a whole folder; a path that is not there is fine.
fn remove(path: &Path) -> Result<(), Failure> {
    if path.is_dir() && !system::is_root() && path.ends_with("rootfs") {
        // What debootstrap made belongs to root.
        return process::run(as_root("rm")?.arg("-rf").arg(path));
    }
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file("remove", path, &error))
        }
        _ => Ok(()),
    }
}

fn install_npm(folder: &Path, log: &Log) -> Result<(), Failure> {
    for name in ["package.json", "package-lock.json"] {
        let copy = folder.join(name);
        fs::copy(manifest(name), &copy).map_err(|error| Failure::file("write", &copy, &error))?;
    }
    let mut npm = Command::new("npm");
    // No package here needs an install script to work, so none gets to run one.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
    process::run_quietly(&mut npm, &log.0)
}

fn install_python(folder: &Path, log: &Log) -> Result<(), Failure> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    process::run_quietly(&mut venv, &log.0)?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"])
        .arg("--requirement")
        .arg(manifest("requirements.txt"))
        .arg("--constraint")
        .arg(manifest("constraints.txt"));
    process::run_quietly(&mut pip, &log.0)
}

/// Debian's package is unpacked, not installed: installing it would start its service. Elsewhere the
/// programs have to be on `PATH` and are linked to.
fn install_prometheus(folder: &Path, log: &Log) -> Result<(), Failure> {
    const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];
    if system::has_apt() {
        system::refresh_apt_lists("prometheus")?;
        let mut download = Command::new("apt-get");
        download.args(["download", "prometheus"]).current_dir(folder);
        if system::is_root() {
            // apt would download as its own user, who may not write here, and warn about that.
            download.args(["-o", "APT::Sandbox::User=root"]);
        }
        process::run_quietly(&mut download, &log.0)?;
        let package = fs::read_dir(folder)
            .map_err(|error| Failure::file("read", folder, &error))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| Failure::File(format!("apt left no package in {}", folder.display())))?;
        process::run_quietly(Command::new("dpkg").arg("-x").arg(&package).arg(folder), &log.0)?;
        return remove(&package);
    }
    let bin = folder.join("usr/bin");
    fs::create_dir_all(&bin).map_err(|error| Failure::file("create", &bin, &error))?;
    for name in PROGRAMS {
        let found = process::find_program(name).ok_or_else(|| Missing {
            what: format!("the tests need the program `{name}`"),
            fix: system::package_fix("prometheus"),
        })?;
        let link = bin.join(name);
        symlink(found, &link).map_err(|error| Failure::file("create", &link, &error))?;
    }
    Ok(())
}

/// Of the host's own release where that is Debian: the programs of the tests are built against its libraries.
fn install_root_file_system(folder: &Path, log: &Log) -> Result<(), Failure> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| release.lines().find_map(|line| line.strip_prefix(key));
    let suite = match value("ID=") {
        Some("debian") => value("VERSION_CODENAME=").unwrap_or("stable"),
        _ => "stable",
    };
    let mut debootstrap = as_root("debootstrap")?;
    debootstrap.args(["--variant=minbase", suite]).arg(folder);
    process::run_quietly(&mut debootstrap, &log.0)
}

fn as_root(program: &str) -> Result<Command, Failure> {
    if system::is_root() {
        return Ok(Command::new(program));
    }
    let mut sudo = Command::new(find_sudo("making a root file system for the container tests")?);
    sudo.args(["--", program]);
    Ok(sudo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_whatever_stands_around_them() {
        assert_eq!(numbers("v20.20.2"), [20, 20, 2]);
        assert_eq!(numbers("Python 3.11.7"), [3, 11, 7]);
        assert_eq!(numbers("unknown"), Vec::<u32>::new());
    }

    #[test]
    fn every_manifest_of_every_set_is_in_the_repository() {
        for set in SETS {
            for name in set.manifests {
                assert!(manifest(name).is_file(), "{}: {name}", set.name);
            }
        }
    }

    #[test]
    fn a_set_without_its_folder_or_stamp_is_not_current() {
        let nowhere = Path::new("/nonexistent");
        assert!(SETS.iter().all(|set| !set.is_current(nowhere)));
    }
}
