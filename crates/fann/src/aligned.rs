//! Floats that begin on a cache line: a vector load then never reads two.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Floats on a line of 64 bytes; none, without memory, by default.
#[derive(Default)]
pub(crate) struct Aligned {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn zeros(len: usize) -> Aligned {
        let data = alloc::vec![0.0; len + LINE / size_of::<f32>()];
        // An offset there may not be one; then it stays where it is.
        let offset = data.as_ptr().align_offset(LINE);
        let start = offset.min(data.len() - len);
        Aligned { data, start, len }
    }

    pub(crate) fn new(values: &[f32]) -> Aligned {
        let mut new = Aligned::zeros(values.len());
        new.copy_from_slice(values);
        new
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Aligned {
        Aligned::new(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_aligned_and_equal() {
        for len in [0, 1, 15, 16, 1000] {
            let mut one = Aligned::zeros(len);
            one.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            let other = one.clone();
            assert_eq!(*one, *other);
            assert_eq!((other.as_ptr() as usize) % LINE, 0);
        }
    }
}
