//! Unpredictable numbers from the kernel, fetched many at a time so that the hot thread pays for a system call rarely.
//! No generator of its own: what the kernel gives is handed out once and wiped.

use std::io;

/// Numbers fetched at a time: 4 kB, so that the system call is paid once in 512 packets.
const POOL: usize = 512;

/// A pool of random numbers for nonces. Not shared between threads.
pub struct Entropy {
    pool: Box<[u64; POOL]>,
    /// The next unused number of the pool.
    next: usize,
}

impl Entropy {
    /// A full pool. Blocks at the first boot of a machine until its kernel has gathered entropy.
    ///
    /// # Errors
    /// Where the kernel has no `getrandom`, or a sandbox forbids it.
    pub fn new() -> io::Result<Self> {
        let mut entropy = Entropy { pool: Box::new([0; POOL]), next: 0 };
        entropy.refill()?;
        Ok(entropy)
    }

    /// A number nobody can guess and that is given out once. Allocates nothing; every 512th call asks the kernel.
    pub fn next_u64(&mut self) -> u64 {
        if self.next == POOL {
            self.refill().expect("getrandom answered at start, and cannot be taken away from a running process");
        }
        let number = std::mem::take(&mut self.pool[self.next]);
        self.next += 1;
        number
    }

    fn refill(&mut self) -> io::Result<()> {
        let bytes = size_of_val(&*self.pool);
        let mut filled = 0;
        while filled < bytes {
            // SAFETY: the range from `filled` to `bytes` lies inside the pool, and any bytes are valid `u64`s.
            let got =
                unsafe { libc::getrandom(self.pool.as_mut_ptr().cast::<u8>().add(filled).cast(), bytes - filled, 0) };
            match got {
                0.. => filled += got as usize,
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        self.next = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_do_not_repeat_across_refills_and_pools() {
        let mut seen = HashSet::new();
        for mut entropy in [Entropy::new().unwrap(), Entropy::new().unwrap()] {
            for _ in 0..3 * POOL {
                assert!(seen.insert(entropy.next_u64()));
            }
        }
    }

    #[test]
    fn a_number_given_out_is_wiped_from_the_pool() {
        let mut entropy = Entropy::new().unwrap();
        entropy.next_u64();
        assert_eq!(entropy.pool[0], 0);
        assert_ne!(entropy.pool[1], 0);
    }
}
