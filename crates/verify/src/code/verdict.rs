//! From tests and a program to a judgement.

use serde::Deserialize;

use super::Workshop;
use super::checker::Compare;
use super::extract::{Program, defines};
use super::options::{CodeOptions, Language};
use super::tests_json::{Checking, Form, TestSet};
use super::tools::{NotReady, Ready, complaint};
use crate::read::shown;
use crate::sandbox::{End, Limits, Outcome, SandboxError};
use crate::{Judgement, Proof};

/// The function that the tests call, if they name one.
pub(super) fn entry(tests: &TestSet) -> Option<&str> {
    match &tests.form {
        Form::Streams(_) => None,
        Form::Calls { name, .. } => Some(name),
        Form::Asserts { entry, .. } => entry.as_deref(),
    }
}

/// One judgement at work.
struct Bench<'a> {
    workshop: &'a Workshop,
    limits: Limits,
    compare: Compare,
}

/// Runs the program against the tests.
pub(super) fn judge(workshop: &Workshop, options: &CodeOptions, tests: &TestSet, program: &Program, prompt: &str) -> Judgement {
    let limits = options.limits(tests.time_limit_s.unwrap_or(options.time_limit_s), tests.memory_mb.unwrap_or(options.memory_mb));
    let checker = match &tests.checker {
        Some(Checking::Named(checker)) => *checker,
        _ => options.checker,
    };
    let bench = Bench { workshop, limits, compare: Compare { checker, absolute: options.absolute, relative: options.relative } };
    let language = program.language.unwrap_or(Language::Python);
    let judged = match &tests.form {
        Form::Streams(cases) => bench.streams(cases, language, &program.source, tests.checker.as_ref()),
        Form::Calls { name, cases } => bench.calls(name, cases, language, &program.source),
        Form::Asserts { .. } if language != Language::Python => {
            Ok(Judgement::undecided(Proof::Unavailable, format!("tests that are Python code cannot test {}", language.name())))
        }
        Form::Asserts { prelude, entry, steps } => bench.asserts(prelude, entry.as_deref(), steps, &program.source, prompt),
    };
    let mut judgement = judged.unwrap_or_else(|not_ready| match not_ready {
        NotReady::Refused(why) => Judgement::incorrect(Proof::Executed, why),
        NotReady::Missing(what) => Judgement::undecided(Proof::Unavailable, what),
        NotReady::Broken(error) => Judgement::undecided(Proof::Unavailable, error.to_string()),
    });
    judgement.note.push_str(&format!("; sandbox {}", workshop.sandbox.level()));
    judgement
}

impl From<SandboxError> for NotReady {
    fn from(error: SandboxError) -> Self {
        Self::Broken(error)
    }
}

fn passed(count: usize, what: &str) -> Judgement {
    Judgement::correct(Proof::Executed, format!("{count} of {count} {what}s passed"))
}

fn failed(number: usize, count: usize, what: &str, why: &str) -> Judgement {
    Judgement::incorrect(Proof::Executed, format!("{what} {number} of {count}: {why}"))
}

impl Bench<'_> {
    /// One run for each case, up to the first that fails.
    fn streams(
        &self,
        cases: &[(String, String)],
        language: Language,
        source: &str,
        checking: Option<&Checking>,
    ) -> Result<Judgement, NotReady> {
        let Workshop { sandbox, tools } = self.workshop;
        let ready = tools.script(sandbox, language, source, self.limits)?;
        let checker = match checking {
            Some(Checking::Program { language, source }) => {
                Some(tools.script(sandbox, *language, source, self.limits).map_err(|e| match e {
                    NotReady::Refused(why) => NotReady::Missing(format!("the problem's checker {why}")),
                    other => other,
                })?)
            }
            _ => None,
        };
        for (at, (input, expected)) in cases.iter().enumerate() {
            let mut job = ready.job();
            job.stdin = input.as_bytes().to_vec();
            let outcome = sandbox.run(job)?;
            let wrong = match (&outcome.end, std::str::from_utf8(&outcome.stdout), &checker) {
                (End::Exited(0), Ok(found), None) => self.compare.text(expected, found),
                (End::Exited(0), Ok(found), Some(checker)) => self.ask(checker, input, found, expected)?,
                (End::Exited(0), Err(error), _) => Some(format!("the output is not UTF-8 at byte {}", error.valid_up_to())),
                _ => Some(complaint(&outcome)),
            };
            if let Some(why) = wrong {
                return Ok(failed(at + 1, cases.len(), "case", &why));
            }
        }
        Ok(passed(cases.len(), "case"))
    }

    /// The problem's own checker, in a box of its own: status 0 accepts, 1 and 2 reject.
    fn ask(&self, checker: &Ready, input: &str, found: &str, expected: &str) -> Result<Option<String>, NotReady> {
        let files = [("input.txt", input), ("output.txt", found), ("expected.txt", expected)];
        let files = files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect();
        let outcome = self.workshop.sandbox.run(checker.job_with(&["input.txt", "output.txt", "expected.txt"], files))?;
        match outcome.end {
            End::Exited(0) => Ok(None),
            End::Exited(1 | 2) => {
                Ok(Some(format!("the checker rejects it: {}", shown(String::from_utf8_lossy(&outcome.stderr).trim(), 80))))
            }
            _ => Err(NotReady::Missing(format!("the problem's checker failed: {}", complaint(&outcome)))),
        }
    }

    /// One run for all calls.
    fn calls(&self, name: &str, cases: &[(String, String)], language: Language, source: &str) -> Result<Judgement, NotReady> {
        if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
            return Ok(Judgement::bad_gold(format!("`{}` is no name of a function", shown(name, 40))));
        }
        let args: Vec<&str> = cases.iter().map(|(args, _)| args.as_str()).collect();
        let spec = format!("{{\"name\":\"{name}\",\"calls\":[{}]}}", args.join(","));
        let Workshop { sandbox, tools } = self.workshop;
        let mut job = tools.calls(sandbox, language, source, &spec, self.limits)?.job();
        job.results = true;
        let outcome = sandbox.run(job)?;
        let Ok(results) = std::str::from_utf8(&outcome.results) else {
            return Ok(Judgement::incorrect(Proof::Executed, "what the program returned is not UTF-8"));
        };
        let mut results = results.lines();
        for (at, (_, expected)) in cases.iter().enumerate() {
            let wrong = match results.next() {
                Some(result) => self.returned(expected, result).err(),
                None => Some(complaint(&outcome)),
            };
            if let Some(why) = wrong {
                return Ok(failed(at + 1, cases.len(), "call", &why));
            }
        }
        Ok(passed(cases.len(), "call"))
    }

    fn returned(&self, expected: &str, result: &str) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Returned<'a> {
            #[serde(borrow)]
            value: Option<&'a serde_json::value::RawValue>,
            error: Option<String>,
        }
        match serde_json::from_str::<Returned<'_>>(result) {
            Ok(Returned { value: Some(value), .. }) => self.compare.value(expected, value.get()),
            Ok(Returned { error: Some(error), .. }) => Err(shown(&error, 100)),
            // `null` is a value too.
            Ok(Returned { value: None, error: None }) => self.compare.value(expected, "null"),
            Err(_) => Err(format!("the value `{}` cannot be compared", shown(result, 40))),
        }
    }

    /// The tests in one box, the program in another.
    fn asserts(&self, prelude: &str, entry: Option<&str>, steps: &[String], source: &str, prompt: &str) -> Result<Judgement, NotReady> {
        #[derive(Deserialize)]
        struct Told {
            passed: usize,
            total: usize,
            note: String,
            broken: bool,
        }
        let source = completed(source, if prelude.is_empty() { prompt } else { prelude }, entry);
        let spec = serde_json::json!({ "prelude": prelude, "entry": entry, "steps": steps }).to_string();
        let Workshop { sandbox, tools } = self.workshop;
        let (program, judge) = tools.pair(sandbox, &source, &spec, self.limits)?;
        let (ours, theirs) = channel().map_err(|e| SandboxError::Broken(format!("socket: {e}")))?;
        let (mut program, mut judge) = (program.job(), judge.job());
        (program.channel, judge.channel, judge.results) = (Some(ours), Some(theirs), true);
        let (ran, judged) = sandbox.run_pair(program, judge)?;
        let told = serde_json::from_slice::<Told>(&judged.results);
        Ok(match told {
            Ok(told) if told.broken => Judgement::bad_gold(format!("the problem's tests cannot be run: {}", told.note)),
            Ok(told) if told.passed == told.total && told.total == steps.len() => passed(steps.len(), "test"),
            Ok(told) => failed(told.passed + 1, told.total, "test", &why(&told.note, &ran)),
            Err(_) if judged.end == End::Exited(0) => Judgement::bad_gold("the problem's tests ended without a result"),
            Err(_) => failed(1, steps.len(), "test", &why("", if ran.end == End::Exited(0) { &judged } else { &ran })),
        })
    }
}

/// What the tests said, or how the program ended where that is the reason.
fn why(note: &str, ran: &Outcome) -> String {
    match ran.end {
        End::Exited(0) if !note.is_empty() => shown(note, 160),
        // Killed because the tests are done with it.
        End::Signaled(_) if !note.is_empty() && !note.contains("ended before") => shown(note, 160),
        _ => complaint(ran),
    }
}

/// A reply may be the whole function or only what follows the problem's signature. Imports and helpers of the problem hold
/// for both.
fn completed(source: &str, problem: &str, entry: Option<&str>) -> String {
    let Some(entry) = entry.filter(|entry| defines(problem, entry)) else { return source.to_owned() };
    if defines(source, entry) {
        format!("{}\n\n{source}", problem.trim_end())
    } else {
        format!("{}\n{source}", problem.trim_end_matches('\n'))
    }
}

fn channel() -> std::io::Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)> {
    let (one, other) = std::os::unix::net::UnixStream::pair()?;
    Ok((one.into(), other.into()))
}
