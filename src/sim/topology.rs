//! Who lists whom: the shapes of networks. Knows node numbers and nothing else.

use serde::{Deserialize, Serialize};

use super::random::{Purpose, Stream};

/// The shape of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Everybody lists everybody.
    #[default]
    Mesh,
    /// Node 0 is listed by all others, which do not list each other.
    Star,
    /// Each node lists its two neighbours.
    Ring,
    /// A random regular graph: the union of random Hamiltonian cycles.
    Overlay,
    /// A mesh whose first and second half are far apart; see `edge.across`.
    TwoSites,
}

impl Topology {
    /// The most peers that a node of `count` can have, `degree` being what an overlay is asked for.
    ///
    /// # Errors
    /// If there is no such overlay.
    pub fn degree(self, count: usize, degree: usize) -> Result<usize, String> {
        match self {
            Topology::Mesh | Topology::Star | Topology::TwoSites => Ok(count - 1),
            Topology::Ring => Ok(2.min(count - 1)),
            Topology::Overlay if degree >= 2 && degree.is_multiple_of(2) && degree < count => Ok(degree),
            Topology::Overlay => {
                Err(format!("an overlay of {count} nodes needs an even degree from 2 to below {count}"))
            }
        }
    }

    /// All links, each as (lower, higher), sorted. Cycles of an overlay may share a link, so some nodes of it may have
    /// a peer or two fewer than its degree.
    #[must_use]
    pub fn edges(self, count: usize, degree: usize, seed: u64) -> Vec<(usize, usize)> {
        let mut edges: Vec<(usize, usize)> = match self {
            Topology::Mesh | Topology::TwoSites => {
                (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect()
            }
            Topology::Star => (1..count).map(|b| (0, b)).collect(),
            Topology::Ring => cycle(&(0..count).collect::<Vec<_>>()),
            Topology::Overlay => {
                let mut stream = Stream::new(seed, Purpose::Topology, 0, 0);
                let mut order: Vec<_> = (0..count).collect();
                let mut edges = Vec::with_capacity(count * degree / 2);
                for _ in 0..degree / 2 {
                    stream.shuffle(&mut order);
                    edges.extend(cycle(&order));
                }
                edges
            }
        };
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// Whether a link joins the two sites.
    #[must_use]
    pub fn is_across(self, count: usize, (a, b): (usize, usize)) -> bool {
        self == Topology::TwoSites && (a < count / 2) != (b < count / 2)
    }
}

fn cycle(order: &[usize]) -> Vec<(usize, usize)> {
    let next = order.iter().cycle().skip(1);
    order.iter().zip(next).filter(|(a, b)| a != b).map(|(a, b)| (*a.min(b), *a.max(b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_has_the_links_it_should() {
        assert_eq!(Topology::Mesh.edges(4, 0, 1).len(), 6);
        assert_eq!(Topology::Star.edges(4, 0, 1), [(0, 1), (0, 2), (0, 3)]);
        assert_eq!(Topology::Ring.edges(4, 0, 1), [(0, 1), (0, 3), (1, 2), (2, 3)]);
        assert_eq!(Topology::Ring.edges(2, 0, 1), [(0, 1)]);
        let across = Topology::TwoSites.edges(6, 0, 1).into_iter().filter(|e| Topology::TwoSites.is_across(6, *e));
        assert_eq!(across.count(), 9);
    }

    #[test]
    fn an_overlay_is_connected_almost_regular_and_its_seed_s_own() {
        let edges = Topology::Overlay.edges(1_000, 8, 3);
        let mut degrees = vec![0; 1_000];
        for (a, b) in &edges {
            degrees[*a] += 1;
            degrees[*b] += 1;
        }
        assert!(degrees.iter().all(|d| (6..=8).contains(d)));
        assert!(edges.len() > 3_950);
        assert_ne!(edges, Topology::Overlay.edges(1_000, 8, 4));
    }
}
