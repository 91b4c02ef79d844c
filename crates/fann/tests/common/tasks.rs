//! Things to learn, made by a seed.

use super::values;

/// Inputs and labels.
pub(crate) struct Task {
    pub(crate) x: Vec<f32>,
    pub(crate) labels: Vec<u32>,
}

/// The four rows of exclusive or, and their values.
pub(crate) const XOR: ([f32; 8], [f32; 4]) = (
    [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
    [0.0, 1.0, 1.0, 0.0],
);

/// Two spirals of one and a half turns (Lang, Witbrock 1988 have three), 97 points each.
pub(crate) fn spirals() -> Task {
    let mut task = Task {
        x: Vec::new(),
        labels: Vec::new(),
    };
    for i in 0..97 {
        let angle = i as f32 * std::f32::consts::PI / 32.0;
        let radius = (104.0 - i as f32) / 104.0;
        let (x, y) = (radius * angle.sin(), radius * angle.cos());
        task.x.extend([x, y, -x, -y]);
        task.labels.extend([0, 1]);
    }
    task
}

/// Which of seven segments a digit lights: top, left, right, middle, left, right, bottom.
const SEGMENTS: [u8; 10] = [
    0b1110111, 0b0010010, 0b1011101, 0b1011011, 0b0111010, 0b1101011, 0b1101111, 0b1010010,
    0b1111111, 0b1111011,
];

/// Digits of seven segments on 28 x 28, moved about, of different brightness, in noise.
pub(crate) fn digits(seed: u64, rows: usize) -> Task {
    let mut task = Task {
        x: Vec::with_capacity(rows * 784),
        labels: Vec::with_capacity(rows),
    };
    for row in 0..rows {
        let digit = row % 10;
        let noise = values(seed * 1_000_003 + row as u64, 788);
        let shift = |n: f32| ((n + 1.0) * 2.0) as usize;
        let (left, top) = (shift(noise[784]) + 6, shift(noise[785]) + 3);
        let bright = 0.8 + 0.2 * noise[786];
        let mut image: Vec<f32> = noise[..784].iter().map(|n| 0.25 * n).collect();
        for at in (0..7).filter(|at| SEGMENTS[digit] >> (6 - at) & 1 == 1) {
            for (x, y) in segment(at) {
                image[(top + y) * 28 + left + x] += bright;
            }
        }
        task.x.extend(image);
        task.labels.push(digit as u32);
    }
    task
}

/// The points of a segment of a digit 10 wide and 17 high.
fn segment(at: usize) -> impl Iterator<Item = (usize, usize)> {
    let (x, y, wide, high) = [
        (1, 0, 8, 2),
        (0, 1, 2, 7),
        (8, 1, 2, 7),
        (1, 8, 8, 2),
        (0, 9, 2, 7),
        (8, 9, 2, 7),
        (1, 15, 8, 2),
    ][at];
    (0..wide * high).map(move |i| (x + i % wide, y + i / wide))
}
