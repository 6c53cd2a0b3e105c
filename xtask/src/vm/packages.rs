//! Debian's packages for the guests: downloaded and unpacked into a cache that every checkout shares, never
//! installed. Apt reads lists of its own there and leaves the machine's alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::arch::{AARCH64, Arch, X86_64};
use super::kernels::{self, Kernel, SOURCES};
use crate::failure::Failure;
use crate::process::{self, Step};
use crate::system;
use crate::workspace;

/// Package lists older than this are fetched anew.
const FRESH: Duration = Duration::from_hours(24 * 7);
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The cache.
pub struct Packages {
    folder: PathBuf,
    /// Names of every kernel package apt knows; why there are none, when it could not be asked.
    known: Result<Vec<String>, String>,
    /// Two runs at once must not unpack into the same folder. Released on drop.
    _lock: File,
}

/// A kernel image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The package it came in.
    pub package: String,
    /// The file.
    pub path: PathBuf,
}

impl Packages {
    /// Opens the cache, with package lists as new as they have to be.
    pub fn open() -> Result<Self, Failure> {
        let folder = workspace::cache().join("kernels");
        let failed = |doing, error| Failure::file(doing, &folder, &error);
        fs::create_dir_all(&folder).map_err(|error| failed("create", error))?;
        let lock =
            File::create(folder.join("lock")).map_err(|error| failed("write into", error))?;
        lock.lock().map_err(|error| failed("lock", error))?;
        let mut packages = Self { folder, known: Ok(Vec::new()), _lock: lock };
        packages.known = packages.ask_apt();
        Ok(packages)
    }

    fn ask_apt(&self) -> Result<Vec<String>, String> {
        if !system::has_apt() || !Path::new(KEYRING).exists() {
            return Err("kernels come as Debian's packages, and this machine has no apt-get with \
                        Debian's keys (debian-archive-keyring)"
                .into());
        }
        let stamp = self.folder.join("lists.stamp");
        self.configure(&stamp).map_err(|error| format!("{}: {error}", self.folder.display()))?;
        let age = fs::metadata(&stamp).and_then(|meta| meta.modified()).ok();
        let fresh = age.is_some_and(|time| time.elapsed().is_ok_and(|age| age < FRESH));
        if !fresh {
            let step = Step::start("Fetching the package lists the kernels stand in");
            // A release that went to the archives is no reason to do without the others.
            match process::run_quietly(
                self.apt("apt-get").arg("update"),
                &self.folder.join("apt.log"),
            ) {
                Ok(()) => drop(File::create(&stamp)),
                Err(why) => eprintln!("==> {why}; going on with what is there"),
            }
            step.done();
        }
        let pattern =
            format!("^linux-(image|binary)-[0-9].*-cloud-({}|{})$", X86_64.debian, AARCH64.debian);
        process::output(self.apt("apt-cache").args(["search", "--names-only", &pattern]))
            .map(|found| {
                found.lines().filter_map(|line| line.split(' ').next()).map(Into::into).collect()
            })
            .ok_or_else(|| "apt-cache does not answer".into())
    }

    /// Tells apt where to look; takes away the stamp of lists that come from elsewhere.
    fn configure(&self, stamp: &Path) -> std::io::Result<()> {
        for folder in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        let line = |(archive, suite, arches): &(&str, &str, &[&Arch])| {
            let arches: Vec<&str> = arches.iter().map(|arch| arch.debian).collect();
            let arches = arches.join(",");
            format!(
                "deb [arch={arches} signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} main\n"
            )
        };
        let sources = SOURCES.iter().map(line).collect::<Vec<_>>().concat();
        let list = self.folder.join("sources.list");
        if fs::read_to_string(&list).is_ok_and(|known| known != sources) {
            let _ = fs::remove_file(stamp);
        }
        fs::write(list, sources)?;
        let here = self.folder.display();
        fs::write(
            self.folder.join("apt.conf"),
            format!(
                "Dir::State::Lists \"{here}/lists\";\nDir::Etc::sourcelist \"{here}/sources.list\";\n\
                 Dir::Etc::sourceparts \"-\";\nDir::Cache \"{here}\";\nAcquire::Languages \"none\";\n\
                 APT::Architectures {{ \"{}\"; \"{}\"; }};\n{}",
                X86_64.debian,
                AARCH64.debian,
                // Apt would download as its own user, who may not write here, and warn about that.
                if system::is_root() { "APT::Sandbox::User \"root\";\n" } else { "" },
            ),
        )
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf"));
        command
    }

    /// The newest image of a kernel; why there is none.
    pub fn image(&self, kernel: &Kernel) -> Result<Image, String> {
        let fetched = self.known.clone().and_then(|names| {
            let package = kernels::newest(kernel, names.iter().map(String::as_str))
                .ok_or("no package of it in Debian's archives")?;
            self.unpacked(package, kernel.arch)
        });
        let folder = match fetched {
            Ok(folder) => folder,
            // What was fetched before is better than nothing.
            Err(why) => self.cached(kernel).ok_or(why)?,
        };
        let package = folder.file_name().unwrap_or_default().display().to_string();
        let path = find(&folder, &is_kernel)
            .ok_or_else(|| format!("the package {package} holds no kernel"))?;
        Ok(Image { package, path })
    }

    fn cached(&self, kernel: &Kernel) -> Option<PathBuf> {
        let names: Vec<String> = fs::read_dir(self.folder.join("unpacked"))
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        let newest = kernels::newest(kernel, names.iter().map(String::as_str))?;
        Some(self.folder.join("unpacked").join(newest))
    }

    /// The shell and the small programs the guests of an architecture have.
    pub fn busybox(&self, arch: &Arch) -> Result<PathBuf, String> {
        let cached = self.folder("busybox-static", arch);
        let folder = match &self.known {
            Ok(_) => self.unpacked("busybox-static", arch)?,
            Err(_) if cached.is_dir() => cached,
            Err(why) => return Err(why.clone()),
        };
        find(&folder, &|path| path.ends_with("bin/busybox"))
            .ok_or_else(|| "the package busybox-static holds no busybox".into())
    }

    /// Where a package is unpacked: names of kernels have the architecture in them.
    fn folder(&self, package: &str, arch: &Arch) -> PathBuf {
        let unpacked = self.folder.join("unpacked");
        if package.ends_with(arch.debian) || arch.is_ours() {
            unpacked.join(package)
        } else {
            unpacked.join(format!("{package}-{}", arch.debian))
        }
    }

    /// The folder of an unpacked package, which is downloaded when it is not there.
    fn unpacked(&self, package: &str, arch: &Arch) -> Result<PathBuf, String> {
        let folder = self.folder(package, arch);
        if folder.is_dir() {
            return Ok(folder);
        }
        let step = Step::start(format!("Fetching {package}"));
        // Made beside it and renamed last, so that an interrupted run leaves no half package behind.
        let draft = self.folder.join("draft");
        let done = self.fetch(&format!("{package}:{}", arch.debian), &draft, &folder);
        let _ = fs::remove_dir_all(&draft);
        done.map_err(|why| why.to_string())?;
        step.done();
        Ok(folder)
    }

    fn fetch(&self, package: &str, draft: &Path, folder: &Path) -> Result<(), Failure> {
        let failed = |doing, error| Failure::file(doing, draft, &error);
        let _ = fs::remove_dir_all(draft);
        let contents = draft.join("contents");
        fs::create_dir_all(&contents).map_err(|error| failed("create", error))?;
        let log = self.folder.join("apt.log");
        let mut download = self.apt("apt-get");
        download.args(["download", package]).current_dir(draft);
        process::run_quietly(&mut download, &log)?;
        let archive = find(draft, &|path| path.extension().is_some_and(|end| end == "deb"))
            .ok_or_else(|| Failure::File(format!("apt left no package in {}", draft.display())))?;
        process::run_quietly(
            Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&contents),
            &log,
        )?;
        // The drivers, hundreds of megabytes: a guest needs none.
        for modules in ["lib/modules", "usr/lib/modules"] {
            drop_modules(&contents.join(modules));
        }
        let parent = folder.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))?;
        fs::rename(&contents, folder).map_err(|error| failed("rename", error))
    }
}

/// `boot/vmlinuz-5.10.0-46-cloud-amd64`, or `usr/lib/modules/7.2.13+deb14-cloud-amd64/vmlinuz`.
fn is_kernel(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
}

/// Removes the drivers of unpacked kernels and leaves the image that newer packages keep beside them.
fn drop_modules(modules: &Path) {
    for version in fs::read_dir(modules).into_iter().flatten().flatten() {
        // What stays takes room, and harms nothing.
        let _ = fs::remove_dir_all(version.path().join("kernel"));
    }
}

/// The first file below a folder that is wanted by its path.
fn find(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries: Vec<fs::DirEntry> = fs::read_dir(folder).ok()?.flatten().collect();
    let of_kind = |wanted: fn(&fs::FileType) -> bool| {
        let entries = entries.iter();
        entries.filter(move |entry| entry.file_type().is_ok_and(|kind| wanted(&kind)))
    };
    of_kind(fs::FileType::is_file)
        .map(fs::DirEntry::path)
        .find(|path| wanted(path))
        .or_else(|| of_kind(fs::FileType::is_dir).find_map(|entry| find(&entry.path(), wanted)))
}
