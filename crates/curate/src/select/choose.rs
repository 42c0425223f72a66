//! The methods: each puts the rows in the order in which it would choose them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Method, Selector, text_scores};
use crate::text::seeded_rank;

impl Selector {
    /// The rows in the order of choice. It depends on the rows' ids and contents, not on their order.
    pub(super) fn by_preference(&self, mut rows: Vec<u32>) -> Vec<u32> {
        rows.sort_by(|a, b| self.by_id(*a, *b));
        match self.config.method {
            Method::Random => rows.sort_by_key(|r| self.rows[*r as usize].rank),
            Method::Best => {
                if let Some(order) = &self.order {
                    rows.sort_by(|a, b| order.order(self.rows[*a as usize].value.as_ref(), self.rows[*b as usize].value.as_ref()));
                }
            }
            Method::Limo => {
                let parts: Vec<_> = rows.iter().map(|r| self.rows[*r as usize].score).collect();
                let mut scored: Vec<(f64, u32)> = text_scores(&parts).into_iter().zip(rows).collect();
                scored.sort_by(|a, b| b.0.total_cmp(&a.0));
                rows = scored.into_iter().map(|(_, r)| r).collect();
            }
            Method::S1 => rows = self.s1(rows),
            Method::Coverage => rows = self.coverage(rows),
            Method::Clusters => rows = self.turn_by_turn(&rows),
        }
        rows
    }

    fn most(&self, rows: usize) -> usize {
        // A quota cuts later: then every row needs its place.
        if self.config.quota.is_some() { rows } else { self.config.count.map_or(rows, |c| c as usize).min(rows) }
    }

    /// The rows of each domain, the domains in the order of their names.
    fn by_domain(&self, rows: &[u32]) -> Vec<Vec<u32>> {
        let names: BTreeMap<u32, &str> = self.domains.iter().map(|(name, n)| (*n, name.as_str())).collect();
        let mut domains: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for row in rows {
            domains.entry(names[&self.rows[*row as usize].domain]).or_default().push(*row);
        }
        domains.into_values().collect()
    }

    /// One of every cluster in turn, the largest cluster first.
    fn turn_by_turn(&self, rows: &[u32]) -> Vec<u32> {
        let entry = |row: &u32| &self.rows[*row as usize];
        let mut clusters = self.by_domain(rows);
        clusters.sort_by_key(|cluster| Reverse(cluster.len()));
        for cluster in &mut clusters {
            // Stable, so that what is alike stays in the order of ids.
            cluster.sort_by(|a, b| entry(a).distance.total_cmp(&entry(b).distance));
            if let Some(order) = &self.order {
                cluster.sort_by(|a, b| order.order(entry(a).value.as_ref(), entry(b).value.as_ref()));
            }
        }
        let clusters = &clusters;
        let longest = clusters.first().map_or(0, Vec::len);
        (0..longest).flat_map(|turn| clusters.iter().filter_map(move |cluster| cluster.get(turn).copied())).collect()
    }

    fn s1(&self, rows: Vec<u32>) -> Vec<u32> {
        let mut domains = self.by_domain(&rows);
        for domain in &mut domains {
            // Longest last, so that taking from the end is cheap; equal lengths by id.
            domain.sort_by_key(|r| self.rows[*r as usize].chars);
        }
        let mut chosen = Vec::new();
        let most = self.most(rows.len());
        let mut draw = 0_u64;
        let mut random = || {
            draw += 1;
            seeded_rank(self.seed, "s1", &draw.to_string())
        };
        while chosen.len() < most {
            let at = (random() % domains.len() as u64) as usize;
            // Rank r (from 0, the longest) with weight 2^-(r+1): the number of heads before the first tail.
            let rank = random().trailing_ones() as usize;
            let domain = &mut domains[at];
            let place = domain.len() - 1 - rank.min(domain.len() - 1);
            chosen.push(domain.remove(place));
            if domain.is_empty() {
                domains.remove(at);
            }
        }
        let taken: FxHashSet<u32> = chosen.iter().copied().collect();
        chosen.extend(rows.into_iter().filter(|r| !taken.contains(r)));
        chosen
    }

    /// Lazy greedy maximisation of weighted n-gram coverage (a monotone submodular function: the choice is within
    /// 1 - 1/e of the best). An n-gram weighs the logarithm of how rare it is.
    fn coverage(&self, rows: Vec<u32>) -> Vec<u32> {
        let mut held_by: FxHashMap<u32, u32> = FxHashMap::default();
        for gram in rows.iter().flat_map(|r| &self.rows[*r as usize].grams) {
            *held_by.entry(*gram).or_default() += 1;
        }
        let weight = |gram: &u32| (1.0 + rows.len() as f64 / f64::from(held_by[gram])).ln();
        let mut covered: FxHashSet<u32> = FxHashSet::default();
        let gain = |place: usize, covered: &FxHashSet<u32>| {
            let grams = &self.rows[rows[place] as usize].grams;
            grams.iter().filter(|g| !covered.contains(g)).map(weight).sum::<f64>()
        };
        let mut heap: BinaryHeap<Gain> = (0..rows.len()).map(|place| Gain { gain: gain(place, &covered), place }).collect();
        let most = self.most(rows.len());
        let mut chosen = Vec::with_capacity(rows.len());
        while chosen.len() < most {
            let Some(best) = heap.pop() else { break };
            let now = Gain { gain: gain(best.place, &covered), place: best.place };
            // Gains only shrink: if this one still leads, no other can be larger.
            if heap.peek().is_some_and(|next| *next > now) {
                heap.push(now);
            } else {
                covered.extend(self.rows[rows[best.place] as usize].grams.iter());
                chosen.push(rows[best.place]);
            }
        }
        let mut rest: Vec<usize> = heap.into_iter().map(|g| g.place).collect();
        rest.sort_unstable();
        chosen.extend(rest.into_iter().map(|place| rows[place]));
        chosen
    }
}

/// What a row would bring; of equal gains the earlier place leads.
struct Gain {
    gain: f64,
    place: usize,
}

impl Ord for Gain {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.gain.total_cmp(&other.gain).then(other.place.cmp(&self.place))
    }
}

impl PartialOrd for Gain {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Gain {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Gain {}
