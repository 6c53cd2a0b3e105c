//! A table in bounded number, in which the entry that was used longest ago gives way.

use std::borrow::Borrow;
use std::collections::BTreeMap;

/// At most `CAPACITY` entries.
#[derive(Clone, Debug)]
pub(super) struct Recent<K, V, const CAPACITY: usize> {
    /// Each with the number of its last use.
    entries: BTreeMap<K, (u64, V)>,
    /// Keys by that number.
    order: BTreeMap<u64, K>,
    uses: u64,
}

impl<K, V, const CAPACITY: usize> Default for Recent<K, V, CAPACITY> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), order: BTreeMap::new(), uses: 0 }
    }
}

impl<K: Clone + Ord, V, const CAPACITY: usize> Recent<K, V, CAPACITY> {
    /// Adds or replaces an entry, which is now the one used last; true when another gave way.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        self.uses += 1;
        if let Some((used, _)) = self.entries.insert(key.clone(), (self.uses, value)) {
            self.order.remove(&used);
        }
        self.order.insert(self.uses, key);
        if self.entries.len() <= CAPACITY {
            return false;
        }
        let oldest = self.order.pop_first();
        oldest.is_some_and(|(_, oldest)| self.entries.remove(&oldest).is_some())
    }

    /// An entry, which keeps its place in the order.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// An entry, which is now the one used last.
    pub(super) fn used<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (used, value) = self.entries.get_mut(key)?;
        let before = *used;
        if let Some(key) = self.order.remove(&before) {
            self.uses += 1;
            *used = self.uses;
            self.order.insert(self.uses, key);
        }
        Some(value)
    }

    /// How many entries there are, by either order.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_gives_way() {
        let mut table: Recent<u32, char, 3> = Recent::default();
        for (key, value) in [(1, 'a'), (2, 'b'), (3, 'c'), (2, 'B')] {
            assert!(!table.insert(key, value));
        }
        assert_eq!(table.used(&1), Some(&'a'));
        assert_eq!(table.used(&9), None);
        assert_eq!(table.get(&3), Some(&'c'), "a look is no use");
        assert!(table.insert(4, 'd'));
        assert!(table.get(&3).is_none());
        assert!(table.insert(5, 'e'));
        assert!(table.get(&2).is_none());
        assert_eq!((table.get(&1), table.len()), (Some(&'a'), (3, 3)));
    }
}
