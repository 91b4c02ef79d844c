//! Two vectors in the first cache.

use std::ffi::c_void;
use std::hint::black_box;

use lattice_kernels::vector::*;

use crate::peers::{self, Peer};
use crate::{best, values};

/// Calls that are timed together.
const CALLS: usize = 1000;
const ROUNDS: usize = 400;
const SIZES: [usize; 4] = [384, 768, 1024, 1536];

#[repr(align(64))]
struct Aligned<T>([T; 1536]);

fn aligned<T: Copy>(x: &[f32], of: impl Fn(f32) -> T) -> Aligned<T> {
    Aligned(std::array::from_fn(|i| of(x[i])))
}

pub(crate) fn run(files: &[String]) {
    let peers: Vec<Peer> = files.iter().flat_map(|file| peers::load(file)).collect();
    println!("{:?}", VectorIsa::detect());
    println!(
        "op          type  elements      ours   peers, ns for a call (and how much slower than ours)"
    );
    let (a, b) = (values(1, 1536), values(2, 1536));
    for n in SIZES {
        limit(n);
    }
    let (x, y) = (aligned(&a, |x| x), aligned(&b, |x| x));
    all_floats("f32", &x, &y, &peers);
    let isa = VectorIsa::detect();
    for n in SIZES {
        let (a, b) = (&x.0[..n], &y.0[..n]);
        row("dot_f64", "f32", n, &peers, (a, b), || {
            black_box(dot_f64(isa, a, b))
        });
        row("cosine_f64", "f32", n, &peers, (a, b), || {
            black_box(cosine_f64(isa, a, b))
        });
        row("squared_f64", "f32", n, &peers, (a, b), || {
            black_box(squared_euclidean_f64(isa, a, b))
        });
    }
    all_floats(
        "f16",
        &aligned(&a, f16::from_f32),
        &aligned(&b, f16::from_f32),
        &peers,
    );
    all_floats(
        "bf16",
        &aligned(&a, bf16::from_f32),
        &aligned(&b, bf16::from_f32),
        &peers,
    );
    let byte = |x: f32| (x * 250.0) as i8;
    let (x, y) = (aligned(&a, byte), aligned(&b, byte));
    all_floats("i8", &x, &y, &peers);
    let bits = |x: &Aligned<i8>| Aligned(x.0.map(|x| x as u8));
    let (x, y) = (bits(&x), bits(&y));
    for n in SIZES {
        let (a, b) = (&x.0[..n / 8], &y.0[..n / 8]);
        row("hamming", "bits", n, &peers, (a, b), || {
            black_box(hamming(isa, a, b))
        });
    }
}

fn all_floats<T: Element>(kind: &str, x: &Aligned<T>, y: &Aligned<T>, peers: &[Peer]) {
    let isa = VectorIsa::detect();
    for n in SIZES {
        let (a, b) = (&x.0[..n], &y.0[..n]);
        row("dot", kind, n, peers, (a, b), || black_box(dot(isa, a, b)));
        row("cosine", kind, n, peers, (a, b), || {
            black_box(cosine(isa, a, b))
        });
        row("squared", kind, n, peers, (a, b), || {
            black_box(squared_euclidean(isa, a, b))
        });
        row("manhattan", kind, n, peers, (a, b), || {
            black_box(manhattan(isa, a, b))
        });
    }
}

/// Times ours and the peers' in turn, and prints a line.
fn row<T, R>(
    op: &str,
    kind: &str,
    n: usize,
    peers: &[Peer],
    (a, b): (&[T], &[T]),
    ours: impl Fn() -> R,
) {
    let fitting: Vec<&Peer> = peers
        .iter()
        .filter(|p| p.op == op && p.kind == kind)
        .collect();
    let mut times = vec![f64::INFINITY; fitting.len() + 1];
    for _ in 0..ROUNDS {
        let t = best(1, || (0..CALLS).for_each(|_| drop(ours())));
        times[0] = times[0].min(t);
        for (peer, time) in fitting.iter().zip(&mut times[1..]) {
            let count = if kind == "bits" {
                n / peer.hamming_unit
            } else {
                n
            };
            let mut out = [0u64; 2];
            let t = best(1, || {
                for _ in 0..CALLS {
                    let (a, b) = (a.as_ptr().cast::<c_void>(), b.as_ptr().cast());
                    // SAFETY: both have n elements of the kernel's type, `out` fits any result.
                    unsafe { black_box(peer.call)(a, b, count, out.as_mut_ptr().cast()) };
                    black_box(&mut out);
                }
            });
            *time = time.min(t);
        }
    }
    let ns = |t: f64| t * 1e9 / CALLS as f64;
    print!("{op:<11} {kind:<5} {n:>8} {:>9.2}", ns(times[0]));
    for (peer, t) in fitting.iter().zip(&times[1..]) {
        print!("   {} {:.2} ({:.2})", peer.name, ns(*t), t / times[0]);
    }
    println!();
}

/// The time that loading two f32 vectors takes.
fn limit(n: usize) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        let x = aligned(&values(3, 1536), |x| x);
        let y = aligned(&values(4, 1536), |x| x);
        let t = best(ROUNDS, || {
            // SAFETY: the machine has it; both are aligned, n is a multiple of 64.
            (0..CALLS).for_each(|_| unsafe { loads(&x.0[..n], &y.0[..n]) })
        });
        println!("loads       f32   {n:>8} {:>9.2}", t * 1e9 / CALLS as f64);
    }
}

/// # Safety
/// The machine has AVX-512; the slices lie on 64 bytes, and are a multiple of 64 elements.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn loads(a: &[f32], b: &[f32]) {
    let mut i = 0;
    while i + 64 <= a.len().min(b.len()) {
        // SAFETY: 64 elements of both; registers that are named.
        unsafe {
            std::arch::asm!(
                "vmovaps zmm16, [{a}]", "vmovaps zmm17, [{b}]",
                "vmovaps zmm18, [{a} + 64]", "vmovaps zmm19, [{b} + 64]",
                "vmovaps zmm20, [{a} + 128]", "vmovaps zmm21, [{b} + 128]",
                "vmovaps zmm22, [{a} + 192]", "vmovaps zmm23, [{b} + 192]",
                a = in(reg) a.as_ptr().add(i), b = in(reg) b.as_ptr().add(i),
                out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                options(readonly, nostack, preserves_flags),
            );
        }
        i += 64;
    }
}
