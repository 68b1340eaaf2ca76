//! A message: what a well sealed datagram means. [`Message::open`] checks in a fixed order (length, magic, version,
//! key, MAC over the raw bytes, and only then a field), [`Message::seal`] writes the datagram.

use zerocopy::{FromBytes, IntoBytes};

use super::layout::{DATAGRAM_LEN, Layout, MAC_LEN, MAGIC, SEALED_LEN, VERSION, flag};
use super::{KeyChoice, Keyring, Reject};
use crate::flow::{Claim, Leap, Mapping, NodeState, Role, Stamp, StampClass};
use crate::unit::{BootId, ClusterId, KeyId, Name, NodeId, RawTime};

/// What a packet is in its exchange. Each kind is answered by the next one only, so no two nodes can keep each other
/// busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The first packet: asks.
    Probe = 1,
    /// Answers a probe, at once: when it arrived, and that it is being answered.
    Reply = 2,
    /// Answers a reply: when that arrived, and when the probe truly left.
    Report = 3,
    /// Answers a report: when the reply truly left. Nothing answers it.
    Follow = 4,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Kind::Probe),
            2 => Some(Kind::Reply),
            3 => Some(Kind::Report),
            4 => Some(Kind::Follow),
            _ => None,
        }
    }
}

/// Who this node is: what every packet it sends says, and what every packet to it must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// This run of it.
    pub boot: BootId,
    /// Its name, for people.
    pub name: Name,
}

/// The true departure of a packet that its sender sent before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The sequence number of the packet that left.
    pub sequence: u64,
    /// When it left, the sender's raw time.
    pub stamp: Stamp,
}

/// An authenticated message, fields checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    /// Its place in the exchange.
    pub kind: Kind,
    /// Which run of the sender.
    pub boot: BootId,
    /// Who sent it.
    pub sender: NodeId,
    /// For whom it was sealed.
    pub receiver: NodeId,
    /// Counts the sender's packets in this run, from 1.
    pub sequence: u64,
    /// What the answer must echo.
    pub nonce: u64,
    /// The nonce of the packet this answers; 0 in a probe.
    pub echo: u64,
    /// When the packet this answers arrived, the sender's raw time; meaningless in a probe.
    pub receive: Stamp,
    /// The sender's raw time just before this packet left, and in `class` the class its true departure is promised to
    /// have.
    pub transmit: Stamp,
    /// The true departure of an earlier packet, if one is carried.
    pub earlier: Option<Earlier>,
    /// What the sender says of itself.
    pub claim: Claim,
    /// What it calls itself.
    pub name: Name,
}

/// Rates are carried in units of 2^-48.
const RATE_UNIT: f64 = 1.0 / (1u64 << 48) as f64;
/// Fractions of a nanosecond are carried in units of 2^-32.
const FRACTION_UNIT: f64 = 1.0 / (1u64 << 32) as f64;
/// The fastest that a working node's V runs against its oscillator: twice what a kernel can be asked for, 10 %.
const CLAIM_RATE_MAX: f64 = 0.2;

impl Message {
    /// Opens `datagram` for this node. Nothing is read before the seal has been checked over the raw bytes except what
    /// is needed to find the key. The key that sealed it is returned beside the message.
    ///
    /// # Errors
    /// The first check that failed, in the order length, magic, version, key, MAC, cluster, sender, kind, receiver,
    /// fields.
    pub fn open(datagram: &[u8], identity: &Identity, keys: &Keyring) -> Result<(Message, KeyChoice), Reject> {
        let layout = Layout::ref_from_bytes(datagram).map_err(|_| Reject::Length)?;
        if layout.magic.get() != MAGIC {
            return Err(Reject::Magic);
        }
        if layout.version >> 4 != VERSION >> 4 {
            return Err(Reject::Version);
        }
        let sender = NodeId(layout.sender.get());
        let key = keys.find(KeyId(layout.key_id.get()), sender)?;
        if !keys.verify(key, &datagram[..SEALED_LEN], &layout.mac) {
            return Err(Reject::BadMac);
        }

        if layout.cluster.get() != identity.cluster.0 {
            return Err(Reject::WrongCluster);
        }
        let boot = BootId(layout.boot.get());
        if sender == identity.node {
            return Err(if boot == identity.boot { Reject::Reflected } else { Reject::DuplicateIdentity });
        }
        let kind = Kind::from_byte(layout.kind).ok_or(Reject::UnknownKind)?;
        let receiver = NodeId(layout.receiver.get());
        if receiver != identity.node && !(receiver == NodeId::ANYONE && kind == Kind::Probe) {
            return Err(Reject::WrongReceiver);
        }
        if sender == NodeId::ANYONE {
            return Err(Reject::Absurd);
        }
        let message = Message::read(layout, kind, boot, sender, receiver)?;
        Ok((message, key))
    }

    /// The nonce of a datagram that [`Message::open`] called [`Reject::Reflected`]: by it a node finds out that an
    /// address in its own list is its own. `None` if the datagram is not a probe.
    #[must_use]
    pub fn reflected_nonce(datagram: &[u8]) -> Option<u64> {
        let layout = Layout::ref_from_bytes(datagram).ok()?;
        (layout.kind == Kind::Probe as u8).then(|| layout.nonce.get())
    }

    fn read(layout: &Layout, kind: Kind, boot: BootId, sender: NodeId, receiver: NodeId) -> Result<Message, Reject> {
        let flags = layout.flags.get();
        let sequence = layout.sequence.get();
        let delta = u64::from(layout.earlier_delta.get());
        let earlier = match delta {
            0 => None,
            _ => Some(Earlier {
                sequence: sequence.checked_sub(delta).filter(|s| *s != 0).ok_or(Reject::Absurd)?,
                stamp: stamp(layout.earlier_transmit.get(), flag::two_bits(flags, flag::EARLIER_CLASS)),
            }),
        };
        Ok(Message {
            kind,
            boot,
            sender,
            receiver,
            sequence,
            nonce: layout.nonce.get(),
            echo: layout.echo.get(),
            receive: stamp(layout.receive.get(), flag::two_bits(flags, flag::RECEIVE_CLASS)),
            transmit: stamp(layout.transmit.get(), flag::two_bits(flags, flag::PROMISED_CLASS)),
            earlier,
            claim: read_claim(layout, flags)?,
            name: Name::from_wire(layout.name),
        })
    }

    /// Writes the message, sealed with `key`, into `datagram`.
    pub fn seal(&self, identity: &Identity, keys: &Keyring, key: KeyChoice, datagram: &mut [u8; DATAGRAM_LEN]) {
        let earlier_class = self.earlier.map_or(StampClass::User, |e| e.stamp.class);
        let delta = self.earlier.map_or(0, |e| u32::try_from(self.sequence - e.sequence).unwrap_or(0));
        let flags = (self.receive.class as u16) << flag::RECEIVE_CLASS
            | (self.transmit.class as u16) << flag::PROMISED_CLASS
            | (earlier_class as u16) << flag::EARLIER_CLASS
            | (self.claim.state as u16) << flag::STATE
            | (self.claim.role as u16) << flag::ROLE
            | u16::from(self.claim.joining) << flag::JOINING
            | (self.claim.leap as u16) << flag::LEAP;
        let mapping = &self.claim.mapping;
        let layout = Layout {
            magic: MAGIC.into(),
            version: VERSION,
            kind: self.kind as u8,
            key_id: keys.id(key).0.into(),
            flags: flags.into(),
            cluster: identity.cluster.0.into(),
            boot: self.boot.0.into(),
            sender: self.sender.0.into(),
            receiver: self.receiver.0.into(),
            sequence: self.sequence.into(),
            nonce: self.nonce.into(),
            echo: self.echo.into(),
            receive: self.receive.at.nanos().into(),
            transmit: self.transmit.at.nanos().into(),
            earlier_transmit: self.earlier.map_or(0, |e| e.stamp.at.nanos()).into(),
            earlier_delta: delta.into(),
            map_version: self.claim.version.into(),
            map_epoch: mapping.epoch.nanos().into(),
            map_offset: mapping.offset_ns.into(),
            map_rate: ((mapping.rate / RATE_UNIT).round() as i64).into(),
            map_fraction: ((mapping.offset_frac_ns / FRACTION_UNIT) as u32).into(),
            wander: self.claim.wander.into(),
            boost: self.claim.boost.into(),
            sigma: self.claim.sigma_ns.into(),
            bound: self.claim.bound_ns.into(),
            alive: self.claim.alive.into(),
            stamp_doubt: self.claim.stamp_doubt_ns.into(),
            name: self.name.to_wire(),
            circle: self.claim.circle.into(),
            mac: [0; MAC_LEN],
        };
        datagram.copy_from_slice(layout.as_bytes());
        let (sealed, mac) = datagram.split_at_mut(SEALED_LEN);
        mac.copy_from_slice(&keys.seal(key, sealed));
    }
}

const fn stamp(nanos: i64, class_bits: u8) -> Stamp {
    Stamp { at: RawTime::from_nanos(nanos), class: StampClass::from_bits(class_bits) }
}

fn read_claim(layout: &Layout, flags: u16) -> Result<Claim, Reject> {
    let rate = layout.map_rate.get() as f64 * RATE_UNIT;
    let (wander, boost) = (layout.wander.get(), layout.boost.get());
    let (sigma_ns, bound_ns) = (layout.sigma.get(), layout.bound.get());
    // A NaN fails every comparison, so each test is written for what must hold.
    let sane = rate.abs() <= CLAIM_RATE_MAX
        && (1e-26..=1e-8).contains(&wander)
        && (1.0..=1024.0).contains(&boost)
        && sigma_ns >= 0.0
        && bound_ns >= 0.0
        && layout.alive.get() >= 1;
    if !sane {
        return Err(Reject::Absurd);
    }
    Ok(Claim {
        mapping: Mapping {
            epoch: RawTime::from_nanos(layout.map_epoch.get()),
            offset_ns: layout.map_offset.get(),
            offset_frac_ns: f64::from(layout.map_fraction.get()) * FRACTION_UNIT,
            rate,
        },
        version: layout.map_version.get(),
        state: NodeState::from_bits(flag::two_bits(flags, flag::STATE)),
        role: Role::from_bits(flag::two_bits(flags, flag::ROLE)),
        joining: flags >> flag::JOINING & 1 == 1,
        wander,
        boost,
        sigma_ns,
        bound_ns,
        alive: layout.alive.get(),
        stamp_doubt_ns: layout.stamp_doubt.get(),
        leap: Leap::from_bits(flag::two_bits(flags, flag::LEAP)),
        circle: layout.circle.get(),
    })
}
