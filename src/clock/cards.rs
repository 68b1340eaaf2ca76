//! The clocks of the cards that stamp for a node: reading them once a tick, and turning their stamps into raw time. One
//! side measures and publishes, the other converts by what was published last and never waits. Which stamp of a packet
//! is used is decided here too, because a card's stamp is only believed beside what else is known of the packet.

use std::io;

use super::phc::{PhcEvent, PhcRelation, PhcTrack};
use crate::limits::{CARDS_MAX, STAMP_DOUBT_NS_MAX};
use crate::sys::ptp::{PtpClock, PtpMethod, PtpReading};

/// A stamp of the kernel or of user space may contradict a card's by this much beyond the card's own doubt, ns: the
/// error of a bracket on a bad day.
const SLACK_NS: i64 = 2_000;
/// The kernel sees a packet at most this much later than the card that received it, ns: interrupts are held back for
/// microseconds, softirqs for milliseconds on a loaded machine.
const RECEIVE_LAG_NS_MAX: i64 = 20_000_000;
/// A clock that failed is tried again after so many ticks.
const RETRY_TICKS: u32 = 16;
/// A reading that took longer than this, ns, belongs to a slow bus: the clock is then read once in [`SLOW_TICKS`].
const SLOW_NS: i64 = 5_000_000;
/// See [`SLOW_NS`].
const SLOW_TICKS: u32 = 8;

/// A clock that can be read together with RAW; a test plays one.
pub trait CardClock: Send {
    /// Reads both clocks.
    ///
    /// # Errors
    /// What the driver says; `Interrupted` if it is to be tried again.
    fn read(&mut self) -> io::Result<PtpReading>;

    /// Opens the clock anew after it was gone.
    ///
    /// # Errors
    /// As long as it is gone.
    fn reopen(&mut self) -> io::Result<()>;

    /// How it is read; `None` before the first reading.
    fn method(&self) -> Option<PtpMethod>;
}

impl CardClock for PtpClock {
    fn read(&mut self) -> io::Result<PtpReading> {
        PtpClock::read(self)
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = PtpClock::open(self.path())?;
        Ok(())
    }

    fn method(&self) -> Option<PtpMethod> {
        PtpClock::method(self)
    }
}

/// What the clocks of the cards show, as of the last tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CardTimes {
    /// Interface number and, while it is believed, the relation of its card's clock.
    cards: [Option<(u32, Option<PhcRelation>)>; CARDS_MAX],
    /// No other interface of this machine has a stamping card: a stamp that does not name its interface is this one's.
    alone: bool,
}

/// Why a card's stamp was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardMiss {
    /// It is of a card that this node does not measure, or does not say of which.
    Foreign,
    /// The card's clock is not believed now, or the stamp is too far from its last reading.
    NoRelation,
    /// It contradicts the kernel's stamp, or lies outside of the time in which the packet passed.
    Implausible,
}

impl CardTimes {
    /// What a stamp of the card behind interface `device` means in machine raw time, ns, and how wrong that can be.
    ///
    /// # Errors
    /// [`CardMiss`]: nobody's fault that could be named; the packet has weaker stamps.
    pub fn raw_at(&self, device: Option<u32>, card_ns: i64) -> Result<(i64, f64), CardMiss> {
        let mut known = self.cards.iter().flatten();
        let found = match device {
            Some(device) => known.find(|(number, _)| *number == device),
            None => known.next().filter(|_| self.alone),
        };
        let (_, relation) = found.ok_or(CardMiss::Foreign)?;
        let relation = relation.as_ref().ok_or(CardMiss::NoRelation)?;
        let raw_ns = relation.raw_at(card_ns).ok_or(CardMiss::NoRelation)?;
        Ok((raw_ns, relation.doubt_ns))
    }

    /// Machine raw time of an arrival that the card stamped. `seen_ns` is when the kernel saw the packet, or the
    /// program if the kernel has no stamp, machine raw time.
    ///
    /// # Errors
    /// As [`CardTimes::raw_at`]; also if the packet was seen before the card had it, or long after.
    pub fn arrival(&self, device: Option<u32>, card_ns: i64, seen_ns: i64) -> Result<i64, CardMiss> {
        let (raw_ns, doubt_ns) = self.raw_at(device, card_ns)?;
        let slack_ns = SLACK_NS + doubt_ns as i64;
        let lag_ns = seen_ns.wrapping_sub(raw_ns);
        if (-slack_ns..=RECEIVE_LAG_NS_MAX + slack_ns).contains(&lag_ns) {
            Ok(raw_ns)
        } else {
            Err(CardMiss::Implausible)
        }
    }

    /// Machine raw time of a departure that the card stamped, of a packet given to the kernel at `given_ns` and
    /// stamped by it at `kernel_ns` if it was; `now_ns` is the present.
    ///
    /// # Errors
    /// As [`CardTimes::raw_at`]; also if the card had the packet before the kernel did, or has it in the future.
    pub fn departure(
        &self,
        device: Option<u32>,
        card_ns: i64,
        given_ns: i64,
        kernel_ns: Option<i64>,
        now_ns: i64,
    ) -> Result<i64, CardMiss> {
        let (raw_ns, doubt_ns) = self.raw_at(device, card_ns)?;
        let slack_ns = SLACK_NS + doubt_ns as i64;
        let earliest_ns = kernel_ns.unwrap_or(given_ns).max(given_ns);
        if (earliest_ns - slack_ns..=now_ns + slack_ns).contains(&raw_ns) {
            Ok(raw_ns)
        } else {
            Err(CardMiss::Implausible)
        }
    }

    /// By how much stamps of these cards can be wrong beyond the delays that they measure, ns; 0 while no card is
    /// believed.
    #[must_use]
    pub fn doubt_ns(&self) -> f64 {
        let relations = self.cards.iter().flatten().filter_map(|(_, relation)| relation.as_ref());
        relations.map(|relation| relation.doubt_ns).fold(0.0, f64::max)
    }

    /// Whether any card's clock is believed now.
    #[must_use]
    pub fn any(&self) -> bool {
        self.cards.iter().flatten().any(|(_, relation)| relation.is_some())
    }
}

/// One clock as it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CardView {
    /// How it is read.
    pub method: Option<PtpMethod>,
    /// What is known of it; `None` while it is not believed.
    pub relation: Option<PhcRelation>,
    /// Times that belief in it ended.
    pub losses: u64,
}

/// Something happened to a clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CardEvent {
    /// Which, in the order in which they were given.
    pub clock: u8,
    /// What.
    pub event: PhcEvent,
}

/// The measuring side.
pub struct Cards {
    clocks: Vec<Measured>,
    alone: bool,
}

struct Measured {
    clock: Box<dyn CardClock>,
    /// Interfaces whose cards run on this clock.
    devices: Vec<u32>,
    track: PhcTrack,
    gone: bool,
    /// Ticks until the next reading.
    pause: u32,
}

impl Cards {
    /// No cards: kernel stamps only.
    #[must_use]
    pub const fn none() -> Self {
        Cards { clocks: Vec::new(), alone: false }
    }

    /// Clocks and the numbers of the interfaces that run on each. `alone`: no other interface of this machine has a
    /// stamping card.
    ///
    /// # Panics
    /// If there are more than [`CARDS_MAX`] interfaces: whoever chooses them counts.
    #[must_use]
    pub fn new(clocks: Vec<(Box<dyn CardClock>, Vec<u32>)>, alone: bool) -> Self {
        assert!(clocks.iter().map(|(_, devices)| devices.len()).sum::<usize>() <= CARDS_MAX, "too many interfaces");
        let measured = |(clock, devices)| Measured { clock, devices, track: PhcTrack::new(), gone: false, pause: 0 };
        Cards { clocks: clocks.into_iter().map(measured).collect(), alone }
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clocks.is_empty()
    }

    /// Reads every clock that is due and hands what happened to `told`. Some 20 us a clock; allocates nothing.
    /// `now` reads CLOCK_MONOTONIC_RAW, to find out whether a reading is slow.
    pub fn measure(&mut self, mut now: impl FnMut() -> i64, mut told: impl FnMut(CardEvent)) {
        for (number, measured) in self.clocks.iter_mut().enumerate() {
            if measured.pause > 0 {
                measured.pause -= 1;
                continue;
            }
            let began_ns = now();
            let event = measured.read();
            if now().wrapping_sub(began_ns) > SLOW_NS {
                measured.pause = measured.pause.max(SLOW_TICKS);
            }
            if let Some(event) = event {
                told(CardEvent { clock: number as u8, event });
            }
        }
    }

    /// What the converting side needs.
    #[must_use]
    pub fn times(&self) -> CardTimes {
        let mut times = CardTimes { alone: self.alone, ..CardTimes::default() };
        let relation = |m: &Measured| m.track.relation().filter(|r| r.doubt_ns <= STAMP_DOUBT_NS_MAX);
        let all = self.clocks.iter().flat_map(|m| m.devices.iter().map(move |device| (*device, relation(m))));
        for (place, card) in times.cards.iter_mut().zip(all) {
            *place = Some(card);
        }
        times
    }

    /// Every clock as it is shown, in the order in which they were given.
    #[must_use]
    pub fn views(&self) -> [Option<CardView>; CARDS_MAX] {
        let mut views = [None; CARDS_MAX];
        for (place, m) in views.iter_mut().zip(&self.clocks) {
            let view = CardView { method: m.clock.method(), relation: m.track.relation(), losses: m.track.losses() };
            *place = Some(view);
        }
        views
    }
}

impl Measured {
    fn read(&mut self) -> Option<PhcEvent> {
        if self.gone {
            if self.clock.reopen().is_err() {
                self.pause = RETRY_TICKS;
                return None;
            }
            self.gone = false;
        }
        match self.clock.read() {
            Ok(reading) => self.track.on_reading(&reading),
            // REALTIME was set in the middle of it: the next one will do.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let event = self.track.on_failure(errno);
                if self.track.is_gone() {
                    (self.gone, self.pause) = (true, RETRY_TICKS);
                }
                event
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A card 5 s ahead of RAW, moved by the test.
    #[derive(Clone)]
    struct Played(Arc<Mutex<State>>);

    struct State {
        raw_ns: i64,
        ahead_ns: i64,
        fails: Option<i32>,
        reopened: u32,
        cost_ns: i64,
        width_ns: i64,
    }

    impl Played {
        fn new() -> Self {
            let state = State {
                raw_ns: 1_000_000_000,
                ahead_ns: 5_000_000_000,
                fails: None,
                reopened: 0,
                cost_ns: 0,
                width_ns: 1_000,
            };
            Played(Arc::new(Mutex::new(state)))
        }

        fn tick(&self, cards: &mut Cards) -> Vec<CardEvent> {
            self.0.lock().unwrap().raw_ns += 62_500_000;
            let mut events = Vec::new();
            cards.measure(|| self.0.lock().unwrap().raw_ns, |event| events.push(event));
            events
        }

        fn raw_ns(&self) -> i64 {
            self.0.lock().unwrap().raw_ns
        }

        fn shows(&self) -> i64 {
            let state = self.0.lock().unwrap();
            state.raw_ns + state.ahead_ns
        }
    }

    impl CardClock for Played {
        fn read(&mut self) -> io::Result<PtpReading> {
            let mut state = self.0.lock().unwrap();
            if let Some(errno) = state.fails {
                return Err(io::Error::from_raw_os_error(errno));
            }
            state.raw_ns += state.cost_ns;
            let ptp_ns = state.raw_ns + state.ahead_ns;
            Ok(PtpReading { ptp_ns, raw_ns: state.raw_ns, width_ns: state.width_ns, noise_ns: 10.0 })
        }

        fn reopen(&mut self) -> io::Result<()> {
            let mut state = self.0.lock().unwrap();
            state.reopened += 1;
            state.fails.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
        }

        fn method(&self) -> Option<PtpMethod> {
            Some(PtpMethod::ExtendedRaw)
        }
    }

    fn warm(alone: bool) -> (Played, Cards) {
        let card = Played::new();
        let mut cards = Cards::new(vec![(Box::new(card.clone()), vec![3, 4])], alone);
        let events: Vec<CardEvent> = (0..20).flat_map(|_| card.tick(&mut cards)).collect();
        assert_eq!(events, [CardEvent { clock: 0, event: PhcEvent::Ready }]);
        (card, cards)
    }

    #[test]
    fn a_stamp_is_told_by_its_own_cards_clock_and_by_no_other() {
        let (card, cards) = warm(false);
        let (times, now_ns) = (cards.times(), card.raw_ns());
        for device in [3, 4] {
            let (raw_ns, doubt_ns) = times.raw_at(Some(device), card.shows()).unwrap();
            assert!((raw_ns - now_ns).abs() <= 5 && doubt_ns >= 500.0, "{raw_ns} {doubt_ns}");
        }
        assert_eq!(times.raw_at(Some(5), card.shows()), Err(CardMiss::Foreign));
        assert_eq!(times.raw_at(None, card.shows()), Err(CardMiss::Foreign));
        // Where there is no other card, a stamp need not say whose it is.
        let (card, cards) = warm(true);
        assert!(cards.times().raw_at(None, card.shows()).is_ok());
        assert_eq!(CardTimes::default().raw_at(None, 0), Err(CardMiss::Foreign));
    }

    #[test]
    fn an_arrival_lies_before_the_kernels_stamp_and_not_long_before() {
        let (card, cards) = warm(false);
        let (times, at_ns, shows) = (cards.times(), card.raw_ns(), card.shows());
        let slack_ns = SLACK_NS + times.doubt_ns() as i64;
        // A few ns for the estimate itself.
        for (lag_ns, good) in [
            (5_000, true),
            (-slack_ns + 5, true),
            (-slack_ns - 5, false),
            (RECEIVE_LAG_NS_MAX + slack_ns - 5, true),
            (RECEIVE_LAG_NS_MAX + slack_ns + 5, false),
        ] {
            let told = times.arrival(Some(3), shows, at_ns + lag_ns);
            assert_eq!(told.is_ok(), good, "{lag_ns}: {told:?}");
            assert!(good || told == Err(CardMiss::Implausible));
        }
    }

    #[test]
    fn a_departure_lies_between_the_kernels_stamp_and_now() {
        let (card, cards) = warm(false);
        let (times, at_ns, shows) = (cards.times(), card.raw_ns(), card.shows());
        let slack_ns = SLACK_NS + times.doubt_ns() as i64;
        for (given_ns, kernel_ns, now_ns, good) in [
            (-9_000, Some(-3_000), 50_000, true),
            (-9_000, None, 50_000, true),
            (-9_000, Some(slack_ns + 5), 50_000, false),
            (slack_ns + 5, None, 50_000, false),
            (-9_000, Some(-3_000), -slack_ns - 5, false),
        ] {
            let kernel_ns = kernel_ns.map(|ns| at_ns + ns);
            let told = times.departure(Some(3), shows, at_ns + given_ns, kernel_ns, at_ns + now_ns);
            assert_eq!(told.is_ok(), good, "{given_ns} {kernel_ns:?} {now_ns}: {told:?}");
        }
    }

    #[test]
    fn a_card_that_was_reset_is_not_believed_until_its_new_time_is_known() {
        let (card, mut cards) = warm(false);
        card.0.lock().unwrap().ahead_ns = -17;
        card.tick(&mut cards);
        assert_eq!(cards.times().raw_at(Some(3), card.shows()), Err(CardMiss::NoRelation));
        assert!(!cards.times().any() && cards.times().doubt_ns() == 0.0);
        let events: Vec<CardEvent> = (0..12).flat_map(|_| card.tick(&mut cards)).collect();
        assert!(
            matches!(
                events[..],
                [CardEvent { event: PhcEvent::Jumped(_), .. }, CardEvent { event: PhcEvent::Ready, .. }]
            ),
            "{events:?}"
        );
        assert_eq!(cards.views()[0].unwrap().losses, 1);
        let (raw_ns, _) = cards.times().raw_at(Some(3), card.shows()).unwrap();
        assert!((raw_ns - card.raw_ns()).abs() <= 5);
    }

    #[test]
    fn a_clock_that_is_gone_is_opened_anew_once_a_second_and_believed_again() {
        let (card, mut cards) = warm(false);
        card.0.lock().unwrap().fails = Some(libc::ENODEV);
        let events: Vec<CardEvent> = (0..100).flat_map(|_| card.tick(&mut cards)).collect();
        assert_eq!(events, [CardEvent { clock: 0, event: PhcEvent::Gone(libc::ENODEV) }]);
        let tries = card.0.lock().unwrap().reopened;
        assert!((4..=7).contains(&tries), "{tries} tries in six seconds");
        card.0.lock().unwrap().fails = None;
        let events: Vec<CardEvent> = (0..40).flat_map(|_| card.tick(&mut cards)).collect();
        assert_eq!(events, [CardEvent { clock: 0, event: PhcEvent::Ready }]);
    }

    #[test]
    fn a_card_is_used_up_to_the_doubt_that_packets_can_tell_and_not_beyond() {
        for (width_ns, used) in [(2 * i64::from(u16::MAX) - 40, true), (2 * i64::from(u16::MAX) + 40, false)] {
            let card = Played::new();
            card.0.lock().unwrap().width_ns = width_ns;
            let mut cards = Cards::new(vec![(Box::new(card.clone()), vec![3])], true);
            for _ in 0..40 {
                card.tick(&mut cards);
            }
            assert_eq!(cards.times().any(), used, "{:?}", cards.views()[0]);
        }
    }

    #[test]
    fn a_slow_clock_is_read_less_often() {
        let (card, mut cards) = warm(false);
        card.0.lock().unwrap().cost_ns = SLOW_NS + 1;
        let before = card.raw_ns();
        for _ in 0..90 {
            card.tick(&mut cards);
        }
        let readings = (card.raw_ns() - before - 90 * 62_500_000) / (SLOW_NS + 1);
        assert_eq!(readings, 10);
        assert!(cards.times().any(), "and stays believed");
    }
}
