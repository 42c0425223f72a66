//! The helper process: one thread, one box, one program at a time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use nix::unistd::{ForkResult, Uid, geteuid, getpid};

use super::confine::leave;
use super::supervise::Keeper;
use super::wire::{self, FromHelper, Start, ToHelper};
use super::{Level, fence};

/// The whole life of a helper process, on the socket that is its standard input. Call it first thing in a process that
/// was started by a [`Launcher`](super::Launcher), before any thread is made.
#[must_use]
pub fn serve() -> ExitCode {
    match io::stdin().as_fd().try_clone_to_owned().and_then(|socket| serve_on(&socket)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve_on(socket: &OwnedFd) -> io::Result<()> {
    // No death signal from the parent here: it would come when the *thread* that started this process ends. The end of the
    // program shows as the end of the socket, which is watched while programs run too.
    let Some((ToHelper::Start(start), groups)) = wire::receive(socket)? else {
        return Err(io::Error::other("the first message must say what kind of box to keep"));
    };
    let keeper = match prepare(start, groups) {
        Ok((keeper, notes)) => {
            wire::send(socket, &FromHelper::Ready { notes }, &[])?;
            keeper
        }
        Err(reason) => return wire::send(socket, &FromHelper::Refused { reason }, &[]),
    };
    while let Some((message, fds)) = wire::receive(socket)? {
        // A late `Kill` is for a program that has ended meanwhile.
        if let ToHelper::Run(run) = message {
            let Some(report) = keeper.run(&run, fds, socket) else { return Ok(()) };
            wire::send(socket, &FromHelper::Done(report), &[])?;
        }
    }
    Ok(())
}

fn prepare(start: Start, groups: Vec<OwnedFd>) -> Result<(Keeper, Vec<String>), String> {
    let uid = own_uid();
    let mut notes = Vec::new();
    let folder = match start.level {
        Level::L1 => {
            fence::enter(&start.scratch, &start.readable, uid.is_none())?;
            PathBuf::from(fence::BOX)
        }
        Level::L2 | Level::L3 => {
            nix::sys::prctl::set_child_subreaper(true).map_err(|e| format!("subreaper: {}", e.desc()))?;
            if uid.is_none() && geteuid().is_root() {
                return Err("root cannot become another user here".into());
            }
            start.scratch.join("box")
        }
    };
    if uid.is_none() {
        notes.push("not root: programs run under this user's id".to_owned());
        if start.level != Level::L1 {
            notes.push("programs cannot start others here, whatever `processes` says".to_owned());
        }
    }
    Ok((Keeper { start, uid, groups, folder }, notes))
}

/// A uid that nobody else has, for programs of this helper. Process ids are unique, so helpers never share one.
fn own_uid() -> Option<Uid> {
    if !geteuid().is_root() {
        return None;
    }
    let pid = getpid().as_raw().cast_unsigned();
    // Far above any real user; where only the usual range exists (containers), its dynamic part.
    [0x7000_0000 + pid, 61_184 + pid % 4_000].into_iter().map(Uid::from_raw).find(|uid| can_become(*uid))
}

#[expect(unsafe_code, reason = "only another process can try out another user and come back")]
fn can_become(uid: Uid) -> bool {
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => leave(i32::from(nix::unistd::setresuid(uid, uid, uid).is_err())),
        Ok(ForkResult::Parent { child }) => {
            matches!(nix::sys::wait::waitpid(child, None), Ok(nix::sys::wait::WaitStatus::Exited(_, 0)))
        }
        Err(_) => false,
    }
}
