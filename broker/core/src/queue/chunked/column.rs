//! The values of a chunk beside its keys: a column a field, so that a field in which all agree takes nothing.

use std::fmt::Debug;

/// Entries by which a column grows. By doubling, half of it could stay unused.
const STEP: usize = 64;

/// A value that a chunk can hold.
pub(crate) trait Value: Copy + PartialEq {
    /// How many of them lie in memory.
    type Columns: Columns<Self>;
}

/// Values by their position. Positions that there are not hold no value, and changing one changes nothing.
pub(crate) trait Columns<V>: Clone + Default + Debug {
    fn get(&self, at: usize) -> Option<V>;
    /// Puts a value before the one at `at`, or behind all.
    fn insert(&mut self, at: usize, value: V);
    fn set(&mut self, at: usize, value: V);
    fn remove(&mut self, at: usize);
    /// Takes out those from `at` on.
    fn split_off(&mut self, at: usize) -> Self;
}

/// One field of many entries.
#[derive(Clone, Debug)]
pub(crate) struct Column<T> {
    /// The value of all, and how many they are; None where they differ.
    same: Option<(T, usize)>,
    /// Else the value of each.
    each: Vec<T>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { same: None, each: Vec::new() }
    }
}

impl<T: Copy> Column<T> {
    /// The values one by one, to change them.
    fn each(&mut self) -> &mut Vec<T> {
        if let Some((value, count)) = self.same.take() {
            self.each = vec![value; count];
        }
        &mut self.each
    }
}

impl<T: Copy + PartialEq + Debug> Columns<T> for Column<T> {
    fn get(&self, at: usize) -> Option<T> {
        match self.same {
            Some((value, count)) => (at < count).then_some(value),
            None => self.each.get(at).copied(),
        }
    }

    fn insert(&mut self, at: usize, value: T) {
        match &mut self.same {
            Some((same, count)) if *same == value => *count += 1,
            None if self.each.is_empty() => self.same = Some((value, 1)),
            _ => insert(self.each(), at, value),
        }
    }

    fn set(&mut self, at: usize, value: T) {
        if self.get(at).is_some_and(|before| before != value)
            && let Some(slot) = self.each().get_mut(at)
        {
            *slot = value;
        }
    }

    fn remove(&mut self, at: usize) {
        match &mut self.same {
            Some((_, count)) => *count -= usize::from(at < *count),
            None if at < self.each.len() => drop(self.each.remove(at)),
            None => {}
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        let Some((value, count)) = &mut self.same else {
            return Self { same: None, each: split_off(&mut self.each, at) };
        };
        let upper = count.saturating_sub(at);
        *count -= upper;
        Self { same: Some((*value, upper)), each: Vec::new() }
    }
}

/// Inserts, and grows by a step where there is no room.
pub(super) fn insert<T>(values: &mut Vec<T>, at: usize, value: T) {
    if values.len() == values.capacity() {
        values.reserve_exact(STEP);
    }
    values.insert(at.min(values.len()), value);
}

/// Takes out the values from `at` on, with the room that they took.
pub(super) fn split_off<T>(values: &mut Vec<T>, at: usize) -> Vec<T> {
    let upper = values.split_off(at.min(values.len()));
    values.shrink_to(values.len() + STEP);
    upper
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[u8]) -> Column<u8> {
        let mut column = Column::default();
        values.iter().enumerate().for_each(|(at, value)| column.insert(at, *value));
        column
    }

    fn values(column: &Column<u8>) -> Vec<u8> {
        (0..).map_while(|at| column.get(at)).collect()
    }

    #[test]
    fn a_field_in_which_all_agree_takes_nothing_also_after_a_split() {
        let mut lower = column(&[7; 600]);
        let mut upper = lower.split_off(200);
        upper.remove(399);
        upper.set(3, 7);
        upper.insert(0, 7);
        for (column, len) in [(&lower, 200), (&upper, 400)] {
            assert_eq!(values(column), vec![7; len]);
            assert_eq!(column.each.capacity(), 0);
        }
    }

    #[test]
    fn a_field_in_which_one_differs_keeps_the_value_of_each() {
        let mut lower = column(&[7, 7, 7, 7, 7]);
        lower.set(1, 8);
        lower.insert(5, 9);
        let mut upper = lower.split_off(4);
        upper.remove(2);
        assert_eq!((values(&lower), values(&upper)), (vec![7, 8, 7, 7], vec![7, 9]));
    }

    #[test]
    fn no_more_than_a_step_stays_unused() {
        let mut lower = column(&std::array::from_fn::<u8, 200, _>(|at| at as u8));
        assert!(lower.each.capacity() < 200 + STEP, "{}", lower.each.capacity());
        let upper = lower.split_off(10);
        assert!(lower.each.capacity() <= 10 + STEP && upper.each.capacity() < 190 + STEP);
    }
}
