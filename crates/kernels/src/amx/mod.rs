//! Tile registers: whether this process may use them, and their instructions.
//!
//! Stable Rust has no intrinsics for them, so each instruction is a line of assembly here.
//! Layout: eight tiles of 16 rows of 64 bytes; here they are always configured in full or with
//! fewer rows in the tiles that hold input rows. The compiler never touches tiles, so what one
//! function leaves in them the next one finds.
//! Contract: [`Tiles::configure`] before any other instruction, on the same thread; dropping the
//! [`Tiles`] gives the registers back, which spares the system saving 8 KiB at each switch.
//! Linux hands the state out on request, once per process; elsewhere it is not asked for.
//! Measured: see [`crate::packed`]'s and [`crate::bf16`]'s files.

use std::arch::asm;
use std::sync::OnceLock;

/// Rows of a tile.
pub(crate) const ROWS: usize = 16;
/// Bytes of a row of a tile.
pub(crate) const ROW_BYTES: usize = 64;

/// What the processor offers of tiles.
#[derive(Debug, Clone, Copy)]
struct Offer {
    int8: bool,
    bf16: bool,
}

/// Whether tiles multiply int8 here, and the system lets this process use them.
pub(crate) fn has_int8() -> bool {
    offer().int8
}

/// Whether tiles multiply bf16 here, and the system lets this process use them.
pub(crate) fn has_bf16() -> bool {
    offer().bf16
}

fn offer() -> Offer {
    static OFFER: OnceLock<Offer> = OnceLock::new();
    *OFFER.get_or_init(|| {
        let [tile, int8, bf16] = cpu_bits();
        let usable = tile && system_saves_tiles() && system_permits();
        Offer {
            int8: usable && int8,
            bf16: usable && bf16,
        }
    })
}

/// `amx_tile`, `amx_int8` and `amx_bf16` as the processor reports them.
pub(crate) fn cpu_bits() -> [bool; 3] {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    if __cpuid(0).eax < 7 {
        return [false; 3];
    }
    let edx = __cpuid_count(7, 0).edx;
    [24, 25, 22].map(|bit| edx >> bit & 1 == 1)
}

/// Whether the system saves both parts of the tile state, bits 17 and 18 of XCR0.
fn system_saves_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILES: u32 = 1 << 17 | 1 << 18;
    if std::arch::x86_64::__cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let low: u32;
    // SAFETY: the system has turned `xgetbv` on, as OSXSAVE says; it changes eax and edx alone.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _,
            options(nomem, nostack, preserves_flags));
    }
    low & TILES == TILES
}

/// Asks the system for the tile state, for all threads of the process.
#[cfg(target_os = "linux")]
fn system_permits() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let answer: i64;
    // SAFETY: a system call without pointers; the kernel changes rax, rcx and r11 alone.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA, out("rcx") _, out("r11") _, options(nostack));
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn system_permits() -> bool {
    false
}

/// Tiles in use by this thread until dropped.
pub(crate) struct Tiles(());

/// The configuration that `ldtilecfg` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    /// Makes tile i one of `rows[i]` rows (1 to 16) of 64 bytes.
    ///
    /// # Safety
    /// [`has_int8`] or [`has_bf16`].
    pub(crate) unsafe fn configure(rows: [usize; 8]) -> Tiles {
        let mut config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for (i, rows) in rows.into_iter().enumerate() {
            assert!((1..=ROWS).contains(&rows), "a tile of {rows} rows");
            config.row_bytes[i] = ROW_BYTES as u16;
            config.rows[i] = rows as u8;
        }
        // SAFETY: the machine has tiles; 64 readable bytes, valid by the assertion.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config,
                options(readonly, nostack, preserves_flags));
        }
        Tiles(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the machine has tiles, or there were no `Tiles`.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Tile T from rows at `p`, 64 bytes apart.
///
/// # Safety
/// Configured tiles; 64 readable bytes for each row of T.
#[inline(always)]
pub(crate) unsafe fn load<const T: usize>(p: *const u8) {
    // SAFETY: the caller's promise.
    unsafe { load_strided::<T>(p, ROW_BYTES) };
}

/// Tile T from rows at `p`, `stride` bytes apart.
///
/// # Safety
/// Configured tiles; 64 readable bytes for each row of T.
#[inline(always)]
pub(crate) unsafe fn load_strided<const T: usize>(p: *const u8, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("tileloadd tmm{t}, [{p} + {s}]", t = const T, p = in(reg) p, s = in(reg) stride,
            options(readonly, nostack, preserves_flags));
    }
}

/// As [`load_strided`], of bytes that come by once and should leave those in the first cache there.
///
/// # Safety
/// Configured tiles; 64 readable bytes for each row of T.
#[inline(always)]
pub(crate) unsafe fn load_passing<const T: usize>(p: *const u8, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("tileloaddt1 tmm{t}, [{p} + {s}]", t = const T, p = in(reg) p, s = in(reg) stride,
            options(readonly, nostack, preserves_flags));
    }
}

/// Rows of tile T to `p`, 64 bytes apart.
///
/// # Safety
/// Configured tiles; 64 writable bytes for each row of T.
#[inline(always)]
pub(crate) unsafe fn store<const T: usize>(p: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { store_strided::<T>(p, ROW_BYTES) };
}

/// Rows of tile T to `p`, `stride` bytes apart.
///
/// # Safety
/// Configured tiles; 64 writable bytes for each row of T.
#[inline(always)]
pub(crate) unsafe fn store_strided<const T: usize>(p: *mut u8, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("tilestored [{p} + {s}], tmm{t}", t = const T, p = in(reg) p, s = in(reg) stride,
            options(nostack, preserves_flags));
    }
}

/// Tile T becomes zero.
///
/// # Safety
/// Configured tiles.
#[inline(always)]
pub(crate) unsafe fn zero<const T: usize>() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilezero tmm{t}", t = const T, options(nomem, nostack, preserves_flags)) };
}

/// C += A B in i32, both of signed bytes: B has 4 rows of the product in each of its rows.
///
/// # Safety
/// Configured tiles, on a machine that [`has_int8`]; rows of C and A are equal.
#[inline(always)]
pub(crate) unsafe fn dot_i8<const C: usize, const A: usize, const B: usize>() {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("tdpbssd tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B,
            options(nomem, nostack, preserves_flags));
    }
}

/// C += A B in f32, both of bf16: B has 2 rows of the product in each of its rows.
///
/// # Safety
/// Configured tiles, on a machine that [`has_bf16`]; rows of C and A are equal.
#[inline(always)]
pub(crate) unsafe fn dot_bf16<const C: usize, const A: usize, const B: usize>() {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("tdpbf16ps tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B,
            options(nomem, nostack, preserves_flags));
    }
}

/// Asks for the cache line at `p`, which need not exist, to write it: every processor with tiles
/// has the instruction.
#[inline(always)]
pub(crate) fn ask_to_write<T>(p: *const T) {
    // SAFETY: a hint; it does not fault on any address.
    unsafe { asm!("prefetchw [{}]", in(reg) p, options(readonly, nostack, preserves_flags)) };
}

/// Asks for the cache line at `p`, which need not exist, in the second cache.
#[inline(always)]
pub(crate) fn ask_far<T>(p: *const T) {
    // SAFETY: a hint; it does not fault on any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
    }
}
