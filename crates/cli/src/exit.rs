//! How the program ends: documented exit codes, and errors told on standard error.

use std::process::ExitCode;

use miette::Diagnostic;
use potstill_pipeline::{ErrorClass, Outcome, RunError, StageError, StageFailure, StoreError};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::terminal::complain;

/// A stage failed.
pub(crate) const FAILED: u8 = 1;
/// Usage or configuration.
pub(crate) const CONFIG: u8 = 2;
/// Temporary: a retry may help (`EX_TEMPFAIL`).
pub(crate) const TEMPORARY: u8 = 75;
/// Interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// The first interrupt (Ctrl-C, or the SIGTERM of a batch system) calls `stop`, which lets the work end in order; a second one
/// ends the program. Nothing that was written is lost by either.
pub(crate) fn on_interrupt(runtime: &Handle, told: &'static str, stop: impl Fn() + Send + 'static) {
    runtime.spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
        for again in [false, true] {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if again {
                end_now();
            }
            stop();
            complain(&format!("{told}; interrupt again to stop at once"));
        }
    });
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "the user asked twice; what is committed and journaled is safe")]
fn end_now() -> ! {
    std::process::exit(i32::from(INTERRUPTED))
}

/// What a command returns: its exit code, or why it could not do its work.
pub(crate) type Done = Result<ExitCode, Failure>;

/// Why a command could not do its work.
pub(crate) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// A failure with its exit code; `hint` says what helps.
    pub(crate) fn new(code: u8, message: impl std::fmt::Display, hint: Option<&str>) -> Self {
        let mut text = format!("error: {message}");
        if let Some(hint) = hint {
            text.push_str("\n  help: ");
            text.push_str(hint);
        }
        Self { code, text }
    }

    /// A mistake in usage or configuration.
    pub(crate) fn config(message: impl std::fmt::Display) -> Self {
        Self::new(CONFIG, message, None)
    }

    /// Diagnostics with their source lines.
    pub(crate) fn diagnostic(diagnostic: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { code: CONFIG, text: format!("{:?}", miette::Report::new(diagnostic)).trim_end().to_owned() }
    }

    /// Tells the user and gives the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        complain(&self.text);
        ExitCode::from(self.code)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(FAILED, &error, error.hint().as_deref())
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        let mut text = format!("error: {error}");
        append(&mut text, &error);
        Self { code: code_of(error.class()), text }
    }
}

impl From<potstill_data::DataError> for Failure {
    fn from(error: potstill_data::DataError) -> Self {
        Self::new(FAILED, &error, error.hint().as_deref())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::UnknownStage { ref near, .. } => {
                let hint = near.as_ref().map(|near| format!("did you mean `{near}`?"));
                Self::new(CONFIG, &error, hint.as_deref())
            }
            RunError::Identity(ref failures) | RunError::NotReady(ref failures) => {
                let text = std::iter::once(format!("error: {error}")).chain(failures.iter().map(failure)).collect::<Vec<_>>().join("\n");
                let code = failures.iter().map(|f| code_of(f.error.class())).find(|code| *code != CONFIG).unwrap_or(CONFIG);
                Self { code, text }
            }
            RunError::Store(error) => error.into(),
        }
    }
}

/// The exit code of a run.
pub(crate) fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Done => 0,
        Outcome::Failed => FAILED,
        Outcome::Config => CONFIG,
        Outcome::Temporary => TEMPORARY,
        Outcome::Cancelled => INTERRUPTED,
    }
}

fn code_of(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Failed => FAILED,
        ErrorClass::Config => CONFIG,
        ErrorClass::Temporary => TEMPORARY,
        ErrorClass::Cancelled => INTERRUPTED,
    }
}

/// A stage's failure with its causes and hint, as lines.
pub(crate) fn failure(failure: &StageFailure) -> String {
    let mut text = format!("stage `{}` failed: {}", failure.stage, failure.error);
    append(&mut text, &failure.error);
    text
}

fn append(text: &mut String, error: &StageError) {
    for cause in error.causes() {
        text.push_str("\n  caused by: ");
        text.push_str(&cause);
    }
    if let Some(hint) = error.hint_text() {
        text.push_str("\n  help: ");
        text.push_str(hint);
    }
}
