//! A sorted map in chunks that clones share: what a checkpoint is written from costs a pointer a chunk, and a change
//! after it copies one chunk. Ten million entries take little more than their own bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Most entries of a chunk.
const CHUNK: usize = 512;
/// A chunk with fewer is put together with a neighbour, if both fit well into one.
const SPARSE: usize = CHUNK / 4;

/// A sorted map of small values.
#[derive(Clone, Debug)]
pub(crate) struct ChunkedMap<K, V> {
    /// Each under a key that none of its entries is below, and that all of the chunk before are. None is empty.
    chunks: BTreeMap<K, Arc<Vec<(K, V)>>>,
    len: usize,
}

impl<K, V> Default for ChunkedMap<K, V> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), len: 0 }
    }
}

/// What is in it counts, not how it came to lie in chunks.
impl<K: Ord + Copy, V: Copy + PartialEq> PartialEq for ChunkedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Copy, V: Copy + Eq> Eq for ChunkedMap<K, V> {}

impl<K: Ord + Copy, V: Copy> ChunkedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: K) -> Option<V> {
        let (_, chunk) = self.chunks.range(..=key).next_back()?;
        let at = chunk.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        chunk.get(at).map(|(_, value)| *value)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let (_, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = chunk.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Arc::make_mut(chunk).get_mut(at).map(|(_, value)| value)
    }

    /// Puts a value under a key that has none, or in place of the one it has.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let bound = match self.chunks.range(..=key).next_back() {
            Some((bound, _)) => *bound,
            None => self.lower_first_bound(key),
        };
        let Some(chunk) = self.chunks.get_mut(&bound) else {
            self.chunks.insert(key, Arc::new(vec![(key, value)]));
            self.len += 1;
            return;
        };
        let at = match chunk.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => {
                if let Some(slot) = Arc::make_mut(chunk).get_mut(at) {
                    slot.1 = value;
                }
                return;
            }
            Err(at) => at,
        };
        self.len += 1;
        if chunk.len() < CHUNK {
            Arc::make_mut(chunk).insert(at, (key, value));
            return;
        }
        // In the order of their keys is how most come: a full chunk stays full then, and the next one begins.
        let upper = if at == CHUNK { Vec::new() } else { Arc::make_mut(chunk).split_off(CHUNK / 2) };
        let mut upper = with_room(upper);
        if upper.first().is_none_or(|(first, _)| key >= *first) {
            let at = upper.partition_point(|(other, _)| *other < key);
            upper.insert(at, (key, value));
        } else {
            Arc::make_mut(chunk).insert(at, (key, value));
        }
        if let Some((first, _)) = upper.first().copied() {
            self.chunks.insert(first, Arc::new(upper));
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let (bound, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = chunk.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        let (_, value) = Arc::make_mut(chunk).remove(at);
        let (bound, left) = (*bound, chunk.len());
        self.len -= 1;
        if left < SPARSE {
            self.join_with_next(bound);
        }
        Some(value)
    }

    /// The entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, V)> + '_ {
        self.chunks.values().flat_map(|chunk| chunk.iter().copied())
    }

    /// The entries in order, from this key on.
    pub(crate) fn from(&self, key: K) -> impl Iterator<Item = (K, V)> + '_ {
        let first = self.chunks.range(..=key).next_back().map_or(key, |(bound, _)| *bound);
        let chunks = self.chunks.range(first..).map(|(_, chunk)| chunk);
        chunks.flat_map(move |chunk| {
            let skipped = chunk.partition_point(|(other, _)| *other < key);
            chunk.iter().skip(skipped).copied()
        })
    }

    pub(crate) fn first(&self) -> Option<(K, V)> {
        self.chunks.first_key_value().and_then(|(_, chunk)| chunk.first()).copied()
    }

    /// Removes the first entry.
    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let (key, value) = self.first()?;
        self.remove(key);
        Some((key, value))
    }

    /// Removes all of a kind, and returns them in order. Looks at each entry, and writes each chunk that has some anew: of ten
    /// million that go, one at a time would take seconds.
    pub(crate) fn extract(&mut self, wanted: impl Fn(&V) -> bool) -> Vec<V> {
        let mut gone = Vec::new();
        for chunk in self.chunks.values_mut() {
            let before = gone.len();
            gone.extend(chunk.iter().map(|(_, value)| *value).filter(|value| wanted(value)));
            if gone.len() > before {
                let left = chunk.iter().filter(|(_, value)| !wanted(value)).copied().collect();
                *chunk = Arc::new(with_room(left));
            }
        }
        self.len -= gone.len();
        self.chunks.retain(|_, chunk| !chunk.is_empty());
        let sparse = self.chunks.iter().filter(|(_, chunk)| chunk.len() < SPARSE);
        let sparse: Vec<K> = sparse.map(|(bound, _)| *bound).collect();
        for bound in sparse {
            self.join_with_next(bound);
        }
        gone
    }

    /// A key below all there are: the first chunk takes it.
    fn lower_first_bound(&mut self, key: K) -> K {
        if let Some((_, chunk)) = self.chunks.pop_first() {
            self.chunks.insert(key, chunk);
        }
        key
    }

    /// An empty chunk goes; a sparse one takes in the next, or goes into the one before.
    fn join_with_next(&mut self, bound: K) {
        let Some(chunk) = self.chunks.get(&bound) else { return };
        let len = chunk.len();
        if len == 0 {
            self.chunks.remove(&bound);
            return;
        }
        let fits = |other: &Arc<Vec<(K, V)>>| other.len() + len <= CHUNK * 3 / 4;
        let before = self.chunks.range(..bound).next_back().filter(|(_, other)| fits(other));
        if let Some((into, _)) = before.map(|(key, other)| (*key, other)) {
            self.append(into, bound);
            return;
        }
        let after = self.chunks.range(bound..).nth(1).filter(|(_, other)| fits(other));
        if let Some((next, _)) = after.map(|(key, other)| (*key, other)) {
            self.append(bound, next);
        }
    }

    /// Moves the entries of a chunk to the end of the one before.
    fn append(&mut self, into: K, from: K) {
        if let Some(moved) = self.chunks.remove(&from)
            && let Some(chunk) = self.chunks.get_mut(&into)
        {
            Arc::make_mut(chunk).extend(moved.iter().copied());
        }
    }
}

/// Room for a whole chunk at once, and no more: grown by doubling, half of it could stay unused.
fn with_room<T>(mut entries: Vec<T>) -> Vec<T> {
    entries.reserve_exact(CHUNK - entries.len());
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Insert(u16, u8),
        Remove(u16),
        PopFirst,
        ExtractEven,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            60 => (0_u16..3_000, any::<u8>()).prop_map(|(key, value)| Change::Insert(key, value)),
            30 => (0_u16..3_000).prop_map(Change::Remove),
            9 => Just(Change::PopFirst),
            1 => Just(Change::ExtractEven),
        ]
    }

    fn apply(map: &mut ChunkedMap<u16, u8>, plain: &mut BTreeMap<u16, u8>, change: &Change) {
        match change {
            Change::Insert(key, value) => {
                map.insert(*key, *value);
                plain.insert(*key, *value);
            }
            Change::Remove(key) => assert_eq!(map.remove(*key), plain.remove(key)),
            Change::PopFirst => assert_eq!(map.pop_first(), plain.pop_first()),
            Change::ExtractEven => {
                let gone = map.extract(|value| value % 2 == 0);
                let of_plain = plain.extract_if(.., |_, value| *value % 2 == 0);
                assert_eq!(gone, of_plain.map(|(_, value)| value).collect::<Vec<_>>());
            }
        }
    }

    fn filled(keys: impl IntoIterator<Item = u16>) -> (ChunkedMap<u16, u8>, BTreeMap<u16, u8>) {
        let (mut map, mut plain) = (ChunkedMap::default(), BTreeMap::new());
        for key in keys {
            apply(&mut map, &mut plain, &Change::Insert(key, key as u8));
        }
        (map, plain)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds(
            first in 0_u16..3_000,
            changes in prop::collection::vec(change(), 0..2_000),
            from in 0_u16..3_200,
        ) {
            let (mut map, mut plain) = filled((0..first).rev().step_by(2));
            let before = (map.clone(), plain.clone());
            for change in &changes {
                apply(&mut map, &mut plain, change);
            }
            prop_assert!(map.iter().eq(plain.iter().map(|(key, value)| (*key, *value))));
            prop_assert!(map.from(from).eq(plain.range(from..).map(|(key, value)| (*key, *value))));
            prop_assert_eq!(map.len(), plain.len());
            prop_assert_eq!(map.get(from), plain.get(&from).copied());
            prop_assert_eq!(map.get_mut(from).copied(), plain.get(&from).copied());
            prop_assert!(before.0.iter().eq(before.1.into_iter()), "a clone does not see what came later");
        }
    }

    #[test]
    fn chunks_stay_full_when_keys_come_in_order_and_do_not_stay_sparse_when_they_go() {
        let (mut map, _) = filled(0..5_120);
        assert_eq!(map.chunks.len(), 10);
        for key in (0..5_120).filter(|key| key % 64 != 0) {
            map.remove(key);
        }
        assert_eq!(map.len(), 80);
        assert!(map.chunks.len() <= 2, "{}", map.chunks.len());
    }
}
