//! Running programs that nobody trusts.
//!
//! A program runs in a *box*: a folder of its own that vanishes with it, limits on time, CPU, memory, output, disk and
//! processes, no network, no sight of the machine. How strong the box is depends on what the machine allows; the level is
//! probed at the start by trying what must be denied, and every outcome can name it:
//!
//! | | [`Level::L1`] | [`Level::L2`] | [`Level::L3`] |
//! |---|---|---|---|
//! | reads | only what is mounted | Landlock, `/proc` too | open |
//! | writes | sized tmpfs | box only (Landlock), watched size | open |
//! | network | no socket call, empty namespace | no socket call (seccomp) | open |
//! | processes | pid namespace, seccomp | seccomp, own uid where root | limits only |
//! | memory | control group, address space | control group, address space | address space |
//! | survivors | the pid namespace dies whole | own uid swept, subreaper | leak |
//!
//! Forking a program with many threads is safe only for code that allocates nothing, so boxes are made by small helper
//! processes, each with one thread: the program runs itself again with a hidden argument ([`Launcher`]) and the first
//! thing that process does is [`serve`].
//!
//! What a box cannot stop: programs that use up CPU within their limit, and holes of the kernel itself.

mod cgroup;
mod confine;
mod fence;
mod helper;
mod host;
mod landlock;
mod memfd;
mod pool;
mod seccomp;
mod supervise;
mod wire;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use helper::serve;
pub use pool::Sandbox;

/// How strong a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Namespaces, seccomp, resource limits and, where there is one, a control group.
    L1,
    /// Landlock, seccomp, resource limits and, where root, a uid of its own.
    L2,
    /// Resource limits alone: no protection against a hostile program.
    L3,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
        })
    }
}

/// How this program starts itself as a helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// The executable.
    pub program: PathBuf,
    /// The arguments that make it call [`serve`].
    pub args: Vec<String>,
}

/// What boxes to keep.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How helpers are started.
    pub launcher: Launcher,
    /// The only level to use; otherwise the strongest of L1 and L2 that works here.
    pub level: Option<Level>,
    /// How many programs may run at once.
    pub boxes: usize,
    /// Files and folders to read besides the system's programs and libraries, such as an interpreter's folder.
    pub readable: Vec<PathBuf>,
    /// Where working folders are made.
    pub scratch: PathBuf,
}

/// What one program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time by the clock, in milliseconds.
    pub wall_ms: u64,
    /// Processor time of each process, in milliseconds; the kernel counts whole seconds, rounded up.
    pub cpu_ms: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Whether the address space is limited to `memory` too. Engines that reserve address space generously (V8) need `false`.
    pub address_space: bool,
    /// Stack of the main thread in bytes.
    pub stack: u64,
    /// Bytes of standard output; as many again for results. Standard error is cut at 64 KiB.
    pub output: u64,
    /// Bytes of files in the box.
    pub disk: u64,
    /// Processes: at 1 the program cannot fork.
    pub processes: u32,
    /// Threads over all processes.
    pub threads: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_ms: 10_000,
            cpu_ms: 10_000,
            memory: 1 << 30,
            address_space: true,
            stack: 64 << 20,
            output: 16 << 20,
            disk: 64 << 20,
            processes: 1,
            threads: 32,
        }
    }
}

/// A program to run in a box.
#[derive(Debug, Default)]
pub struct Job {
    /// The program by its absolute path, or relative to the box, and its arguments.
    pub argv: Vec<String>,
    /// Files that lie in the box at the start, by their plain name.
    pub files: Vec<(String, Vec<u8>)>,
    /// What it reads on standard input.
    pub stdin: Vec<u8>,
    /// What it may use.
    pub limits: Limits,
    /// Whether it gets a private channel for results, as descriptor 3.
    pub results: bool,
    /// A descriptor of its own, the next one from 3 on that is free: the channel to another box.
    pub channel: Option<OwnedFd>,
    /// A file of the box to bring back if the program ends with status 0.
    pub collect: Option<String>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Its time by the clock was up.
    WallLimit,
    /// Its processor time was up.
    CpuLimit,
    /// It took more memory than it may.
    MemoryLimit,
    /// It wrote more output than it may.
    OutputLimit,
    /// It wrote more files than it may.
    DiskLimit,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signaled(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
            Self::WallLimit => f.write_str("time limit reached"),
            Self::CpuLimit => f.write_str("processor time limit reached"),
            Self::MemoryLimit => f.write_str("memory limit reached"),
            Self::OutputLimit => f.write_str("output limit reached"),
            Self::DiskLimit => f.write_str("file limit reached"),
        }
    }
}

/// What came of a program.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Standard output, as far as the limit.
    pub stdout: Vec<u8>,
    /// The first 64 KiB of standard error.
    pub stderr: Vec<u8>,
    /// What it wrote to the private channel.
    pub results: Vec<u8>,
    /// The collected file.
    pub collected: Option<Vec<u8>>,
    /// Time by the clock.
    pub wall: Duration,
    /// Processor time of the program and its children.
    pub cpu: Duration,
}

/// Why no program could be run.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// No level works on this machine.
    #[error("no sandbox works on this machine: {}", .0.join("; "))]
    NoLevel(
        /// The levels that were tried, each with its reason.
        Vec<String>,
    ),
    /// The helper process broke.
    #[error("the sandbox failed: {0}")]
    Broken(
        /// What happened.
        String,
    ),
}

impl SandboxError {
    fn broken(what: &str, error: impl fmt::Display) -> Self {
        Self::Broken(format!("{what}: {error}"))
    }
}
