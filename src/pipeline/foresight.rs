//! Which memory the next exchanges will touch, for whoever runs thousands of pipelines and knows who comes next. Looks
//! at nothing and changes nothing.

use super::Pipeline;
use super::peer::Peer;
use crate::filter::Fetch;
use crate::unit::PeerSlot;

impl Pipeline {
    /// Tells `fetch` what an exchange with `later` touches of the peer's place, and one with `next` of the filter
    /// behind it. For whoever runs thousands of pipelines whose memory is far away.
    pub fn foresee(&self, next: Option<PeerSlot>, later: Option<PeerSlot>, fetch: Fetch) {
        if let Some(slot) = later {
            fetch(std::ptr::from_ref(&self.peers[slot.index()]).cast(), size_of::<Peer>());
        }
        if let Some(slot) = next {
            self.peers[slot.index()].foresee(fetch);
        }
    }
}
