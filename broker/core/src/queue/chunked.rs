//! A sorted map in chunks that clones share: what a checkpoint is written from costs a pointer a chunk, and a change
//! after it copies one chunk. Ten million entries take little more than their own bytes.

mod column;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use self::column::{Column, Columns, Value};

/// Most entries of a chunk.
const CHUNK: usize = 512;
/// A chunk with fewer is put together with a neighbour, if both fit well into one.
const SPARSE: usize = CHUNK / 4;

/// A sorted map of small values.
#[derive(Clone, Debug)]
pub(crate) struct ChunkedMap<K, V: Value> {
    /// Each under a key that none of its entries is below, and that all of the chunk before are. None is empty.
    chunks: BTreeMap<K, Arc<Chunk<K, V>>>,
    len: usize,
}

/// Some neighbours, in the order of their keys.
#[derive(Clone, Debug)]
struct Chunk<K, V: Value> {
    keys: Vec<K>,
    values: V::Columns,
}

impl<K, V: Value> Default for ChunkedMap<K, V> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), len: 0 }
    }
}

impl<K, V: Value> Default for Chunk<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: V::Columns::default() }
    }
}

/// What is in it counts, not how it came to lie in chunks.
impl<K: Ord + Copy, V: Value> PartialEq for ChunkedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Copy, V: Value + Eq> Eq for ChunkedMap<K, V> {}

impl<K: Ord + Copy, V: Value> ChunkedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: K) -> Option<V> {
        let (_, chunk) = self.chunks.range(..=key).next_back()?;
        chunk.values.get(chunk.keys.binary_search(&key).ok()?)
    }

    /// Puts a value under a key that has none, or in place of the one it has.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let bound = match self.chunks.range(..=key).next_back() {
            Some((bound, _)) => *bound,
            None => self.lower_first_bound(key),
        };
        let chunk = self.chunks.entry(bound).or_default();
        let at = match chunk.keys.binary_search(&key) {
            Ok(at) => return Arc::make_mut(chunk).values.set(at, value),
            Err(at) => at,
        };
        self.len += 1;
        if chunk.len() < CHUNK {
            Arc::make_mut(chunk).insert(at, key, value);
            return;
        }
        // In the order of their keys is how most come: a full chunk stays full then, and the next one begins.
        let mut upper =
            if at == CHUNK { Chunk::default() } else { Arc::make_mut(chunk).split_off(CHUNK / 2) };
        match at.checked_sub(chunk.len()) {
            Some(at) => upper.insert(at, key, value),
            None => Arc::make_mut(chunk).insert(at, key, value),
        }
        if let Some(first) = upper.keys.first() {
            self.chunks.insert(*first, Arc::new(upper));
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let (bound, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = chunk.keys.binary_search(&key).ok()?;
        let value = Arc::make_mut(chunk).remove(at);
        let (bound, left) = (*bound, chunk.len());
        self.len -= 1;
        if left < SPARSE {
            self.join_with_next(bound);
        }
        value
    }

    /// The entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, V)> + '_ {
        self.chunks.values().flat_map(|chunk| chunk.from(0))
    }

    /// The entries in order, from this key on.
    pub(crate) fn from(&self, key: K) -> impl Iterator<Item = (K, V)> + '_ {
        let first = self.chunks.range(..=key).next_back().map_or(key, |(bound, _)| *bound);
        let chunks = self.chunks.range(first..).map(|(_, chunk)| chunk);
        chunks.flat_map(move |chunk| chunk.from(chunk.keys.partition_point(|other| *other < key)))
    }

    pub(crate) fn first(&self) -> Option<(K, V)> {
        self.chunks.first_key_value().and_then(|(_, chunk)| chunk.from(0).next())
    }

    /// Removes the first entry.
    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let (key, value) = self.first()?;
        self.remove(key);
        Some((key, value))
    }

    /// Removes all of a kind, and shows each, in order. Looks at each entry, and writes each chunk that has some anew: of ten
    /// million that go, one at a time would take seconds.
    pub(crate) fn extract(&mut self, wanted: impl Fn(&V) -> bool, mut gone: impl FnMut(K, V)) {
        for chunk in self.chunks.values_mut() {
            if !chunk.from(0).any(|(_, value)| wanted(&value)) {
                continue;
            }
            let mut left = Chunk::default();
            for (key, value) in chunk.from(0) {
                if wanted(&value) { gone(key, value) } else { left.insert(left.len(), key, value) }
            }
            self.len -= chunk.len() - left.len();
            *chunk = Arc::new(left);
        }
        self.chunks.retain(|_, chunk| chunk.len() > 0);
        let sparse = self.chunks.iter().filter(|(_, chunk)| chunk.len() < SPARSE);
        let sparse: Vec<K> = sparse.map(|(bound, _)| *bound).collect();
        for bound in sparse {
            self.join_with_next(bound);
        }
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
        let fits = |other: &Arc<Chunk<K, V>>| other.len() + len <= CHUNK * 3 / 4;
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
            Arc::make_mut(chunk).extend(moved.from(0));
        }
    }
}

impl<K: Copy, V: Value> Chunk<K, V> {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn insert(&mut self, at: usize, key: K, value: V) {
        column::insert(&mut self.keys, at, key);
        self.values.insert(at, value);
    }

    fn extend(&mut self, entries: impl Iterator<Item = (K, V)>) {
        for (key, value) in entries {
            self.insert(self.len(), key, value);
        }
    }

    fn remove(&mut self, at: usize) -> Option<V> {
        let value = self.values.get(at)?;
        self.keys.remove(at);
        self.values.remove(at);
        Some(value)
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { keys: column::split_off(&mut self.keys, at), values: self.values.split_off(at) }
    }

    /// The entries from a position on.
    fn from(&self, at: usize) -> impl Iterator<Item = (K, V)> + '_ {
        (at..self.len()).filter_map(|at| Some((*self.keys.get(at)?, self.values.get(at)?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Value for u8 {
        type Columns = Column<Self>;
    }

    #[derive(Clone, Debug)]
    enum Change {
        Insert(u16, u8),
        Remove(u16),
        PopFirst,
        ExtractEven,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            60 => (0_u16..3_000, prop_oneof![Just(0), any::<u8>()]).prop_map(|(key, value)| Change::Insert(key, value)),
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
                let mut gone = Vec::new();
                map.extract(|value| value % 2 == 0, |key, value| gone.push((key, value)));
                assert!(gone.into_iter().eq(plain.extract_if(.., |_, value| *value % 2 == 0)));
            }
        }
    }

    fn filled(keys: impl IntoIterator<Item = u16>) -> (ChunkedMap<u16, u8>, BTreeMap<u16, u8>) {
        let (mut map, mut plain) = (ChunkedMap::default(), BTreeMap::new());
        for key in keys {
            apply(&mut map, &mut plain, &Change::Insert(key, (key >> 8) as u8));
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
