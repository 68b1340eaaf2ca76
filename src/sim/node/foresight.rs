//! Which of a node's memory is needed next, asked for before it is (decision 25). Reads nothing of what it asks for.

use std::mem::offset_of;

use super::Node;
use crate::flow::Event;
use crate::sys::prefetch::prefetch;

impl Node {
    /// Asks for what a packet touches first, before it comes.
    pub fn foresee(&self) {
        prefetch(std::ptr::from_ref(self).cast(), offset_of!(Node, identity));
    }

    /// Asks for the place of the next exchange.
    pub fn foresee_exchange(&self) {
        let end = self.inbox.as_ptr().wrapping_add(self.inbox.len());
        prefetch(end.cast(), size_of::<Event>());
    }

    /// Asks for what a tick touches first, before it comes; `near` once the node itself is here.
    pub fn foresee_tick(&self, near: bool) {
        if !near {
            prefetch(std::ptr::from_ref(self).cast(), size_of::<Node>());
            return;
        }
        let waiting = self.inbox.as_slice();
        prefetch(waiting.as_ptr().cast(), size_of_val(waiting));
    }
}
