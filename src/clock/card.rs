//! Getting a network card to stamp: what to ask its driver for, in which order, and what each answer means. What
//! another program has set is kept if it serves; what is changed is remembered, to be put back.
//!
//! A card either stamps everything that arrives, or the packets of PTP only, or nothing; many refuse the first with
//! `ERANGE`, which is no fault. Packets that get no stamp from the card have the kernel's: that is decided packet by
//! packet, elsewhere.

use std::io;

use crate::sys::nic::{NicDriver, StampConfig};

const TX_ON: i32 = libc::HWTSTAMP_TX_ON as i32;
const RX_NONE: i32 = libc::HWTSTAMP_FILTER_NONE as i32;
const RX_ALL: i32 = libc::HWTSTAMP_FILTER_ALL as i32;
const RX_PTP: i32 = libc::HWTSTAMP_FILTER_PTP_V2_EVENT as i32;

/// Which arriving packets a card stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardReceive {
    /// All of them.
    All,
    /// Those of PTP or of some other protocol, and not this program's.
    Others,
    /// None.
    Nothing,
}

impl CardReceive {
    const fn of(filter: i32) -> Self {
        match filter {
            RX_ALL => CardReceive::All,
            RX_NONE => CardReceive::Nothing,
            _ => CardReceive::Others,
        }
    }

    /// The word shown to people and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CardReceive::All => "all",
            CardReceive::Others => "ptp-only",
            CardReceive::Nothing => "none",
        }
    }
}

/// A card that stamps for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The device, as `ip link` calls it.
    pub device: String,
    /// Number of its clock, `/dev/ptpN`.
    pub phc: u32,
    /// What it stamps of what arrives. Transmit stamps it gives in any case.
    pub receive: CardReceive,
    /// How it is set now.
    pub config: StampConfig,
    /// How it was set before this program changed it.
    pub before: Option<StampConfig>,
    /// The setting is another program's and was left alone, although less than was wanted.
    pub borrowed: bool,
}

/// Why a card does not stamp for us.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// There is no such interface.
    #[error("there is no network interface called {0}; `ip link` lists those there are")]
    NoDevice(String),
    /// It has no stamping card, or one without a clock that can be read.
    #[error("{device} has no hardware time stamps ({lacks})")]
    Unable {
        /// The device.
        device: String,
        /// What is missing.
        lacks: &'static str,
    },
    /// Switching it on needs a privilege.
    #[error(
        "switching the hardware time stamps of {0} on needs CAP_NET_ADMIN; run as root, grant it with setcap or \
         AmbientCapabilities=, or switch them on beforehand with `hwstamp_ctl -i {0} -t 1 -r 1`"
    )]
    NotPermitted(String),
    /// The driver said something else.
    #[error("the driver of {device} refuses hardware time stamps: {source}")]
    Refused {
        /// The device.
        device: String,
        /// What it said.
        source: io::Error,
    },
}

/// Whether the card of `device` can stamp at all, without changing anything: the number of its clock.
///
/// # Errors
/// [`CardError::NoDevice`], [`CardError::Unable`] or [`CardError::Refused`].
pub fn examine(driver: &mut dyn NicDriver, device: &str) -> Result<u32, CardError> {
    let unable = |lacks| CardError::Unable { device: device.to_owned(), lacks };
    let ability = driver.ability(device).map_err(|error| match error.raw_os_error() {
        Some(libc::ENODEV) => CardError::NoDevice(device.to_owned()),
        Some(libc::EOPNOTSUPP) => unable("its driver knows nothing of them"),
        _ => CardError::Refused { device: device.to_owned(), source: error },
    })?;
    if !ability.card_transmit() {
        return Err(unable("its driver offers kernel stamps at most"));
    }
    ability.phc.ok_or_else(|| unable("its card has no clock that can be read"))
}

/// Asks the driver of `device` for transmit stamps of everything and receive stamps of as much as it gives. With
/// `may_set` false nothing is changed, and only what is set already is used.
///
/// # Errors
/// [`CardError`], a sentence each; the card is then as it was.
pub fn negotiate(driver: &mut dyn NicDriver, device: &str, may_set: bool) -> Result<Card, CardError> {
    let phc = examine(driver, device)?;
    let unable = |lacks| CardError::Unable { device: device.to_owned(), lacks };
    // Drivers without this question exist; they are set blindly and left so.
    let found = driver.config(device).ok();
    let card = |config: StampConfig, before: Option<StampConfig>, borrowed: bool| Card {
        device: device.to_owned(),
        phc,
        receive: CardReceive::of(config.receive),
        config,
        before,
        borrowed,
    };
    let kept = found.filter(|config| config.transmit == TX_ON);
    if let Some(config) = kept.filter(|config| config.receive == RX_ALL || !may_set) {
        return Ok(card(config, None, config.receive != RX_ALL));
    }
    if !may_set {
        return Err(unable("they are switched off, and are not to be switched on"));
    }
    let mut said = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
    for receive in [RX_ALL, RX_PTP, RX_NONE] {
        // What another program has set is only ever added to.
        if receive != RX_ALL && kept.is_some() {
            break;
        }
        match driver.set_config(device, StampConfig { transmit: TX_ON, receive }) {
            Ok(granted) if granted.transmit == TX_ON => return Ok(card(granted, found, false)),
            // Not what was asked for and no error: the next may do better.
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ERANGE | libc::EINVAL)) => said = error,
            Err(error) => {
                said = error;
                break;
            }
        }
    }
    if let Some(config) = kept {
        return Ok(card(config, None, true));
    }
    Err(match said.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => CardError::NotPermitted(device.to_owned()),
        Some(libc::EOPNOTSUPP) => unable("its driver cannot switch them on"),
        _ => CardError::Refused { device: device.to_owned(), source: said },
    })
}

/// Puts the card back as it was found, if this program changed it and nobody has changed it since.
///
/// # Errors
/// What the driver says.
pub fn restore(driver: &mut dyn NicDriver, card: &Card) -> io::Result<()> {
    let Some(before) = card.before else { return Ok(()) };
    if driver.config(&card.device)? == card.config {
        driver.set_config(&card.device, before)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::nic::StampAbility;

    const ABLE: u32 = libc::SOF_TIMESTAMPING_TX_HARDWARE
        | libc::SOF_TIMESTAMPING_RX_HARDWARE
        | libc::SOF_TIMESTAMPING_RAW_HARDWARE
        | libc::SOF_TIMESTAMPING_TX_SOFTWARE;
    const OFF: StampConfig = StampConfig { transmit: 0, receive: RX_NONE };

    const fn on(receive: i32) -> StampConfig {
        StampConfig { transmit: TX_ON, receive }
    }

    /// A driver that grants some filters and remembers what it was told.
    struct Driver {
        ability: Result<StampAbility, i32>,
        config: Result<StampConfig, i32>,
        grants: &'static [i32],
        refuses: i32,
        told: Vec<StampConfig>,
    }

    impl Driver {
        fn new(grants: &'static [i32]) -> Self {
            Driver {
                ability: Ok(StampAbility { modes: ABLE, phc: Some(2), receive_filters: 0 }),
                config: Ok(OFF),
                grants,
                refuses: libc::ERANGE,
                told: Vec::new(),
            }
        }
    }

    impl NicDriver for Driver {
        fn ability(&mut self, _device: &str) -> io::Result<StampAbility> {
            self.ability.map_err(io::Error::from_raw_os_error)
        }

        fn config(&mut self, _device: &str) -> io::Result<StampConfig> {
            self.config.map_err(io::Error::from_raw_os_error)
        }

        fn set_config(&mut self, _device: &str, config: StampConfig) -> io::Result<StampConfig> {
            self.told.push(config);
            if config != OFF && !self.grants.contains(&config.receive) {
                return Err(io::Error::from_raw_os_error(self.refuses));
            }
            self.config = Ok(config);
            Ok(config)
        }
    }

    fn granted(driver: &mut Driver) -> Card {
        negotiate(driver, "eth7", true).unwrap()
    }

    fn refused(driver: &mut Driver, may_set: bool) -> String {
        negotiate(driver, "eth7", may_set).unwrap_err().to_string()
    }

    #[test]
    fn a_card_that_stamps_everything_is_asked_once_and_put_back_at_the_end() {
        let mut driver = Driver::new(&[RX_ALL]);
        let card = granted(&mut driver);
        assert_eq!((card.receive, card.phc, card.before, card.borrowed), (CardReceive::All, 2, Some(OFF), false));
        restore(&mut driver, &card).unwrap();
        assert_eq!(driver.told, [on(RX_ALL), OFF]);
    }

    #[test]
    fn a_refusal_with_erange_is_no_fault_and_the_ptp_filter_is_asked_for_next() {
        let mut driver = Driver::new(&[RX_PTP]);
        let card = granted(&mut driver);
        assert_eq!((card.receive, card.config), (CardReceive::Others, on(RX_PTP)));
        assert_eq!(driver.told, [on(RX_ALL), on(RX_PTP)]);
    }

    #[test]
    fn a_card_that_stamps_only_what_leaves_is_used_for_that() {
        let mut driver = Driver::new(&[RX_NONE]);
        assert_eq!(granted(&mut driver).receive, CardReceive::Nothing);
        let mut driver = Driver::new(&[]);
        assert!(refused(&mut driver, true).contains("refuses hardware time stamps"));
        assert_eq!(driver.told, [on(RX_ALL), on(RX_PTP), on(RX_NONE)]);
    }

    #[test]
    fn without_the_privilege_it_is_said_which_and_nothing_more_is_tried() {
        let mut driver = Driver { refuses: libc::EPERM, ..Driver::new(&[]) };
        let sentence = refused(&mut driver, true);
        assert!(sentence.contains("CAP_NET_ADMIN") && sentence.contains("eth7"), "{sentence}");
        assert_eq!(driver.told.len(), 1);
    }

    #[test]
    fn what_another_program_has_set_is_used_as_it_is_if_it_serves_and_not_put_back() {
        let mut driver = Driver { config: Ok(on(RX_ALL)), ..Driver::new(&[RX_ALL]) };
        let card = granted(&mut driver);
        assert_eq!((card.receive, card.before, card.borrowed), (CardReceive::All, None, false));
        restore(&mut driver, &card).unwrap();
        assert!(driver.told.is_empty());
    }

    #[test]
    fn what_another_program_has_set_is_added_to_and_never_reduced() {
        // A PTP daemon has set its filter: everything is more than that.
        let mut driver = Driver { config: Ok(on(RX_PTP)), ..Driver::new(&[RX_ALL, RX_PTP, RX_NONE]) };
        let card = granted(&mut driver);
        assert_eq!((card.receive, card.before), (CardReceive::All, Some(on(RX_PTP))));
        restore(&mut driver, &card).unwrap();
        assert_eq!(driver.told, [on(RX_ALL), on(RX_PTP)]);
        // Where there is no more, or no privilege, it stays.
        for refuses in [libc::ERANGE, libc::EPERM] {
            let mut driver = Driver { config: Ok(on(RX_PTP)), refuses, ..Driver::new(&[]) };
            let card = granted(&mut driver);
            assert_eq!((card.receive, card.before, card.borrowed), (CardReceive::Others, None, true));
            assert_eq!(driver.told, [on(RX_ALL)]);
        }
    }

    #[test]
    fn a_setting_that_somebody_changed_after_us_is_left_to_them() {
        let mut driver = Driver::new(&[RX_ALL, RX_PTP]);
        let card = granted(&mut driver);
        driver.config = Ok(on(RX_PTP));
        restore(&mut driver, &card).unwrap();
        assert_eq!(driver.told, [on(RX_ALL)]);
    }

    #[test]
    fn a_driver_that_does_not_say_how_it_is_set_is_set_and_left() {
        let mut driver = Driver { config: Err(libc::EOPNOTSUPP), ..Driver::new(&[RX_ALL]) };
        let card = granted(&mut driver);
        assert_eq!((card.receive, card.before), (CardReceive::All, None));
        restore(&mut driver, &card).unwrap();
        assert_eq!(driver.told.len(), 1);
    }

    #[test]
    fn interfaces_that_cannot_stamp_are_told_apart_and_not_touched() {
        let able = |modes, phc| Ok(StampAbility { modes, phc, receive_filters: 0 });
        for (ability, says) in [
            (Err(libc::EOPNOTSUPP), "knows nothing of them"),
            (Err(libc::ENODEV), "there is no network interface called eth7"),
            (Err(libc::EIO), "refuses"),
            (able(libc::SOF_TIMESTAMPING_TX_SOFTWARE, None), "kernel stamps at most"),
            (able(ABLE, None), "no clock that can be read"),
        ] {
            let mut driver = Driver { ability, ..Driver::new(&[RX_ALL]) };
            let sentence = refused(&mut driver, true);
            assert!(sentence.contains(says), "{sentence}");
            assert!(driver.told.is_empty());
        }
        let mut driver = Driver { refuses: libc::EOPNOTSUPP, ..Driver::new(&[]) };
        assert!(refused(&mut driver, true).contains("cannot switch them on"));
    }

    #[test]
    fn asked_to_change_nothing_it_changes_nothing() {
        let mut driver = Driver::new(&[RX_ALL]);
        assert!(refused(&mut driver, false).contains("switched off"));
        let mut driver = Driver { config: Ok(on(RX_PTP)), ..Driver::new(&[RX_ALL]) };
        assert_eq!(negotiate(&mut driver, "eth7", false).unwrap().receive, CardReceive::Others);
        assert!(driver.told.is_empty());
    }
}
