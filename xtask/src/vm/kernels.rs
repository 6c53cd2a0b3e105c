//! Which kernels there are, and which of Debian's packages has the newest of each.

use super::arch::{AARCH64, Arch, X86_64};

/// A kernel series of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it is for.
    pub arch: &'static Arch,
    /// The numbers its version begins with; none for whatever is newest.
    series: &'static [u32],
    /// Security modules of the command line, where the kernel's own list lacks `bpf`.
    pub lsm: Option<&'static str>,
    /// Whether it is the oldest or the newest of its architecture: what is there at both ends is taken to be there between
    /// them, where a test of it takes minutes.
    pub is_an_end: bool,
}

/// Every kernel: the long-term series people run, and what comes next.
pub static KERNELS: &[Kernel] = &[
    at_an_end(x86_64("5.10", &[5, 10], Some("lockdown,yama,bpf"))),
    x86_64("6.1", &[6, 1], Some(NEWER_LSM)),
    x86_64("6.12", &[6, 12], Some(NEWER_LSM)),
    x86_64("6.18", &[6, 18], None),
    at_an_end(x86_64("newest", &[], None)),
    Kernel {
        name: "6.12-arm64",
        arch: &AARCH64,
        series: &[6, 12],
        lsm: Some(NEWER_LSM),
        is_an_end: true,
    },
    Kernel { name: "6.18-arm64", arch: &AARCH64, series: &[6, 18], lsm: None, is_an_end: false },
];

const NEWER_LSM: &str = "lockdown,yama,landlock,bpf";

const fn x86_64(name: &'static str, series: &'static [u32], lsm: Option<&'static str>) -> Kernel {
    Kernel { name, arch: &X86_64, series, lsm, is_an_end: false }
}

const fn at_an_end(kernel: Kernel) -> Kernel {
    Kernel { is_an_end: true, ..kernel }
}

/// A source list with all of them: the release each came with, its updates, and what is not released yet. With the
/// architectures, since each list is fetched.
pub const SOURCES: &[(&str, &str, &[&Arch])] = &[
    ("debian", "bullseye", &[&X86_64]),
    ("debian-security", "bullseye-security", &[&X86_64]),
    ("debian", "bookworm", &[&X86_64]),
    ("debian-security", "bookworm-security", &[&X86_64]),
    ("debian", "bookworm-backports", &[&X86_64]),
    ("debian", "trixie", &[&X86_64, &AARCH64]),
    ("debian-security", "trixie-security", &[&X86_64, &AARCH64]),
    ("debian", "trixie-backports", &[&X86_64, &AARCH64]),
    ("debian", "sid", &[&X86_64]),
];

/// The package of the newest kernel of a series among these names. From about 6.19 on the image is in
/// `linux-binary-…`, and `linux-image-…` of the same version depends on it.
pub fn newest<'n>(kernel: &Kernel, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let version = |name: &str| version(name, kernel.arch);
    names
        .filter(|name| version(name).is_some_and(|version| version.starts_with(kernel.series)))
        .max_by_key(|name| (version(name), name.starts_with("linux-binary-")))
}

/// The numbers in the version of a kernel package for virtual machines: `linux-image-5.10.0-46-cloud-amd64`
/// gives 5, 10, 0, 46. `None` for other packages and architectures, and for those without a version or a signature.
fn version(package: &str, arch: &Arch) -> Option<Vec<u32>> {
    let rest = package
        .strip_prefix("linux-image-")
        .or_else(|| package.strip_prefix("linux-binary-"))?
        .strip_suffix(arch.debian)?
        .strip_suffix("-cloud-")?;
    // `linux-image-6.1-cloud-amd64` is a name for whatever is newest.
    let numbers: Vec<u32> = rest
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .filter_map(|part| part.parse().ok())
        .collect();
    (numbers.len() > 2 && rest.starts_with(|c: char| c.is_ascii_digit())).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &[
        "linux-image-5.10.0-9-cloud-amd64",
        "linux-image-5.10.0-46-cloud-amd64",
        "linux-image-5.10.0-47-cloud-amd64-unsigned",
        "linux-image-6.1-cloud-amd64",
        "linux-image-6.1.0-0.deb11.52-cloud-amd64",
        "linux-image-6.1.0-50-cloud-amd64",
        "linux-image-6.12.95+deb12-cloud-amd64",
        "linux-image-7.2.13+deb14-cloud-amd64",
        "linux-binary-7.2.13+deb14-cloud-amd64",
        "linux-binary-7.2.9+deb13-cloud-amd64",
        "linux-image-cloud-amd64",
        "linux-image-6.12.117+deb13-cloud-arm64",
        "linux-image-6.12.94+deb13-cloud-arm64",
        "linux-image-6.18.15+deb13-cloud-arm64",
    ];

    #[test]
    fn the_newest_of_each_series_is_chosen() {
        let chosen: Vec<Option<&str>> =
            KERNELS.iter().map(|kernel| newest(kernel, NAMES.iter().copied())).collect();
        assert_eq!(
            chosen,
            [
                Some("linux-image-5.10.0-46-cloud-amd64"),
                Some("linux-image-6.1.0-50-cloud-amd64"),
                Some("linux-image-6.12.95+deb12-cloud-amd64"),
                None,
                Some("linux-binary-7.2.13+deb14-cloud-amd64"),
                Some("linux-image-6.12.117+deb13-cloud-arm64"),
                Some("linux-image-6.18.15+deb13-cloud-arm64"),
            ]
        );
    }
}
