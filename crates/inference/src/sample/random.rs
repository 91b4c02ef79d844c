//! Random numbers that are a function of their place, not of what was drawn before.

/// The draw for the token with `index` tokens generated before it: uniform in `[0, 1)`, 53 bits.
///
/// Mixing by the finaliser of SplitMix64 (Steele, Lea, Flood 2014), twice, so that neighbouring seeds have
/// unrelated streams.
#[must_use]
pub fn uniform(seed: u64, index: u64) -> f64 {
    let stream = mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    let bits = mix(stream.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
