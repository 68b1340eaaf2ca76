//! Pictures of boards at many sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::super::board::{Answer, Past};
use super::super::keys::{Panel, Wish};
use super::*;
use crate::report::{Gravity, Happening, Latencies, Status, Told};

fn status(turn: u32, peers: u16) -> Status {
    let peer = |n: u16| {
        let used = n != 1;
        json!({
            "name": format!("db{}", n + 2), "address": format!("127.0.0.1:{}", 5000 + n), "role": "peer",
            "state": if used { "used" } else { "silent" },
            "reason": if used { "" } else { "it has not answered for a while" },
            "offset_ns": if used { Some(f64::from(turn * 100) * (f64::from(n) - 1.5)) } else { None },
            "delay_ns": 40_000.0 - f64::from(n), "sigma_ns": 180.0, "bound_ns": 20_000.0 + f64::from(n),
            "rx_stamp": "kernel", "tx_stamp": "nic", "reach": 255,
        })
    };
    let document = json!({
        "node": "db1", "cluster": "prod", "state": "track", "role": "peer",
        "clock": { "kind": "virtual", "offset_ns": 310.0, "frequency_ppb": -20_123.0 },
        "sigma_ns": 230.0, "bound_ns": 19_400.0, "algorithm": "rce", "poll_mode": "hybrid", "cpu": null,
        "listen": "127.0.0.1:4123", "pid": 1, "version": "0.1.0", "uptime_s": 200.0,
        "peers": (0..peers).map(peer).collect::<Vec<_>>(), "counters": {},
    });
    serde_json::from_value(document).unwrap()
}

fn told(status: Result<Status, String>) -> Answer {
    Answer { status, past: None }
}

/// A past with `events` happenings, one a second, the newest two minutes ago.
fn past(events: i64) -> Past {
    let mut latencies = Latencies::default();
    for ns in 1..=1_000 {
        latencies.hot.round_trip(ns * 1_000);
        latencies.hot.turn_around(ns * 10);
    }
    let happening = |n: i64| Happening {
        at_unix_ns: (n - 120) * 1_000_000_000,
        gravity: if n % 2 == 0 { Gravity::Bad } else { Gravity::Good },
        text: format!("happening number {n}"),
    };
    let events = Told { now_unix_ns: events * 1_000_000_000, happenings: (1..=events).map(happening).collect() };
    Past { latencies: latencies.status().to_vec(), events }
}

fn board(peers: u16) -> Board {
    let mut board = Board::new(1_000_000_000, true);
    for turn in 0..50 {
        board.take(told(Ok(status(turn, peers))));
    }
    board
}

fn picture(board: &mut Board, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, board)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[test]
fn a_common_window_shows_the_node_its_peers_with_their_past_and_the_keys() {
    let lines = picture(&mut board(3), 90, 14);
    let expected = [
        "db1  track: in agreement",
        "bound 19.4 us   sigma 230 ns   offset +310 ns   frequency -20.123 ppm",
        "skew 9.80 us   2 of 3 peers used   cluster prod, peer, virtual clock",
        "",
        "PEER↓ STATE",
    ];
    for (line, expected) in lines.iter().zip(expected).take(4) {
        assert_eq!(line, expected);
    }
    assert!(lines[4].starts_with("PEER") && lines[4].contains("OFFSET OVER TIME"), "{lines:#?}");
    assert!(lines[5].starts_with("db2") && lines[5].contains("-7.35 us") && lines[5].contains('█'), "{lines:#?}");
    assert!(lines[6].contains("silent") && lines[6].contains("it has not answered for a wh"), "{lines:#?}");
    // An offset that falls is a line that falls, and one that rises rises to the right.
    assert!(lines[5].ends_with('▁') && lines[7].ends_with('█'), "{lines:#?}");
    assert!(lines[13].starts_with("q quit  ? help  arrows choose  enter closer  m skews  l latencies"), "{lines:#?}");
}

#[test]
fn no_size_is_too_small_or_too_large_and_no_line_is_wider_than_the_window() {
    for peers in [0, 1, 40] {
        let mut board = board(peers);
        for look in 0..10 {
            board.close = look == 1;
            board.help = look == 2;
            board.panel = match look {
                4 | 7 => Some(Panel::Skews),
                5 | 8 => Some(Panel::Latencies),
                6 | 9 => Some(Panel::Events),
                _ => None,
            };
            if look >= 7 {
                board.past = Some(if peers == 1 { Err("it is older".into()) } else { Ok(past(i64::from(peers))) });
                board.moved = if look == 8 { usize::MAX / 2 } else { 3 };
            }
            if look == 3 {
                board.heed(Wish::End(true));
            }
            for width in [1, 2, 5, 9, 16, 20, 29, 30, 60, 80, 200] {
                for height in [1, 2, 3, 4, 5, 9, 10, 12, 24, 60] {
                    let lines = picture(&mut board, width, height);
                    assert_eq!(lines.len(), usize::from(height));
                    assert!(lines.iter().any(|line| !line.is_empty()) || width < 5, "{width}x{height}: nothing");
                }
            }
        }
    }
    let mut unheard = Board::new(1_000_000_000, false);
    for (width, height) in [(1, 1), (20, 5), (80, 24)] {
        picture(&mut unheard, width, height);
    }
}

#[test]
fn in_twenty_columns_and_five_rows_there_still_is_a_peer_with_its_offset() {
    let lines = picture(&mut board(3), 20, 5);
    assert!(lines[0].starts_with("db1  track"), "{lines:#?}");
    assert!(lines[1..4].iter().any(|line| line.starts_with("db2") && line.contains("-7.35 us")), "{lines:#?}");
    assert!(lines[4].starts_with("q quit"), "{lines:#?}");
}

#[test]
fn peers_come_in_the_order_that_was_asked_for_and_what_is_unknown_comes_last() {
    let mut board = board(4);
    let names = |board: &Board| board.peers().iter().map(|peer| peer.name.clone()).collect::<Vec<_>>();
    for (wish, expected) in [
        (Order::Name, ["db5", "db4", "db3", "db2"]),
        (Order::Name, ["db2", "db3", "db4", "db5"]),
        (Order::State, ["db3", "db2", "db4", "db5"]),
        (Order::State, ["db2", "db4", "db5", "db3"]),
        (Order::Offset, ["db2", "db5", "db4", "db3"]),
        (Order::Offset, ["db4", "db2", "db5", "db3"]),
        (Order::Bound, ["db5", "db4", "db3", "db2"]),
        (Order::Delay, ["db2", "db3", "db4", "db5"]),
        (Order::Delay, ["db5", "db4", "db3", "db2"]),
    ] {
        board.heed(Wish::Sort(wish));
        assert_eq!(names(&board), expected, "{wish:?} {:?}", board.order);
        let lines = picture(&mut board, 90, 14);
        let marked: Vec<&str> = lines[4].split_whitespace().filter(|word| word.ends_with(['↓', '↑'])).collect();
        assert_eq!(marked.len(), 1, "{lines:#?}");
    }
}

#[test]
fn the_chosen_peer_stays_chosen_and_on_the_screen_and_can_be_looked_at_closer() {
    let mut board = board(40);
    for _ in 0..100 {
        board.heed(Wish::Move(1));
    }
    board.heed(Wish::Move(-2));
    let name = |board: &Board| board.peers()[board.chosen_row().unwrap()].name.clone();
    let chosen = name(&board);
    let lines = picture(&mut board, 80, 12);
    assert!(lines.iter().any(|line| line.starts_with(&format!("{chosen} "))), "{lines:#?}");
    board.heed(Wish::Sort(Order::Offset));
    board.take(told(Ok(status(60, 40))));
    assert_eq!(name(&board), chosen);
    board.heed(Wish::Closer);
    let lines = picture(&mut board, 80, 24);
    assert!(lines[4].starts_with(&format!("{chosen} at 127.0.0.1:")), "{lines:#?}");
    assert!(lines[5].starts_with("used: its time counts") && lines[7].contains("stamps kernel/nic"), "{lines:#?}");
    assert!(lines.iter().flat_map(|line| line.chars()).any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{lines:#?}");
    assert!(lines[22].contains("ago") && lines[22].ends_with("now"), "{lines:#?}");
    assert!(board.back() && !board.back());
}

#[test]
fn while_paused_nothing_moves_and_afterwards_nothing_is_lost() {
    let mut board = board(3);
    board.heed(Wish::Pause);
    let before = picture(&mut board, 90, 14);
    assert!(before[0].contains("paused"));
    for turn in 50..60 {
        board.take(told(Ok(status(turn * 3, 3))));
    }
    assert_eq!(picture(&mut board, 90, 14), before);
    board.heed(Wish::Pause);
    board.take(told(Ok(status(200, 3))));
    let after = picture(&mut board, 90, 14);
    assert!(after[5].contains("-30.0 us") && !after[0].contains("paused"), "{after:#?}");
    let address = "127.0.0.1:5000".parse().unwrap();
    assert_eq!(board.offsets(address, SAMPLES).iter().flatten().count(), 61);
}

#[test]
fn a_peer_that_is_not_used_says_why_beside_its_line() {
    let mut board = Board::new(1_000_000_000, true);
    for turn in 0..60 {
        let mut status = status(turn, 1);
        status.peers[0].state = "observer".into();
        status.peers[0].reason = "it only observes".into();
        board.take(told(Ok(status)));
    }
    let line = |board: &mut Board, width| picture(board, width, 14)[5].clone();
    let wide = line(&mut board, 100);
    assert!(wide.ends_with("▁  it only observes") && wide.contains('█'), "{wide}");
    let narrow = line(&mut board, 70);
    assert!(narrow.ends_with('▁') && narrow.contains("observer"), "{narrow}");
}

#[test]
fn a_daemon_that_is_gone_is_said_and_leaves_a_gap() {
    let mut board = board(1);
    board.take(told(Err("no llts daemon answers".into())));
    assert!(picture(&mut board, 90, 14)[0].contains("no llts daemon answers"));
    board.take(told(Ok(status(50, 1))));
    let lines = picture(&mut board, 90, 14);
    assert_eq!(lines[0], "db1  track: in agreement");
    let past = lines[5].chars().rev().take(3).collect::<Vec<_>>();
    assert!(past[0] != ' ' && past[1] == ' ' && past[2] != ' ', "{lines:#?}");
}

#[test]
fn the_matrix_has_row_minus_column_of_every_two_clocks_that_count_and_is_moved_when_it_does_not_fit() {
    let mut board = board(3);
    board.heed(Wish::Show(Panel::Skews));
    let lines = picture(&mut board, 90, 14);
    assert_eq!(lines[4], "SKEW: row minus column, as measured from here");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // db3 is silent. An offset of -7.35 us means that db2 is ahead of db1 by that.
    assert_eq!(words(&lines[5]), ["db1", "db2", "db4"]);
    assert_eq!(words(&lines[6]), ["db1", "·", "-7.35", "us", "+2.45", "us"]);
    assert_eq!(words(&lines[7]), ["db2", "+7.35", "us", "·", "+9.80", "us"]);
    assert_eq!(words(&lines[8]), ["db4", "-2.45", "us", "-9.80", "us", "·"]);
    assert!(
        lines[13].starts_with("q back  ? help  arrows move  m skews  l latencies  e events  p pause"),
        "{lines:#?}"
    );

    let mut board = self::board(40);
    board.heed(Wish::Show(Panel::Skews));
    let before = picture(&mut board, 60, 14);
    assert!(before[4].ends_with("here; arrows move") && before[5].starts_with("            db1"), "{before:#?}");
    board.heed(Wish::Move(1));
    assert_ne!(picture(&mut board, 60, 14)[6..9], before[6..9]);
    board.heed(Wish::End(true));
    let end = picture(&mut board, 60, 14);
    assert!(end[5].ends_with("db9") && end.iter().any(|line| line.starts_with("db9")), "{end:#?}");
    let none = picture(&mut self::board(0), 60, 14);
    assert!(none.iter().any(|line| line.contains("No peer is known")), "{none:#?}");
}

#[test]
fn latencies_are_percentiles_and_a_node_that_does_not_tell_them_is_said_to_be_old() {
    let mut board = board(3);
    board.heed(Wish::Show(Panel::Latencies));
    assert!(picture(&mut board, 100, 16)[4].contains("is being asked"));
    board.take(Answer { status: Ok(status(50, 3)), past: Some(Ok(past(3))) });
    let lines = picture(&mut board, 100, 16);
    assert_eq!(
        lines[5].split_whitespace().collect::<Vec<_>>(),
        ["LATENCY", "COUNT", "MIN", "P50", "P90", "P99", "P99.9", "MAX"]
    );
    let delay = lines.iter().find(|line| line.starts_with("path delay")).unwrap();
    for part in ["1000", "1.00 us", "502 us", "901 us", "991 us"] {
        assert!(delay.contains(part), "{part}: {delay}");
    }
    for name in ["turn-around", "stamp to user", "ring", "poll gap", "tick lateness"] {
        assert!(lines.iter().any(|line| line.starts_with(name)), "{name}: {lines:#?}");
    }
    let narrow = picture(&mut board, 30, 16);
    assert!(narrow[5].ends_with("P50") && narrow[6].ends_with("us"), "{narrow:#?}");
    board.take(Answer { status: Ok(status(51, 3)), past: Some(Err("no answer".into())) });
    assert!(picture(&mut board, 100, 16)[4].contains("older than this one"));
    assert!(board.back() && board.panel.is_none());
}

#[test]
fn events_come_the_newest_first_with_their_age_and_the_older_ones_can_be_moved_to() {
    let mut board = board(3);
    board.take(Answer { status: Ok(status(50, 3)), past: Some(Ok(past(30))) });
    board.heed(Wish::Show(Panel::Events));
    let lines = picture(&mut board, 80, 14);
    assert_eq!(lines[4], "EVENTS, the newest first; arrows move to what is older");
    assert_eq!(lines[5], "  2m ago  BAD   happening number 30");
    assert_eq!(lines[6], "  2m ago  ok    happening number 29");
    board.heed(Wish::Move(10));
    assert!(picture(&mut board, 80, 14)[5].ends_with("happening number 20"));
    board.heed(Wish::End(true));
    assert!(picture(&mut board, 80, 14)[12].ends_with("happening number 1"));
    board.heed(Wish::Show(Panel::Events));
    assert!(picture(&mut board, 80, 14)[4].starts_with("PEER"));
}
