//! What container runtimes and mounts say of a container: databases, documents, listings.

use mcpwatch::host::containers::bolt::Database;
use mcpwatch::host::containers::{Container, documents};
use mcpwatch::host::mounts::HostPaths;

/// The containers that the seeds have: of podman, and of containerd.
const PODMAN: &str = "223f4b8c7f7654bc890c944ad09f88df903d80bc6d03acde09df7640f31ca94d";
const CONTAINERD: &str = "4c6d8a9b0e1f22334455667788990011aabbccddeeff00112233445566778899";

/// Those that add to what is known of a container.
const DOCUMENTS: [fn(&[u8], &mut Container) -> bool; 4] =
    [documents::docker, documents::bundle, documents::storage, documents::podman];

/// A database of podman or containerd, or any of the documents. What is kept of it is bounded.
pub fn containers(data: &[u8]) {
    let read = |at: u64, len: usize| {
        let at = usize::try_from(at).ok()?;
        let end = at.checked_add(len)?.min(data.len());
        Some(data.get(at..end)?.to_vec())
    };
    let mut found = Container { id: PODMAN.into(), ..Container::default() };
    if let Some(database) = Database::open(&read) {
        let row = database.bucket(&["ctr", PODMAN]).and_then(|ctr| database.get(&ctr, "config"));
        documents::podman(&row.unwrap_or_default(), &mut found);
        if let Some(row) = database.bucket(&["v1", "default", "containers", CONTAINERD]) {
            let labels = database.bucket(&["v1", "default", "containers", CONTAINERD, "labels"]);
            let labels = labels.map(|labels| database.entries(&labels)).unwrap_or_default();
            documents::containerd(database.get(&row, "image").as_deref(), labels, &mut found);
        }
    }
    bounded(&found);
    for pod in [None, Some("uid".to_owned())] {
        for parse in DOCUMENTS {
            let mut found =
                Container { id: PODMAN.into(), pod: pod.clone(), ..Container::default() };
            parse(data, &mut found);
            bounded(&found);
        }
    }
    for state in [documents::crun(data), documents::runc(data)].into_iter().flatten() {
        assert!(state.bundle.len() + state.cgroup.len() <= data.len());
    }
    if let Some(root) = documents::data_root(data) {
        assert!(root.is_absolute() && root.as_os_str().len() <= 4 << 10);
    }
}

fn bounded(found: &Container) {
    assert!(found.labels.len() <= 256);
    let fit = |(name, value): (&String, &String)| name.len() <= 1 << 10 && value.len() <= 4 << 10;
    assert!(found.labels.iter().all(fit));
    let texts = [&found.name, &found.image, &found.pod_name, &found.namespace];
    assert!(texts.into_iter().flatten().all(|text| text.len() <= 1 << 10));
}

/// Two listings of mounts, parted by a NUL: that of a namespace and that of the host.
pub fn mounts(data: &[u8]) {
    let mut listings = data.splitn(2, |byte| *byte == 0);
    let (namespace, host) = (listings.next(), listings.next());
    let paths = HostPaths::of(namespace.unwrap_or_default(), host.unwrap_or_default());
    for path in ["/", "/work/a", "/etc/hosts", "//", "work"] {
        assert!(paths.of_path(path, None).is_none_or(|on_host| on_host != path));
    }
}
