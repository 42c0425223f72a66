//! Landlock: this process and its children may from now on reach only the paths named here.
//!
//! Three system calls, made directly: the crate for them brings procedural macros with it that the whole workspace would be
//! built again for.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;

/// From the third version on files cannot be truncated either.
const OLDEST: i64 = 3;

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE: u64 = 0b11 << 4;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
/// All accesses of the third version; requests to devices came with the fifth.
const ALL: u64 = (1 << 15) - 1;
const IOCTL_DEV: u64 = 1 << 15;

/// What may be done below the box. Devices, sockets and pipes with names are made nowhere.
const OWN: u64 = EXECUTE | WRITE_FILE | READ_FILE | READ_DIR | REMOVE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE;

/// The kernel's `struct landlock_ruleset_attr`.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scope: u64,
}

/// The kernel's `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// Restricts this process to reading `readable`, using `devices` and doing as it likes in `own`.
pub(super) fn restrict<'a>(
    readable: impl Iterator<Item = &'a Path>,
    devices: impl Iterator<Item = &'a Path>,
    own: &Path,
) -> Result<(), String> {
    let version = version().map_err(|e| format!("not in this kernel: {}", e.desc()))?;
    if version < OLDEST {
        return Err(format!("this kernel has version {version}, at least {OLDEST} is needed"));
    }
    let (network, scope) = (if version >= 4 { 0b11 } else { 0 }, if version >= 6 { 0b11 } else { 0 });
    let rules = Ruleset { files: ALL | if version >= 5 { IOCTL_DEV } else { 0 }, network, scope };
    let size = if version >= 6 {
        24
    } else if version >= 4 {
        16
    } else {
        8
    };
    let set = create(&rules, size).map_err(|e| format!("rules: {}", e.desc()))?;
    for path in readable {
        let access = if path.is_dir() { EXECUTE | READ_FILE | READ_DIR } else { EXECUTE | READ_FILE };
        allow(&set, path, access)?;
    }
    for path in devices {
        allow(&set, path, READ_FILE | WRITE_FILE)?;
    }
    allow(&set, own, OWN)?;
    enforce(&set).map_err(|e| format!("cannot be enforced: {}", e.desc()))
}

/// Allows access below a path. What is not there cannot be reached either.
fn allow(set: &OwnedFd, path: &Path, allowed: u64) -> Result<(), String> {
    let Ok(parent) = std::fs::File::options().read(true).custom_flags(libc::O_PATH).open(path) else { return Ok(()) };
    let rule = Beneath { allowed, parent: parent.as_raw_fd() };
    add(set, &rule).map_err(|e| format!("`{}`: {}", path.display(), e.desc()))
}

#[expect(unsafe_code, reason = "the system calls have no wrapper without procedural macros")]
fn version() -> Result<i64, Errno> {
    // SAFETY: with a null pointer and this flag the call only returns a number.
    Errno::result(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0_usize, 1_u32) })
}

#[expect(unsafe_code, reason = "as above")]
fn create(rules: &Ruleset, size: usize) -> Result<OwnedFd, Errno> {
    // SAFETY: the pointer is to a live value of at least `size` bytes; the descriptor is new.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(rules), size, 0_u32) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EMFILE)?;
    // SAFETY: nobody else knows the descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "as above")]
fn add(set: &OwnedFd, rule: &Beneath) -> Result<(), Errno> {
    const PATH_BENEATH: u32 = 1;
    // SAFETY: the pointer is to a live value of the kind that the third argument names.
    Errno::result(unsafe { libc::syscall(libc::SYS_landlock_add_rule, set.as_raw_fd(), PATH_BENEATH, std::ptr::from_ref(rule), 0_u32) })
        .map(drop)
}

#[expect(unsafe_code, reason = "as above")]
fn enforce(set: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    Errno::result(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, set.as_raw_fd(), 0_u32) }).map(drop)
}
