//! A float as Go's `fmt.Print` writes it: the shortest digits that read back as the same number, plain between 0.0001
//! and a million, with an exponent outside. Saturn signs this text, so it must match to the byte.

use core::fmt::{self, Write};

/// The longest text: sign, 17 digits, point, `e-308`.
const BYTES_MAX: usize = 32;
/// From this power of ten on an exponent is written.
const PLAIN_EXPONENT_END: i32 = 6;
/// Below this power of ten an exponent is written.
const PLAIN_EXPONENT_MIN: i32 = -4;

/// The text of one float, on the stack.
#[derive(Clone, Copy)]
pub struct FloatText {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl FloatText {
    /// The text of `value`.
    #[must_use]
    pub fn of(value: f64) -> Self {
        let mut text = FloatText { bytes: [0; BYTES_MAX], len: 0 };
        if value.is_nan() {
            text.push(b"NaN");
        } else if value.is_infinite() {
            text.push(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        } else {
            text.finite(value);
        }
        text
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).expect("only ASCII is pushed")
    }

    fn finite(&mut self, value: f64) {
        // Rust writes the same shortest digits, as `-1.2345e-7`.
        let mut scientific = FloatText { bytes: [0; BYTES_MAX], len: 0 };
        write!(scientific, "{value:e}").expect("the longest float fits");
        let (mantissa, exponent) = scientific.as_str().split_once('e').expect("this form has an exponent");
        let exponent: i32 = exponent.parse().expect("an exponent is a number");
        let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
        self.push(sign.as_bytes());
        if (PLAIN_EXPONENT_MIN..PLAIN_EXPONENT_END).contains(&exponent) {
            self.plain(mantissa, exponent);
        } else {
            let digits = exponent.unsigned_abs();
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(self, "{mantissa}e{sign}{digits:02}").expect("the longest float fits");
        }
    }

    fn plain(&mut self, mantissa: &str, exponent: i32) {
        let digits = mantissa.bytes().filter(|b| *b != b'.');
        if exponent < 0 {
            self.push(b"0.");
            (1..-exponent).for_each(|_| self.push(b"0"));
            digits.for_each(|digit| self.push(&[digit]));
            return;
        }
        let whole = exponent as usize + 1;
        let mut written = 0;
        for digit in digits {
            if written == whole {
                self.push(b".");
            }
            self.push(&[digit]);
            written += 1;
        }
        (written..whole).for_each(|_| self.push(b"0"));
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl Write for FloatText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for FloatText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for FloatText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_go_prints_is_printed() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (-4.75, "-4.75"),
            (10.0, "10"),
            (100.0, "100"),
            (123_456.0, "123456"),
            (0.5, "0.5"),
            (0.05, "0.05"),
            (0.0001, "0.0001"),
            (0.000_123, "0.000123"),
            (0.000_099_9, "9.99e-05"),
            (1.234_567_890_123_456_8e-5, "1.2345678901234568e-05"),
            (100_000.0, "100000"),
            (999_999.5, "999999.5"),
            (999_999.999_999_999_9, "999999.9999999999"),
            (1e6, "1e+06"),
            (-1e6, "-1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (86_400_000.0, "8.64e+07"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (-f64::MIN_POSITIVE, "-2.2250738585072014e-308"),
            (f64::NAN, "NaN"),
            (-f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(FloatText::of(value).as_str(), text);
        }
    }

    /// The rule as docs/SATURN.md states it, read off the text alone.
    fn obeys_the_rule(value: f64) -> Result<(), TestCaseError> {
        let text = FloatText::of(value).to_string();
        let back: f64 = text.parse().expect("Rust reads what Go writes");
        prop_assert_eq!(back.to_bits(), value.to_bits(), "{}", text);
        let magnitude = value.abs();
        let has_exponent = text.contains('e');
        prop_assert_eq!(has_exponent, magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude), "{}", &text);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
        prop_assert!(exponent.starts_with(['+', '-']) && exponent.len() >= 3, "{}", &text);
        prop_assert!(exponent.len() == 3 || !exponent[1..].starts_with('0'), "{}", &text);
        prop_assert!(!mantissa.contains('.') || !mantissa.ends_with(['0', '.']), "{}", &text);
        if has_exponent {
            let whole = mantissa.trim_start_matches('-').split('.').next().unwrap();
            prop_assert!(whole.len() == 1 && whole != "0", "{}", &text);
        }
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|b| *b == b'0').count();
        let shortest = format!("{value:e}").split('e').next().unwrap().bytes().filter(u8::is_ascii_digit).count();
        prop_assert!(digits <= shortest.max(6) && digits <= 17, "{}", &text);
        Ok(())
    }

    proptest! {
        #[test]
        fn every_float_keeps_the_rule(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            obeys_the_rule(value)?;
        }

        #[test]
        fn offsets_as_they_occur_keep_the_rule(nanos in -10_000_000_000_000i64..10_000_000_000_000, shift in 0u32..40) {
            obeys_the_rule((nanos >> shift) as f64 / 1e6)?;
            obeys_the_rule((nanos >> shift) as f64 / 3.0 / 1e6)?;
        }
    }
}
