//! Rows of one problem together, from a stream.

use potstill_data::Attempt;
use rustc_hash::FxHashSet;

use crate::text::text_key;

/// Gathers consecutive attempts of one problem, as `generate` writes them: memory for one problem's attempts at a time
/// (and 16 bytes per problem). A problem that comes back later, as when inputs are joined, forms a second group;
/// [`Groups::came_back`] counts those, and rows must then be sorted by problem first.
#[derive(Debug)]
pub struct Groups<I> {
    rows: I,
    next: Option<Attempt>,
    seen: FxHashSet<u128>,
    came_back: u64,
}

impl<I> Groups<I> {
    /// Groups of the rows.
    pub fn new(rows: I) -> Self {
        Self { rows, next: None, seen: FxHashSet::default(), came_back: 0 }
    }

    /// Problems met again after another one.
    #[must_use]
    pub fn came_back(&self) -> u64 {
        self.came_back
    }
}

impl<I: Iterator<Item = Result<Attempt, E>>, E> Iterator for Groups<I> {
    type Item = Result<Vec<Attempt>, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match self.next.take() {
            Some(row) => row,
            None => match self.rows.next()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            },
        };
        self.came_back += u64::from(!self.seen.insert(text_key(&first.problem.problem_id)));
        let mut group = vec![first];
        for row in self.rows.by_ref() {
            match row {
                Ok(row) if row.problem.problem_id == group[0].problem.problem_id => group.push(row),
                Ok(row) => {
                    self.next = Some(row);
                    break;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_rows_of_one_problem_form_a_group() {
        let row = |id: &str| {
            let mut row = Attempt::default();
            row.problem.problem_id = id.into();
            Ok::<_, &str>(row)
        };
        let mut groups = Groups::new([row("a"), row("a"), row("b"), row("a"), Err("torn")].into_iter());
        let sizes: Vec<_> = groups.by_ref().map(|g| g.map(|g| g.len())).collect();
        assert_eq!(sizes, [Ok(2), Ok(1), Err("torn")]);
        assert_eq!(groups.came_back(), 1);
    }
}
