//! Keep or drop, always with a reason, at a few bytes per row.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Why a row was dropped: a short lowercase phrase, equal for all rows dropped for one cause, so that it can be counted.
pub type Reason = Cow<'static, str>;

/// What becomes of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The row goes on.
    Keep,
    /// The row goes to the dropped rows, with the reason.
    Drop(Reason),
}

impl Decision {
    /// `Drop` with a reason known at compile time.
    #[must_use]
    pub const fn drop(reason: &'static str) -> Self {
        Self::Drop(Cow::Borrowed(reason))
    }

    /// Does the row go on?
    #[must_use]
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

/// The decisions over a set of rows, in the rows' order: two bytes a row, so that a million rows cost two megabytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    codes: Vec<u16>,
    reasons: Vec<Reason>,
}

impl Decisions {
    /// No decisions yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `rows` decisions to keep.
    #[must_use]
    pub fn keep_all(rows: usize) -> Self {
        Self { codes: vec![0; rows], reasons: Vec::new() }
    }

    /// Decides the next row.
    pub fn push(&mut self, decision: Decision) {
        let code = match decision {
            Decision::Keep => 0,
            Decision::Drop(reason) => self.code_of(reason),
        };
        self.codes.push(code);
    }

    /// Decides row `row` anew. Rows beyond the end are ignored.
    pub fn set(&mut self, row: usize, decision: Decision) {
        let code = match decision {
            Decision::Keep => 0,
            Decision::Drop(reason) => self.code_of(reason),
        };
        if let Some(slot) = self.codes.get_mut(row) {
            *slot = code;
        }
    }

    /// The reasons are few; beyond 65,534 different ones the last is reused rather than failing.
    fn code_of(&mut self, reason: Reason) -> u16 {
        let at = self.reasons.iter().position(|r| *r == reason).unwrap_or_else(|| {
            if self.reasons.len() < usize::from(u16::MAX) - 1 {
                self.reasons.push(reason);
            }
            self.reasons.len() - 1
        });
        u16::try_from(at + 1).unwrap_or(u16::MAX)
    }

    /// Number of rows decided.
    #[must_use]
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Was nothing decided?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Is row `row` kept? Rows never decided are not.
    #[must_use]
    pub fn keeps(&self, row: usize) -> bool {
        self.codes.get(row) == Some(&0)
    }

    /// The reason why row `row` was dropped, if it was.
    #[must_use]
    pub fn reason(&self, row: usize) -> Option<&str> {
        let code = usize::from(*self.codes.get(row)?);
        self.reasons.get(code.checked_sub(1)?).map(AsRef::as_ref)
    }

    /// Number of rows kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.codes.iter().filter(|c| **c == 0).count()
    }

    /// Rows dropped, by reason.
    #[must_use]
    pub fn dropped(&self) -> BTreeMap<String, u64> {
        let mut counts = vec![0_u64; self.reasons.len() + 1];
        for code in &self.codes {
            counts[usize::from(*code)] += 1;
        }
        let of = |(i, r): (usize, &Reason)| (r.to_string(), counts[i + 1]);
        self.reasons.iter().enumerate().map(of).filter(|(_, n)| *n > 0).collect()
    }

    /// One bool per row: `true` is keep.
    pub fn mask(&self) -> impl Iterator<Item = bool> + '_ {
        self.codes.iter().map(|c| *c == 0)
    }

    /// The kept of `rows`, which must be the rows that were decided, in the same order.
    #[must_use]
    pub fn select<R: Clone>(&self, rows: &[R]) -> Vec<R> {
        rows.iter().zip(self.mask()).filter(|(_, keep)| *keep).map(|(r, _)| r.clone()).collect()
    }
}

impl FromIterator<Decision> for Decisions {
    fn from_iter<I: IntoIterator<Item = Decision>>(iter: I) -> Self {
        let mut all = Self::new();
        iter.into_iter().for_each(|d| all.push(d));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_keep_order_reasons_and_counts() {
        let mut d: Decisions =
            [Decision::Keep, Decision::drop("truncated"), Decision::drop("loop"), Decision::drop("truncated")].into_iter().collect();
        assert_eq!(d.kept(), 1);
        assert_eq!(d.reason(2), Some("loop"));
        assert_eq!((d.reason(0), d.reason(9), d.keeps(9)), (None, None, false));
        assert_eq!(d.dropped(), BTreeMap::from([("truncated".into(), 2), ("loop".into(), 1)]));
        d.set(2, Decision::Keep);
        assert_eq!(d.dropped(), BTreeMap::from([("truncated".into(), 2)]));
        assert_eq!(d.select(&["a", "b", "c", "d"]), ["a", "c"]);
    }
}
