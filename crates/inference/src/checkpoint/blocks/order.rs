//! Rows or columns that a file has in another order than the model.

/// An order in which two dimensions are the other way round: the model counts `[.., outer, inner, together]` behind the
/// first `from`, the file `[.., inner, outer, together]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    from: usize,
    outer: usize,
    inner: usize,
    together: usize,
}

impl Order {
    /// As the model has them.
    pub const SAME: Self = Self {
        from: 0,
        outer: 1,
        inner: 1,
        together: 1,
    };

    /// Every `outer * inner * together` of them regrouped. None of the three is 0.
    pub(crate) fn swapped(outer: usize, inner: usize, together: usize) -> Self {
        debug_assert!(outer > 0 && inner > 0 && together > 0);
        Self {
            from: 0,
            outer,
            inner,
            together,
        }
    }

    /// The same for what comes behind the first `from`, which stand as they are.
    pub(crate) fn behind(self, from: usize) -> Self {
        Self { from, ..self }
    }

    /// The same, or [`Self::SAME`] if `count` of them are no whole number of such groups: then they are not what they were
    /// taken for, and whoever checks shapes will say so.
    pub(crate) fn fitting(self, count: usize) -> Self {
        let group = self.outer.checked_mul(self.inner);
        let group = group.and_then(|group| group.checked_mul(self.together));
        let fits = group.zip(count.checked_sub(self.from));
        match fits {
            Some((group, count)) if count.is_multiple_of(group) => self,
            _ => Self::SAME,
        }
    }

    /// Whether everything stands where the model has it.
    pub(crate) fn is_same(self) -> bool {
        self.outer == 1 || self.inner == 1
    }

    /// Whether whole stretches of `count`, counted from 0, stay together.
    pub(crate) fn keeps(self, count: usize) -> bool {
        self.is_same() || (self.together.is_multiple_of(count) && self.from.is_multiple_of(count))
    }

    /// Where in the file the model's number `index` stands.
    pub(crate) fn stored(self, index: usize) -> usize {
        let Some(index) = index.checked_sub(self.from) else {
            return index;
        };
        let (rest, together) = (index / self.together, index % self.together);
        let (rest, inner) = (rest / self.inner, rest % self.inner);
        let (rest, outer) = (rest / self.outer, rest % self.outer);
        let stored = (rest * self.inner + inner) * self.outer + outer;
        self.from + stored * self.together + together
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_dimensions_change_places() {
        let order = Order::swapped(2, 3, 2);
        let found: Vec<usize> = (0..14).map(|index| order.stored(index)).collect();
        assert_eq!(found, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11, 12, 13]);
        let behind: Vec<usize> = (0..6)
            .map(|index| Order::swapped(2, 2, 1).behind(2).stored(index))
            .collect();
        assert_eq!(behind, [0, 1, 2, 4, 3, 5]);
        assert!((0..9).all(|index| Order::SAME.stored(index) == index));
        assert!(order.keeps(2) && !order.keeps(4) && Order::SAME.keeps(4));
    }
}
