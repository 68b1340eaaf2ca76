//! Which memory the next slots of the agenda need, asked for before they come (decision 25). Reads nothing of what it
//! asks for.

use super::super::link::Link;
use super::{Cluster, Event};
use crate::sys::prefetch::prefetch;

impl Cluster {
    /// Asks for the memory of what happens in the slots to come: in a cluster of thousands it is far away, and waiting
    /// for it was most of the cost.
    pub(super) fn foresee(&self) {
        for event in self.agenda.ahead(2) {
            match *event {
                Event::Meet { edge } => self.foresee_meeting(edge),
                Event::Tick { node, .. } => self.nodes[node as usize].foresee_tick(false),
                _ => {}
            }
        }
        for event in self.agenda.ahead(1) {
            match *event {
                Event::Meet { edge } => self.foresee_exchange(edge),
                Event::Tick { node, .. } => self.nodes[node as usize].foresee_tick(true),
                _ => {}
            }
        }
    }

    /// Asks for what a pair's turn touches.
    fn foresee_meeting(&self, edge: u32) {
        let ends = self.edges[edge as usize];
        prefetch(std::ptr::from_ref(&self.meetings[edge as usize]).cast(), size_of_val(&self.meetings[edge as usize]));
        prefetch(self.links[edge as usize].as_ptr().cast(), size_of::<[Link; 2]>());
        self.nodes[ends.0].foresee();
        self.nodes[ends.1].foresee();
    }

    /// Asks for where the exchange will be put, once the nodes themselves are here.
    fn foresee_exchange(&self, edge: u32) {
        let ends = self.edges[edge as usize];
        self.nodes[ends.0].foresee_exchange();
        self.nodes[ends.1].foresee_exchange();
    }
}
