//! One run: make the box, start the program, watch it, leave nothing behind.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, Uid};

use super::confine::{Identity, become_program, die_with_parent, leave, tell};
use super::wire::{self, Killed, Report, Run, Start, ToHelper};
use super::{Level, fence};

/// How often the size of a box is looked at where the file system does not limit it.
const LOOK: Duration = Duration::from_millis(20);
/// Most files and folders in a box.
const MOST_ENTRIES: u64 = 4096;

/// What a helper knows about its box.
pub(super) struct Keeper {
    pub(super) start: Start,
    pub(super) uid: Option<Uid>,
    /// `cgroup.procs` files.
    pub(super) groups: Vec<OwnedFd>,
    pub(super) folder: PathBuf,
}

/// Descriptors of a run by what they are for.
struct Files {
    payload: OwnedFd,
    program: Vec<OwnedFd>,
    collect: Option<OwnedFd>,
}

impl Keeper {
    /// Runs a program; `None` where the other side of `socket` is gone, so that nobody waits for an answer.
    pub(super) fn run(&self, run: &Run, fds: Vec<OwnedFd>, socket: &OwnedFd) -> Option<Report> {
        let begun = Instant::now();
        let used = cpu();
        let (mut report, gone) = self.supervise(run, fds, socket).unwrap_or_else(|trouble| (trouble_report(trouble), false));
        report.wall_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.cpu_ms = u64::try_from(cpu() - used).unwrap_or(0);
        (!gone).then_some(report)
    }

    fn supervise(&self, run: &Run, fds: Vec<OwnedFd>, socket: &OwnedFd) -> Result<(Report, bool), String> {
        let mut files = Files::sort(run, fds)?;
        let fenced = self.start.level == Level::L1;
        if !fenced {
            self.make_folder(run, &files.payload)?;
        }
        let (told, trouble) = channel().map_err(|e| format!("pipe: {e}"))?;
        let child = match fork(fenced).map_err(|e| format!("fork: {}", e.desc()))? {
            ForkResult::Child if fenced => self.first_of_namespace(run, &files, &trouble),
            ForkResult::Child => self.program(run, &files, &trouble),
            ForkResult::Parent { child } => child,
        };
        drop(trouble);
        // Only the program holds its descriptors, so that who reads them sees when it ends.
        files.program.clear();
        let watched = (!fenced).then_some(self.folder.as_path());
        let (killed, gone) = watch(child, socket, run, watched);
        let status = waitpid(child, None);
        let mut report = Report { killed, ..Report::default() };
        if !fenced {
            // The program is gone; whatever it left behind goes too.
            self.sweep();
            report.take(status.ok());
            self.collect(run, &files, &report);
            remove(&self.folder);
        }
        report.read(told);
        Ok((report, gone))
    }

    /// Process 1 of a new pid namespace: when it ends, all others in there end.
    fn first_of_namespace(&self, run: &Run, files: &Files, trouble: &OwnedFd) -> ! {
        let made = (|| {
            die_with_parent()?;
            self.join_groups()?;
            let owner = self.uid.unwrap_or(Uid::from_raw(fence::INNER));
            fence::mount_box(run.limits.disk, owner)?;
            write_files(&self.folder, run, &files.payload)?;
            fork(false).map_err(|e| format!("fork: {}", e.desc()))
        })();
        let child = match made {
            Ok(ForkResult::Child) => self.program(run, files, trouble),
            Ok(ForkResult::Parent { child }) => child,
            Err(reason) => {
                tell(trouble.as_fd(), &format!("trouble {reason}\n"));
                leave(1)
            }
        };
        loop {
            match waitpid(None, None) {
                Ok(status) if status.pid() == Some(child) => {
                    let mut report = Report::default();
                    report.take(Some(status));
                    self.collect(run, files, &report);
                    tell(trouble.as_fd(), &format!("ended {} {}\n", report.exit.unwrap_or(-1), report.signal.unwrap_or(0)));
                    leave(0)
                }
                // An orphan of the program's.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => leave(1),
            }
        }
    }

    /// Becomes the program.
    fn program(&self, run: &Run, files: &Files, trouble: &OwnedFd) -> ! {
        let shared = self.uid.is_none() && self.start.level != Level::L1;
        let identity = Identity {
            level: self.start.level,
            uid: self.uid,
            folder: &self.folder,
            readable: &self.start.readable,
            canary: &self.start.canary,
            shared_threads: if shared { threads_of_this_user() } else { 0 },
        };
        let mut run = run.clone();
        if shared && run.collect.is_none() {
            // Without a pid namespace or a uid of its own nothing can end a program for sure that forks all the time. A
            // compiler forks too, but what it compiles does not run.
            run.limits.processes = 1;
        }
        let run = &run;
        let joined = if self.start.level == Level::L1 { Ok(()) } else { self.join_groups() };
        if let Err(reason) = joined.and_then(|()| become_program(run, &identity, &files.program, trouble)) {
            tell(trouble.as_fd(), &format!("trouble {reason}\n"));
        }
        leave(127)
    }

    fn join_groups(&self) -> Result<(), String> {
        for group in &self.groups {
            nix::unistd::write(group, b"0").map_err(|e| format!("join the control group: {}", e.desc()))?;
        }
        Ok(())
    }

    fn make_folder(&self, run: &Run, payload: &OwnedFd) -> Result<(), String> {
        remove(&self.folder);
        let wrong = |e: io::Error| format!("make the box `{}`: {e}", self.folder.display());
        fs::create_dir(&self.folder).map_err(wrong)?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700)).map_err(wrong)?;
        write_files(&self.folder, run, payload)?;
        let owner = self.uid.map(Uid::as_raw);
        std::os::unix::fs::chown(&self.folder, owner, owner).map_err(wrong)
    }

    /// Copies the wanted file out, if the program ended well.
    fn collect(&self, run: &Run, files: &Files, report: &Report) {
        let (Some(name), Some(into)) = (&run.collect, &files.collect) else { return };
        if report.exit != Some(0) || !plain(name) {
            return;
        }
        // Neither a link nor a device of the program's making is followed.
        let found = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.folder.join(name));
        if let (Ok(found), Ok(into)) = (found, into.try_clone())
            && found.metadata().is_ok_and(|about| about.is_file())
        {
            // A file that comes back cut does not start; the caller sees that.
            let _ = io::copy(&mut found.take(run.limits.disk), &mut File::from(into));
        }
    }

    /// Ends every process that the program left behind, and reaps it.
    fn sweep(&self) {
        for round in 0..10_000_u32 {
            match self.uid {
                Some(uid) => kill_all_of(uid),
                None => children_of(Pid::this()).into_iter().for_each(|child| {
                    // One that is gone already is as good.
                    let _ = kill(child, Signal::SIGKILL);
                }),
            }
            loop {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) => break,
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return,
                }
            }
            if round > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Files {
    fn sort(run: &Run, fds: Vec<OwnedFd>) -> Result<Self, String> {
        let wanted = 4 + run.extra + usize::from(run.collect.is_some());
        if fds.len() != wanted {
            return Err(format!("{} descriptors came, {wanted} were expected", fds.len()));
        }
        let mut fds = fds.into_iter();
        let payload = fds.next().ok_or("no payload")?;
        let program = fds.by_ref().take(3 + run.extra).collect();
        Ok(Self { payload, program, collect: fds.next() })
    }
}

impl Report {
    fn take(&mut self, status: Option<WaitStatus>) {
        match status {
            Some(WaitStatus::Exited(_, code)) => self.exit = Some(code),
            Some(WaitStatus::Signaled(_, signal, _)) => self.signal = Some(signal as i32),
            _ => {}
        }
    }

    /// What the processes in the box told before they ended.
    fn read(&mut self, told: OwnedFd) {
        let mut text = String::new();
        let _ = File::from(told).take(4096).read_to_string(&mut text);
        for line in text.lines() {
            if let Some(reason) = line.strip_prefix("trouble ") {
                self.trouble = Some(reason.to_owned());
            } else if let Some((exit, signal)) = line.strip_prefix("ended ").and_then(|rest| rest.split_once(' ')) {
                self.exit = exit.parse().ok().filter(|code| *code >= 0);
                self.signal = signal.parse().ok().filter(|signal| *signal != 0);
            }
        }
    }
}

fn trouble_report(trouble: String) -> Report {
    Report { trouble: Some(trouble), ..Report::default() }
}

/// Waits until the child ends, its time is up, it must be ended, or the other side is gone; then it is dead or dying.
fn watch(child: Pid, socket: &OwnedFd, run: &Run, folder: Option<&Path>) -> (Option<Killed>, bool) {
    let until = Instant::now() + Duration::from_millis(run.limits.wall_ms);
    let end = |why| {
        let _ = kill(child, Signal::SIGKILL);
        why
    };
    let Ok(pidfd) = fence::pidfd(child) else { return (end(Some(Killed::Told)), false) };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (end(Some(Killed::Wall)), false);
        }
        let pause = folder.map_or(left, |_| left.min(LOOK)) + Duration::from_millis(1);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN), PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return (end(Some(Killed::Told)), false),
        }
        let ready = |at: usize| fds[at].revents().is_some_and(|events| !events.is_empty());
        if ready(0) {
            return (None, false);
        }
        if ready(1) {
            match wire::receive::<ToHelper>(socket) {
                Ok(Some((ToHelper::Kill, _))) => return (end(Some(Killed::Told)), false),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return (end(Some(Killed::Told)), true),
            }
        }
        if folder.is_some_and(|folder| too_big(folder, run.limits.disk)) {
            return (end(Some(Killed::Disk)), false);
        }
    }
}

/// Whether a box holds more than `most` bytes or too many entries.
fn too_big(folder: &Path, most: u64) -> bool {
    let (mut bytes, mut entries) = (0_u64, 0_u64);
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else { continue };
            (bytes, entries) = (bytes + about.blocks() * 512, entries + 1);
            if bytes > most || entries > MOST_ENTRIES {
                return true;
            }
            if about.is_dir() {
                open.push(entry.path());
            }
        }
    }
    false
}

/// A plain name: no folder, no way out of the box.
fn plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}

fn write_files(folder: &Path, run: &Run, payload: &OwnedFd) -> Result<(), String> {
    let mut payload = File::from(payload.try_clone().map_err(|e| format!("payload: {e}"))?);
    for (name, length) in &run.files {
        if !plain(name) {
            return Err(format!("`{name}` is no plain file name"));
        }
        let wrong = |e: io::Error| format!("write `{name}` into the box: {e}");
        let mut file = File::options().write(true).create_new(true).mode(0o755).open(folder.join(name)).map_err(wrong)?;
        io::copy(&mut (&mut payload).take(*length), &mut file).map_err(wrong)?;
        file.flush().map_err(wrong)?;
    }
    Ok(())
}

/// Removes a folder, also one whose parts were made unreadable.
fn remove(folder: &Path) {
    if fs::remove_dir_all(folder).is_err() && folder.exists() {
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
            let folders = fs::read_dir(&folder).into_iter().flatten().flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            open.extend(folders.map(|e| e.path()));
        }
        let _ = fs::remove_dir_all(folder);
    }
}

#[expect(unsafe_code, reason = "fork has no safe wrapper")]
fn fork(fenced: bool) -> Result<ForkResult, Errno> {
    // SAFETY: helpers have one thread.
    if fenced { unsafe { fence::fork() } } else { unsafe { nix::unistd::fork() } }
}

/// A pipe whose writing end stands clear of the low descriptors that a program gets.
#[expect(unsafe_code, reason = "F_DUPFD_CLOEXEC returns a bare descriptor")]
fn channel() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let high = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(64))?;
    // SAFETY: the descriptor was just made and nobody else knows it.
    let writer = unsafe { OwnedFd::from_raw_fd(high) };
    debug_assert!(writer.as_raw_fd() >= 64);
    Ok((reader, writer))
}

/// Processor time of all ended children, in milliseconds.
fn cpu() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| (usage.user_time() + usage.system_time()).num_milliseconds())
}

/// Kills every process of a user, from a process of that user, so that none can slip through between look and kill.
#[expect(unsafe_code, reason = "fork has no safe wrapper")]
fn kill_all_of(uid: Uid) {
    // SAFETY: helpers have one thread.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => {
            if nix::unistd::setresuid(uid, uid, uid).is_ok() {
                let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            }
            leave(0)
        }
        Ok(ForkResult::Parent { child }) => drop(waitpid(child, None)),
        Err(_) => {}
    }
}

/// The children of a process, by the process table.
fn children_of(parent: Pid) -> Vec<Pid> {
    processes().filter(|(_, of, _)| *of == parent.as_raw()).map(|(pid, _, _)| Pid::from_raw(pid)).collect()
}

/// Threads of this process's user on the whole machine.
fn threads_of_this_user() -> u64 {
    let own = nix::unistd::getuid().as_raw();
    processes()
        .filter(|(pid, _, _)| fs::metadata(format!("/proc/{pid}")).is_ok_and(|about| about.uid() == own))
        .map(|(_, _, threads)| threads)
        .sum()
}

/// Process id, parent and number of threads of every process that can be seen.
fn processes() -> impl Iterator<Item = (i32, i32, u64)> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold anything, also spaces and parentheses.
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        Some((pid, fields.get(1)?.parse().ok()?, fields.get(17)?.parse().ok()?))
    })
}
