//! `code`: the program in a reply is run against the problem's tests, in a sandbox.
//!
//! What the tests expect never enters the box in which the program runs: outputs are compared out here, and tests that are
//! code themselves run in a box of their own, which asks the program's box for values. So a program that ends early,
//! prints "passed", patches a module or looks for the expected output gains nothing by it.

mod checker;
mod extract;
mod options;
mod tests_json;
mod tools;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use checker::Checker;
pub use extract::{Program, program};
pub use options::{CodeOptions, Language};

use crate::sandbox::{Level, Sandbox, SandboxError, Settings};
use crate::{Case, Judgement, NoAnswer, Proof, Verifier, VerifyError, VerifyOptions};
use tools::Tools;

/// Runs programs.
struct CodeVerifier {
    options: CodeOptions,
    no_answer: NoAnswer,
    /// Made with the first case, so that a pipeline without programs starts no helper.
    workshop: OnceLock<Result<Workshop, String>>,
}

/// The sandbox with the tools in it.
struct Workshop {
    sandbox: Sandbox,
    tools: Tools,
}

/// Builds the verifier.
pub(crate) fn build(options: &VerifyOptions) -> Result<Box<dyn Verifier>, VerifyError> {
    options.code.check()?;
    Ok(Box::new(CodeVerifier { options: options.code.clone(), no_answer: options.no_answer, workshop: OnceLock::new() }))
}

/// Starts the sandbox that these options ask for.
///
/// # Errors
/// [`SandboxError::NoLevel`] with a reason for each level, where untrusted programs cannot be run safely here and the
/// options do not allow them to be run unsafely.
pub fn sandbox(options: &CodeOptions) -> Result<Sandbox, SandboxError> {
    start(options, &Tools::find(options))
}

fn start(options: &CodeOptions, tools: &Tools) -> Result<Sandbox, SandboxError> {
    let Some(launcher) = options.launcher.clone() else {
        return Err(SandboxError::NoLevel(vec!["this program does not say how to start its helper (`code.launcher`)".to_owned()]));
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Settings {
        launcher,
        level: options.level,
        // Tests that are code take a box beside the program's.
        boxes: threads * 2,
        readable: tools.folders(),
        scratch: PathBuf::from("/tmp"),
    };
    match Sandbox::start(settings.clone()) {
        Err(SandboxError::NoLevel(reasons)) if options.unsafe_no_sandbox && options.level.is_none() => {
            Sandbox::start(Settings { level: Some(Level::L3), ..settings }).map_err(|error| match error {
                SandboxError::NoLevel(last) => SandboxError::NoLevel(reasons.into_iter().chain(last).collect()),
                other => other,
            })
        }
        started => started,
    }
}

/// The languages that programs may be in, and the tool that runs each on this machine.
#[must_use]
pub fn tools(options: &CodeOptions) -> Vec<(&'static str, Option<PathBuf>)> {
    Tools::find(options).each().into_iter().map(|(language, tool)| (language, tool.map(Path::to_owned))).collect()
}

impl CodeVerifier {
    fn workshop(&self) -> Result<&Workshop, Judgement> {
        let made = self.workshop.get_or_init(|| {
            let tools = Tools::find(&self.options);
            start(&self.options, &tools).map(|sandbox| Workshop { sandbox, tools }).map_err(|e| e.to_string())
        });
        made.as_ref().map_err(|reason| {
            let hint = "`unsafe_no_sandbox` runs programs without protection";
            Judgement::undecided(Proof::Unavailable, format!("{reason}; {hint}"))
        })
    }
}

impl Verifier for CodeVerifier {
    fn name(&self) -> &'static str {
        "code"
    }

    fn verify(&self, case: &Case<'_>) -> Judgement {
        let Some(tests) = case.tests.filter(|tests| !tests.trim().is_empty()) else {
            return Judgement::bad_gold("the problem has no tests: its column `tests` is empty or was not named");
        };
        let tests = match tests_json::read(tests) {
            Ok(tests) => tests,
            Err(reason) => return Judgement::bad_gold(reason),
        };
        let language = tests.language.or(self.options.language);
        let Some(found) = extract::program(case.response, language, verdict::entry(&tests)) else {
            return self.no_answer.judgement();
        };
        let judgement = match self.workshop() {
            Ok(workshop) => verdict::judge(workshop, &self.options, &tests, &found, case.prompt),
            Err(judgement) => judgement,
        };
        judgement.of(&found.source)
    }
}
