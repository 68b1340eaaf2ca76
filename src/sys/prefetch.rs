//! Asking the processor for memory before it is needed. Changes nothing but the time at which a cache line arrives.

/// Bytes that come together.
const LINE: usize = 64;

/// Asks for `bytes` of memory from `at` on. A hint: any address is allowed, nothing is read and nothing can go wrong.
#[inline]
pub fn prefetch(at: *const u8, bytes: usize) {
    let before = at as usize % LINE;
    for line in (0..before + bytes).step_by(LINE) {
        let address = at.wrapping_sub(before).wrapping_add(line);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: PREFETCHT0 reads nothing that the program could see and never faults, whatever the address; it is
        // part of SSE, which every x86-64 processor has.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_may_be_asked_for() {
        let numbers = [1_u64; 100];
        prefetch(numbers.as_ptr().cast(), size_of_val(&numbers));
        prefetch(std::ptr::null(), 1_000);
        prefetch(std::ptr::without_provenance(usize::MAX - 3), 3);
        assert_eq!(numbers, [1; 100]);
    }
}
