//! Containers: which one a cgroup belongs to, and what the host shows of it.
//!
//! [`layouts`] tells a container by the path of its cgroup, [`documents`] reads what runtimes write down
//! of one; both are pure. [`shown`] alone reads files.

pub mod bolt;
pub mod cgroups;
pub mod documents;
pub mod known;
pub mod layouts;
mod recent;
pub mod shown;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is known of a container. All but runtime and id is what its runtime wrote down, which in turn is
/// what whoever started it, or built its image, said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// `docker`, `podman`, `containerd`, `cri-o`, …; `cri` for Kubernetes where nothing says which.
    pub runtime: String,
    /// Its full id; its name where the runtime has no other.
    pub id: String,
    /// Its name; in a pod that of the container within the pod.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Its image, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    /// Uid of its Kubernetes pod.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod: Option<String>,
    /// Name of that pod.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod_name: Option<String>,
    /// Kubernetes namespace of that pod.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// Labels and OCI annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
}

impl Container {
    /// More is known than its cgroup tells.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.name.is_some() || self.image.is_some() || !self.labels.is_empty()
    }
}
