//! What this machine can give: facts, and what follows from them. Reading the facts and judging them are apart, so that
//! every judgement can be tried on a machine that does not exist. Changes nothing that it does not put back, keeps no
//! time and advises nobody but whoever asked.

mod facts;
mod judge;
mod probe;
mod survey;
mod text;

pub use facts::{CpuFacts, DeviceFacts, Facts, InterfaceFacts, LimitFacts, PhcFacts, PortFacts, PowerFacts, Probed};
pub use judge::{Finding, Level, judge, verdict};
pub use survey::{Scope, survey};
pub use text::{document, report_text};
