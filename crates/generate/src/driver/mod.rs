//! From problems to attempts: who is asked what, when to stop, and in which order rows come out.
//!
//! Requests overlap as far as the generator allows, and replies come back in any order; rows leave in the order of the
//! problems, then of the samples, so that the same answers always make the same file. Which samples of a problem are
//! asked follows from its verdicts alone, never from timing. What is bought is written to the journal before it
//! counts; what the journal holds is not asked again.
//!
//! [`Driver::run`] blocks: it belongs on a thread of its own, outside the runtime that carries the requests.

mod ask;
mod coordinator;
mod judge;
mod options;
mod pending;
mod report;
mod task;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use potstill_data::Attempt;
use tokio::runtime::Handle;

pub use ask::{Ask, Prompt, PromptError};
pub use options::{META_LOGPROBS, META_PASS_RATE, RunOptions, StopWhen};
pub use report::{Failure, Progress, RunReport, Stopped};

use crate::error::GenerateError;
use crate::journal::Journal;
use crate::request::Generator;

/// Writes into an attempt whether it is right, and whatever else is to stand in its row about that; called from several
/// threads.
pub type Judge<'a> = dyn Fn(&mut Attempt) + Sync + 'a;

/// An error of whoever gives problems or takes rows.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What came of one ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The ask.
    pub ask: Ask,
    /// The samples answered, by their index.
    pub attempts: Vec<Attempt>,
    /// The samples that failed for good, by their index.
    pub failures: Vec<Failure>,
}

/// Everything that a run needs besides its problems and the place for its rows.
pub struct Driver<'a> {
    /// Carries the requests.
    pub runtime: &'a Handle,
    /// Who is asked.
    pub generator: Arc<dyn Generator>,
    /// How, and how often.
    pub options: &'a RunOptions,
    /// Verifies replies as they arrive; needed for `stop_when`.
    pub judge: Option<&'a Judge<'a>>,
    /// Where replies are kept.
    pub journal: Option<Arc<Journal>>,
    /// Called a few times a second, and at the end.
    pub progress: &'a dyn Fn(&Progress),
    /// Asked a few times a second; `true` ends the run.
    pub cancel: &'a dyn Fn() -> bool,
}

/// Why a run broke off. What was bought until then is in the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The generator cannot go on.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The next problem could not be read.
    #[error("cannot read the next problem: {0}")]
    Problem(#[source] BoxError),
    /// A row could not be taken.
    #[error("cannot write a row: {0}")]
    Sink(#[source] BoxError),
}

impl Driver<'_> {
    /// Asks for the samples of each problem and hands the rows to `sink` in order.
    ///
    /// Requests that fail for good are counted in the report and cost their siblings nothing.
    ///
    /// # Errors
    /// [`RunError`]. Cancelling is no error: the report says so in [`RunReport::stopped`].
    ///
    /// # Panics
    /// When called from within an asynchronous task.
    pub fn run(
        &self,
        asks: impl Iterator<Item = Result<Ask, BoxError>>,
        sink: &mut dyn FnMut(Attempt) -> Result<(), BoxError>,
    ) -> Result<RunReport, RunError> {
        self.each(asks.map(|ask| Ok(((), ask?))), &mut |(), answers| answers.attempts.into_iter().try_for_each(&mut *sink))
    }

    /// Like [`Driver::run`] for whoever needs to know what came of each ask: every item goes along with its ask and comes
    /// back with what was answered to it, in order, also where nothing was. A run that ends early
    /// ([`RunReport::stopped`]) does not come to all of them.
    ///
    /// # Errors
    /// As [`Driver::run`].
    ///
    /// # Panics
    /// As [`Driver::run`].
    pub fn each<T>(
        &self,
        items: impl Iterator<Item = Result<(T, Ask), BoxError>>,
        sink: &mut dyn FnMut(T, Answers) -> Result<(), BoxError>,
    ) -> Result<RunReport, RunError> {
        self.options.check(self.judge.is_some(), &*self.generator)?;
        if let Some(journal) = &self.journal {
            journal.refresh().map_err(GenerateError::from)?;
        }
        let under_way: RefCell<VecDeque<T>> = RefCell::default();
        let asks = items.map(|item| {
            let (item, ask) = item?;
            under_way.borrow_mut().push_back(item);
            Ok(ask)
        });
        let mut deliver = |answers: Answers| {
            let item = under_way.borrow_mut().pop_front();
            // The coordinator answers each ask that it took once, in their order.
            item.map_or_else(|| Err(BoxError::from("an answer to no question")), |item| sink(item, answers))
        };
        judge::with_judges(self.judge, |judges| coordinator::Coordinator::new(self, judges).run(asks, &mut deliver))
    }
}
