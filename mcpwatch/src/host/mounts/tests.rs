use super::*;

/// A line for each `id parent major:minor root point`.
fn listing(mounts: &[&str]) -> Vec<u8> {
    let lines = mounts.iter().map(|mount| format!("{mount} rw,relatime - ext4 /dev/vda rw\n"));
    lines.collect::<String>().into_bytes()
}

/// A host with its own file systems, one of them for homes.
const HOST: &[&str] = &[
    "20 1 8:1 / /",
    "21 20 0:5 / /proc",
    "22 20 0:6 / /sys",
    "23 20 8:2 / /home",
    "24 20 0:7 / /tmp",
];

/// What stands on the host at a path of a namespace with these mounts.
fn host_path(namespace: &[&str], host: &[&str], path: &str) -> Option<String> {
    HostPaths::of(&listing(namespace), &listing(host)).of_path(path, None)
}

/// Each: what it shows, the mounts beyond the host's, those of the namespace, a path, and its path on the host.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
    Option<&'static str>,
);

const TABLE: &[Row] = &[
    (
        "a folder of another file system",
        &[],
        &["50 49 0:60 / /", "51 50 8:2 /me/project /work"],
        "/work/src/a.rs",
        Some("/home/me/project/src/a.rs"),
    ),
    (
        "the mount point itself",
        &[],
        &["50 49 0:60 / /", "51 50 8:2 /me/project /work"],
        "/work",
        Some("/home/me/project"),
    ),
    (
        "a name that only begins like it",
        &[],
        &["50 49 8:1 /srv/image /", "51 50 8:2 /me/project /work"],
        "/worker/a",
        Some("/srv/image/worker/a"),
    ),
    (
        "a single file",
        &[],
        &["50 49 0:60 / /", "51 50 8:1 /etc/resolv.conf /etc/resolv.conf.host"],
        "/etc/resolv.conf.host",
        Some("/etc/resolv.conf"),
    ),
    (
        "an overlay that the host sees merged",
        &["30 20 0:60 / /var/lib/containers/storage/overlay/1f/merged"],
        &["50 49 0:60 / /"],
        "/etc/passwd",
        Some("/var/lib/containers/storage/overlay/1f/merged/etc/passwd"),
    ),
    ("one that it does not see", &[], &["50 49 0:60 / /"], "/etc/passwd", None),
    (
        "a mount within a mount",
        &[],
        &["50 49 0:60 / /", "51 50 8:2 /me /work", "52 51 8:1 /opt/tools /work/tools"],
        "/work/tools/x",
        Some("/opt/tools/x"),
    ),
    (
        "a mount under another one",
        &[],
        &[
            "50 49 0:60 / /",
            "51 50 8:2 /me /work",
            "52 50 8:1 /opt /work/a",
            "53 51 8:1 /srv /work",
        ],
        "/work/a/x",
        Some("/srv/a/x"),
    ),
    (
        "two at one place: the upper one",
        &[],
        &["50 49 0:60 / /", "51 50 8:2 /me /work", "52 51 8:2 /you /work"],
        "/work/x",
        Some("/home/you/x"),
    ),
    (
        "a file system of its own on a host's",
        &[],
        &["50 49 8:1 /srv/image /", "51 50 0:70 / /tmp"],
        "/tmp/x",
        None,
    ),
    (
        "the whole host, without what is mounted on it",
        &[],
        &["50 49 0:60 / /", "51 50 8:1 / /host"],
        "/host/etc/shadow",
        Some("/etc/shadow"),
    ),
    (
        "there, where the host has mounted something over it",
        &[],
        &["50 49 0:60 / /", "51 50 8:1 / /host"],
        "/host/home/me/x",
        None,
    ),
    (
        "and with all that is mounted on it",
        &[],
        &["50 49 0:60 / /", "51 50 8:1 / /host", "52 51 8:2 / /host/home"],
        "/host/home/me/x",
        Some("/home/me/x"),
    ),
    (
        "a folder that the host has mounted over, but shows elsewhere",
        &["30 20 8:1 /home/old /mnt/old"],
        &["50 49 0:60 / /", "51 50 8:1 / /host"],
        "/host/home/old/x",
        Some("/mnt/old/x"),
    ),
    (
        "a device of which the host shows a part only",
        &["30 20 8:3 /exports/a /srv/a"],
        &["50 49 0:60 / /", "51 50 8:3 / /disk"],
        "/disk/exports/a/x",
        Some("/srv/a/x"),
    ),
    (
        "and beside that part",
        &["30 20 8:3 /exports/a /srv/a"],
        &["50 49 0:60 / /", "51 50 8:3 / /disk"],
        "/disk/exports/b",
        None,
    ),
    (
        "the natural one of two places on the host",
        &["30 20 8:2 /me/project /mnt/p"],
        &["50 49 0:60 / /", "51 50 8:2 /me/project /work"],
        "/work/x",
        Some("/home/me/project/x"),
    ),
    (
        "subvolumes of one device",
        &["30 20 0:40 /@data /data", "31 20 0:40 /@snapshots/7 /snapshots"],
        &["50 49 0:60 / /", "51 50 0:40 /@data/in /in", "52 50 0:40 /@other /other"],
        "/in/x",
        Some("/data/in/x"),
    ),
    (
        "one that the host has not mounted",
        &["30 20 0:40 /@data /data"],
        &["50 49 0:60 / /", "52 50 0:40 /@other /other"],
        "/other/x",
        None,
    ),
    (
        "a folder that was removed",
        &[],
        &["50 49 0:60 / /", "51 50 8:2 /me/gone//deleted /work"],
        "/work/x",
        None,
    ),
    (
        "a removed one on the host explains nothing",
        &["30 20 8:3 /gone//deleted /srv/gone"],
        &["50 49 0:60 / /", "51 50 8:3 /gone /work"],
        "/work/x",
        None,
    ),
    (
        "names with blanks, backslashes and bytes that are no text",
        &[],
        &["50 49 0:60 / /", r"51 50 8:2 /my\040files\134new /w\011k"],
        "/w\tk/x",
        Some(r"/home/my files\new/x"),
    ),
    (
        "escapes that are none",
        &[],
        &["50 49 0:60 / /", r"51 50 8:2 /a\09\777\4 /work"],
        "/work/x",
        Some(r"/home/a\09\777\4/x"),
    ),
    (
        "the same path on both sides",
        &[],
        &["50 49 8:1 / /", "51 50 8:2 / /home", "52 50 0:70 / /tmp"],
        "/home/me/x",
        None,
    ),
    (
        "a namespace file",
        &["30 20 0:4 net:[4026532000] /run/netns/blue"],
        &["50 49 0:60 / /", "51 50 0:4 net:[4026532000] /run/ns"],
        "/run/ns",
        Some("/run/netns/blue"),
    ),
    ("what is no path", &[], &["50 49 8:1 /srv/image /"], "pipe:[7]", None),
    ("a relative one", &[], &["50 49 8:1 /srv/image /"], "memfd:x", None),
];

#[test]
fn every_layout() {
    for (what, more, namespace, path, expected) in TABLE {
        let host = [HOST, more].concat();
        assert_eq!(host_path(namespace, &host, path).as_deref(), *expected, "{what}");
    }
}

#[test]
fn a_file_of_another_device_than_its_path_says_is_elsewhere() {
    let namespace = ["50 49 0:60 / /", "51 50 8:2 /me /work"];
    let paths = HostPaths::of(&listing(&namespace), &listing(HOST));
    let found = |major: u32, minor: u32| paths.of_path("/work/x", Some(major << 20 | minor));
    assert_eq!(found(8, 2).as_deref(), Some("/home/me/x"));
    assert_eq!(found(8, 1), None);
}

#[test]
fn names_that_are_no_text_are_written_as_in_events() {
    let namespace = b"50 49 0:60 / / rw - x x rw\n51 50 8:2 /caf\xe9 /w\xff rw - x x rw\n";
    let paths = HostPaths::of(namespace, &listing(HOST));
    assert_eq!(paths.of_path(r"/w\xff/x", None).as_deref(), Some(r"/home/caf\xe9/x"));
}

#[test]
fn a_listing_that_is_not_whole_gives_nothing() {
    let good = listing(&["50 49 8:1 /srv/image /"]);
    assert!(!HostPaths::of(&good, &listing(HOST)).is_empty());
    let long = "x".repeat(usize::try_from(super::listing::HOST.bytes).unwrap());
    let many: Vec<String> = (0..9_000).map(|id| format!("{} 49 8:1 / /m{id}", id + 50)).collect();
    let many = many.join(" rw\n");
    for bad in [
        "",
        "\n",
        "50",
        "50 49 8:1 / ",
        "50 49 8:1  / rw",
        "x 49 8:1 / / rw",
        "50 49 8 / / rw",
        "50 49 8:9999999 / / rw",
        "50 49 99999999999:1 / / rw",
        "18446744073709551616 49 8:1 / / rw",
        // No root; two roots; two mounts of one number; a ring.
        "50 49 8:1 / /mnt rw",
        "50 49 8:1 / / rw\n51 48 8:1 / / rw",
        "50 49 8:1 / / rw\n50 49 8:1 / /a rw",
        "50 51 8:1 / / rw\n51 50 8:1 / / rw",
        &long,
        &many,
    ] {
        assert!(HostPaths::of(bad.as_bytes(), &listing(HOST)).is_empty(), "{bad:.60}");
        assert!(HostPaths::of(&good, bad.as_bytes()).is_empty(), "{bad:.60}");
    }
}

#[test]
fn a_ring_beside_the_tree_ends() {
    let ring = ["50 49 8:1 / /", "51 52 8:2 / /a", "52 51 8:2 / /a"];
    assert_eq!(host_path(&ring, HOST, "/a/x"), None);
}

#[test]
fn too_many_parts_give_no_table() {
    let mut host: Vec<String> = HOST.iter().map(|line| (*line).to_owned()).collect();
    host.extend((0..4_000).map(|n| format!("{} 20 0:9 / /run/{n}", n + 100)));
    let host: Vec<&str> = host.iter().map(String::as_str).collect();
    let mut namespace: Vec<String> = vec!["50 49 0:60 / /".into()];
    namespace.extend((0..4).map(|n| format!("{} 50 8:1 / /host{n}", n + 51)));
    let namespace: Vec<&str> = namespace.iter().map(String::as_str).collect();
    assert!(HostPaths::of(&listing(&namespace), &listing(&host)).is_empty());
    assert_eq!(host_path(&namespace[..2], &host, "/host0/run/7/x"), None);
    assert_eq!(host_path(&namespace[..2], &host, "/host0/run/x").as_deref(), Some("/run/x"));
}

#[test]
fn a_table_of_too_much_text_is_none() {
    let long = "x".repeat(200);
    let mut host: Vec<String> = HOST.iter().map(|line| (*line).to_owned()).collect();
    host.extend((0..3_000).map(|n| format!("{} 20 0:9 / /run/{long}{n}", n + 100)));
    let host: Vec<&str> = host.iter().map(String::as_str).collect();
    let namespace = ["50 49 0:60 / /", "51 50 8:1 / /a", "52 50 8:1 / /b"];
    assert_eq!(host_path(&namespace[..2], &host, "/a/etc/x").as_deref(), Some("/etc/x"));
    assert!(HostPaths::of(&listing(&namespace), &listing(&host)).is_empty());
}

#[test]
fn a_table_that_takes_too_long_is_none() {
    // Each of the mounts of the namespace is held against each of the host's on the same device.
    let mut host: Vec<String> = vec!["20 1 8:1 / /".into(), "21 20 8:2 / /home".into()];
    host.extend((0..2_000).map(|n| format!("{} 20 8:1 /h{n} /m{n}", n + 100)));
    let host: Vec<&str> = host.iter().map(String::as_str).collect();
    let mut namespace: Vec<String> = vec!["2050 49 0:60 / /".into()];
    namespace.extend((0..900).map(|n| format!("{} 2050 8:1 /n{n} /n{n}x", n + 3_000)));
    namespace.push("9999 2050 8:2 /me /work".into());
    let namespace: Vec<&str> = namespace.iter().map(String::as_str).collect();
    assert!(HostPaths::of(&listing(&namespace), &listing(&host)).is_empty());
    let few = [&namespace[..20], &namespace[namespace.len() - 1..]].concat();
    assert_eq!(host_path(&few, &host, "/work/x").as_deref(), Some("/home/me/x"));
}

#[test]
fn a_table_survives_a_recording() {
    let namespace = ["50 49 0:60 / /", "51 50 8:2 /me /work"];
    let paths = HostPaths::of(&listing(&namespace), &listing(HOST));
    let text = serde_json::to_string(&paths).unwrap();
    assert_eq!(serde_json::from_str::<HostPaths>(&text).unwrap(), paths);
}

#[test]
fn made_up_listings_do_no_harm() {
    let mut state = 7_usize;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let names = ["/", "/a", "/a/b", "/a/b//deleted", "/c", "//", "/a/", "x"];
    for _ in 0..3_000 {
        let mut made = || {
            let lines = (0..random(8)).map(|id| {
                let (root, point) = (names[random(8)], names[random(8)]);
                format!("{id} {} 8:{} {root} {point} rw\n", random(9), random(2))
            });
            lines.collect::<String>()
        };
        let (namespace, host) = (made(), made());
        let paths = HostPaths::of(namespace.as_bytes(), host.as_bytes());
        for path in names {
            let _ = paths.of_path(path, None);
        }
    }
}
