//! Hands the tasks of one region disjoint parts of one mutable slice.
//!
//! In: a slice. Out: sub-slices, one owner each. It does not know: how the parts are cut.

use std::marker::PhantomData;
use std::ops::Range;

use crate::linear::prefetch;

/// A mutable slice that tasks cut into disjoint parts.
pub(crate) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: it only gives out `&mut [T]`, to one task each by the promise of `part`; so sharing it
// amounts to sending those.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Parts {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            life: PhantomData,
        }
    }

    /// Asks for the cache line of element `i`, whoever has it.
    #[inline(always)]
    pub(crate) fn ask(&self, i: usize) {
        prefetch(self.start.wrapping_add(i));
    }

    /// Where the slice begins, for those who check ranges themselves.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }

    /// Elements of the slice.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The elements of `range`, checked against the slice.
    ///
    /// # Safety
    /// No other part that overlaps `range` is in use at the same time.
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    #[inline(always)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        if range.start > range.end || range.end > self.len {
            outside(range, self.len);
        }
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise and `life`.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cold]
#[inline(never)]
fn outside(range: Range<usize>, len: usize) -> ! {
    panic!("part {range:?} of {len}");
}
