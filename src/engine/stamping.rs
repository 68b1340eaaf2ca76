//! Setting hardware stamps up at start and putting the cards back at the end: which interfaces, which clocks, and what
//! is said when there are none. Tests play the machine; the conversation with a driver is `clock::card`'s.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::Timestamps;
use crate::clock::card::{self, Card, CardError, CardReceive};
use crate::clock::{CardClock, Cards};
use crate::limits::CARDS_MAX;
use crate::sys::caps::{self, Capability, CapabilitySet};
use crate::sys::nic::{self, InterfaceAddress, KernelNics, NicDriver};
use crate::sys::ptp::{PtpClock, device_path};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose stamps.
    pub timestamps: Timestamps,
    /// Interfaces as told; empty if they are to be found.
    pub interfaces: &'a [String],
    /// The card's clock as told.
    pub phc: Option<&'a str>,
    /// Where the node listens.
    pub listen: SocketAddr,
    /// Addresses of peers that are known at start.
    pub peers: &'a [SocketAddr],
    /// There are peers whose addresses are not known yet.
    pub more_peers: bool,
}

/// The machine, as far as this needs it; a test plays one.
pub trait Machine: NicDriver {
    /// The number of an interface.
    fn index(&self, device: &str) -> Option<u32>;
    /// The devices beneath one.
    fn beneath(&self, device: &str) -> Vec<String>;
    /// Every interface there is.
    fn interfaces(&self) -> Vec<String>;
    /// Every address and its interface.
    fn addresses(&self) -> Vec<InterfaceAddress>;
    /// The own address towards a peer.
    fn source_towards(&self, peer: SocketAddr) -> io::Result<IpAddr>;
    /// Opens a card's clock.
    ///
    /// # Errors
    /// What the system says.
    fn open_clock(&self, path: &Path) -> io::Result<Box<dyn CardClock>>;
}

impl Machine for KernelNics {
    fn index(&self, device: &str) -> Option<u32> {
        nic::index(device)
    }

    fn beneath(&self, device: &str) -> Vec<String> {
        nic::devices_beneath(Path::new(nic::SYS_CLASS_NET), device)
    }

    fn interfaces(&self) -> Vec<String> {
        nic::interfaces()
    }

    fn addresses(&self) -> Vec<InterfaceAddress> {
        nic::addresses().unwrap_or_default()
    }

    fn source_towards(&self, peer: SocketAddr) -> io::Result<IpAddr> {
        nic::source_towards(peer)
    }

    fn open_clock(&self, path: &Path) -> io::Result<Box<dyn CardClock>> {
        let mut clock = PtpClock::open(path)?;
        // Whether it can be read at all is known now rather than half a second after the start.
        clock.read()?;
        Ok(Box::new(clock))
    }
}

/// Why hardware stamps cannot be had although they were demanded.
#[derive(Debug, thiserror::Error)]
pub enum StampingError {
    /// No interface to look at.
    #[error(
        "--timestamps hardware needs a network card, and {0} is reached through none: name one with --iface, or leave \
         --timestamps out"
    )]
    NoInterface(SocketAddr),
    /// Every card that was asked refused.
    #[error("no hardware time stamps: {0}; leave --timestamps out for the best there are")]
    Refused(String),
    /// More than this node can keep apart.
    #[error("{0} devices stamp here, and one node can use {CARDS_MAX}: name fewer with --iface")]
    TooMany(usize),
}

/// One card as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCard {
    /// The device.
    pub device: String,
    /// Its clock's file.
    pub phc: PathBuf,
    /// Which of the clocks that is, in their order.
    pub clock: usize,
    /// What it stamps of what arrives.
    pub receive: CardReceive,
}

/// Hardware stamps, set up.
pub struct Stamping {
    /// The clocks, for the discipline thread.
    pub cards: Cards,
    /// The cards, for whoever shows them.
    pub shown: Vec<ShownCard>,
    /// Puts the cards back; to be dropped last.
    pub guard: CardGuard,
}

/// Cards that this program has changed, put back when dropped.
#[derive(Default)]
pub struct CardGuard {
    cards: Vec<Card>,
}

impl CardGuard {
    /// True if there is something to put back, which needs CAP_NET_ADMIN.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.cards.iter().any(|card| card.before.is_some())
    }
}

impl Drop for CardGuard {
    fn drop(&mut self) {
        if !self.has_work() {
            return;
        }
        // What is permitted is put into effect for this alone.
        if let Ok(had) = caps::of_this_thread() {
            let kept = had.effective.or(CapabilitySet::of(&[Capability::NetAdmin]).and(had.permitted));
            let _refused_below = caps::limit_this_thread(had.permitted, kept);
        }
        for card in &self.cards {
            if let Err(error) = card::restore(&mut KernelNics, card) {
                warn!("the card of {} is left stamping: {error}", card.device);
            }
        }
    }
}

/// Sets up whatever is wanted and can be had.
///
/// # Errors
/// [`StampingError`] if hardware stamps were demanded.
pub fn set_up(machine: &mut dyn Machine, wanted: &Wanted<'_>) -> Result<Stamping, StampingError> {
    let mut stamping = Stamping { cards: Cards::none(), shown: Vec::new(), guard: CardGuard::default() };
    let demanded = wanted.timestamps == Timestamps::Hardware;
    if !demanded && wanted.timestamps != Timestamps::Auto {
        return Ok(stamping);
    }
    let devices = devices(machine, wanted)?;
    let named = demanded || !wanted.interfaces.is_empty();
    let mut clocks: Vec<(PathBuf, Box<dyn CardClock>, Vec<u32>)> = Vec::new();
    let mut refusals = Vec::new();
    for device in &devices {
        match take(machine, device, wanted.phc, &mut clocks) {
            Ok((card, clock)) => {
                stamping.shown.push(ShownCard {
                    device: device.clone(),
                    phc: clocks[clock].0.clone(),
                    clock,
                    receive: card.receive,
                });
                stamping.guard.cards.push(card);
            }
            Err(refusal) => {
                // An interface that nobody named and that cannot stamp is nothing to speak of.
                if named || refusal.is_surprising() {
                    refusals.push(refusal.to_string());
                }
            }
        }
    }
    if stamping.shown.len() > CARDS_MAX {
        return Err(StampingError::TooMany(stamping.shown.len()));
    }
    if stamping.shown.is_empty() && demanded {
        return Err(StampingError::Refused(refusals.join("; ")));
    }
    for refusal in refusals {
        warn!("{refusal}: kernel stamps are used there");
    }
    for (card, shown) in stamping.guard.cards.iter().zip(&stamping.shown) {
        info!(
            "the card of {} stamps what leaves{}, on the clock {}{}",
            card.device,
            match card.receive {
                CardReceive::All => " and what arrives",
                CardReceive::Others => "; of what arrives PTP only, other packets have kernel stamps",
                CardReceive::Nothing => "; what arrives has kernel stamps",
            },
            shown.phc.display(),
            if card.borrowed { " (set by another program, and left so)" } else { "" }
        );
    }
    let alone = clocks.len() == 1 && stands_alone(machine, &stamping.guard.cards);
    let clocks = clocks.into_iter().map(|(_, clock, devices)| (clock, devices)).collect();
    stamping.cards = Cards::new(clocks, alone);
    Ok(stamping)
}

/// Whether [`set_up`] would refuse what is wanted, as far as can be known without touching a card.
///
/// # Errors
/// [`StampingError`] as from [`set_up`].
pub fn foresee(machine: &mut dyn Machine, wanted: &Wanted<'_>) -> Result<(), StampingError> {
    if wanted.timestamps != Timestamps::Hardware {
        return Ok(());
    }
    let mut refusals = Vec::new();
    for device in devices(machine, wanted)? {
        match card::examine(machine, &device) {
            Ok(_) => return Ok(()),
            Err(refusal) => refusals.push(refusal.to_string()),
        }
    }
    Err(StampingError::Refused(refusals.join("; ")))
}

/// The devices that packets of this node take.
fn devices(machine: &dyn Machine, wanted: &Wanted<'_>) -> Result<Vec<String>, StampingError> {
    let mut devices: Vec<String> = Vec::new();
    for interface in interfaces(machine, wanted) {
        for device in machine.beneath(&interface) {
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
    }
    if devices.is_empty() && wanted.timestamps == Timestamps::Hardware {
        return Err(StampingError::NoInterface(wanted.listen));
    }
    Ok(devices)
}

/// Why one device does not stamp.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Card(#[from] CardError),
    #[error("the clock of {device}, {}, cannot be read: {source}; let this user read it", path.display())]
    Clock { device: String, path: PathBuf, source: io::Error },
}

impl Refusal {
    fn is_surprising(&self) -> bool {
        !matches!(self, Refusal::Card(CardError::Unable { .. } | CardError::NoDevice(_)))
    }
}

/// Gets one device to stamp and its clock opened; the card and the place of its clock.
fn take(
    machine: &mut dyn Machine,
    device: &str,
    phc: Option<&str>,
    clocks: &mut Vec<(PathBuf, Box<dyn CardClock>, Vec<u32>)>,
) -> Result<(Card, usize), Refusal> {
    let number = machine.index(device).ok_or_else(|| CardError::NoDevice(device.to_owned()))?;
    let card = card::negotiate(machine, device, true)?;
    let path = match phc {
        None => device_path(card.phc),
        Some(path) if path.starts_with('/') => PathBuf::from(path),
        Some(other) => match machine.ability(other).ok().and_then(|ability| ability.phc) {
            Some(number) => device_path(number),
            None => PathBuf::from(other),
        },
    };
    if let Some(place) = clocks.iter().position(|(known, _, _)| *known == path) {
        clocks[place].2.push(number);
        return Ok((card, place));
    }
    match machine.open_clock(&path) {
        Ok(clock) => {
            clocks.push((path, clock, vec![number]));
            Ok((card, clocks.len() - 1))
        }
        Err(source) => {
            // It stamps on a clock that nobody here can read: of no use.
            let _left_as_it_is = card::restore(machine, &card);
            Err(Refusal::Clock { device: device.to_owned(), path, source })
        }
    }
}

/// The interfaces that packets of this node take, as far as can be known at start.
fn interfaces(machine: &dyn Machine, wanted: &Wanted<'_>) -> Vec<String> {
    if !wanted.interfaces.is_empty() {
        return wanted.interfaces.to_vec();
    }
    let addresses = machine.addresses();
    let owner = |ip: IpAddr| addresses.iter().find(|a| a.ip == ip && !a.loopback).map(|a| a.device.clone());
    let own = wanted.listen.ip().to_canonical();
    let mut found: Vec<String> = if !own.is_unspecified() {
        owner(own).into_iter().collect()
    } else if wanted.more_peers || wanted.peers.is_empty() {
        addresses.iter().filter(|a| a.running && !a.loopback).map(|a| a.device.clone()).collect()
    } else {
        let sources = wanted.peers.iter().filter_map(|peer| machine.source_towards(*peer).ok());
        sources.filter_map(owner).collect()
    };
    found.sort();
    found.dedup();
    found
}

/// Whether no other interface of this machine has a card with another clock.
fn stands_alone(machine: &mut dyn Machine, cards: &[Card]) -> bool {
    let all = machine.interfaces();
    let strange = |device: &String| {
        machine.ability(device).is_ok_and(|a| a.card_transmit() && a.phc.is_some_and(|phc| phc != cards[0].phc))
    };
    !all.iter().any(strange)
}

#[cfg(test)]
mod tests;
