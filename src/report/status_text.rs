//! The `status` document as text for people: aligned, with units, and with the sign explained. Says nothing that the
//! document does not say.

use std::fmt::Write as _;

use super::human::{frequency_text, offset_text, span_text};
use super::table::{Align, Table};
use super::{CardStatus, PeerStatus, Status};

/// Several lines, the last one without its newline.
#[must_use]
pub fn status_text(status: &Status) -> String {
    let Status { clock, .. } = status;
    let core = status.cpu.map_or_else(|| "any core".into(), |cpu| format!("core {cpu}"));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        text,
        "node       {} in cluster {}, {} at {}\n\
         state      {}, up {}, process {}, version {}\n\
         clock      {}, offset {}, frequency {}\n\
         error      {} one sigma (estimate), {} at most (bound)\n\
         algorithm  {}\n\
         hot loop   {} on {core}",
        status.node,
        status.cluster,
        status.role,
        status.listen,
        status.state,
        uptime_text(status.uptime_s),
        status.pid,
        status.version,
        clock.kind,
        offset_text(clock.offset_ns),
        frequency_text(clock.frequency_ppb),
        span_text(status.sigma_ns),
        span_text(status.bound_ns),
        status.algorithm,
        status.poll_mode,
    );
    for card in &status.cards {
        let _infallible = writeln!(text, "card       {}", card_text(card));
    }
    let counted: Vec<String> =
        status.counters.iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    if !counted.is_empty() {
        let _infallible = writeln!(text, "counters   {}", counted.join(", "));
    }
    text += &unresolved_text(&status.unresolved);
    if status.peers.is_empty() {
        text += "\nno peer is known";
    } else {
        let _infallible = write!(text, "\n{}\n\n{SIGN}", peer_table(&status.peers));
    }
    text
}

/// A line for each peer that is nowhere to be looked for.
pub(super) fn unresolved_text(unresolved: &[String]) -> String {
    unresolved.iter().map(|peer| format!("not found  {peer}: its name does not resolve\n")).collect()
}

fn card_text(card: &CardStatus) -> String {
    let CardStatus { device, phc, receive, .. } = card;
    let stamps = match receive.as_str() {
        "all" => "stamps both ways",
        "none" => "stamps what leaves",
        _ => "stamps what leaves, and PTP",
    };
    let rate = frequency_text(card.rate_ppb);
    let known = match card.state.as_str() {
        "used" => format!("known to {}, {} at most, rate {rate}", span_text(card.sigma_ns), span_text(card.doubt_ns)),
        _ => "whose time is not known now: kernel stamps are used".to_owned(),
    };
    let lost = if card.losses > 0 { format!(", lost {} times", card.losses) } else { String::new() };
    format!("{device} {stamps}, on {phc} {known}{lost}")
}

/// What the signs and the reach of a table of peers mean.
pub(super) const SIGN: &str = "An offset is local minus the other: positive means that the local clock is ahead.\n\
                    Reach: the last eight intervals in octal, the newest to the right; 377 is all.";

/// A line for each peer.
pub(super) fn peer_table(peers: &[PeerStatus]) -> Table {
    let mut table = Table::new([
        ("PEER", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("OFFSET", Align::Right),
        ("DELAY", Align::Right),
        ("SIGMA", Align::Right),
        ("BOUND", Align::Right),
        ("RX/TX", Align::Left),
        ("REACH", Align::Right),
        ("REASON", Align::Left),
    ]);
    for peer in peers {
        let stamp = |class: &Option<String>| class.clone().unwrap_or_else(|| "-".into());
        table.row([
            peer.name.clone(),
            peer.address.to_string(),
            peer.state.clone(),
            offset_text(peer.offset_ns),
            span_text(peer.delay_ns),
            span_text(peer.sigma_ns),
            span_text(peer.bound_ns),
            format!("{}/{}", stamp(&peer.rx_stamp), stamp(&peer.tx_stamp)),
            format!("{:03o}", peer.reach),
            peer.reason.clone(),
        ]);
    }
    table
}

fn uptime_text(uptime_s: f64) -> String {
    // A float from outside: the conversion saturates.
    let s = uptime_s as u64;
    let (days, hours, minutes) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{minutes} min {} s", s % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::examples;

    #[test]
    fn the_text_is_aligned_has_units_and_explains_its_sign() {
        let expected = "\
node       a:8080 in cluster default, peer at 127.0.0.1:8080
state      track, up 3 min 20 s, process 4242, version 0.1.0
clock      virtual, offset +310 ns, frequency -20.123 ppm
error      230 ns one sigma (estimate), - at most (bound)
algorithm  rce
hot loop   hybrid on any core
card       eth0 stamps what leaves, and PTP, on /dev/ptp0 known to 6.00 ns, 800 ns at most, rate -1.234 ppm
counters   exchanges 1600

PEER    ADDRESS             STATE      OFFSET    DELAY   SIGMA    BOUND  RX/TX          REACH  REASON
b:8081  127.0.0.1:8081      used     -1.24 us  23.4 us  180 ns  12.0 us  kernel/kernel    377
c       [2001:db8::7]:4123  unheard         -        -       -        -  -/-              000  no answer yet

An offset is local minus the other: positive means that the local clock is ahead.
Reach: the last eight intervals in octal, the newest to the right; 377 is all.";
        assert_eq!(status_text(&examples::status()), expected);
    }

    #[test]
    fn a_node_alone_says_that_it_knows_nobody() {
        let mut status = examples::status();
        status.peers.clear();
        assert!(status_text(&status).ends_with("\nno peer is known"));
    }

    #[test]
    fn an_uptime_is_told_in_its_two_greatest_units() {
        for (s, text) in [(59.9, "59 s"), (60.0, "1 min 0 s"), (7_261.0, "2 h 1 min"), (180_000.0, "2 d 2 h")] {
            assert_eq!(uptime_text(s), text);
        }
    }
}
