//! Which kernels there are, and which of Debian's packages has the newest of each.

/// A kernel series of the matrix.
#[derive(Debug)]
pub struct Kernel {
    /// What it is asked for by.
    pub name: &'static str,
    /// The numbers its version begins with; none for whatever is newest.
    series: &'static [u32],
    /// Security modules of the command line, where the kernel's own list lacks `bpf`.
    pub lsm: Option<&'static str>,
}

/// Every kernel: the long-term series people run, and what comes next.
pub const KERNELS: &[Kernel] = &[
    Kernel { name: "5.10", series: &[5, 10], lsm: Some("lockdown,yama,bpf") },
    Kernel { name: "6.1", series: &[6, 1], lsm: Some("lockdown,yama,landlock,bpf") },
    Kernel { name: "6.12", series: &[6, 12], lsm: Some("lockdown,yama,landlock,bpf") },
    Kernel { name: "6.18", series: &[6, 18], lsm: None },
    Kernel { name: "newest", series: &[], lsm: None },
];

/// A source list with all of them: the release each came with, its updates, and what is not released yet.
pub const SOURCES: &[(&str, &str)] = &[
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm"),
    ("debian-security", "bookworm-security"),
    ("debian", "bookworm-backports"),
    ("debian", "trixie"),
    ("debian-security", "trixie-security"),
    ("debian", "trixie-backports"),
    ("debian", "sid"),
];

/// The package of the newest kernel of a series among these names. From about 6.19 on the image is in
/// `linux-binary-…`, and `linux-image-…` of the same version depends on it.
pub fn newest<'n>(kernel: &Kernel, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .filter(|name| version(name).is_some_and(|version| version.starts_with(kernel.series)))
        .max_by_key(|name| (version(name), name.starts_with("linux-binary-")))
}

/// The numbers in the version of a kernel package for virtual machines: `linux-image-5.10.0-46-cloud-amd64`
/// gives 5, 10, 0, 46. `None` for other packages, and for those without a version or a signature.
fn version(package: &str) -> Option<Vec<u32>> {
    let rest = package
        .strip_prefix("linux-image-")
        .or_else(|| package.strip_prefix("linux-binary-"))?
        .strip_suffix("-cloud-amd64")?;
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
            ]
        );
    }
}
