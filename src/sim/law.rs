//! Laws of random delays, written as in a datasheet: `exp 10us + normal 100ns`, `10% exp 20us`, `exp*exp 200us`,
//! `pareto 5us 2.5`, `uniform 100ns`, `10us`. Terms are independent and add up; a term may apply to a part of the
//! packets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::quantity::Span;
use super::random::Stream;

/// No draw is longer, ns: heavy tails have no end, and eleven days are one.
const DRAW_NS_MAX: f64 = 1e15;
/// Tails heavier than this are nothing but their end.
const SHAPE_MIN: f64 = 0.1;

/// One independent part of a delay, spans in ns.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// Always this much.
    Constant(f64),
    /// Normal with mean zero and this standard deviation: the noise of a stamp, so it may be negative.
    Normal(f64),
    /// Uniform within plus or minus this much.
    Uniform(f64),
    /// Exponential with this mean.
    Exponential(f64),
    /// The product of two exponentials of mean one, times this: a heavy tail.
    ExponentialProduct(f64),
    /// Pareto, shifted to begin at zero (Lomax): scale and shape. The mean is scale / (shape - 1).
    Pareto(f64, f64),
    /// One of these recorded delays, each as likely.
    Recorded(Arc<[f64]>),
}

/// A sum of terms, each with the probability that it applies.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Law(Vec<(f64, Term)>);

impl Term {
    fn draw(&self, stream: &mut Stream) -> f64 {
        match self {
            Term::Constant(span) => *span,
            Term::Normal(sd) => sd * stream.normal(),
            Term::Uniform(range) => range * stream.symmetric(),
            Term::Exponential(mean) => mean * stream.exponential(),
            Term::ExponentialProduct(scale) => scale * stream.exponential() * stream.exponential(),
            Term::Pareto(scale, shape) => scale * ((1.0 - stream.unit()).powf(-1.0 / shape) - 1.0),
            Term::Recorded(delays) => delays[stream.below(delays.len())],
        }
    }

    /// The span that is written.
    fn span_ns(&self) -> f64 {
        match self {
            Term::Constant(span)
            | Term::Normal(span)
            | Term::Uniform(span)
            | Term::Exponential(span)
            | Term::ExponentialProduct(span)
            | Term::Pareto(span, _) => *span,
            Term::Recorded(delays) => delays.iter().copied().fold(0.0, f64::max),
        }
    }

    /// Mean and mean square.
    fn moments(&self) -> (f64, f64) {
        match self {
            Term::Constant(span) => (*span, span * span),
            Term::Normal(sd) => (0.0, sd * sd),
            Term::Uniform(range) => (0.0, range * range / 3.0),
            Term::Exponential(mean) => (*mean, 2.0 * mean * mean),
            Term::ExponentialProduct(scale) => (*scale, 4.0 * scale * scale),
            Term::Pareto(scale, shape) => {
                let mean = if *shape > 1.0 { scale / (shape - 1.0) } else { f64::INFINITY };
                let square = if *shape > 2.0 { 2.0 * mean * scale / (shape - 2.0) } else { f64::INFINITY };
                (mean, square)
            }
            Term::Recorded(delays) => {
                let n = delays.len() as f64;
                (delays.iter().sum::<f64>() / n, delays.iter().map(|d| d * d).sum::<f64>() / n)
            }
        }
    }
}

impl Law {
    /// The law that is always zero.
    pub const ZERO: Law = Law(Vec::new());

    /// True if the law is always zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// This law and a term more.
    #[must_use]
    pub fn plus(mut self, term: Term) -> Law {
        self.0.push((1.0, term));
        self
    }

    /// This law and another, independent of it.
    #[must_use]
    pub fn and(mut self, other: &Law) -> Law {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// This law for a part of the packets and nothing for the others; `None` if it has more than one term, since terms
    /// that come and go together are not independent.
    #[must_use]
    pub fn for_part(&self, part: f64) -> Option<Law> {
        match &self.0[..] {
            [] => Some(Law::ZERO),
            [(own, term)] => Some(Law(vec![(own * part, term.clone())])),
            _ => None,
        }
    }

    /// The terms, each with the part of the packets that it is for.
    #[must_use]
    pub fn terms(&self) -> &[(f64, Term)] {
        &self.0
    }

    /// One draw, ns; never further from zero than `DRAW_NS_MAX`.
    pub fn draw(&self, stream: &mut Stream) -> f64 {
        let draw = |(part, term): &(f64, Term)| {
            if *part >= 1.0 || stream.chance(*part) { term.draw(stream) } else { 0.0 }
        };
        self.0.iter().map(draw).sum::<f64>().clamp(-DRAW_NS_MAX, DRAW_NS_MAX)
    }

    /// The longest span that is written in it, ns.
    #[must_use]
    pub fn longest_ns(&self) -> f64 {
        self.0.iter().map(|(_, term)| term.span_ns().abs()).fold(0.0, f64::max)
    }

    /// The shortest span that is written in it, ns: below zero if a constant is.
    #[must_use]
    pub fn shortest_ns(&self) -> f64 {
        self.0.iter().map(|(_, term)| term.span_ns()).fold(f64::INFINITY, f64::min)
    }

    /// Mean, ns.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.0.iter().map(|(part, term)| part * term.moments().0).sum()
    }

    /// Variance, ns²; infinite if the law has none.
    #[must_use]
    pub fn variance(&self) -> f64 {
        let terms = self.0.iter().map(|(part, term)| {
            let (mean, square) = term.moments();
            part * square - (part * mean).powi(2)
        });
        terms.sum()
    }
}

impl FromStr for Law {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Law::ZERO);
        }
        text.split('+').map(term).collect::<Result<Vec<_>, _>>().map(Law)
    }
}

fn term(text: &str) -> Result<(f64, Term), String> {
    let mut words = text.split_whitespace().peekable();
    let mut part = 1.0;
    if let Some(percent) = words.peek().and_then(|w| w.strip_suffix('%')) {
        part = percent.parse::<f64>().map_err(|_| format!("'{percent}%' is not a percentage"))? / 100.0;
        if !(0.0..=1.0).contains(&part) {
            return Err(format!("'{percent}%' is not between 0 and 100 %"));
        }
        words.next();
    }
    let name = words.next().ok_or_else(|| {
        format!("a term of the law is missing in '{text}': write a span after it, as in '10% exp 20us'")
    })?;
    let mut span = || words.next().ok_or_else(|| format!("'{name}' needs a span")).and_then(|w| w.parse::<Span>());
    let term = match name {
        "normal" => Term::Normal(span()?.0),
        "uniform" => Term::Uniform(span()?.0),
        "exp" => Term::Exponential(span()?.0),
        "exp*exp" => Term::ExponentialProduct(span()?.0),
        "pareto" => {
            let scale = span()?.0;
            let shape = words.next().and_then(|w| w.parse::<f64>().ok());
            let shape = shape.filter(|shape| *shape >= SHAPE_MIN && shape.is_finite());
            let shape = shape.ok_or("'pareto' needs a scale and a shape of at least 0.1, as in 'pareto 5us 2.5'")?;
            Term::Pareto(scale, shape)
        }
        constant => Term::Constant(
            constant
                .parse::<Span>()
                .map_err(|_| {
                    format!(
                        "'{constant}' is no law: write a span, or normal, uniform, exp, exp*exp or pareto and a span"
                    )
                })?
                .0,
        ),
    };
    if !matches!(term, Term::Constant(_)) && term.span_ns() < 0.0 {
        return Err(format!("'{name}' needs a span that is not negative, and {} is", Span(term.span_ns())));
    }
    match words.next() {
        Some(rest) => Err(format!("'{rest}' is too much in '{}'", text.trim())),
        None => Ok((part, term)),
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (n, (part, term)) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(" + ")?;
            }
            if *part < 1.0 {
                write!(f, "{}% ", part * 100.0)?;
            }
            match term {
                Term::Constant(span) => write!(f, "{}", Span(*span))?,
                Term::Normal(sd) => write!(f, "normal {}", Span(*sd))?,
                Term::Uniform(range) => write!(f, "uniform {}", Span(*range))?,
                Term::Exponential(mean) => write!(f, "exp {}", Span(*mean))?,
                Term::ExponentialProduct(scale) => write!(f, "exp*exp {}", Span(*scale))?,
                Term::Pareto(scale, shape) => write!(f, "pareto {} {shape}", Span(*scale))?,
                Term::Recorded(delays) => write!(f, "one of {} recorded", delays.len())?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Law {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Law {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    fn draws(text: &str, count: usize) -> Vec<f64> {
        let law: Law = text.parse().unwrap();
        let mut stream = Stream::new(3, Purpose::Forward, 0, 1);
        let mut draws: Vec<_> = (0..count).map(|_| law.draw(&mut stream)).collect();
        draws.sort_by(f64::total_cmp);
        draws
    }

    #[test]
    fn the_quantiles_of_each_law_are_those_of_its_formula() {
        let ln = |p: f64| -(1.0 - p).ln();
        type Quantile = Box<dyn Fn(f64) -> f64>;
        let table: [(&str, Quantile); 4] = [
            ("exp 10us", Box::new(move |p| 10_000.0 * ln(p))),
            ("5us + exp 1us", Box::new(move |p| 5_000.0 + 1_000.0 * ln(p))),
            ("pareto 5us 2.5", Box::new(|p| 5_000.0 * ((1.0 - p).powf(-0.4) - 1.0))),
            ("uniform 100ns", Box::new(|p| 200.0 * p - 100.0)),
        ];
        for (text, quantile) in &table {
            let drawn = draws(text, 100_000);
            for p in [0.1, 0.5, 0.9, 0.99] {
                let (seen, theory) = (drawn[(p * 100_000.0) as usize], quantile(p));
                assert!((seen - theory).abs() < 0.03 * theory.abs().max(10.0), "{text} at {p}: {seen}, not {theory}");
            }
        }
    }

    #[test]
    fn mean_and_variance_are_those_of_the_draws() {
        for text in
            ["normal 30ns", "exp 10us + normal 100ns", "10% exp 20us + normal 100ns", "exp*exp 200us", "pareto 5us 6"]
        {
            let law: Law = text.parse().unwrap();
            let drawn = draws(text, 400_000);
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let variance = drawn.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
            assert!((mean - law.mean()).abs() < 0.02 * law.variance().sqrt(), "{text}: mean {mean}");
            assert!((variance / law.variance() - 1.0).abs() < 0.05, "{text}: {variance} of {}", law.variance());
        }
    }

    #[test]
    fn a_recorded_law_draws_what_was_recorded() {
        let law = Law::ZERO.plus(Term::Recorded(vec![1.0, 5.0].into()));
        let mut stream = Stream::new(3, Purpose::Forward, 0, 1);
        let sum: f64 = (0..10_000).map(|_| law.draw(&mut stream)).sum();
        assert!((sum / 10_000.0 - 3.0).abs() < 0.1);
        assert_eq!(law.variance(), 4.0);
    }

    #[test]
    fn a_law_is_shown_as_it_is_written() {
        for text in ["exp 10us + normal 100ns", "10% exp 20us", "exp*exp 200us", "pareto 5us 2.5", "5us", "none"] {
            assert_eq!(text.parse::<Law>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_law_is_refused_by_naming_the_word() {
        for (text, word) in
            [("gamma 3us", "gamma"), ("exp", "exp"), ("exp 10us 4", "4"), ("120% exp 1us", "120"), ("", "missing")]
        {
            assert!(text.parse::<Law>().unwrap_err().contains(word), "{text}");
        }
    }
}
