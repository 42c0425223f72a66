//! Interpreters and compilers, and how programs are handed to them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::options::{CodeOptions, Language};
use crate::sandbox::{End, Job, Limits, Outcome, Sandbox, SandboxError};

const CALLS_JS: &str = include_str!("harness/calls.js");

/// What runs in Python around a program.
#[derive(Debug, Clone, Copy)]
enum Harness {
    /// The program reads standard input.
    Script,
    /// A function of the program is called.
    Calls,
    /// The program answers a judge in another box.
    Agent,
    /// That judge.
    Judge,
}

impl Harness {
    /// Its text. One file, for importing others costs time at each start.
    fn source(self) -> String {
        let data = include_str!("harness/data.py");
        let codec = include_str!("harness/codec.py");
        let prepare = include_str!("harness/prepare.py");
        match self {
            Self::Script => [prepare, include_str!("harness/script.py")].concat(),
            Self::Calls => [data, prepare, include_str!("harness/calls.py")].concat(),
            Self::Agent => [data, codec, prepare, include_str!("harness/agent.py")].concat(),
            Self::Judge => [data, codec, include_str!("harness/judge.py")].concat(),
        }
    }
}

/// Where the system's tools lie. The library reads no environment, so not what `PATH` says.
const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// A tool, or why there is none.
type Tool = Result<PathBuf, String>;

/// The tools of this machine.
#[derive(Debug)]
pub(super) struct Tools {
    python: Tool,
    cpp: Tool,
    javascript: Tool,
    /// Each harness as this interpreter's byte code, made when it is first needed.
    harnesses: [OnceLock<Vec<u8>>; 4],
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

fn tool(what: &str, option: &str, named: Option<&PathBuf>, names: &[&str]) -> Tool {
    match named {
        Some(path) if path.is_absolute() && path.is_file() => Ok(path.clone()),
        Some(path) => {
            Err(format!("`code.{option}` is `{}`, which is no absolute path of a file; without it the system's is used", path.display()))
        }
        None => {
            let places = names.iter().flat_map(|name| FOLDERS.map(|folder| Path::new(folder).join(name)));
            let missing = || format!("no {what} on this machine (looked in {}); name one as `code.{option}`", FOLDERS.join(" and "));
            places.into_iter().find(|path| path.is_file()).ok_or_else(missing)
        }
    }
}

impl Tools {
    /// Looks for the tools that the options do not name.
    pub(super) fn find(options: &CodeOptions) -> Self {
        Self {
            python: tool("Python interpreter", "python", options.python.as_ref(), &["python3"]),
            cpp: tool("C++ compiler", "cpp", options.cpp.as_ref(), &["g++", "c++", "clang++"]),
            javascript: tool("JavaScript interpreter", "javascript", options.javascript.as_ref(), &["node", "nodejs"]),
            harnesses: Default::default(),
        }
    }

    /// Each language and its tool, where there is one.
    pub(super) fn each(&self) -> [(&'static str, Option<&Path>); 3] {
        [(Language::Python, &self.python), (Language::Cpp, &self.cpp), (Language::JavaScript, &self.javascript)]
            .map(|(language, tool)| (language.name(), tool.as_deref().ok()))
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
        let tool = match language {
            Language::Python => &self.python,
            Language::Cpp => &self.cpp,
            Language::JavaScript => &self.javascript,
        };
        tool.as_ref().map(|path| path.display().to_string()).map_err(Clone::clone)
    }

    /// A program that reads standard input, ready to run.
    pub(super) fn script(&self, sandbox: &Sandbox, language: Language, source: &str, limits: Limits) -> Result<Ready, NotReady> {
        let tool = self.path(language).map_err(NotReady::Missing)?;
        Ok(match language {
            Language::Python => self.python(sandbox, tool, Harness::Script, ("solution.py", source), limits)?,
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
    pub(super) fn calls(&self, sandbox: &Sandbox, language: Language, source: &str, spec: &str, limits: Limits) -> Result<Ready, NotReady> {
        let missing = |language: Language| {
            NotReady::Missing(format!("calls of a function are for Python and JavaScript, not for {}", language.name()))
        };
        if language == Language::Cpp {
            return Err(missing(language));
        }
        let tool = self.path(language).map_err(NotReady::Missing)?;
        let spec = ("calls.json", spec);
        if language == Language::JavaScript {
            let files = named([("run.js", CALLS_JS), ("solution.js", source), spec]);
            return Ok(Ready { argv: vec![tool, "run.js".to_owned()], files, limits: engine(limits) });
        }
        let mut ready = self.python(sandbox, tool, Harness::Calls, ("solution.py", source), limits)?;
        ready.files.extend(named([spec]));
        Ok(ready)
    }

    /// A Python program that answers a judge in another box, and that judge with the tests.
    pub(super) fn pair(&self, sandbox: &Sandbox, source: &str, spec: &str, limits: Limits) -> Result<(Ready, Ready), NotReady> {
        let tool = self.path(Language::Python).map_err(NotReady::Missing)?;
        let program = self.python(sandbox, tool.clone(), Harness::Agent, ("solution.py", source), limits)?;
        // The judge waits for the program and must outlive it to tell why.
        let limits = Limits { wall_ms: limits.wall_ms + 2_000, ..limits };
        let judge = self.python(sandbox, tool, Harness::Judge, ("tests.json", spec), limits)?;
        Ok((program, judge))
    }

    /// A harness and what it works on.
    fn python(&self, sandbox: &Sandbox, tool: String, harness: Harness, work: (&str, &str), limits: Limits) -> Result<Ready, NotReady> {
        let slot = &self.harnesses[harness as usize];
        let code = match slot.get() {
            Some(code) => code,
            // Two threads may both make it, which does no harm; a failure is not kept.
            None => {
                let made = byte_code(sandbox, &tool, harness.source())?;
                slot.get_or_init(|| made)
            }
        };
        let mut files = named([work]);
        files.push((HARNESS.to_owned(), code.clone()));
        Ok(Ready { argv: python_argv(&tool, &[HARNESS]), files, limits })
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

fn named<const N: usize>(files: [(&str, &str); N]) -> Vec<(String, Vec<u8>)> {
    files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect()
}

/// Python without the user's and the site's settings, which cost time at each start.
fn python_argv(tool: &str, args: &[&str]) -> Vec<String> {
    [tool, "-S", "-s"].iter().chain(args).map(|&arg| arg.to_owned()).collect()
}

/// The file that Python starts.
const HARNESS: &str = "run.pyc";

/// Python text as byte code of this interpreter, made in a box: reading the text takes longer than most programs run.
fn byte_code(sandbox: &Sandbox, tool: &str, source: String) -> Result<Vec<u8>, NotReady> {
    let command = format!(
        "import py_compile, sys; sys.version_info[0] == 3 or sys.exit('it is Python %d.%d' % sys.version_info[:2]); \
         py_compile.compile('run.py', '{HARNESS}', doraise=True)"
    );
    let files = vec![("run.py".to_owned(), source.into_bytes())];
    let job = Job { argv: python_argv(tool, &["-c", &command]), files, collect: Some(HARNESS.to_owned()), ..Job::default() };
    let outcome = sandbox.run(job).map_err(NotReady::Broken)?;
    outcome.collected.clone().filter(|code| !code.is_empty()).ok_or_else(|| {
        let why = complaint(&outcome);
        NotReady::Missing(format!("`{tool}` does not work as a Python 3 interpreter ({why}); name another one as `code.python`"))
    })
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
        None if outcome.end == End::Exited(0) => {
            Err(NotReady::Missing(format!("`{tool}` does not work as a C++ compiler: it makes no program; name another one as `code.cpp`")))
        }
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
