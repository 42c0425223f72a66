//! Keys and values of one sequence: a part that several sequences share, and its own.

use std::{mem, sync::Arc};

/// Keys and values of one layer, one row of `kv_heads·head_dim` per token.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

impl Rows {
    fn cut(&mut self, at: usize) -> Self {
        let (keys, values) = (self.keys.split_off(at), self.values.split_off(at));
        Self { keys: mem::replace(&mut self.keys, keys), values: mem::replace(&mut self.values, values) }
    }
}

/// The cache of one sequence.
///
/// Samples of one prompt share its keys and values: these lie in a part that nobody changes, and each sample appends to
/// rows of its own.
#[derive(Debug, Clone)]
pub(crate) struct Kv {
    shared: Arc<[Rows]>,
    own: Vec<Rows>,
    width: usize,
}

impl Kv {
    /// An empty cache for `layers` layers with rows of `width`.
    pub(crate) fn new(layers: usize, width: usize) -> Self {
        Self { shared: Arc::from([]), own: vec![Rows::default(); layers], width }
    }

    /// The layer's rows, the shared ones first.
    pub(crate) fn parts(&self, layer: usize) -> [Option<&Rows>; 2] {
        [self.shared.get(layer), self.own.get(layer)]
    }

    /// The layer's own rows, to append to.
    pub(crate) fn own(&mut self, layer: usize) -> Option<&mut Rows> {
        self.own.get_mut(layer)
    }

    fn shared_tokens(&self) -> usize {
        self.shared.first().map_or(0, |rows| rows.keys.len() / self.width)
    }

    /// Forgets everything after the first `tokens`.
    pub(crate) fn truncate(&mut self, tokens: usize) {
        let shared = self.shared_tokens();
        if tokens < shared {
            let keep = tokens * self.width;
            self.own = self.shared.iter().map(|rows| Rows { keys: rows.keys[..keep].into(), values: rows.values[..keep].into() }).collect();
            self.shared = Arc::from([]);
        } else {
            let keep = (tokens - shared) * self.width;
            for rows in &mut self.own {
                rows.keys.truncate(keep);
                rows.values.truncate(keep);
            }
        }
    }

    /// A cache that goes on from the first `tokens` of this one, without copying them where that can be.
    pub(crate) fn branch(&mut self, tokens: usize) -> Self {
        let shared = self.shared_tokens();
        if shared == 0 {
            let at = tokens * self.width;
            self.shared = self.own.iter_mut().map(|rows| rows.cut(at)).collect();
        } else if shared != tokens {
            let mut copy = Self { own: self.merged(), shared: Arc::from([]), width: self.width };
            copy.truncate(tokens);
            return copy;
        }
        Self { shared: self.shared.clone(), own: vec![Rows::default(); self.own.len()], width: self.width }
    }

    fn merged(&self) -> Vec<Rows> {
        let join = |(shared, own): (&Rows, &Rows)| Rows {
            keys: [shared.keys.as_slice(), &own.keys].concat(),
            values: [shared.values.as_slice(), &own.values].concat(),
        };
        self.shared.iter().zip(&self.own).map(join).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(tokens: usize) -> Kv {
        let mut kv = Kv::new(2, 3);
        for layer in 0..2 {
            let rows = kv.own(layer).unwrap();
            rows.keys = (0..tokens * 3).map(|i| (layer * 100 + i) as f32).collect();
            rows.values = rows.keys.iter().map(|key| -key).collect();
        }
        kv
    }

    fn keys(kv: &Kv, layer: usize) -> Vec<f32> {
        kv.parts(layer).into_iter().flatten().flat_map(|rows| rows.keys.clone()).collect()
    }

    #[test]
    fn branches_share_and_truncation_keeps_the_front() {
        let mut kv = filled(5);
        let all = keys(&kv, 1);
        let branch = kv.branch(4);
        assert_eq!(keys(&branch, 1), all[..12]);
        assert_eq!(keys(&kv, 1), all);
        assert!(Arc::ptr_eq(&kv.shared, &branch.shared));
        let mut again = kv.branch(4);
        assert!(Arc::ptr_eq(&kv.shared, &again.shared));
        let other = kv.branch(5);
        assert_eq!(keys(&other, 0), keys(&kv, 0));
        again.own(1).unwrap().keys.extend([7.0; 6]);
        again.truncate(5);
        assert_eq!(keys(&again, 1), [&all[..12], &[7.0; 3]].concat());
        again.truncate(2);
        assert_eq!(keys(&again, 1), all[..6]);
        assert_eq!(keys(&kv, 1), all);
    }
}
