//! The file of `--record`: every finished exchange as a fixed-size binary record, so that a run can be replayed bit
//! by bit. A header names the format, the node and the size of a record; each record ends in a check sum. Says
//! nothing about what is done with the exchanges.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use zerocopy::little_endian::{F32, F64, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::flow::{Claim, Exchange, Leap, Mapping, NodeState, Role, StampClass};
use crate::limits::RECORDING_NAMES;
use crate::unit::{BootId, NodeId, PeerSlot, RawTime};

/// How such a file begins.
const MAGIC: [u8; 8] = *b"llts-rec";
/// The version of the layout below; another layout has another number.
const VERSION: u16 = 1;
/// Bytes of one record.
pub const RECORD_LEN: usize = size_of::<Record>();

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(RECORD_LEN == 112, "another size is another version");

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be made, read or written.
    #[error("cannot {doing} the recording {path}: {error}")]
    Access {
        /// `make`, `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// It does not begin as a recording does.
    #[error("{path} is not a recording of llts: give a file that was written with --record")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("{path} has records of version {version} and {len} bytes: read it with the llts that wrote it")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it names.
        version: u16,
        /// The record size it names.
        len: u16,
    },
    /// The last record is not complete.
    #[error(
        "{path} ends in the middle of record {record}, because its daemon was killed or the disk was full: \
         what stands before is whole"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The number of the record, from 1.
        record: u64,
    },
    /// The bytes of a record are not those that were written.
    #[error("record {record} of {path} is damaged: the file was changed after it was written")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the record, from 1.
        record: u64,
    },
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U16,
    record_len: U16,
    reserved: U32,
    node: U64,
}

/// An exchange as it lies in the file; all numbers little-endian.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Record {
    node: U64,
    boot: U32,
    peer: U16,
    initiator: u8,
    class: u8,
    local_rx_class: u8,
    local_tx_class: u8,
    state: u8,
    role: u8,
    local_sent: I64,
    remote_received: I64,
    remote_sent: I64,
    local_received: I64,
    epoch: I64,
    offset_ns: I64,
    offset_frac_ns: F64,
    rate: F64,
    version: U32,
    wander: F32,
    boost: F32,
    sigma_ns: F32,
    bound_ns: F32,
    alive: U16,
    joining: u8,
    reserved: u8,
    check: U32,
}

/// Writes a recording. What was written is on its way to the disk once 8 kB have come together, and at
/// [`RecordWriter::finish`].
#[derive(Debug)]
pub struct RecordWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl RecordWriter {
    /// The names under which a recording that is to be called `path` may be made, in their order: `path`, `path.1`,
    /// `path.2` and so on. A recording is of one run of a node, so another run is another file.
    pub fn names(path: &Path) -> impl Iterator<Item = PathBuf> {
        (0..RECORDING_NAMES).map(move |n| match n {
            0 => path.to_owned(),
            _ => {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{n}"));
                name.into()
            }
        })
    }

    /// Begins a recording of what `node` measures, under the first of [`RecordWriter::names`] that is free: a file that
    /// is there is left alone.
    ///
    /// # Errors
    /// The file cannot be made or written, or all names are taken.
    pub fn create(path: &Path, node: NodeId) -> Result<Self, RecordError> {
        let mut made = Err(io::ErrorKind::AlreadyExists.into());
        for name in Self::names(path) {
            made = File::create_new(&name).map(|file| (name, file));
            if !made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                break;
            }
        }
        let (path, file) = made.map_err(|error| access("make", path, error))?;
        let mut writer = RecordWriter { path, file: BufWriter::new(file) };
        let header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            record_len: (RECORD_LEN as u16).into(),
            reserved: 0.into(),
            node: node.0.into(),
        };
        writer.put(header.as_bytes())?;
        writer.flush()?;
        Ok(writer)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds one exchange.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, exchange: &Exchange) -> Result<(), RecordError> {
        self.put(Record::of(exchange).as_bytes())
    }

    /// Hands everything over to the system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.file.flush().map_err(|error| access("write", &self.path, error))
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), RecordError> {
        self.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        self.file.write_all(bytes).map_err(|error| access("write", &self.path, error))
    }
}

/// Reads a recording: an iterator over its exchanges that ends with the file, or after the first error.
#[derive(Debug)]
pub struct RecordReader {
    path: PathBuf,
    file: BufReader<File>,
    node: NodeId,
    read: u64,
    failed: bool,
}

impl RecordReader {
    /// Opens the recording `path`.
    ///
    /// # Errors
    /// The file cannot be read, or is no recording of this version.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(|error| access("read", path, error))?;
        let mut file = BufReader::new(file);
        let mut bytes = [0; size_of::<Header>()];
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(RecordError::Foreign { path: path.into() });
            }
            other => other.map_err(|error| access("read", path, error))?,
        }
        let header: Header = zerocopy::transmute!(bytes);
        let (version, len) = (header.version.get(), header.record_len.get());
        if header.magic != MAGIC {
            return Err(RecordError::Foreign { path: path.into() });
        }
        if version != VERSION || usize::from(len) != RECORD_LEN {
            return Err(RecordError::Version { path: path.into(), version, len });
        }
        Ok(RecordReader { path: path.into(), file, node: NodeId(header.node.get()), read: 0, failed: false })
    }

    /// The node whose exchanges these are.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    fn read_one(&mut self) -> Result<Option<Exchange>, RecordError> {
        let mut bytes = [0; RECORD_LEN];
        let mut filled = 0;
        while filled < RECORD_LEN {
            match self.file.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(RecordError::Truncated { path: self.path.clone(), record: self.read + 1 }),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(access("read", &self.path, error)),
            }
        }
        self.read += 1;
        let record: Record = zerocopy::transmute!(bytes);
        match record.exchange() {
            Some(exchange) => Ok(Some(exchange)),
            None => Err(RecordError::Damaged { path: self.path.clone(), record: self.read }),
        }
    }
}

impl Iterator for RecordReader {
    type Item = Result<Exchange, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read_one().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl Record {
    fn of(exchange: &Exchange) -> Self {
        let Exchange { claim, .. } = exchange;
        let mut record = Record {
            node: exchange.node.0.into(),
            boot: exchange.boot.0.into(),
            peer: exchange.peer.0.into(),
            initiator: exchange.initiator.into(),
            class: exchange.class as u8,
            local_rx_class: exchange.local_rx_class as u8,
            local_tx_class: exchange.local_tx_class as u8,
            state: claim.state as u8,
            role: claim.role as u8,
            local_sent: exchange.local_sent.nanos().into(),
            remote_received: exchange.remote_received.nanos().into(),
            remote_sent: exchange.remote_sent.nanos().into(),
            local_received: exchange.local_received.nanos().into(),
            epoch: claim.mapping.epoch.nanos().into(),
            offset_ns: claim.mapping.offset_ns.into(),
            offset_frac_ns: claim.mapping.offset_frac_ns.into(),
            rate: claim.mapping.rate.into(),
            version: claim.version.into(),
            wander: claim.wander.into(),
            boost: claim.boost.into(),
            sigma_ns: claim.sigma_ns.into(),
            bound_ns: claim.bound_ns.into(),
            alive: claim.alive.into(),
            joining: claim.joining.into(),
            reserved: 0,
            check: 0.into(),
        };
        record.check = record.sum().into();
        record
    }

    /// The exchange, or `None` if this is not what was written.
    fn exchange(&self) -> Option<Exchange> {
        if self.check.get() != self.sum() {
            return None;
        }
        let time = |at: I64| RawTime::from_nanos(at.get());
        Some(Exchange {
            peer: PeerSlot(self.peer.get()),
            node: NodeId(self.node.get()),
            boot: BootId(self.boot.get()),
            initiator: truth(self.initiator)?,
            local_sent: time(self.local_sent),
            remote_received: time(self.remote_received),
            remote_sent: time(self.remote_sent),
            local_received: time(self.local_received),
            class: stamp_class(self.class)?,
            local_rx_class: stamp_class(self.local_rx_class)?,
            local_tx_class: stamp_class(self.local_tx_class)?,
            claim: Claim {
                mapping: Mapping {
                    epoch: time(self.epoch),
                    offset_ns: self.offset_ns.get(),
                    offset_frac_ns: self.offset_frac_ns.get(),
                    rate: self.rate.get(),
                },
                version: self.version.get(),
                state: Some(NodeState::from_bits(self.state)).filter(|state| *state as u8 == self.state)?,
                role: Some(Role::from_bits(self.role)).filter(|role| *role as u8 == self.role)?,
                joining: truth(self.joining)?,
                wander: self.wander.get(),
                boost: self.boost.get(),
                sigma_ns: self.sigma_ns.get(),
                bound_ns: self.bound_ns.get(),
                alive: self.alive.get(),
                // Not recorded: it widens bounds, and no filter looks at it.
                stamp_doubt_ns: 0,
                // Nor this: what is replayed has no clock that could take a leap second.
                leap: Leap::None,
                // Nor who else is heard: agreement is not replayed.
                circle: 0,
            },
        })
    }

    /// FNV-1a over everything but the sum itself: any change confined to one byte changes it for certain, a longer
    /// one with all but one chance in four thousand million. Against accidents, not against forgers.
    fn sum(&self) -> u32 {
        let bytes = &self.as_bytes()[..RECORD_LEN - size_of::<U32>()];
        bytes.iter().fold(0x811c_9dc5, |sum: u32, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    }
}

fn truth(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn stamp_class(byte: u8) -> Option<StampClass> {
    Some(StampClass::from_bits(byte)).filter(|class| *class as u8 == byte)
}

fn access(doing: &'static str, path: &Path, error: io::Error) -> RecordError {
    RecordError::Access { doing, path: path.into(), error }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, proptest};

    use super::*;

    fn bits_of(exchange: &Exchange) -> Vec<u8> {
        Record::of(exchange).as_bytes().to_vec()
    }

    fn any_exchange() -> impl Strategy<Value = Exchange> {
        // Floats come from bits: NaN and infinities have to survive too.
        let ids = (any::<u16>(), any::<u64>(), any::<u32>(), any::<bool>(), any::<bool>(), any::<[u8; 5]>());
        let times = any::<[i64; 6]>();
        let floats = (any::<[u64; 2]>(), any::<[u32; 4]>(), any::<u32>(), any::<u16>());
        (ids, times, floats).prop_map(
            |((peer, node, boot, initiator, joining, small), t, (wide, narrow, version, alive))| {
                let at = RawTime::from_nanos;
                Exchange {
                    peer: PeerSlot(peer),
                    node: NodeId(node),
                    boot: BootId(boot),
                    initiator,
                    local_sent: at(t[0]),
                    remote_received: at(t[1]),
                    remote_sent: at(t[2]),
                    local_received: at(t[3]),
                    class: StampClass::from_bits(small[0] % 3),
                    local_rx_class: StampClass::from_bits(small[1] % 3),
                    local_tx_class: StampClass::from_bits(small[2] % 3),
                    claim: Claim {
                        mapping: Mapping {
                            epoch: at(t[4]),
                            offset_ns: t[5],
                            offset_frac_ns: f64::from_bits(wide[0]),
                            rate: f64::from_bits(wide[1]),
                        },
                        version,
                        state: NodeState::from_bits(small[3]),
                        role: Role::from_bits(small[4] % 3),
                        joining,
                        wander: f32::from_bits(narrow[0]),
                        boost: f32::from_bits(narrow[1]),
                        sigma_ns: f32::from_bits(narrow[2]),
                        bound_ns: f32::from_bits(narrow[3]),
                        alive,
                        stamp_doubt_ns: 0,
                        leap: Leap::None,
                        circle: 0,
                    },
                }
            },
        )
    }

    /// One exchange in which no two neighbouring fields are alike.
    fn example() -> Exchange {
        let at = RawTime::from_nanos;
        let mapping = Mapping { epoch: at(5), offset_ns: 1_790_000_000_000_000_000, offset_frac_ns: 0.25, rate: -2e-5 };
        Exchange {
            peer: PeerSlot(3),
            node: NodeId(0x0102_0304_0506_0708),
            boot: BootId(9),
            initiator: true,
            local_sent: at(-1),
            remote_received: at(2),
            remote_sent: at(3),
            local_received: at(4),
            class: StampClass::User,
            local_rx_class: StampClass::Kernel,
            local_tx_class: StampClass::Nic,
            claim: Claim { version: 7, state: NodeState::Holdover, alive: 4, ..Claim::unset(mapping, Role::Observer) },
        }
    }

    fn recorded(exchanges: &[Exchange]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.rec");
        let mut writer = RecordWriter::create(&path, NodeId(77)).unwrap();
        exchanges.iter().for_each(|exchange| writer.write(exchange).unwrap());
        writer.finish().unwrap();
        (dir, path)
    }

    fn told(path: &Path) -> String {
        RecordReader::open(path).and_then(|reader| reader.collect::<Result<Vec<_>, _>>()).unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn every_exchange_comes_back_bit_by_bit(exchange in any_exchange()) {
            let record = Record::of(&exchange);
            assert_eq!(bits_of(&record.exchange().expect("just written")), record.as_bytes());
        }

        #[test]
        fn a_changed_byte_is_found_wherever_it_is(exchange in any_exchange(), place in 0..RECORD_LEN, change in 1u8..) {
            let mut bytes = bits_of(&exchange);
            bytes[place] ^= change;
            assert!(Record::read_from_bytes(&bytes).unwrap().exchange().is_none());
        }
    }

    #[test]
    fn a_file_gives_back_its_node_and_its_exchanges_in_order() {
        let second = Exchange { peer: PeerSlot(4), ..example() };
        let (_dir, path) = recorded(&[example(), second]);
        let reader = RecordReader::open(&path).unwrap();
        assert_eq!(reader.node(), NodeId(77));
        assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), [example(), second]);
    }

    #[test]
    fn the_layout_of_version_1_does_not_move() {
        let bytes = bits_of(&example());
        assert_eq!(bytes[..8], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[8..20], [9, 0, 0, 0, 3, 0, 1, 0, 1, 2, 3, 2]);
        assert_eq!(bytes[20..28], [255; 8]);
        assert_eq!(bytes[28..36], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[60..68], 1_790_000_000_000_000_000_i64.to_le_bytes());
        assert_eq!(bytes[68..76], 0.25_f64.to_le_bytes());
        assert_eq!(bytes[104..108], [4, 0, 1, 0]);
    }

    #[test]
    fn a_file_cut_short_gives_its_whole_records_and_then_one_sentence() {
        let (_dir, path) = recorded(&[example(), example()]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let mut reader = RecordReader::open(&path).unwrap();
        assert_eq!(reader.next().unwrap().unwrap(), example());
        let error = reader.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("ends in the middle of record 2"), "{error}");
        assert!(reader.next().is_none(), "nothing follows an error");
    }

    #[test]
    fn a_damaged_record_is_named() {
        let (_dir, path) = recorded(&[example(), example()]);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - RECORD_LEN;
        bytes[last + 21] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(told(&path).starts_with("record 2 of "), "{}", told(&path));
    }

    #[test]
    fn what_is_no_recording_is_refused_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(told(&path).starts_with("cannot read the recording "));
        for bytes in [&b""[..], b"llts-rec", &[b'x'; 200]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(told(&path).contains("is not a recording of llts"), "{}", told(&path));
        }
    }

    #[test]
    fn another_version_or_record_size_is_refused_and_named() {
        let (_dir, path) = recorded(&[example()]);
        let good = std::fs::read(&path).unwrap();
        for place in [8, 10] {
            let mut bytes = good.clone();
            bytes[place] += 1;
            std::fs::write(&path, bytes).unwrap();
            assert!(told(&path).contains("read it with the llts that wrote it"), "{}", told(&path));
        }
    }
}
