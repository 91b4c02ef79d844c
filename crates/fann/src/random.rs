//! Random numbers by a seed: the same on every machine.
//!
//! In: a seed. Out: bits, floats, orders. It does not know: what they are for.
//! SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).

/// A generator of 64 bits of state; good for weights and orders, no good for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// In -limit..limit, on 2^24 places.
    pub(crate) fn within(&mut self, limit: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u32 << 23) as f32;
        (unit - 1.0) * limit
    }

    /// In 0..n; n is at least 1 and far below 2^64, so the bias of the product is not seen.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle(&mut self, order: &mut [u32]) {
        for i in (1..order.len()).rev() {
            order.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_the_paper() {
        let mut random = Random::new(1_234_567);
        let bits = [0; 3].map(|_| random.bits());
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(bits, expected);
    }

    #[test]
    fn values_stay_within_and_orders_stay_whole() {
        let mut random = Random::new(5);
        let values: alloc::vec::Vec<f32> = (0..10_000).map(|_| random.within(0.5)).collect();
        assert!(values.iter().all(|x| (-0.5..0.5).contains(x)));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.01, "{mean}");
        let mut order: alloc::vec::Vec<u32> = (0..100).collect();
        random.shuffle(&mut order);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..100));
    }
}
