//! Showing, never deciding: latency histograms, the documents of the status socket and their text for people, and the
//! recording of exchanges. Nothing here reads a clock, opens a socket or can influence the node that it shows.

mod chronicle;
mod clock_view;
mod histogram;
mod history;
mod hooks;
mod human;
mod measurement;
mod metrics;
mod page;
mod record;
mod status;
mod status_text;
mod table;
mod tracking;
mod watch_line;
mod webhook;

pub use chronicle::{Chronicle, Gravity, Happening, Told};
pub use clock_view::{ClockView, OscillatorView, Precise, SegmentView};
pub use histogram::{DisciplineLatencies, HotLatencies, Latencies, LatencyStatus, latency_table, print_latencies};
pub use history::{Excerpt, History, NodeExcerpt, PeerExcerpt};
pub use hooks::Hooks;
pub use human::{frequency_text, offset_text, span_text};
pub use measurement::{MeasurementFile, MeasurementFormat, MeasurementLine, MeasurementLog};
pub use metrics::{Exposition, metrics_text};
pub use page::Page;
pub use record::{RECORD_LEN, RecordError, RecordReader, RecordWriter};
pub use status::{CardStatus, ClockStatus, PeerStatus, Status};
pub use status_text::status_text;
pub use table::{Align, Table};
pub use tracking::{Peers, Tracking, max_skew_ns};
pub use watch_line::{HookCounts, WatchEvent, WatchLine, WatchNode, WatchPair, news_text, watch_summary, watch_text};
pub use webhook::{WebhookError, WebhookUrl};
