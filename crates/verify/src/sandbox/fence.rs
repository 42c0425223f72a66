//! L1's view of the machine: namespaces and a root folder that holds only what programs may read.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, geteuid, pivot_root};

use super::confine::DEVICES;

/// Where the box is, seen from inside.
pub(super) const BOX: &str = "/box";
/// The uid of programs inside a user namespace.
pub(super) const INNER: u32 = 1000;

fn step(what: &str) -> impl Fn(Errno) -> String {
    let what = what.to_owned();
    move |error| format!("{what}: {}", error.desc())
}

/// Moves this process into namespaces of its own, whose root is a small file system at `scratch` with `readable` in it.
pub(super) fn enter(scratch: &Path, readable: &[PathBuf], own_users: bool) -> Result<(), String> {
    let (uid, gid) = (geteuid(), nix::unistd::getegid());
    let mut spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if own_users {
        spaces |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(spaces).map_err(step("namespaces"))?;
    if own_users {
        let map = |file: &str, text: String| fs::write(file, text).map_err(|e| format!("{file}: {e}"));
        map("/proc/self/setgroups", "deny".into())?;
        map("/proc/self/uid_map", format!("{INNER} {uid} 1"))?;
        map("/proc/self/gid_map", format!("{INNER} {gid} 1"))?;
    }
    // What is mounted from here on is nobody else's.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).map_err(step("private mounts"))?;
    let none = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), scratch, Some("tmpfs"), none, Some("size=1m,nr_inodes=1024,mode=755")).map_err(step("root folder"))?;
    for path in readable {
        show(scratch, path).map_err(|e| format!("`{}`: {e}", path.display()))?;
    }
    for device in DEVICES {
        show(scratch, Path::new(device)).map_err(|e| format!("`{device}`: {e}"))?;
    }
    let folder = |path: &Path| fs::create_dir_all(path).map_err(|e| format!("`{}`: {e}", path.display()));
    folder(&scratch.join("box"))?;
    folder(&scratch.join("old"))?;
    let _ = std::os::unix::fs::symlink("box", scratch.join("tmp"));
    std::env::set_current_dir(scratch).map_err(|e| format!("root folder: {e}"))?;
    pivot_root(".", "old").map_err(step("pivot root"))?;
    std::env::set_current_dir("/").map_err(|e| format!("root folder: {e}"))?;
    umount2("/old", MntFlags::MNT_DETACH).map_err(step("leave the old root"))?;
    fs::remove_dir("/old").map_err(|e| format!("leave the old root: {e}"))?;
    read_only(Path::new("/"), false).map_err(step("read-only root"))?;
    // A name gives nothing away.
    let _ = nix::unistd::sethostname("box");
    Ok(())
}

/// Makes `path` visible under `root`, read-only. What is not there stays out.
fn show(root: &Path, path: &Path) -> Result<(), String> {
    let Ok(about) = fs::symlink_metadata(path) else { return Ok(()) };
    let inside = root.join(path.strip_prefix("/").map_err(|_| "not an absolute path")?);
    if fs::symlink_metadata(&inside).is_ok() {
        return Ok(());
    }
    let io = |e: std::io::Error| e.to_string();
    if let Some(parent) = inside.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    if about.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(path).map_err(io)?, &inside).map_err(io);
    }
    if about.is_dir() {
        fs::create_dir(&inside).map_err(io)?;
    } else {
        fs::write(&inside, "").map_err(io)?;
    }
    let desc = |e: Errno| e.desc().to_owned();
    mount(Some(path), &inside, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).map_err(desc)?;
    let device = !about.is_dir() && !about.is_file();
    if device { Ok(()) } else { read_only(&inside, true).map_err(desc) }
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes a mount read-only, without set-uid programs and devices; with `deep` all mounts below it too.
#[expect(unsafe_code, reason = "mount_setattr has no wrapper; a remount cannot change mounts below in one step")]
fn read_only(path: &Path, deep: bool) -> Result<(), Errno> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let attributes = MountAttributes { set, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = if deep { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: both pointers are to live values of the sizes told.
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, path.as_ptr(), flags, &raw const attributes, size_of::<MountAttributes>())
    };
    Errno::result(done).map(drop)
}

/// Mounts an empty box of `disk` bytes that belongs to `owner`.
pub(super) fn mount_box(disk: u64, owner: Uid) -> Result<(), String> {
    let options = format!("size={disk},nr_inodes=4096,mode=700,uid={owner},gid={owner}");
    mount(Some("tmpfs"), BOX, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str())).map_err(step("box"))
}

/// Forks into a process that is the first of a new pid namespace, with mounts of its own.
///
/// # Safety
/// As for `fork`: this process must have one thread.
#[expect(unsafe_code, reason = "clone into new namespaces has no safe wrapper that keeps the stack")]
pub(super) unsafe fn fork() -> Result<nix::unistd::ForkResult, Errno> {
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is a fork; the caller vouches for the single thread.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(match i32::try_from(pid) {
        Ok(0) => nix::unistd::ForkResult::Child,
        Ok(pid) => nix::unistd::ForkResult::Parent { child: nix::unistd::Pid::from_raw(pid) },
        Err(_) => return Err(Errno::EOVERFLOW),
    })
}

/// A descriptor that becomes readable when a child ends.
#[expect(unsafe_code, reason = "pidfd_open has no safe wrapper")]
pub(super) fn pidfd(child: nix::unistd::Pid) -> Result<std::os::fd::OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    // SAFETY: a plain call; the descriptor is new and owned by nobody else.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EMFILE)?;
    // SAFETY: as above.
    let fd = unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) };
    debug_assert!(fd.as_raw_fd() >= 0);
    Ok(fd)
}
