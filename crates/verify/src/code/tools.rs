//! Interpreters and compilers, and how programs are handed to them.

use std::path::{Path, PathBuf};

use super::options::{CodeOptions, Language};
use crate::sandbox::{Job, Limits, Outcome, Sandbox, SandboxError};

const CODEC: &str = include_str!("harness/codec.py");
const AGENT: &str = include_str!("harness/agent.py");
const JUDGE: &str = include_str!("harness/judge.py");
const PREPARE: &str = include_str!("harness/prepare.py");
const SCRIPT: &str = include_str!("harness/script.py");
const CALLS: &str = include_str!("harness/calls.py");
const CALLS_JS: &str = include_str!("harness/calls.js");

/// Where the system's tools lie. The library reads no environment, so not what `PATH` says.
const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// The tools of this machine.
#[derive(Debug)]
pub(super) struct Tools {
    python: Option<PathBuf>,
    cpp: Option<PathBuf>,
    javascript: Option<PathBuf>,
}

/// A program ready to be run any number of times.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    argv: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    limits: Limits,
}

/// Why a program is not ready.
pub(super) enum NotReady {
    /// The compiler refuses it.
    Refused(String),
    /// The tool is not on this machine.
    Missing(String),
    /// The sandbox failed.
    Broken(SandboxError),
}

impl Tools {
    /// Looks for the tools that the options do not name.
    pub(super) fn find(options: &CodeOptions) -> Self {
        let find = |own: &Option<PathBuf>, names: &[&str]| match own {
            Some(path) => Some(path.clone()).filter(|path| path.is_file()),
            None => names.iter().flat_map(|name| FOLDERS.map(|folder| Path::new(folder).join(name))).find(|path| path.is_file()),
        };
        Self {
            python: find(&options.python, &["python3"]),
            cpp: find(&options.cpp, &["g++", "c++", "clang++"]),
            javascript: find(&options.javascript, &["node", "nodejs"]),
        }
    }

    /// Each language and its tool, where there is one.
    pub(super) fn each(&self) -> [(&'static str, Option<&Path>); 3] {
        [(Language::Python, &self.python), (Language::Cpp, &self.cpp), (Language::JavaScript, &self.javascript)]
            .map(|(language, tool)| (language.name(), tool.as_deref()))
    }

    /// Folders that a tool outside the system's folders needs.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for tool in [&self.python, &self.cpp, &self.javascript].into_iter().flatten() {
            for path in [Some(tool.clone()), tool.canonicalize().ok()].into_iter().flatten() {
                // `PREFIX/bin/tool` has its libraries below `PREFIX`.
                if let Some(prefix) =
                    path.parent().and_then(Path::parent).filter(|prefix| !prefix.starts_with("/usr") && prefix.parent().is_some())
                {
                    folders.push(prefix.to_owned());
                }
            }
        }
        folders.sort();
        folders.dedup();
        folders
    }

    fn path(&self, language: Language) -> Result<String, String> {
        let (path, option) = match language {
            Language::Python => (&self.python, "python"),
            Language::Cpp => (&self.cpp, "cpp"),
            Language::JavaScript => (&self.javascript, "javascript"),
        };
        path.as_ref().map(|path| path.display().to_string()).ok_or_else(|| {
            let what = if language == Language::Cpp { "compiler" } else { "interpreter" };
            format!("no {} {what} on this machine (looked in {}); name one as `code.{option}`", language.name(), FOLDERS.join(" and "))
        })
    }

    /// A program that reads standard input, ready to run.
    pub(super) fn script(&self, sandbox: &Sandbox, language: Language, source: &str, limits: Limits) -> Result<Ready, NotReady> {
        let tool = self.path(language).map_err(NotReady::Missing)?;
        Ok(match language {
            Language::Python => {
                python(tool, vec![("run.py", format!("{}{PREPARE}{SCRIPT}", site())), ("solution.py", source.to_owned())], limits)
            }
            Language::JavaScript => {
                let files = vec![("solution.js".to_owned(), source.as_bytes().to_vec())];
                Ready { argv: vec![tool, "solution.js".to_owned()], files, limits: engine(limits) }
            }
            Language::Cpp => {
                let program = compile(sandbox, tool, source)?;
                let limits = Limits { stack: limits.memory.min(256 << 20), ..limits };
                Ready { argv: vec!["./program".to_owned()], files: vec![("program".to_owned(), program)], limits }
            }
        })
    }

    /// A program whose function is called with each list of arguments.
    pub(super) fn calls(&self, language: Language, source: &str, spec: String, limits: Limits) -> Result<Ready, NotReady> {
        let missing = |language: Language| {
            NotReady::Missing(format!("calls of a function are for Python and JavaScript, not for {}", language.name()))
        };
        if language == Language::Cpp {
            return Err(missing(language));
        }
        let tool = self.path(language).map_err(NotReady::Missing)?;
        let spec = ("calls.json", spec);
        Ok(match language {
            Language::Python => {
                let harness = format!("{}{PREPARE}{CALLS}", site());
                python(tool, vec![("run.py", harness), ("solution.py", source.to_owned()), spec], limits)
            }
            _ => {
                let files = [("run.js", CALLS_JS.to_owned()), ("solution.js", source.to_owned()), spec];
                Ready { argv: vec![tool, "run.js".to_owned()], files: named(files), limits: engine(limits) }
            }
        })
    }

    /// A Python program that answers a judge in another box, and that judge with the tests.
    pub(super) fn pair(&self, source: &str, spec: String, limits: Limits) -> Result<(Ready, Ready), NotReady> {
        let tool = self.path(Language::Python).map_err(NotReady::Missing)?;
        let agent = format!("{}{CODEC}{PREPARE}{AGENT}", site());
        let program = python(tool.clone(), vec![("run.py", agent), ("solution.py", source.to_owned())], limits);
        // The judge waits for the program and must outlive it to tell why.
        let limits = Limits { wall_ms: limits.wall_ms + 2_000, ..limits };
        let judge = python(tool, vec![("run.py", format!("{CODEC}{JUDGE}")), ("tests.json", spec)], limits);
        Ok((program, judge))
    }
}

impl Ready {
    /// A run of it.
    pub(super) fn job(&self) -> Job {
        Job { argv: self.argv.clone(), files: self.files.clone(), limits: self.limits, ..Job::default() }
    }

    /// A run of it with further arguments and files.
    pub(super) fn job_with(&self, args: &[&str], files: Vec<(String, Vec<u8>)>) -> Job {
        let mut job = self.job();
        job.argv.extend(args.iter().map(|&arg| arg.to_owned()));
        job.files.extend(files);
        job
    }
}

fn named<const N: usize>(files: [(&str, String); N]) -> Vec<(String, Vec<u8>)> {
    files.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect()
}

fn python(tool: String, files: Vec<(&str, String)>, limits: Limits) -> Ready {
    // Neither the user's nor the site's settings; both cost time at each start.
    let argv = [tool.as_str(), "-S", "-s", "run.py"].map(str::to_owned).to_vec();
    let files = files.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect();
    Ready { argv, files, limits }
}

/// Where the system keeps packages; said to Python by the harness, because it starts without its `site`.
fn site() -> String {
    "import sys as _s\nSITE_PACKAGES = [_s.prefix + '/lib/python3/dist-packages', _s.prefix + '/lib/python%d.%d/site-packages' % _s.version_info[:2]]\n"
        .to_owned()
}

/// V8 reserves far more address space than it uses and keeps a few threads.
fn engine(limits: Limits) -> Limits {
    Limits { address_space: false, threads: limits.threads.max(32), ..limits }
}

fn compile(sandbox: &Sandbox, tool: String, source: &str) -> Result<Vec<u8>, NotReady> {
    let argv = [tool.as_str(), "-std=gnu++17", "-O2", "-pipe", "-o", "program", "solution.cpp"].map(str::to_owned).to_vec();
    let limits = Limits { wall_ms: 60_000, cpu_ms: 60_000, memory: 2 << 30, disk: 128 << 20, processes: 16, ..Limits::default() };
    let files = vec![("solution.cpp".to_owned(), source.as_bytes().to_vec())];
    let outcome =
        sandbox.run(Job { argv, files, limits, collect: Some("program".to_owned()), ..Job::default() }).map_err(NotReady::Broken)?;
    match outcome.collected.filter(|program| !program.is_empty()) {
        Some(program) => Ok(program),
        None => {
            let stderr = String::from_utf8_lossy(&outcome.stderr);
            let line = stderr.lines().find(|line| line.contains("error")).unwrap_or_else(|| stderr.lines().next().unwrap_or(""));
            Err(NotReady::Refused(format!("does not compile ({}): {}", outcome.end, crate::read::shown(line, 120))))
        }
    }
}

/// What a failed program says last, for people.
pub(super) fn complaint(outcome: &Outcome) -> String {
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
    if last.is_empty() { outcome.end.to_string() } else { format!("{}: {}", outcome.end, crate::read::shown(last.trim(), 100)) }
}
