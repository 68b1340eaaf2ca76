//! The middle of some numbers, in a buffer that the caller owns.

use crate::limits::PEERS_MAX;

/// The median of at most [`PEERS_MAX`] numbers; `None` of none.
pub(super) fn median(buffer: &mut [f64; PEERS_MAX], numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut count = 0;
    for number in numbers {
        buffer[count] = number;
        count += 1;
    }
    let sorted = &mut buffer[..count];
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(count / 2)?;
    Some(if count % 2 == 1 { upper } else { (sorted[count / 2 - 1] + upper) / 2.0 })
}
