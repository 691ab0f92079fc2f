//! Counts what a thread allocates, so that a test can say what one step cost, whatever the machine does besides.

#![expect(unsafe_code, reason = "an allocator is unsafe; this one passes every call on and counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What one step allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Most bytes that were held at once, beyond those held before.
    pub(crate) peak_bytes: usize,
    /// Bytes of all allocations together.
    pub(crate) total_bytes: usize,
    /// How many allocations.
    pub(crate) count: usize,
}

/// Runs `step` and says what it allocated on this thread.
pub(crate) fn measured<T>(step: impl FnOnce() -> T) -> (T, Cost) {
    let before = COUNTS.with(|counts| counts.replace(Counts::NONE));
    let result = step();
    let counts = COUNTS.with(|counts| counts.replace(before));
    let peak_bytes = usize::try_from(counts.peak_bytes).unwrap_or(0);
    (result, Cost { peak_bytes, total_bytes: counts.total_bytes, count: counts.count })
}

#[derive(Clone, Copy)]
struct Counts {
    live_bytes: isize,
    peak_bytes: isize,
    total_bytes: usize,
    count: usize,
}

impl Counts {
    const NONE: Self = Self { live_bytes: 0, peak_bytes: 0, total_bytes: 0, count: 0 };
}

thread_local! {
    // Made without allocating and dropped without code: an allocator may use it.
    static COUNTS: Cell<Counts> = const { Cell::new(Counts::NONE) };
}

fn count(taken: usize, given_back: usize) {
    let add = |counts: &Cell<Counts>| {
        let mut now = counts.get();
        now.live_bytes += taken.cast_signed();
        // While bytes move, both places are held.
        now.peak_bytes = now.peak_bytes.max(now.live_bytes);
        now.live_bytes -= given_back.cast_signed();
        now.total_bytes += taken;
        now.count += usize::from(taken > 0);
        counts.set(now);
    };
    // A thread that ends may have given its counts away already.
    let _ = COUNTS.try_with(add);
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// Safety: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(at, layout, size) }
    }
}
