//! As many boxes as may run at once, made when they are first needed.

use std::sync::{Condvar, Mutex, PoisonError};

use super::host::Helper;
use super::{Job, Level, Outcome, SandboxError, Settings};

/// Boxes of one level, shared by all threads.
#[derive(Debug)]
pub struct Sandbox {
    settings: Settings,
    level: Level,
    notes: Vec<String>,
    free: Mutex<Free>,
    returned: Condvar,
}

/// Boxes that nobody uses.
#[derive(Debug)]
struct Free {
    helpers: Vec<Helper>,
    /// How many more may be in use.
    permits: usize,
}

impl Sandbox {
    /// Boxes of the level in `settings`, or of the strongest that works here. Each level is tried by making a box and
    /// trying in it what must be denied.
    ///
    /// # Errors
    /// [`SandboxError::NoLevel`] with the reason for each level that was tried. L3 is never tried unless asked for.
    pub fn start(settings: Settings) -> Result<Self, SandboxError> {
        let levels = settings.level.map_or(vec![Level::L1, Level::L2], |level| vec![level]);
        let mut reasons = Vec::new();
        for level in levels {
            match Helper::start(&settings, level) {
                Ok(helper) => {
                    let permits = settings.boxes.max(2);
                    let mut notes = helper.notes.clone();
                    notes.extend(reasons);
                    let free = Mutex::new(Free { helpers: vec![helper], permits });
                    return Ok(Self { settings, level, notes, free, returned: Condvar::new() });
                }
                Err(reason) => reasons.push(format!("{level}: {reason}")),
            }
        }
        Err(SandboxError::NoLevel(reasons))
    }

    /// How strong the boxes are.
    pub fn level(&self) -> Level {
        self.level
    }

    /// What this machine has and lacks, for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Runs a program, when a box is free.
    ///
    /// # Errors
    /// The box could not be made or the program not started; what the program does is in the outcome.
    pub fn run(&self, job: Job) -> Result<Outcome, SandboxError> {
        let mut taken = self.take(1)?;
        match taken.helpers.as_mut_slice() {
            [helper, ..] => helper.run(job),
            [] => Err(no_box()),
        }
    }

    /// Runs two programs at the same time, each in a box of its own. They may share a channel.
    ///
    /// # Errors
    /// As [`Sandbox::run`], of the first that fails.
    pub fn run_pair(&self, first: Job, second: Job) -> Result<(Outcome, Outcome), SandboxError> {
        let mut taken = self.take(2)?;
        let [one, other, ..] = taken.helpers.as_mut_slice() else { return Err(no_box()) };
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(move || one.run(first));
            let second = other.run(second);
            (first.join(), second)
        });
        let first = first.unwrap_or_else(|_| Err(SandboxError::Broken("a thread that follows a program panicked".into())));
        Ok((first?, second?))
    }

    /// Waits for boxes. All at once, so that two threads cannot each hold one and wait for the other's.
    fn take(&self, wanted: usize) -> Result<Taken<'_>, SandboxError> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while free.permits < wanted {
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        free.permits -= wanted;
        let from = free.helpers.len().saturating_sub(wanted);
        let mut taken = Taken { sandbox: self, permits: wanted, helpers: free.helpers.split_off(from) };
        drop(free);
        while taken.helpers.len() < wanted {
            taken.helpers.push(Helper::start(&self.settings, self.level).map_err(SandboxError::Broken)?);
        }
        Ok(taken)
    }
}

fn no_box() -> SandboxError {
    SandboxError::Broken("no box was made".into())
}

/// Boxes in use; returned when dropped.
struct Taken<'a> {
    sandbox: &'a Sandbox,
    permits: usize,
    helpers: Vec<Helper>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut free = self.sandbox.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.permits += self.permits;
        // A box that broke is not used again.
        free.helpers.extend(self.helpers.drain(..).filter(Helper::works));
        self.sandbox.returned.notify_all();
    }
}
