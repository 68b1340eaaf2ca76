//! What was found out about a machine. Plain data; a test makes its own.

use crate::clock::card::CardReceive;
use crate::sys::caps::CapabilitySet;
use crate::sys::nic::{StampAbility, StampConfig};
use crate::sys::process::Process;

/// Everything that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The clock source in use, as `tsc`.
    pub clock_source: Option<String>,
    /// The kernel's clock can be read by adjtimex: the errno if not.
    pub adjtimex: Option<i32>,
    /// Privileges in effect.
    pub capabilities: CapabilitySet,
    /// Processors.
    pub cpu: CpuFacts,
    /// What saves power and costs time.
    pub power: PowerFacts,
    /// What a container or a service manager takes away.
    pub limits: LimitFacts,
    /// Other programs that keep time here.
    pub daemons: Vec<Process>,
    /// The UDP port of a node.
    pub port: PortFacts,
    /// A packet to oneself over loopback.
    pub loopback: Option<Probed>,
    /// Interfaces, without loopback.
    pub interfaces: Vec<InterfaceFacts>,
    /// Clocks of cards.
    pub phcs: Vec<PhcFacts>,
}

/// Processors of the machine.
#[derive(Clone, Debug, Default)]
pub struct CpuFacts {
    /// On which this process may run.
    pub allowed: Vec<usize>,
    /// Which the scheduler keeps free.
    pub isolated: Vec<usize>,
}

/// What saves power.
#[derive(Clone, Debug, Default)]
pub struct PowerFacts {
    /// Frequency governors in use; empty if frequencies do not change or are not ours to see.
    pub governors: Vec<String>,
    /// Idle states that are enabled: name and time to wake up, us.
    pub idle_states: Vec<(String, u64)>,
}

/// Limits on the process.
#[derive(Clone, Debug, Default)]
pub struct LimitFacts {
    /// It runs in a container, as far as can be seen.
    pub container: Option<String>,
    /// Processors that the control group grants; `None` for all.
    pub cpu_quota: Option<f64>,
    /// Memory that may be locked without a privilege, bytes; `None` for all.
    pub locked_bytes_max: Option<u64>,
    /// The highest real-time priority without a privilege.
    pub priority_max: u64,
}

/// Whether a node could have its port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PortFacts {
    /// It is free.
    #[default]
    Free,
    /// Somebody has it; who, if that can be seen.
    Taken {
        /// The port.
        port: u16,
        /// Its holder.
        by: Option<Process>,
    },
    /// It cannot be opened: the system's sentence.
    Refused(String),
}

/// What a few real packets showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Packets sent.
    pub sent: u32,
    /// Transmit stamps of the kernel that came.
    pub kernel_transmit: u32,
    /// Transmit stamps of the card that came.
    pub card_transmit: u32,
    /// Packets that came back.
    pub received: u32,
    /// Of those, with a stamp of the kernel.
    pub kernel_receive: u32,
    /// Of those, with a stamp of the card.
    pub card_receive: u32,
}

/// A network interface.
#[derive(Clone, Debug, Default)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// It is up and has a carrier.
    pub running: bool,
    /// The devices that would stamp: itself, or what lies beneath it.
    pub devices: Vec<DeviceFacts>,
    /// Packets to the peer over it.
    pub probed: Option<Result<Probed, String>>,
    /// Echo requests to the peer over it, and what came back.
    pub echoed: Option<Result<Probed, String>>,
}

/// A device that may have a stamping card.
#[derive(Clone, Debug)]
pub struct DeviceFacts {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: Option<String>,
    /// What it says it can do: the errno if it does not say.
    pub ability: Result<StampAbility, i32>,
    /// How it is set: the errno if it does not say.
    pub config: Result<StampConfig, i32>,
    /// What its driver granted for the packets to the peer, or its refusal.
    pub granted: Option<Result<CardReceive, String>>,
}

/// A card's clock.
#[derive(Clone, Debug, Default)]
pub struct PhcFacts {
    /// Its file.
    pub path: String,
    /// Why it cannot be read; `None` if it can.
    pub refused: Option<String>,
    /// How it is read.
    pub method: Option<&'static str>,
    /// A reading may be wrong by half of this, ns.
    pub width_ns: i64,
    /// One standard deviation of readings, ns.
    pub noise_ns: f64,
    /// How much faster it runs than CLOCK_MONOTONIC_RAW, ppb, over half a second.
    pub rate_ppb: f64,
    /// It changed its rate or its time while it was looked at.
    pub unsteady: bool,
}
