//! The work budget: steps, not wall time, so that verdicts do not depend on the machine.

use std::cell::Cell;

/// Steps left for one comparison.
#[derive(Debug)]
pub(super) struct Work {
    left: Cell<u64>,
}

impl Work {
    pub(super) fn new(steps: u64) -> Self {
        Self { left: Cell::new(steps) }
    }

    /// Takes `steps`; `None` when the budget is spent, which ends the computation that asked.
    pub(super) fn spend(&self, steps: u64) -> Option<()> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(steps));
        (left >= steps).then_some(())
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }
}
