//! Keeps the process alive when another program cuts a mapped file short.
//!
//! In: the mappings of this process, each registered for as long as it lives. Out: the answer whether a part of one
//! was lost. Touching a page behind a file's end raises SIGBUS; the handler puts pages of zeros over the rest of that
//! mapping, notes that it is lost and lets the read go on. Nothing that was computed from zeros may be used, so whoever
//! reads a mapping asks [`Watched::is_lost`] afterwards. Every other SIGBUS goes to the handler that was there before.
//! It does not know: whose mapping it is, what its bytes mean.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// One registered mapping. Slots are never freed, so that the handler may walk them at any moment; they are used again.
#[derive(Debug)]
struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    /// 0 while there is no mapping: no address is below it.
    end: AtomicUsize,
    lost: AtomicBool,
    next: OnceLock<&'static Slot>,
}

static FIRST: OnceLock<&'static Slot> = OnceLock::new();
/// Handlers that may be looking at a slot. A mapping is only unmapped, and its slot only used again, when there is none.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);
static PAGE: AtomicUsize = AtomicUsize::new(0);
/// What was done about SIGBUS before.
static FORMER: OnceLock<libc::sigaction> = OnceLock::new();
static INSTALLED: OnceLock<()> = OnceLock::new();

/// A registered mapping. Must be dropped before the mapping is.
#[derive(Debug)]
pub(super) struct Watched(&'static Slot);

impl Watched {
    pub(super) fn new(mapping: &[u8]) -> Self {
        let slot = claim();
        let range = mapping.as_ptr_range();
        slot.start.store(range.start.addr(), SeqCst);
        slot.end.store(range.end.addr(), SeqCst);
        Self(slot)
    }

    /// Whether zeros stand where a part of the file was. It stays so.
    pub(super) fn is_lost(&self) -> bool {
        self.0.lost.load(SeqCst)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.end.store(0, SeqCst);
        // A handler at work takes one system call; it waits for nothing.
        while AT_WORK.load(SeqCst) != 0 {
            std::hint::spin_loop();
        }
        self.0.lost.store(false, SeqCst);
        self.0.taken.store(false, SeqCst);
    }
}

/// See [`guard_truncation`](super::guard_truncation).
pub(super) fn install() -> io::Result<()> {
    if INSTALLED.get().is_some() {
        return Ok(());
    }
    // SAFETY: a question to the system without pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).map_err(|_unknown| io::Error::last_os_error())?;
    PAGE.store(page, SeqCst);
    // SAFETY: a `sigaction` of zeros is a valid one, and the pointers are to values of our own.
    let former = unsafe {
        let mut former: libc::sigaction = std::mem::zeroed();
        succeeded(libc::sigaction(libc::SIGBUS, ptr::null(), &mut former))?;
        former
    };
    let _ = FORMER.set(former);
    // SAFETY: as above. `on_bus_error` has the signature that SA_SIGINFO asks for, and does nothing that a handler may
    // not do: it loads and stores atomics and calls `mmap`, a system call that takes no lock of this process.
    // SA_ONSTACK lets Rust's own handler, to which it hands stack overflows on, find the stack it needs.
    unsafe {
        let mut ours: libc::sigaction = std::mem::zeroed();
        ours.sa_sigaction = on_bus_error as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        succeeded(libc::sigemptyset(&mut ours.sa_mask))?;
        succeeded(libc::sigaction(libc::SIGBUS, &ours, ptr::null_mut()))?;
    }
    let _ = INSTALLED.set(());
    Ok(())
}

fn succeeded(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    std::iter::successors(FIRST.get().copied(), |slot| slot.next.get().copied())
}

/// A slot that nobody else has: one that is free again, or a new one at the end of the list.
fn claim() -> &'static Slot {
    if let Some(free) = slots().find(|slot| !slot.taken.swap(true, SeqCst)) {
        return free;
    }
    let slot: &'static Slot = Box::leak(Box::new(Slot {
        taken: AtomicBool::new(true),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
        next: OnceLock::new(),
    }));
    let mut end = &FIRST;
    while end.set(slot).is_err() {
        end = &end.get().expect("it was set before ours").next;
    }
    slot
}

extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    AT_WORK.fetch_add(1, SeqCst);
    // SAFETY: the system calls handlers with SA_SIGINFO with a valid `info`.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // Signals that a program sent have no address, and no code above 0.
    let replaced = code > 0 && replace(address);
    AT_WORK.fetch_sub(1, SeqCst);
    if !replaced {
        // SAFETY: the arguments are the system's own.
        unsafe { hand_on(signal, info, context) };
    }
}

/// Puts zeros over a registered mapping from the page of `address` on; `false` where there is none, or it fails.
fn replace(address: usize) -> bool {
    let covers = |slot: &&Slot| (slot.start.load(SeqCst)..slot.end.load(SeqCst)).contains(&address);
    let Some(slot) = slots().find(covers) else {
        return false;
    };
    let first = address & !(PAGE.load(SeqCst) - 1);
    let len = slot.end.load(SeqCst) - first;
    // Before the zeros can be read, so that whoever read them and asks afterwards is told.
    slot.lost.store(true, SeqCst);
    // SAFETY: the range lies in a mapping that is registered, hence mapped until AT_WORK is 0 again, and that
    // only this crate's read-only views lead to. Behind them are bytes of a file that may change at any time anyway,
    // any bit pattern is a value, and who used them looks at `lost` before the result counts.
    let found = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let at = ptr::with_exposed_provenance_mut(first);
        libc::mmap(at, len, libc::PROT_READ, flags, -1, 0)
    };
    found != libc::MAP_FAILED
}

/// Does what would have been done without us.
///
/// # Safety
/// The arguments are those that the system called a handler of SIGBUS with.
unsafe fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let former = FORMER.get();
    let action = former.map_or(libc::SIG_DFL, |former| former.sa_sigaction);
    // SAFETY: as the caller promises.
    let sent = unsafe { (*info).si_code } <= 0;
    if action == libc::SIG_IGN && sent {
        return;
    }
    if action == libc::SIG_DFL || action == libc::SIG_IGN {
        // SAFETY: a `sigaction` of zeros is the default action. The signal waits until this handler has returned.
        unsafe {
            let default: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &default, ptr::null_mut());
            libc::raise(signal);
        }
        return;
    }
    // SAFETY: the system gave us this address as that of a handler, and the flag says which kind it is.
    unsafe {
        if former.is_some_and(|former| former.sa_flags & libc::SA_SIGINFO != 0) {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            std::mem::transmute::<usize, Handler>(action)(signal, info, context);
        } else {
            std::mem::transmute::<usize, extern "C" fn(c_int)>(action)(signal);
        }
    }
}
