//! The peers' kernels, from a shared object that holds a table of them.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

pub(crate) type Call = unsafe extern "C" fn(*const c_void, *const c_void, usize, *mut c_void);

#[repr(C)]
#[derive(Clone, Copy)]
struct Entry {
    op: *const c_char,
    kind: *const c_char,
    call: Option<Call>,
}

/// One kernel of a peer.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) kind: String,
    pub(crate) call: Call,
    /// Bits that its count of bits counts by.
    pub(crate) hamming_unit: usize,
}

/// All kernels of the table in `file`.
pub(crate) fn load(file: &str) -> Vec<Peer> {
    let symbol = |handle, name: &CStr| {
        // SAFETY: the handle is open, the name ends in a zero.
        let found = unsafe { dlsym(handle, name.as_ptr()) };
        assert!(!found.is_null(), "{file} has no {name:?}");
        found
    };
    let path = CString::new(file).expect("a path without zeros");
    // SAFETY: the file is one that the caller built of docs/bench/vectors-peers.c.
    let handle = unsafe { dlopen(path.as_ptr(), 2) };
    assert!(!handle.is_null(), "{file} does not open");
    // SAFETY: the table's C declarations are those of `Entry` and of strings that live for ever.
    unsafe {
        let name = text(symbol(handle, c"name").cast::<*const c_char>().read());
        let unit: extern "C" fn() -> usize = std::mem::transmute(symbol(handle, c"hamming_unit"));
        let mut at = symbol(handle, c"peers").cast::<Entry>();
        let mut all = Vec::new();
        while let Entry {
            op,
            kind,
            call: Some(call),
        } = at.read()
        {
            all.push(Peer {
                name: name.clone(),
                op: text(op),
                kind: text(kind),
                call,
                hamming_unit: unit(),
            });
            at = at.add(1);
        }
        all
    }
}

/// # Safety
/// `p` is a string that ends in a zero.
unsafe fn text(p: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned()
}
