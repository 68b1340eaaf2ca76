//! `llts replay`: what an algorithm would have estimated from the exchanges that a node recorded. Touches no clock and
//! sends no packet.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::args::algorithm;
use super::exit::{Failure, say};
use crate::pipeline::Algorithm;
use crate::report::{RecordError, RecordReader};
use crate::sim::quantity::Span;
use crate::sim::replay::{Moment, PeerTotal, Replay, Summary};

/// Options of `llts replay`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ReplayArgs {
    /// A recording, as `llts run --record FILE` writes it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How agreement is sought
    #[arg(long, value_name = "NAME", default_value = Algorithm::default().as_str(), value_parser = algorithm())]
    pub algorithm: Algorithm,
    /// One JSON object a second, one a line, and the summary as the last
    #[arg(long)]
    pub json: bool,
}

/// Replays a recording. What stands before a damaged place is shown.
pub(super) fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let reader = RecordReader::open(&args.file).map_err(wrong)?;
    let mut replay = Replay::new(reader.node(), args.algorithm);
    if !args.json {
        say(&heading(&args.file, &reader, args.algorithm))?;
    }
    let mut unsaid = Ok(());
    let mut tell = |moment: Moment| {
        if unsaid.is_ok() {
            unsaid = say(&if args.json { json(&moment) } else { line(&moment) });
        }
    };
    let mut damage = None;
    for exchange in reader {
        let taken = match exchange {
            Ok(exchange) => replay.take(&exchange, &mut tell).map_err(|sentence| {
                Failure::Runtime(anyhow::anyhow!("{} cannot be replayed to its end: {sentence}", args.file.display()))
            }),
            Err(error) => Err(wrong(error)),
        };
        if let Err(failure) = taken {
            damage = Some(failure);
            break;
        }
    }
    let summary = replay.finish(&mut tell);
    unsaid?;
    say(&if args.json { json(&Summed { summary: &summary }) } else { told(&summary) })?;
    match damage {
        Some(failure) => Err(failure),
        None if summary.exchanges == 0 => Err(Failure::Runtime(anyhow::anyhow!(
            "{} holds no exchange: its node finished none while it recorded",
            args.file.display()
        ))),
        None => Ok(()),
    }
}

/// Marks the last line of the JSON.
#[derive(serde::Serialize)]
struct Summed<'a> {
    summary: &'a Summary,
}

/// A file that is no recording is the fault of the words; one that is damaged is not.
fn wrong(error: RecordError) -> Failure {
    match error {
        RecordError::Access { .. } | RecordError::Foreign { .. } | RecordError::Version { .. } => Failure::usage(error),
        RecordError::Truncated { .. } | RecordError::Damaged { .. } => Failure::Runtime(error.into()),
    }
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).expect("it is plain data") + "\n"
}

fn span(ns: Option<f64>) -> String {
    ns.map_or("-".to_owned(), |ns| Span(ns).to_string())
}

fn ppb(number: Option<f64>) -> String {
    number.map_or("-".to_owned(), |n| format!("{n:.3}"))
}

fn heading(file: &Path, reader: &RecordReader, algorithm: Algorithm) -> String {
    format!(
        "{}: node {:016x}, replayed under {algorithm}\n{:>6} {:<8} {:>4} {:>3} {:>10} {:>13} {:>10} {:>10}  {}\n",
        file.display(),
        reader.node().0,
        "s",
        "state",
        "used",
        "out",
        "moved",
        "frequency ppb",
        "sigma",
        "bound",
        "own clock minus each peer's"
    )
}

fn line(moment: &Moment) -> String {
    let mut out = format!(
        "{:>6} {:<8} {:>4} {:>3} {:>10} {:>13} {:>10} {:>10} ",
        moment.t_s,
        moment.state,
        moment.used,
        moment.rejected,
        span(Some(moment.moved_ns)),
        ppb(moment.frequency_ppb),
        span(moment.sigma_ns),
        span(moment.bound_ns),
    );
    for peer in &moment.peers {
        let mark = if peer.standing == "used" { "" } else { "?" };
        write!(out, " {}{mark} {}", &peer.peer[..8], span(peer.offset_ns)).expect("a string takes everything");
    }
    out + "\n"
}

fn told(summary: &Summary) -> String {
    let mut out = String::new();
    let mut put = |line: String| writeln!(out, "{line}").expect("a string takes everything");
    put(format!("{} exchanges in {:.1} s, at the end in {}", summary.exchanges, summary.seconds, summary.state));
    match summary.tracked_s {
        Some(at_s) => put(format!(
            "agreed first after {at_s:.2} s; mean sigma {}, mean bound {}",
            span(summary.sigma_ns),
            span(summary.bound_ns)
        )),
        None => put("never agreed with its peers".to_owned()),
    }
    put(format!(
        "{:<16} {:>9} {:>10} {:>14} {:>10} {:>10} {:>10}  exchanges by what became of them",
        "peer", "exchanges", "offset rms", "rate ppb", "sigma", "bound", "delay"
    ));
    for (peer, total) in &summary.peers {
        let PeerTotal { exchanges, outcomes, offset_rms_ns, last, .. } = total;
        let outcomes: Vec<String> = outcomes.iter().map(|(word, count)| format!("{word} {count}")).collect();
        let last = last.as_ref();
        put(format!(
            "{peer:<16} {exchanges:>9} {:>10} {:>14} {:>10} {:>10} {:>10}  {}",
            span(*offset_rms_ns),
            ppb(last.and_then(|l| l.rate_ppb)),
            span(last.and_then(|l| l.sigma_ns)),
            span(last.and_then(|l| l.bound_ns)),
            span(last.and_then(|l| l.delay_ns)),
            outcomes.join(", ")
        ));
    }
    out
}
