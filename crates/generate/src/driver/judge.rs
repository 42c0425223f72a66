//! Threads that verify, so that a slow verdict holds up neither requests nor rows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};

use potstill_data::{Attempt, Verdict};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::Judge;
use super::coordinator::Event;

/// An attempt on its way to a verdict.
pub(super) struct Case {
    pub(super) item: u64,
    pub(super) attempt: Box<Attempt>,
    pub(super) events: UnboundedSender<Event>,
}

/// What is known of a row once it is judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Judged {
    pub(super) verdict: Option<Verdict>,
    extracted: Option<String>,
    proof: Option<String>,
    note: Option<String>,
}

impl Judged {
    pub(super) fn of_row(row: &mut Attempt) -> Self {
        Self { verdict: row.verdict, extracted: row.extracted.take(), proof: row.proof.take(), note: row.verifier_note.take() }
    }

    pub(super) fn into_row(self, row: &mut Attempt) {
        let Self { verdict, extracted, proof, note } = self;
        (row.verdict, row.extracted, row.proof, row.verifier_note) = (verdict, extracted, proof, note);
    }
}

/// Where attempts go to be judged; `None` where nobody judges.
pub(super) type Judges = Option<mpsc::Sender<Case>>;

/// Runs `work` with a judging thread for each processor.
pub(super) fn with_judges<T>(judge: Option<&Judge<'_>>, work: impl FnOnce(Judges) -> T) -> T {
    let Some(judge) = judge else { return work(None) };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (sender, queue) = mpsc::channel::<Case>();
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(case) = next else { return };
                    decide(judge, case);
                }
            });
        }
        // The sender goes with `work`, and the threads with it.
        work(Some(sender))
    })
}

fn decide(judge: &Judge<'_>, case: Case) {
    let Case { item, mut attempt, events } = case;
    let panicked = catch_unwind(AssertUnwindSafe(|| judge(&mut attempt))).is_err();
    if panicked {
        let note = "the verifier panicked".to_owned();
        Judged { verdict: Some(Verdict::Undecided), note: Some(note), ..Judged::default() }.into_row(&mut attempt);
    }
    // A row without a verdict would count as accepted.
    attempt.verdict.get_or_insert(Verdict::Undecided);
    // Nobody listens any more once the run is over.
    let _ = events.send(Event::Judged { item, attempt, panicked });
}

/// A channel for the coordinator's events.
pub(super) fn events() -> (UnboundedSender<Event>, tokio::sync::mpsc::UnboundedReceiver<Event>) {
    unbounded_channel()
}
