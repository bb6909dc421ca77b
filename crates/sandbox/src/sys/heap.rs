//! The C library's heap: one for all threads, and what of it is given back.

/// Has all threads of this process, and of those forked from it, allocate from one heap.
pub fn one_heap() {
    // SAFETY: a system library's call on numbers only; it changes where later allocations come from.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Bytes that the heap holds for later allocations. What [`give_back`] has given to the kernel still
/// counts. 0: the C library does not tell.
pub fn heap_spare_bytes() -> usize {
    // SAFETY: a system library's call that takes nothing and returns numbers.
    #[cfg(target_env = "gnu")]
    return unsafe { libc::mallinfo2() }.fordblks;
    #[cfg(not(target_env = "gnu"))]
    0
}

/// Gives the kernel the memory that the heap holds for later allocations. Takes about a millisecond for
/// ten megabytes, in which nobody can allocate.
pub fn give_back() {
    // SAFETY: a system library's call on a number only; no memory that is in use is touched.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident_bytes() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").expect("the kernel tells");
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        pages.expect("its second number is that of resident pages") * 4096
    }

    #[test]
    fn what_was_freed_below_something_that_lives_goes_back() {
        one_heap();
        // Small enough to come from the heap, and too many for what other tests do at the same time.
        let mut many: Vec<Vec<u8>> = (0..4_000).map(|_| vec![1; 8_000]).collect();
        let (all, last) = (many.len() * 8_000, many.pop());
        drop(many);
        assert!(heap_spare_bytes() >= all / 2, "{}", heap_spare_bytes());
        let before = resident_bytes();
        give_back();
        let after = resident_bytes();
        assert!(after + all / 2 <= before, "{before} before, {after} after");
        drop(last);
    }
}
