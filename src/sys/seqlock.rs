//! A snapshot of one plain value from one thread to many: the writer never waits, readers retry. For small `Copy`
//! values that are read far more often than written. Not a queue: a reader sees the newest value, not every value.
//!
//! The value is copied word by word through relaxed atomics between two reads of a version (H.-J. Boehm, "Can seqlocks
//! get along with programming language memory models?", MSPC 2012), so a torn copy is thrown away and never a data
//! race.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Tries of [`SeqReader::read`] before it lets others run: a writer that was interrupted in the middle of its few dozen
/// nanoseconds needs the core that the reader would spin on.
const SPINS: u32 = 64;

/// Bytes that are copied at a time.
const WORD_BYTES: usize = size_of::<u64>();

/// Makes both ends of a snapshot that holds `initial`. The only place where memory is allocated.
#[must_use]
pub fn seqlock<T: Copy + Send + 'static>(initial: T) -> (SeqWriter<T>, SeqReader<T>) {
    let words = size_of::<T>().div_ceil(WORD_BYTES);
    let shared = Arc::new(Shared {
        version: AtomicU64::new(0),
        words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        value: PhantomData,
    });
    let mut writer = SeqWriter { shared: Arc::clone(&shared), scratch: Box::new(MaybeUninit::uninit()) };
    writer.write(initial);
    (writer, SeqReader { shared })
}

/// The one writing end; not `Clone`, which is what makes the writer the only one.
pub struct SeqWriter<T> {
    shared: Arc<Shared<T>>,
    /// Where a value becomes words.
    scratch: Box<MaybeUninit<T>>,
}

/// A reading end.
pub struct SeqReader<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// Odd while a write is under way; grows by two with every write.
    version: AtomicU64,
    words: Box<[AtomicU64]>,
    value: PhantomData<fn(T) -> T>,
}

impl<T: Copy + Send + 'static> SeqWriter<T> {
    /// Publishes `value`. Wait-free: a store per word, whatever the readers do.
    pub fn write(&mut self, value: T) {
        self.scratch.write(value);
        let bytes = self.scratch.as_ptr().cast::<u8>();
        // Padding inside `T` is not initialised as far as the compiler knows, and reading it as words would be
        // undefined. SAFETY: the block does nothing; to the compiler it may have written every byte of the scratch,
        // whose address it is given, so that afterwards all of them are some fixed bytes.
        unsafe { std::arch::asm!("/* {0} */", in(reg) bytes, options(nostack, preserves_flags)) };

        let shared = &*self.shared;
        let version = shared.version.load(Ordering::Relaxed);
        shared.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // No word may be seen before the odd version.
        fence(Ordering::Release);
        let (whole, tail) = shared.words.split_at(size_of::<T>() / WORD_BYTES);
        for (index, to) in whole.iter().enumerate() {
            // SAFETY: the word lies wholly inside the `T` at `bytes`, whose bytes are initialised (above).
            let word = unsafe { bytes.add(index * WORD_BYTES).cast::<u64>().read_unaligned() };
            to.store(word, Ordering::Relaxed);
        }
        for to in tail {
            let mut word = [0; WORD_BYTES];
            // SAFETY: as above, for the bytes after the last whole word.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.add(whole.len() * WORD_BYTES), word.as_mut_ptr(), tail_bytes::<T>())
            };
            to.store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        shared.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

impl<T: Copy + Send + 'static> SeqReader<T> {
    /// A number that changes with every write: the cheap question "has it changed?".
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire) & !1
    }

    /// The newest value and its version, or `None` if a write came between. For a thread that must not wait and has an
    /// older copy to live on.
    #[must_use]
    pub fn try_read(&self) -> Option<(T, u64)> {
        let shared = &*self.shared;
        let before = shared.version.load(Ordering::Acquire);
        if before & 1 == 1 {
            return None;
        }
        let mut value = MaybeUninit::<T>::uninit();
        let bytes = value.as_mut_ptr().cast::<u8>();
        let (whole, tail) = shared.words.split_at(size_of::<T>() / WORD_BYTES);
        for (index, from) in whole.iter().enumerate() {
            // SAFETY: the word lies wholly inside the `T` at `bytes`.
            unsafe { bytes.add(index * WORD_BYTES).cast::<u64>().write_unaligned(from.load(Ordering::Relaxed)) };
        }
        for from in tail {
            let word = from.load(Ordering::Relaxed).to_ne_bytes();
            // SAFETY: as above, for the bytes after the last whole word.
            unsafe {
                std::ptr::copy_nonoverlapping(word.as_ptr(), bytes.add(whole.len() * WORD_BYTES), tail_bytes::<T>())
            };
        }
        // The words above must be read before the version is read again.
        fence(Ordering::Acquire);
        if shared.version.load(Ordering::Relaxed) != before {
            return None;
        }
        // SAFETY: the version was even and the same before and after, so the bytes are those of one whole `T`.
        Some((unsafe { value.assume_init() }, before))
    }

    /// The newest value; tries again while writes come between, and yields the core when that lasts.
    #[must_use]
    pub fn read(&self) -> T {
        let mut tries = 0;
        loop {
            if let Some((value, _)) = self.try_read() {
                return value;
            }
            tries += 1;
            if tries % SPINS == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// Bytes of a `T` after its last whole word.
const fn tail_bytes<T>() -> usize {
    size_of::<T>() % WORD_BYTES
}

impl<T> Clone for SeqReader<T> {
    fn clone(&self) -> Self {
        SeqReader { shared: Arc::clone(&self.shared) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has padding after `flag`, and every field follows from `n`.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Sample {
        n: u64,
        flag: bool,
        inverse: u64,
        rest: [u32; 21],
    }

    fn sample(n: u64) -> Sample {
        Sample { n, flag: n % 2 == 1, inverse: !n, rest: [n as u32; 21] }
    }

    #[test]
    fn a_written_value_comes_back_and_changes_the_version() {
        let (mut writer, reader) = seqlock(sample(1));
        assert_eq!(reader.read(), sample(1));
        let version = reader.version();
        assert_eq!(reader.version(), version);
        writer.write(sample(2));
        assert_ne!(reader.version(), version);
        assert_eq!(reader.try_read(), Some((sample(2), reader.version())));
    }

    #[test]
    fn values_smaller_than_a_word_more_aligned_than_one_and_empty_ones_survive() {
        assert_eq!(seqlock([1u8, 2, 3]).1.read(), [1, 2, 3]);
        assert_eq!(seqlock([0u8; 0]).1.read(), [0u8; 0]);
        assert_eq!(seqlock(Some(5u32)).1.read(), Some(5));
        assert_eq!(seqlock((1u8, u128::MAX - 1)).1.read(), (1, u128::MAX - 1));
    }

    #[test]
    fn a_value_under_writing_is_not_read() {
        let (writer, reader) = seqlock(7u64);
        writer.shared.version.fetch_add(1, Ordering::Relaxed);
        assert_eq!(reader.try_read(), None);
    }

    #[test]
    fn no_reader_ever_sees_a_torn_or_an_older_value() {
        const WRITES: u64 = 200_000;
        let (mut writer, reader) = seqlock(sample(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = reader.clone();
                std::thread::spawn(move || {
                    let mut last = 0;
                    while last < WRITES {
                        let value = reader.read();
                        assert_eq!(value, sample(value.n), "torn");
                        assert!(value.n >= last, "went back from {last} to {}", value.n);
                        last = value.n;
                    }
                })
            })
            .collect();
        for n in 1..=WRITES {
            writer.write(sample(n));
        }
        for thread in readers {
            thread.join().unwrap();
        }
    }
}
