//! Settings of the verifier `code`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checker::Checker;
use crate::VerifyError;
use crate::sandbox::{Launcher, Level, Limits};

/// Settings of the verifier `code`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CodeOptions {
    /// The programming language of answers; without it what the tests name, the code fence says, or Python.
    pub language: Option<Language>,
    /// How output is compared with what the tests expect; tests may name a checker of their own.
    pub checker: Checker,
    /// The largest absolute difference of numbers that the checker `floats` allows.
    pub absolute: f64,
    /// The largest relative difference of numbers that the checker `floats` allows.
    pub relative: f64,
    /// Seconds by the clock for each case that reads standard input, or for all calls and asserts of a problem together. Tests may set their own.
    pub time_limit_s: f64,
    /// Memory of a program, in MiB.
    pub memory_mb: u64,
    /// Output of a program, in MiB.
    pub output_mb: u64,
    /// Files of a program, in MiB.
    pub disk_mb: u64,
    /// Processes of a program; at 1 it cannot start others.
    pub processes: u32,
    /// The only sandbox level to use; otherwise the strongest of L1 and L2 that works on this machine.
    pub level: Option<Level>,
    /// Run untrusted programs with resource limits alone (L3) where the machine allows no sandbox, or where `level = "l3"`. They can then read, change and send anything that this user can.
    pub unsafe_no_sandbox: bool,
    /// The Python interpreter; otherwise the system's.
    pub python: Option<PathBuf>,
    /// The C++ compiler; otherwise the system's.
    pub cpp: Option<PathBuf>,
    /// The JavaScript engine (Node.js); otherwise the system's.
    pub javascript: Option<PathBuf>,
    /// How this program starts itself as a helper of the sandbox; the program's own business, not a file's.
    #[serde(skip)]
    #[schemars(skip)]
    pub launcher: Option<Launcher>,
}

impl Default for CodeOptions {
    fn default() -> Self {
        Self {
            language: None,
            checker: Checker::default(),
            absolute: 1e-6,
            relative: 1e-6,
            time_limit_s: 10.0,
            memory_mb: 1024,
            output_mb: 16,
            disk_mb: 64,
            processes: 1,
            level: None,
            unsafe_no_sandbox: false,
            python: None,
            cpp: None,
            javascript: None,
            launcher: None,
        }
    }
}

/// The programming language of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Python 3.
    Python,
    /// C++17.
    #[serde(alias = "c++")]
    Cpp,
    /// JavaScript (Node.js).
    #[serde(alias = "js")]
    JavaScript,
}

impl Language {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::Cpp => "C++",
            Self::JavaScript => "JavaScript",
        }
    }

    /// The language that a code fence or a data set calls `tag`.
    pub fn of_tag(tag: &str) -> Option<Self> {
        match tag.to_ascii_lowercase().as_str() {
            "python" | "py" | "python3" | "py3" | "pypy3" => Some(Self::Python),
            "cpp" | "c++" | "cc" | "cxx" | "c++17" | "c++20" => Some(Self::Cpp),
            "javascript" | "js" | "node" | "nodejs" | "mjs" => Some(Self::JavaScript),
            _ => None,
        }
    }
}

/// The shortest and the longest time limit, in seconds.
pub(super) const TIME: std::ops::RangeInclusive<f64> = 0.05..=600.0;
/// The smallest and the largest memory limit, in MiB.
pub(super) const MEMORY: std::ops::RangeInclusive<u64> = 32..=65_536;

impl CodeOptions {
    /// Says what is wrong with the settings.
    pub(super) fn check(&self) -> Result<(), VerifyError> {
        let bad = |option, found: String, limit: String| Err(VerifyError::BadOption { verifier: "code", option, found, limit });
        if !TIME.contains(&self.time_limit_s) {
            return bad("code.time_limit_s", self.time_limit_s.to_string(), between(&TIME));
        }
        if !MEMORY.contains(&self.memory_mb) {
            return bad("code.memory_mb", self.memory_mb.to_string(), between(&MEMORY));
        }
        for (option, value) in [("code.output_mb", self.output_mb), ("code.disk_mb", self.disk_mb)] {
            if !(1..=4096).contains(&value) {
                return bad(option, value.to_string(), between(&(1..=4096)));
            }
        }
        for (option, value) in [("code.absolute", self.absolute), ("code.relative", self.relative)] {
            if !(0.0..1.0).contains(&value) {
                return bad(option, value.to_string(), "must be at least 0 and below 1".to_owned());
            }
        }
        if !(1..=64).contains(&self.processes) {
            return bad("code.processes", self.processes.to_string(), between(&(1..=64)));
        }
        if self.level == Some(Level::L3) && !self.unsafe_no_sandbox {
            return bad("code.level", "l3".to_owned(), "L3 is no sandbox: it needs `unsafe_no_sandbox = true`".to_owned());
        }
        Ok(())
    }

    /// The limits of a program.
    pub(super) fn limits(&self, seconds: f64, memory_mb: u64) -> Limits {
        // The checks above keep both far inside the range.
        let wall_ms = (seconds * 1000.0).ceil() as u64;
        Limits {
            wall_ms,
            cpu_ms: wall_ms,
            memory: memory_mb << 20,
            output: self.output_mb << 20,
            disk: self.disk_mb << 20,
            processes: self.processes,
            ..Limits::default()
        }
    }
}

/// A range in words.
pub(super) fn between<T: std::fmt::Display>(range: &std::ops::RangeInclusive<T>) -> String {
    format!("must be from {} to {}", range.start(), range.end())
}
