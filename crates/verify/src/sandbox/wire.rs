//! Messages between the program and its helper: JSON in one packet, with file descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::cmsg_space;
use nix::sys::socket::{AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Level, Limits};

/// What the helper is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToHelper {
    /// Once: what kind of box to run programs in. Beside it: the `cgroup.procs` files of its control groups.
    Start(Start),
    /// Run a program. Beside it: the files' bytes, standard input, output and error, then the descriptors from 3 on,
    /// then the file to collect into, if any.
    Run(Run),
    /// End the program that runs.
    Kill,
}

/// What kind of box a helper keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) level: Level,
    /// A folder of its own, which nobody else may write.
    pub(super) scratch: PathBuf,
    /// Files and folders that programs may read.
    pub(super) readable: Vec<PathBuf>,
    /// A file that programs must not be able to read, for the self-check.
    pub(super) canary: PathBuf,
}

/// A program to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) argv: Vec<String>,
    /// Name and length of each file; their bytes stand one after the other in the payload.
    pub(super) files: Vec<(String, u64)>,
    pub(super) limits: Limits,
    /// How many descriptors the program gets from 3 on.
    pub(super) extra: usize,
    /// A file to bring back if the program ends well.
    pub(super) collect: Option<String>,
    /// Instead of the program, try what must be denied.
    pub(super) self_check: bool,
}

/// What the helper answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromHelper {
    /// It is ready to run programs.
    Ready {
        /// What cannot be had here, for people.
        notes: Vec<String>,
    },
    /// This kind of box cannot be had here.
    Refused { reason: String },
    /// The program has ended and all that it started is gone.
    Done(Report),
}

/// How a program ended, as the helper saw it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// The box could not be made, and why.
    pub(super) trouble: Option<String>,
    pub(super) exit: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) killed: Option<Killed>,
    pub(super) wall_ms: u64,
    pub(super) cpu_ms: u64,
}

/// Why the helper ended a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Killed {
    Wall,
    Disk,
    Told,
}

/// Most bytes of a message: a packet must fit a socket's buffer.
const MOST: usize = 128 << 10;
/// Most descriptors beside a message.
const MOST_FDS: usize = 12;

/// Two connected ends, closed on exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends a message.
pub(super) fn send(socket: &OwnedFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    if text.len() > MOST || fds.len() > MOST_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a message of {} bytes is too long", text.len())));
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&text)], rights, MsgFlags::MSG_NOSIGNAL, None) {
            Err(nix::errno::Errno::EINTR) => {}
            done => return Ok(done.map(drop)?),
        }
    }
}

/// Waits for a message; `None` where the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut text = vec![0_u8; MOST];
    let mut space = cmsg_space!([RawFd; MOST_FDS]);
    let mut fds = Vec::new();
    let length = loop {
        let mut into = [IoSliceMut::new(&mut text)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(space.as_mut_slice()), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(message) => {
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        fds.extend(raw.into_iter().map(own));
                    }
                }
                break message.bytes;
            }
        }
    };
    if length == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&text[..length]).map_err(io::Error::other)?;
    Ok(Some((message, fds)))
}

#[expect(unsafe_code, reason = "the kernel has just made this descriptor for us and nobody else knows it")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: it came with the message that was just received.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
