//! The containers that were seen, by the path of their cgroup, in bounded number.

use std::sync::Arc;

use super::Container;
use super::recent::Recent;
use crate::record;

/// Most containers that are known at a time; the one that was met longest ago gives way.
pub const CAPACITY: usize = 4_096;

#[derive(Clone, Debug)]
struct Known {
    container: Arc<Container>,
    /// What records show.
    shown: Arc<record::Container>,
}

/// Containers by cgroup.
#[derive(Clone, Debug, Default)]
pub struct Containers {
    by_cgroup: Recent<Arc<str>, Known, CAPACITY>,
    evicted: u64,
}

impl Containers {
    /// Adds or replaces one; true when it is news.
    pub fn insert(&mut self, cgroup: &str, container: Container) -> bool {
        if self.by_cgroup.used(cgroup).is_some_and(|known| *known.container == container) {
            return false;
        }
        let shown = Arc::new(shown(&container));
        let known = Known { container: Arc::new(container), shown };
        self.evicted += u64::from(self.by_cgroup.insert(Arc::from(cgroup), known));
        true
    }

    /// A process was met in a cgroup; true when its container is known.
    pub fn meet(&mut self, cgroup: &str) -> bool {
        self.by_cgroup.used(cgroup).is_some()
    }

    /// The container of a cgroup.
    #[must_use]
    pub fn get(&self, cgroup: &str) -> Option<&Container> {
        self.by_cgroup.get(cgroup).map(|known| &*known.container)
    }

    /// The same as records show it.
    #[must_use]
    pub fn shown(&self, cgroup: &str) -> Option<&Arc<record::Container>> {
        self.by_cgroup.get(cgroup).map(|known| &known.shown)
    }

    /// How many gave way to others.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// Labels stay out of records: a container has dozens, and what they say of the pod is shown by itself.
fn shown(container: &Container) -> record::Container {
    record::Container {
        id: container.id.clone(),
        runtime: container.runtime.clone(),
        name: container.name.clone(),
        image: container.image.clone(),
        pod: container.pod.clone(),
        pod_name: container.pod_name.clone(),
        namespace: container.namespace.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_is_counted() {
        let mut known = Containers::default();
        for number in 0..CAPACITY + 10 {
            let container = Container { id: number.to_string(), ..Container::default() };
            assert!(known.insert(&format!("/{number}"), container.clone()));
            assert!(!known.insert(&format!("/{number}"), container));
        }
        assert_eq!(known.evicted(), 10);
        assert!(known.get("/9").is_none() && known.get("/10").is_some());
        let other = Container { id: "other".into(), ..Container::default() };
        assert!(known.insert("/10", other));
        assert_eq!(known.get("/10").unwrap().id, "other");
        assert_eq!(known.by_cgroup.len(), (CAPACITY, CAPACITY));
    }

    #[test]
    fn one_in_which_processes_are_met_does_not_give_way() {
        let mut known = Containers::default();
        let numbered = |number: usize| Container { id: number.to_string(), ..Container::default() };
        for number in 0..CAPACITY {
            known.insert(&format!("/{number}"), numbered(number));
        }
        assert!(known.meet("/0") && !known.meet("/other"));
        assert!(!known.insert("/1", numbered(1)));
        for number in CAPACITY..2 * CAPACITY - 2 {
            known.insert(&format!("/{number}"), numbered(number));
        }
        assert!(known.get("/0").is_some() && known.get("/1").is_some());
        assert!(known.get("/2").is_none());
    }
}
