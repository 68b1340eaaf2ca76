//! Numbers as people read them: three significant digits and a unit near the size. Programs read JSON, which has none
//! of this.

/// What stands where a number is not known.
const UNKNOWN: &str = "-";

/// A span of time without its sign: `230 ns`, `1.24 us`, `12.0 ms`; `-` if it is unknown or not finite.
#[must_use]
pub fn span_text(span_ns: Option<f64>) -> String {
    match span_ns {
        Some(ns) if ns.is_finite() => with_unit(ns.abs()),
        Some(_) | None => UNKNOWN.into(),
    }
}

/// A signed span, as an offset: `+1.24 us`, `-230 ns`, `0 ns`; `-` if it is unknown or not finite.
#[must_use]
pub fn offset_text(offset_ns: Option<f64>) -> String {
    match offset_ns {
        Some(ns) if ns.is_finite() => {
            let text = with_unit(ns.abs());
            if text == "0 ns" { text } else { format!("{}{text}", if ns < 0.0 { '-' } else { '+' }) }
        }
        Some(_) | None => UNKNOWN.into(),
    }
}

/// A signed frequency, from parts per billion: `+20.123 ppm`, `-12.5 ppb`; `-` if it is unknown or not finite.
#[must_use]
pub fn frequency_text(ppb: Option<f64>) -> String {
    match ppb {
        Some(ppb) if !ppb.is_finite() => UNKNOWN.into(),
        Some(ppb) if ppb.abs() < 999.95 => format!("{ppb:+.1} ppb"),
        Some(ppb) => format!("{:+.3} ppm", ppb / 1e3),
        None => UNKNOWN.into(),
    }
}

fn with_unit(ns: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1.0, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")];
    // 999.5 rounds to 1000: from there on the next unit is the shorter one.
    let (size, unit) = UNITS.into_iter().find(|(size, _)| ns / size < 999.5).unwrap_or((1e9, "s"));
    let value = ns / size;
    if value < 0.005 {
        return format!("0 {unit}");
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_keep_three_digits_and_change_their_unit_where_it_gets_shorter() {
        for (ns, text) in [
            (0.0, "0 ns"),
            (0.25, "0.25 ns"),
            (9.994, "9.99 ns"),
            (9.996, "10.0 ns"),
            (230.4, "230 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 us"),
            (12_345.0, "12.3 us"),
            (1.5e6, "1.50 ms"),
            (2.5e9, "2.50 s"),
            (3.6e12, "3600 s"),
        ] {
            assert_eq!(span_text(Some(ns)), text);
            assert_eq!(span_text(Some(-ns)), text);
        }
    }

    #[test]
    fn an_offset_shows_its_sign_unless_it_is_nothing() {
        assert_eq!(offset_text(Some(1240.0)), "+1.24 us");
        assert_eq!(offset_text(Some(-1240.0)), "-1.24 us");
        assert_eq!(offset_text(Some(-0.0001)), "0 ns");
    }

    #[test]
    fn what_is_unknown_is_a_dash_and_never_a_number() {
        for unknown in [None, Some(f64::NAN), Some(f64::INFINITY)] {
            assert_eq!([span_text(unknown), offset_text(unknown), frequency_text(unknown)], ["-", "-", "-"]);
        }
    }

    #[test]
    fn frequencies_are_shown_in_ppm_from_one_ppm_on() {
        assert_eq!(frequency_text(Some(-12.54)), "-12.5 ppb");
        assert_eq!(frequency_text(Some(20_123.4)), "+20.123 ppm");
    }
}
