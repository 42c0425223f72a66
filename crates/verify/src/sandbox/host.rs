//! The program's side of one helper: start it, hand it programs, read what they write.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroup::Group;
use super::wire::{self, FromHelper, Killed, Report, Run, Start, ToHelper};
use super::{End, Job, Level, Limits, Outcome, SandboxError, Settings, memfd};

/// The most of standard error that is kept.
const MOST_STDERR: u64 = 64 << 10;
/// How long a helper may take beyond a program's time before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running helper with its box.
#[derive(Debug)]
pub(super) struct Helper {
    child: Child,
    socket: OwnedFd,
    group: Option<Group>,
    /// The working folder; removed with the helper.
    _scratch: tempfile::TempDir,
    /// What cannot be had here, for people.
    pub(super) notes: Vec<String>,
    /// Whether it still answers as it should.
    works: bool,
}

impl Helper {
    /// Starts a helper that keeps a box of `level`.
    pub(super) fn start(settings: &Settings, level: Level) -> Result<Self, String> {
        let wrong = |what: &str| {
            let what = what.to_owned();
            move |e: io::Error| format!("{what}: {e}")
        };
        let scratch = tempfile::Builder::new().prefix("potstill-box-").tempdir_in(&settings.scratch).map_err(wrong("working folder"))?;
        let canary = canary(scratch.path()).map_err(wrong("working folder"))?;
        let (socket, theirs) = wire::pair().map_err(wrong("socket"))?;
        let mut command = Command::new(&settings.launcher.program);
        command.args(&settings.launcher.args).env_clear().stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
        // A signal to our group (Ctrl-C) is not for the helper: it ends when we end or drop it.
        command.process_group(0).current_dir("/");
        let program = settings.launcher.program.display();
        let child = command.spawn().map_err(|e| format!("cannot start `{program}` as a helper: {e}"))?;
        drop(command);
        let group = if level == Level::L3 { None } else { Group::make() };
        let mut helper = Self { child, socket, group, _scratch: scratch, notes: Vec::new(), works: true };
        let doors = helper.group.as_ref().map(Group::doors).transpose().map_err(wrong("control group"))?.unwrap_or_default();
        let start = Start { level, scratch: helper._scratch.path().to_owned(), readable: readable(settings), canary };
        let doors: Vec<BorrowedFd<'_>> = doors.iter().map(AsFd::as_fd).collect();
        wire::send(&helper.socket, &ToHelper::Start(start), &doors).map_err(wrong("helper"))?;
        match helper.answer(Instant::now() + PATIENCE).map_err(wrong("helper"))? {
            Some(FromHelper::Ready { notes }) => helper.notes = notes,
            Some(FromHelper::Refused { reason }) => return Err(reason),
            _ => return Err(format!("`{program}` did not become a helper")),
        }
        helper.notes.extend(helper.group.as_ref().map(|group| format!("control group: {group}")));
        if !helper.group.as_ref().is_some_and(Group::limits_memory) {
            helper.notes.push("no control group for memory: that of a program with several processes is limited per process".to_owned());
        }
        helper.self_check()?;
        Ok(helper)
    }

    /// Tries what must be denied, with and without the right to fork.
    fn self_check(&mut self) -> Result<(), String> {
        for processes in [1, 4] {
            let limits = Limits { wall_ms: 10_000, processes, ..Limits::default() };
            let job = Job { argv: vec!["/nothing".to_owned()], limits, ..Job::default() };
            let outcome = self.run_or_check(job, true).map_err(|e| match e {
                SandboxError::Broken(reason) => reason,
                other => other.to_string(),
            })?;
            if outcome.end != End::Exited(0) {
                return Err(format!("the self-check ended with {}", outcome.end));
            }
        }
        Ok(())
    }

    /// Whether it may be used again.
    pub(super) fn works(&self) -> bool {
        self.works
    }

    /// Runs a program.
    pub(super) fn run(&mut self, job: Job) -> Result<Outcome, SandboxError> {
        self.run_or_check(job, false)
    }

    fn run_or_check(&mut self, job: Job, self_check: bool) -> Result<Outcome, SandboxError> {
        let limits = job.limits;
        let kills = self.limit(&limits).map_err(|e| SandboxError::broken("control group", e))?;
        let collects = job.collect.is_some();
        self.works = false;
        let (mut streams, collected) = self.send(job, self_check).map_err(|e| SandboxError::broken("start a program", e))?;
        let (report, flooded) = self.follow(&mut streams, &limits).map_err(|e| SandboxError::broken("follow a program", e))?;
        self.works = true;
        if let Some(trouble) = report.trouble {
            return Err(SandboxError::Broken(trouble));
        }
        let starved = self.group.as_ref().is_some_and(|group| group.kills() > kills);
        let end = end(&report, &limits, flooded, starved);
        let [stdout, stderr, results] = streams.map(|stream| stream.bytes);
        let collected = collected.filter(|_| collects && end == End::Exited(0)).map(memfd::read).transpose();
        Ok(Outcome {
            end,
            stdout,
            stderr,
            results,
            collected: collected.map_err(|e| SandboxError::broken("collect a file", e))?,
            wall: Duration::from_millis(report.wall_ms),
            cpu: Duration::from_millis(report.cpu_ms),
        })
    }

    /// Sets the group's limits; gives its kills so far.
    fn limit(&self, limits: &Limits) -> io::Result<u64> {
        let Some(group) = &self.group else { return Ok(0) };
        // The helper's own first process is in the group, and files of the box count as memory.
        group.set(limits.memory + limits.disk, u64::from(limits.processes) + u64::from(limits.threads) + 2)?;
        Ok(group.kills())
    }

    fn send(&self, job: Job, self_check: bool) -> io::Result<([Stream; 3], Option<OwnedFd>)> {
        let payload = memfd::sealed(job.files.iter().map(|(_, bytes)| bytes.as_slice()))?;
        let stdin = memfd::sealed([job.stdin.as_slice()])?;
        let (stdout, their_stdout) = Stream::make(job.limits.output, true)?;
        let (stderr, their_stderr) = Stream::make(MOST_STDERR, false)?;
        let (results, their_results) = Stream::make(job.limits.output, true)?;
        let collected = job.collect.as_ref().map(|_| memfd::empty()).transpose()?;
        let mut fds = vec![payload.as_fd(), stdin.as_fd(), their_stdout.as_fd(), their_stderr.as_fd()];
        let extra: Vec<BorrowedFd<'_>> =
            job.results.then(|| their_results.as_fd()).into_iter().chain(job.channel.as_ref().map(AsFd::as_fd)).collect();
        let run = Run {
            argv: job.argv,
            files: job.files.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect(),
            limits: job.limits,
            extra: extra.len(),
            collect: job.collect,
            self_check,
        };
        fds.extend(extra);
        fds.extend(collected.as_ref().map(AsFd::as_fd));
        wire::send(&self.socket, &ToHelper::Run(run), &fds)?;
        Ok(([stdout, stderr, results], collected))
    }

    /// Reads what the program writes until the helper says that it is gone.
    fn follow(&mut self, streams: &mut [Stream; 3], limits: &Limits) -> io::Result<(Report, bool)> {
        let until = Instant::now() + Duration::from_millis(limits.wall_ms) + PATIENCE;
        let mut flooded = false;
        loop {
            if Instant::now() > until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the helper does not answer"));
            }
            let mut fds = vec![PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let open: Vec<usize> = (0..streams.len()).filter(|at| streams[*at].pipe.is_some()).collect();
            fds.extend(open.iter().filter_map(|at| Some(PollFd::new(streams[*at].pipe.as_ref()?.as_fd(), PollFlags::POLLIN))));
            match poll(&mut fds, PollTimeout::from(1000_u16)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect();
            drop(fds);
            for (at, _) in open.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
                streams[*at].read();
                if streams[*at].over && !flooded {
                    flooded = true;
                    wire::send(&self.socket, &ToHelper::Kill, &[])?;
                }
            }
            if ready[0] {
                return match wire::receive::<FromHelper>(&self.socket)? {
                    Some((FromHelper::Done(report), _)) => {
                        // All writers are gone, what they wrote may still be there.
                        streams.iter_mut().for_each(Stream::read);
                        flooded |= streams.iter().any(|stream| stream.over);
                        Ok((report, flooded))
                    }
                    Some(_) => Err(io::Error::other("the helper said something else")),
                    None => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the helper is gone")),
                };
            }
        }
    }

    fn answer(&self, until: Instant) -> io::Result<Option<FromHelper>> {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        }
        Ok(wire::receive(&self.socket)?.map(|(message, _)| message))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Its children die with it, and a pid namespace with its first process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a program ended, from what everyone saw.
fn end(report: &Report, limits: &Limits, flooded: bool, starved: bool) -> End {
    let out_of_cpu = report.signal == Some(libc::SIGXCPU) || report.signal == Some(libc::SIGKILL) && report.cpu_ms >= limits.cpu_ms;
    match report.killed {
        _ if flooded => End::OutputLimit,
        Some(Killed::Wall) => End::WallLimit,
        Some(Killed::Disk) => End::DiskLimit,
        _ if starved => End::MemoryLimit,
        _ if out_of_cpu => End::CpuLimit,
        _ if report.signal == Some(libc::SIGXFSZ) => End::DiskLimit,
        _ => match (report.exit, report.signal) {
            (Some(status), _) => End::Exited(status),
            (None, signal) => End::Signaled(signal.unwrap_or(libc::SIGKILL)),
        },
    }
}

/// What a program writes to one descriptor.
#[derive(Debug)]
struct Stream {
    pipe: Option<File>,
    bytes: Vec<u8>,
    most: u64,
    /// Whether writing more than `most` ends the program; otherwise the rest is dropped.
    strict: bool,
    over: bool,
}

impl Stream {
    fn make(most: u64, strict: bool) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((Self { pipe: Some(ours.into()), bytes: Vec::new(), most, strict, over: false }, theirs))
    }

    /// Reads what is there.
    fn read(&mut self) {
        use io::Read;
        let mut block = [0_u8; 64 << 10];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut block) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    let room = usize::try_from(self.most).unwrap_or(usize::MAX).saturating_sub(self.bytes.len());
                    self.bytes.extend_from_slice(&block[..read.min(room)]);
                    if read > room && self.strict {
                        self.over = true;
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}

/// A file beside the box that everybody may read, but no program in a box.
fn canary(scratch: &std::path::Path) -> io::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    // The box is a folder in here; who runs in it must get through, but see nothing.
    std::fs::set_permissions(scratch, std::fs::Permissions::from_mode(0o711))?;
    let canary = scratch.join("canary");
    std::fs::write(&canary, "nobody in a box reads this")?;
    std::fs::set_permissions(&canary, std::fs::Permissions::from_mode(0o644))?;
    Ok(canary)
}

/// The system's programs and libraries, and what the settings add.
fn readable(settings: &Settings) -> Vec<std::path::PathBuf> {
    let system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/alternatives"];
    system.into_iter().map(std::path::PathBuf::from).chain(settings.readable.iter().cloned()).collect()
}
