//! The least that a gateway in Rust can cost on workerd: it crosses into wasm with bytes and back with
//! bytes. Parses a JSON object, sets one field, writes it again.

use std::alloc::{alloc, dealloc, Layout};
use std::cell::RefCell;

thread_local! {
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn layout(len: usize) -> Layout {
    Layout::array::<u8>(len.max(1)).unwrap_or(Layout::new::<u8>())
}

/// Room for `len` bytes; give it back with `release` and the same length.
#[no_mangle]
pub extern "C" fn take(len: usize) -> *mut u8 {
    // SAFETY: the layout is never of size zero.
    unsafe { alloc(layout(len)) }
}

/// # Safety
/// `at` comes from `take(len)` and was not given back yet.
#[no_mangle]
pub unsafe extern "C" fn release(at: *mut u8, len: usize) {
    unsafe { dealloc(at, layout(len)) }
}

/// Length of the rewritten object, which stands at `output()` until the next call; 0 when the input is
/// not JSON.
///
/// # Safety
/// `at` points to `len` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn rewrite(at: *const u8, len: usize) -> usize {
    let input = unsafe { std::slice::from_raw_parts(at, len) };
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(input) else {
        return 0;
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("user".into(), "u1".into());
    }
    OUTPUT.with_borrow_mut(|output| {
        output.clear();
        let written = serde_json::to_writer(&mut *output, &value);
        if written.is_ok() {
            output.len()
        } else {
            0
        }
    })
}

#[no_mangle]
pub extern "C" fn output() -> *const u8 {
    OUTPUT.with_borrow(|output| output.as_ptr())
}
