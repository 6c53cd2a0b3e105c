//! What runtimes write down of a container → its name, image and labels. Pure.
//!
//! Everything in these files was said by whoever started the container or built its image: sizes are
//! limited, and what has the wrong type is as good as absent.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use serde::Deserialize;

use super::Container;

/// Most labels kept of one container.
const LABELS: usize = 256;
/// Longest name of a label, of a container or an image; longer ones are left out.
const NAME_BYTES: usize = 1 << 10;
/// Longest value of a label; longer ones are left out. Tools keep whole manifests in labels.
const VALUE_BYTES: usize = 4 << 10;
/// Longest path of a folder that is looked into; the kernel takes no longer ones.
const PATH_BYTES: usize = 4 << 10;

/// Which label of a pod's container says what. Their order is that of trust: the kubelet's own come first.
/// Only containers in a pod's cgroup are asked: elsewhere anybody can write these.
type Key = fn(&mut Container) -> &mut Option<String>;
const POD_LABELS: &[(&str, Key)] = &[
    // https://github.com/kubernetes/kubernetes: `pkg/kubelet/types/labels.go`.
    ("io.kubernetes.container.name", |container| &mut container.name),
    ("io.kubernetes.pod.name", |container| &mut container.pod_name),
    ("io.kubernetes.pod.namespace", |container| &mut container.namespace),
    ("io.kubernetes.pod.uid", |container| &mut container.pod),
    // https://github.com/containerd/containerd: `internal/cri/annotations/annotations.go`.
    ("io.kubernetes.cri.container-name", |container| &mut container.name),
    ("io.kubernetes.cri.sandbox-name", |container| &mut container.pod_name),
    ("io.kubernetes.cri.sandbox-namespace", |container| &mut container.namespace),
    ("io.kubernetes.cri.sandbox-uid", |container| &mut container.pod),
    ("io.kubernetes.cri.image-name", |container| &mut container.image),
    // https://github.com/cri-o/cri-o: `pkg/annotations`.
    ("io.kubernetes.cri-o.ImageName", |container| &mut container.image),
];

/// Annotations of CRI-O that hold a whole map, as JSON.
const MAPS: &[&str] = &["io.kubernetes.cri-o.Labels", "io.kubernetes.cri-o.Annotations"];

/// A container as its runtime's state directory knows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Where its `config.json` stands.
    pub bundle: String,
    /// Path of its cgroup; empty when the document does not say.
    pub cgroup: String,
}

/// `config.v2.json` of docker.
pub fn docker(text: &[u8], container: &mut Container) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Document {
        #[serde(default)]
        name: String,
        config: Settings,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Settings {
        #[serde(default)]
        image: String,
        labels: Option<BTreeMap<String, String>>,
    }
    let Ok(document) = serde_json::from_slice::<Document>(text) else { return false };
    add_labels(container, document.config.labels.unwrap_or_default());
    // docker keeps names as paths, from the days of links.
    set(&mut container.name, document.name.trim_start_matches('/'));
    set(&mut container.image, &document.config.image);
    true
}

/// The folder that docker's settings, `daemon.json`, have it keep everything in; older ones call it `graph`. None of a path
/// that goes up again: links on the way would decide where to.
#[must_use]
pub fn data_root(text: &[u8]) -> Option<PathBuf> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Document {
        data_root: Option<PathBuf>,
        graph: Option<PathBuf>,
    }
    let document: Document = serde_json::from_slice(text).ok()?;
    let path = document.data_root.or(document.graph)?;
    let is_plain =
        path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    (is_plain && path.as_os_str().len() <= PATH_BYTES).then_some(path)
}

/// `config.json` of an OCI bundle.
pub fn bundle(text: &[u8], container: &mut Container) -> bool {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    let Ok(document) = serde_json::from_slice::<Document>(text) else { return false };
    add_labels(container, document.annotations);
    true
}

/// `status` of crun.
#[must_use]
pub fn crun(text: &[u8]) -> Option<State> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Document {
        bundle: String,
        #[serde(default)]
        cgroup_path: String,
    }
    let document: Document = serde_json::from_slice(text).ok()?;
    Some(State { bundle: document.bundle, cgroup: document.cgroup_path })
}

/// `state.json` of runc, which keeps the path of the bundle among its labels.
#[must_use]
pub fn runc(text: &[u8]) -> Option<State> {
    #[derive(Deserialize)]
    struct Document {
        config: Settings,
    }
    #[derive(Deserialize)]
    struct Settings {
        labels: Vec<String>,
    }
    let document: Document = serde_json::from_slice(text).ok()?;
    let bundle = document.config.labels.iter().find_map(|label| label.strip_prefix("bundle="))?;
    Some(State { bundle: bundle.to_owned(), cgroup: String::new() })
}

/// `containers.json` of containers/storage, which podman and CRI-O share.
pub fn storage(text: &[u8], container: &mut Container) -> bool {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        #[serde(default)]
        names: Vec<String>,
        #[serde(default)]
        metadata: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "kebab-case", default)]
    struct Metadata {
        image_name: String,
    }
    let Ok(rows) = serde_json::from_slice::<Vec<Row>>(text) else { return false };
    let Some(row) = rows.into_iter().find(|row| row.id == container.id) else { return false };
    let metadata: Metadata = serde_json::from_str(&row.metadata).unwrap_or_default();
    // A pod's container has a better name among its annotations; here it is `k8s_NAME_POD_…`.
    if container.pod.is_none()
        && let Some(name) = row.names.first()
    {
        set(&mut container.name, name);
    }
    set(&mut container.image, &metadata.image_name);
    true
}

/// The row podman keeps of a container in its own database.
pub fn podman(text: &[u8], container: &mut Container) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        #[serde(default)]
        name: String,
        #[serde(default)]
        rootfs_image_name: String,
        labels: Option<BTreeMap<String, String>>,
    }
    let Ok(row) = serde_json::from_slice::<Row>(text) else { return false };
    add_labels(container, row.labels.unwrap_or_default());
    set(&mut container.name, &row.name);
    set(&mut container.image, &row.rootfs_image_name);
    true
}

/// What containerd keeps of a container in its own database.
pub fn containerd(
    image: Option<&[u8]>,
    labels: Vec<(Vec<u8>, Vec<u8>)>,
    container: &mut Container,
) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let labels: BTreeMap<String, String> =
        labels.into_iter().filter_map(|(key, value)| Some((text(key)?, text(value)?))).collect();
    // https://github.com/containerd/nerdctl/blob/main/pkg/labels/labels.go.
    if let Some(name) = labels.get("nerdctl/name").filter(|_| container.pod.is_none()) {
        set(&mut container.name, name);
    }
    add_labels(container, labels);
    if let Some(image) = image.and_then(|image| std::str::from_utf8(image).ok()) {
        set(&mut container.image, image);
    }
}

/// Adds labels, and what those of a pod's container say beside.
pub fn add_labels(container: &mut Container, labels: BTreeMap<String, String>) {
    let mut all = labels;
    for name in MAPS {
        let inner = all.remove(*name).and_then(|text| serde_json::from_str(&text).ok());
        let inner: BTreeMap<String, String> = inner.unwrap_or_default();
        for (name, value) in inner {
            all.entry(name).or_insert(value);
        }
    }
    if container.pod.is_some() {
        for (name, key) in POD_LABELS {
            if let Some(value) = all.get(*name) {
                set(key(container), value);
            }
        }
    }
    for (name, value) in all {
        let fits = name.len() <= NAME_BYTES && value.len() <= VALUE_BYTES;
        if fits && container.labels.len() < LABELS {
            container.labels.entry(name).or_insert(value);
        }
    }
}

/// The first source that has it counts.
fn set(field: &mut Option<String>, value: &str) {
    if field.is_none() && !value.is_empty() && value.len() <= NAME_BYTES {
        *field = Some(value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_pod(runtime: &str) -> Container {
        Container {
            runtime: runtime.into(),
            id: "1".into(),
            pod: Some("uid".into()),
            ..Container::default()
        }
    }

    #[test]
    fn docker_s_file_has_name_image_and_labels() {
        let text = br#"{"StreamConfig":{},"State":{"Running":true,"Pid":7},"ID":"1","Config":{"Image":
            "ghcr.io/acme/weather:2","Labels":{"a":"b","io.kubernetes.pod.name":"forged"},"Env":["A=B"]},
            "Name":"/weather","HostConfig":null}"#;
        let mut found = Container::default();
        assert!(docker(text, &mut found));
        assert_eq!(found.name.as_deref(), Some("weather"));
        assert_eq!(found.image.as_deref(), Some("ghcr.io/acme/weather:2"));
        assert_eq!(found.labels["a"], "b");
        assert_eq!(found.pod_name, None, "a label alone makes no pod");
        assert!(docker(br#"{"Config":{"Labels":null}}"#, &mut Container::default()));
    }

    #[test]
    fn docker_s_settings_lead_to_what_it_keeps() {
        for (text, expected) in [
            (
                r#"{"debug":true,"dns":["192.0.2.1"],"data-root":"/srv/docker"}"#,
                Some("/srv/docker"),
            ),
            (r#"{"graph":"/srv/docker"}"#, Some("/srv/docker")),
            (r#"{"graph":"/srv/old","data-root":"/srv/docker"}"#, Some("/srv/docker")),
            (r#"{"data-root":null}"#, None),
            (r#"{"data-root":7}"#, None),
            (r#"{"data-root":["/srv/docker"]}"#, None),
            (r#"{"data-root":"/srv/docker""#, None),
            (r#"{"data-root":""}"#, None),
            (r#"{"data-root":"srv/docker"}"#, None),
            (r#"{"data-root":"../srv/docker"}"#, None),
            (r#"{"data-root":"/data/../srv/docker"}"#, None),
        ] {
            assert_eq!(data_root(text.as_bytes()), expected.map(PathBuf::from), "{text}");
        }
        let long = format!(r#"{{"data-root":"{}"}}"#, "/a".repeat(PATH_BYTES));
        assert_eq!(data_root(long.as_bytes()), None);
    }

    #[test]
    fn annotations_of_every_cri_name_the_pod() {
        let containerd = br#"{"ociVersion":"1.0","annotations":{
            "io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.image-name":"docker.io/acme/app:1","io.kubernetes.cri.sandbox-id":"2",
            "io.kubernetes.cri.sandbox-name":"app-7d9","io.kubernetes.cri.sandbox-namespace":"prod",
            "io.kubernetes.cri.sandbox-uid":"other"}}"#;
        let crio = br#"{"annotations":{"io.kubernetes.cri-o.ImageName":"docker.io/acme/app:1",
            "io.kubernetes.container.name":"app","io.kubernetes.pod.name":"app-7d9",
            "io.kubernetes.pod.namespace":"prod",
            "io.kubernetes.cri-o.Labels":"{\"team\":\"a\"}","io.kubernetes.cri-o.Annotations":"broken"}}"#;
        for (runtime, text) in [("containerd", &containerd[..]), ("cri-o", crio)] {
            let mut found = of_pod(runtime);
            assert!(bundle(text, &mut found));
            assert_eq!(found.name.as_deref(), Some("app"), "{runtime}");
            assert_eq!(found.pod_name.as_deref(), Some("app-7d9"), "{runtime}");
            assert_eq!(found.namespace.as_deref(), Some("prod"), "{runtime}");
            assert_eq!(found.image.as_deref(), Some("docker.io/acme/app:1"), "{runtime}");
            assert_eq!(found.pod.as_deref(), Some("uid"), "the cgroup's word stands");
        }
        let mut found = of_pod("cri-o");
        bundle(crio, &mut found);
        assert_eq!(found.labels["team"], "a");
    }

    #[test]
    fn states_lead_to_the_bundle() {
        let text = br#"{"pid":15963,"process-start-time":1243631,"cgroup-path":"/libpod_parent/libpod-1",
            "scope":"","rootfs":"/r","systemd-cgroup":false,"bundle":"/b","owner":"root","detached":true}"#;
        let expected = State { bundle: "/b".into(), cgroup: "/libpod_parent/libpod-1".into() };
        assert_eq!(crun(text), Some(expected));
        let text = br#"{"id":"1","init_process_pid":7,"config":{"rootfs":"/r",
            "labels":["a=b","bundle=/run/containerd/io.containerd.runtime.v2.task/moby/1"]}}"#;
        let bundle = "/run/containerd/io.containerd.runtime.v2.task/moby/1".into();
        assert_eq!(runc(text), Some(State { bundle, cgroup: String::new() }));
        assert_eq!(runc(br#"{"config":{"labels":["a=b"]}}"#), None);
    }

    #[test]
    fn storage_is_searched_for_the_container() {
        let text = br#"[{"id":"0","names":["other"]},{"id":"1","names":["weather"],"image":"sha",
            "metadata":"{\"image-name\":\"localhost/weather:latest\",\"image-id\":\"sha\"}"}]"#;
        let mut found = Container { id: "1".into(), ..Container::default() };
        assert!(storage(text, &mut found));
        assert_eq!(found.name.as_deref(), Some("weather"));
        assert_eq!(found.image.as_deref(), Some("localhost/weather:latest"));
        let mut found = of_pod("cri-o");
        assert!(storage(text, &mut found));
        assert_eq!(found.name, None);
        assert!(!storage(text, &mut Container::default()));
    }

    #[test]
    fn what_is_said_is_bounded_and_nonsense_is_nothing() {
        let many: BTreeMap<String, String> =
            (0..10_000).map(|number| (format!("k{number}"), "v".to_owned())).collect();
        let mut found = Container::default();
        add_labels(&mut found, many);
        assert_eq!(found.labels.len(), LABELS);
        let mut found = Container::default();
        let long = "x".repeat(VALUE_BYTES + 1);
        add_labels(&mut found, [("a".to_owned(), long.clone()), (long, "b".to_owned())].into());
        assert!(found.labels.is_empty());
        let deep = "[".repeat(100_000);
        for text in ["", "[]", "{}", "null", "{\"annotations\":7}", deep.as_str(), "\u{0}"] {
            let text = text.as_bytes();
            let mut found = Container::default();
            docker(text, &mut found);
            bundle(text, &mut found);
            storage(text, &mut found);
            assert_eq!(found, Container::default());
            assert_eq!((crun(text), runc(text), data_root(text)), (None, None, None));
        }
    }
}
