//! The containers that were seen, by the path of their cgroup, in bounded number.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Container;
use crate::record;

/// Most containers that are known at a time; the one that was added longest ago gives way.
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
    by_cgroup: BTreeMap<String, Known>,
    order: VecDeque<String>,
    evicted: u64,
}

impl Containers {
    /// Adds or replaces one; true when it is news.
    pub fn insert(&mut self, cgroup: &str, container: Container) -> bool {
        if self.get(cgroup).is_some_and(|known| *known == container) {
            return false;
        }
        let shown = Arc::new(shown(&container));
        let known = Known { container: Arc::new(container), shown };
        if self.by_cgroup.insert(cgroup.to_owned(), known).is_none() {
            self.order.push_back(cgroup.to_owned());
            if self.order.len() > CAPACITY
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_cgroup.remove(&oldest);
                self.evicted += 1;
            }
        }
        true
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
        assert_eq!((known.order.len(), known.by_cgroup.len()), (CAPACITY, CAPACITY));
    }
}
