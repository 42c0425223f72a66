//! What a process gives up before it becomes the program.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Gid, Pid, Uid};

use super::wire::Run;
use super::{Level, Limits, landlock, seccomp};

/// Devices that programs expect; they carry nothing from one program to another.
pub(super) const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// All that programs see of the environment. The fixed hash seed makes Python's sets iterate the same way each time.
const ENVIRONMENT: [&CStr; 11] = [
    c"PATH=/usr/local/bin:/usr/bin:/bin",
    c"HOME=.",
    c"TMPDIR=.",
    c"LANG=C.UTF-8",
    c"LC_ALL=C.UTF-8",
    c"PYTHONHASHSEED=0",
    c"PYTHONDONTWRITEBYTECODE=1",
    c"PYTHONIOENCODING=utf-8:surrogateescape",
    c"OMP_NUM_THREADS=1",
    c"OPENBLAS_NUM_THREADS=1",
    c"NODE_NO_WARNINGS=1",
];

/// Processes of the helper that may count as the program's user's.
const OURS: u64 = 2;

/// Who the program is and where it lives.
pub(super) struct Identity<'a> {
    pub(super) level: Level,
    /// The uid and gid to become, where this process is root.
    pub(super) uid: Option<Uid>,
    pub(super) folder: &'a Path,
    pub(super) readable: &'a [PathBuf],
    pub(super) canary: &'a Path,
    /// Threads of this user that run already, where the program shares its user with others.
    pub(super) shared_threads: u64,
}

/// A step that failed, with its reason.
type Step = Result<(), String>;

fn step(what: &'static str) -> impl Fn(Errno) -> String {
    move |error| format!("{what}: {}", error.desc())
}

/// Confines this process and turns it into the program; returns only if that fails.
///
/// `files` are standard input, output and error, then the descriptors from 3 on.
pub(super) fn become_program(run: &Run, identity: &Identity<'_>, files: &[OwnedFd], trouble: &OwnedFd) -> Step {
    let argv = run.argv.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<Vec<_>, _>>().map_err(|e| format!("arguments: {e}"))?;
    let program = argv.first().ok_or("no program")?.clone();
    std::env::set_current_dir(identity.folder).map_err(|e| format!("enter the box: {e}"))?;
    // A session of its own: no terminal, and signals to the group stay inside.
    nix::unistd::setsid().map_err(step("setsid"))?;
    die_with_parent()?;
    descriptors(files, trouble.as_raw_fd())?;
    limits(&run.limits, identity)?;
    if let Some(uid) = identity.uid {
        become_user(uid)?;
        die_with_parent()?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(step("no new privileges"))?;
    if identity.level == Level::L2 {
        landlock::restrict(identity.readable.iter().map(PathBuf::as_path), DEVICES.iter().map(Path::new), identity.folder)
            .map_err(|e| format!("landlock: {e}"))?;
    }
    if identity.level != Level::L3 {
        seccomp::install(&run.limits, identity.level == Level::L2 && identity.uid.is_none())?;
    }
    if run.self_check {
        self_check(identity, &run.limits)?;
        // SAFETY of the caller's books: nothing of the helper's may run in this copy of it.
        leave(0);
    }
    signals()?;
    // Last, for this copy of the helper may hold more address space than the program may.
    let memory = if run.limits.address_space { Resource::RLIMIT_AS } else { Resource::RLIMIT_DATA };
    setrlimit(memory, run.limits.memory, run.limits.memory).map_err(step("memory limit"))?;
    let error = nix::unistd::execve(&program, &argv, &ENVIRONMENT).err().unwrap_or(Errno::UnknownErrno);
    Err(format!("cannot start `{}`: {}", run.argv[0], error.desc()))
}

/// Ends this process at once, without the clean-up that belongs to the process it was copied from.
#[expect(unsafe_code, reason = "a forked copy must not run destructors and exit handlers of the original")]
pub(super) fn leave(status: i32) -> ! {
    // SAFETY: takes no memory and does not return.
    unsafe { libc::_exit(status) }
}

/// Asks the kernel to kill this process when its parent ends, however that happens.
pub(super) fn die_with_parent() -> Step {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("parent death signal"))
}

/// Puts descriptors in their places; all others are closed on exec. `trouble` is kept until then, to tell of failures.
#[expect(unsafe_code, reason = "dup2 and close_range have no safe wrapper for fixed descriptor numbers")]
fn descriptors(files: &[OwnedFd], trouble: RawFd) -> Step {
    let last = || step("descriptors")(Errno::last());
    // First out of the way of the places to fill.
    let first_free = 16;
    let mut moved = Vec::new();
    for file in files {
        // SAFETY: plain calls on descriptors that this process owns.
        let copy = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first_free) };
        if copy < 0 {
            return Err(last());
        }
        moved.push(copy);
    }
    for (place, copy) in moved.iter().enumerate() {
        let place = i32::try_from(place).map_err(|e| e.to_string())?;
        if place == trouble {
            return Err(format!("descriptor {place} is taken"));
        }
        // SAFETY: as above; what stood at `place` belongs to the helper and is not needed in this copy.
        if unsafe { libc::dup2(*copy, place) } < 0 {
            return Err(last());
        }
    }
    let from = u32::try_from(moved.len()).map_err(|e| e.to_string())?;
    // SAFETY: only marks descriptors; nothing is closed before exec.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked < 0 { Err(last()) } else { Ok(()) }
}

fn limits(limits: &Limits, identity: &Identity<'_>) -> Step {
    let set = |resource, soft: u64, hard: u64| setrlimit(resource, soft, hard).map_err(step("resource limit"));
    let seconds = limits.cpu_ms.div_ceil(1000).max(1);
    set(Resource::RLIMIT_CPU, seconds, seconds + 1)?;
    let (_, most_stack) = nix::sys::resource::getrlimit(Resource::RLIMIT_STACK).map_err(step("resource limit"))?;
    let stack = limits.stack.min(most_stack);
    set(Resource::RLIMIT_STACK, stack, stack)?;
    set(Resource::RLIMIT_FSIZE, limits.disk, limits.disk)?;
    set(Resource::RLIMIT_NOFILE, 128, 128)?;
    set(Resource::RLIMIT_CORE, 0, 0)?;
    set(Resource::RLIMIT_MEMLOCK, 0, 0)?;
    set(Resource::RLIMIT_MSGQUEUE, 0, 0)?;
    let tasks = u64::from(limits.processes.max(1) - 1) + u64::from(limits.threads.max(1)) + identity.shared_threads + OURS;
    set(Resource::RLIMIT_NPROC, tasks, tasks)
}

/// Becomes another user without any group or capability.
fn become_user(uid: Uid) -> Step {
    for capability in 0..64 {
        drop_from_bounds(capability);
    }
    let gid = Gid::from_raw(uid.as_raw());
    nix::unistd::setgroups(&[]).map_err(step("leave groups"))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(step("change group"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(step("change user"))
}

#[expect(unsafe_code, reason = "prctl(PR_CAPBSET_DROP) has no safe wrapper here")]
fn drop_from_bounds(capability: u64) {
    // SAFETY: touches no memory. Capabilities that this kernel does not have give an error that means nothing.
    unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
}

/// Signals as a fresh program expects them: Rust ignores a broken pipe, and a parent may have blocked others.
#[expect(unsafe_code, reason = "setting a signal's default action has no safe wrapper")]
fn signals() -> Step {
    // SAFETY: the default action runs no code of this process.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }.map_err(step("signals"))?;
    SigSet::empty().thread_set_mask().map_err(step("signals"))
}

/// Tries what must be denied, in the place where the program would run.
fn self_check(identity: &Identity<'_>, limits: &Limits) -> Step {
    if identity.level == Level::L3 {
        return Ok(());
    }
    if nix::unistd::geteuid().is_root() {
        return Err("the program would be root".into());
    }
    for denied in [identity.canary, Path::new("/etc/passwd"), Path::new("/proc/self/status"), Path::new("/proc/1/cmdline")] {
        if std::fs::File::open(denied).is_ok() {
            return Err(format!("`{}` can be read", denied.display()));
        }
    }
    if std::fs::write("inside", "x").is_err() {
        return Err("nothing can be written in the box".into());
    }
    if std::net::UdpSocket::bind("127.0.0.1:0").is_ok() || std::os::unix::net::UnixDatagram::unbound().is_ok() {
        return Err("the network is open".into());
    }
    if kill(Pid::from_raw(1), None).is_ok() && identity.level == Level::L2 {
        return Err("other processes can be signalled".into());
    }
    if limits.processes <= 1 && can_fork() {
        return Err("programs can fork".into());
    }
    Ok(())
}

#[expect(unsafe_code, reason = "the self-check tries to fork to see that it fails")]
fn can_fork() -> bool {
    // SAFETY: this process has one thread; a child, if there is one after all, ends at once.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => leave(0),
        Ok(nix::unistd::ForkResult::Parent { .. }) => true,
        Err(_) => false,
    }
}

/// Writes a sentence to the channel for troubles.
pub(super) fn tell(channel: BorrowedFd<'_>, text: &str) {
    // Nobody is left to be told of a failure here.
    let _ = nix::unistd::write(channel, text.as_bytes());
}
