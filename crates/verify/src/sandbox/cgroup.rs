//! Control groups: the limit on all memory and tasks of a program together, where this machine lets us make one.
//!
//! Version 2 where the controllers live there, else version 1 (one folder for each controller), else none. A group is made
//! beside or below the one we run in; nothing that exists is changed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which files a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A group for the programs of one helper; removed when dropped.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) version: Version,
    memory: PathBuf,
    pids: PathBuf,
}

/// All our groups start so; the process id of the program that made them follows.
const PREFIX: &str = "potstill-";

impl Group {
    /// A new group, if this machine has any kind that we may make.
    pub(super) fn make() -> Option<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let (memory, pids) = (place(&mounts, &own, Some("memory")), place(&mounts, &own, Some("pids")));
        if let (Some(memory), Some(pids)) = (memory, pids) {
            sweep(&memory);
            sweep(&pids);
            return Self::new(Version::V1, memory.join(&name), pids.join(&name));
        }
        let unified = place(&mounts, &own, None)?;
        // A group that holds processes cannot hand controllers down; the one above it often does already.
        [Some(unified.as_path()), unified.parent()].into_iter().flatten().find_map(|above| {
            sweep(above);
            Self::new(Version::V2, above.join(&name), above.join(&name))
        })
    }

    fn new(version: Version, memory: PathBuf, pids: PathBuf) -> Option<Self> {
        let group = Self { version, memory, pids };
        let made = fs::create_dir(&group.memory).and_then(|()| if version == Version::V1 { fs::create_dir(&group.pids) } else { Ok(()) });
        // Dropping the group removes what was made so far.
        (made.is_ok() && group.set(1 << 30, 64).is_ok()).then_some(group)
    }

    /// Limits for the next program.
    pub(super) fn set(&self, memory: u64, tasks: u64) -> io::Result<()> {
        let write = |folder: &Path, file: &str, value: u64| fs::write(folder.join(file), value.to_string());
        match self.version {
            Version::V1 => write(&self.memory, "memory.limit_in_bytes", memory)?,
            Version::V2 => {
                write(&self.memory, "memory.max", memory)?;
                // Absent where the machine has no swap.
                let _ = write(&self.memory, "memory.swap.max", 0);
            }
        }
        write(&self.pids, "pids.max", tasks)
    }

    /// The files by which a process joins.
    pub(super) fn doors(&self) -> io::Result<Vec<File>> {
        let door = |folder: &Path| File::options().write(true).open(folder.join("cgroup.procs"));
        match self.version {
            Version::V1 => Ok(vec![door(&self.memory)?, door(&self.pids)?]),
            Version::V2 => Ok(vec![door(&self.memory)?]),
        }
    }

    /// How many processes were killed so far for want of memory.
    pub(super) fn kills(&self) -> u64 {
        let file = if self.version == Version::V1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.memory.join(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok()).sum()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group with a process in it stays; the next run of any of us sweeps it.
        let _ = fs::remove_dir(&self.memory);
        let _ = fs::remove_dir(&self.pids);
    }
}

/// The folder of our own group for a controller of version 1, or of version 2 (`None`).
fn place(mounts: &str, own: &str, controller: Option<&str>) -> Option<PathBuf> {
    let group = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let found = controller.map_or(controllers.is_empty(), |wanted| controllers.split(',').any(|one| one == wanted));
        found.then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let found = match controller {
            Some(wanted) => kind == "cgroup" && options.split(',').any(|one| one == wanted),
            None => kind == "cgroup2",
        };
        // A mount may show only a part of the tree; the rest of the path is below it.
        let below = group.strip_prefix(root.trim_end_matches('/'))?;
        found.then(|| Path::new(point).join(below.trim_start_matches('/')))
    })
}

/// Removes groups that killed programs of ours left behind.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_groups_are_found_in_both_versions() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 24 0:27 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/a/b\n8:pids:/docker/x/y\n0::/user.slice\n";
        assert_eq!(place(mounts, own, Some("memory")), Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(place(mounts, own, Some("pids")), Some("/sys/fs/cgroup/pids/y".into()));
        assert_eq!(place(mounts, own, None), Some("/sys/fs/cgroup/unified/user.slice".into()));
        assert_eq!(place(mounts, own, Some("hugetlb")), None);
    }

    /// In a plain folder, since most machines have the controllers in one version only.
    #[test]
    fn limits_and_kills_of_version_2_stand_in_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group");
        let group = Group::new(Version::V2, path.clone(), path.clone()).unwrap();
        group.set(5 << 20, 7).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!((read("memory.max"), read("memory.swap.max"), read("pids.max")), ("5242880".into(), "0".into(), "7".into()));
        assert_eq!(group.kills(), 0);
        fs::write(path.join("memory.events"), "low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!(group.kills(), 2);
        assert!(group.doors().is_err(), "no process joins what is no group");
    }
}
