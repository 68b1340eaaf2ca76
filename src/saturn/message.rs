//! Saturn's messages on the wire: protobuf (proto3), one `TxMsg` a datagram. Bytes to fields and back; whether they are
//! genuine is `key`'s affair and what they mean is that of the two roles.
//!
//! Texts are kept as bytes: what a peer calls itself is echoed and signed, not understood.

use prost::Message as _;

use super::Refusal;
use crate::limits::SATURN_DATAGRAM_BYTES_MAX;

/// One datagram. `sig` is over the other fields, see [`super::key`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxMsg {
    /// Names the transaction; chosen by the slave, never empty.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// HMAC-SHA256, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub sig: Vec<u8>,
    /// Counts the datagrams of a transaction, both ways, from 1.
    #[prost(int32, tag = "3")]
    pub seq: i32,
    /// What is said.
    #[prost(oneof = "Inner", tags = "4, 5, 6")]
    pub inner: Option<Inner>,
}

/// What a datagram says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Inner {
    /// A slave begins.
    #[prost(message, tag = "4")]
    InitialReport(InitialReport),
    /// Either side goes on.
    #[prost(message, tag = "5")]
    Report(Report),
    /// The master ends.
    #[prost(message, tag = "6")]
    Fin(Fin),
}

/// The slave's first word.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InitialReport {
    /// The slave's clock, ns since 1970.
    #[prost(int64, tag = "1")]
    pub time: i64,
    /// What the slave calls itself.
    #[prost(bytes = "vec", tag = "2")]
    pub name: Vec<u8>,
}

/// One leg of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Report {
    /// The time of the message that is answered, minus the sender's clock when it came, ns.
    #[prost(int64, tag = "1")]
    pub diff: i64,
    /// The sender's clock, ns since 1970.
    #[prost(int64, tag = "2")]
    pub time: i64,
}

/// The master's last word.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Fin {
    /// Slave minus master, ms. Declared optional for one reason: Saturn leaves out 0 but writes -0, which are equal as
    /// numbers; [`Fin::new`] knows.
    #[prost(double, optional, tag = "1")]
    pub offset: Option<f64>,
    /// Why there is no offset. Not covered by the signature!
    #[prost(bytes = "vec", tag = "2")]
    pub error: Vec<u8>,
}

impl Fin {
    /// A last word without an error; `offset_ms` is slave minus master.
    #[must_use]
    pub fn new(offset_ms: f64) -> Self {
        Fin { offset: (offset_ms.to_bits() != 0).then_some(offset_ms), error: Vec::new() }
    }

    /// Slave minus master, ms.
    #[must_use]
    pub fn offset_ms(&self) -> f64 {
        self.offset.unwrap_or(0.0)
    }
}

impl TxMsg {
    /// Reads a datagram.
    ///
    /// # Errors
    /// What Saturn refuses before it looks at the signature: too long, no protobuf, no id, nothing said.
    pub fn read(datagram: &[u8]) -> Result<Self, Refusal> {
        if datagram.len() > SATURN_DATAGRAM_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let message = TxMsg::decode(datagram).map_err(|_| Refusal::Unparsable)?;
        if message.id.is_empty() || message.inner.is_none() { Err(Refusal::Invalid) } else { Ok(message) }
    }

    /// Writes the datagram into `out`, in place of what was there.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        self.encode(out).expect("a Vec has room");
    }
}
