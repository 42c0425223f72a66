//! Control groups: the limit on all memory and tasks of a program together, where this machine lets us make one.
//!
//! Each of the two controllers is taken where it is: in version 1 (one folder for each), in version 2 (one folder for
//! both), or not at all. A group is made below the one we run in, or in version 2 beside it; nothing that exists is changed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which files a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A group for the programs of one helper; removed when dropped.
#[derive(Debug)]
pub(super) struct Group {
    memory: Option<Control>,
    tasks: Option<Control>,
}

/// The folder of a group in which a controller has its files.
#[derive(Debug, Clone)]
struct Control {
    version: Version,
    folder: PathBuf,
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
        Self::make_in(&mounts, &own, &format!("{PREFIX}{}-{number}", std::process::id()))
    }

    fn make_in(mounts: &str, own: &str, name: &str) -> Option<Self> {
        let first = |controller, limit| {
            let (_, above) = place(mounts, own, Some(controller))?;
            sweep(&above);
            Control::make(Version::V1, above.join(name), &[limit])
        };
        let mut group = Self { memory: first("memory", "memory.limit_in_bytes"), tasks: first("pids", "pids.max") };
        if let (true, Some((mount, own))) = (group.memory.is_none() || group.tasks.is_none(), place(mounts, own, None)) {
            // A group that holds processes cannot hand controllers down; the one above it often does already.
            let above = own.parent().filter(|above| above.starts_with(mount));
            group.take_unified([Some(own.as_path()), above].into_iter().flatten(), name);
        }
        (group.memory.is_some() || group.tasks.is_some()).then_some(group)
    }

    /// Takes what is missing from the first folder of version 2 that has any of it.
    fn take_unified<'a>(&mut self, above: impl Iterator<Item = &'a Path>, name: &str) {
        for above in above {
            sweep(above);
            let Some(made) = Control::make(Version::V2, above.join(name), &["memory.max", "pids.max"]) else { continue };
            if self.memory.is_none() && made.has("memory.max") {
                self.memory = Some(made.clone());
            }
            if self.tasks.is_none() && made.has("pids.max") {
                self.tasks = Some(made.clone());
            }
            if self.controls().any(|control| control.folder == made.folder) {
                return;
            }
            let _ = fs::remove_dir(made.folder);
        }
    }

    fn controls(&self) -> impl Iterator<Item = &Control> {
        self.memory.iter().chain(&self.tasks)
    }

    /// Limits for the next program.
    pub(super) fn set(&self, memory: u64, tasks: u64) -> io::Result<()> {
        if let Some(control) = &self.memory {
            match control.version {
                Version::V1 => control.write("memory.limit_in_bytes", memory)?,
                Version::V2 => {
                    control.write("memory.max", memory)?;
                    // Absent where the machine has no swap.
                    let _ = control.write("memory.swap.max", 0);
                }
            }
        }
        self.tasks.as_ref().map_or(Ok(()), |control| control.write("pids.max", tasks))
    }

    /// The files by which a process joins.
    pub(super) fn doors(&self) -> io::Result<Vec<File>> {
        let mut folders: Vec<&Path> = self.controls().map(|control| control.folder.as_path()).collect();
        folders.dedup();
        folders.into_iter().map(|folder| File::options().write(true).open(folder.join("cgroup.procs"))).collect()
    }

    /// How many processes were killed so far for want of memory.
    pub(super) fn kills(&self) -> u64 {
        let Some(control) = &self.memory else { return 0 };
        let file = if control.version == Version::V1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(control.folder.join(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok()).sum()
    }

    /// Whether it limits the memory of all processes together.
    pub(super) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }
}

impl Control {
    /// Makes a group's folder; `None` where that is not allowed or none of these files is in it, to be written.
    fn make(version: Version, folder: PathBuf, limits: &[&str]) -> Option<Self> {
        fs::create_dir(&folder).ok()?;
        let made = Self { version, folder };
        if limits.iter().any(|limit| made.has(limit)) {
            return Some(made);
        }
        let _ = fs::remove_dir(made.folder);
        None
    }

    fn has(&self, file: &str) -> bool {
        File::options().write(true).open(self.folder.join(file)).is_ok()
    }

    /// Never makes a file, for in a folder that is no group it would look like a limit.
    fn write(&self, file: &str, value: u64) -> io::Result<()> {
        File::options().write(true).open(self.folder.join(file))?.write_all(value.to_string().as_bytes())
    }
}

/// The versions, for people.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |control: &Option<Control>| match control.as_ref().map(|control| control.version) {
            Some(Version::V1) => "v1",
            Some(Version::V2) => "v2",
            None => "none",
        };
        match (version(&self.memory), version(&self.tasks)) {
            (memory, tasks) if memory == tasks => f.write_str(memory),
            (memory, tasks) => write!(f, "{memory} for memory, {tasks} for processes"),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group with a process in it stays; the next run of any of us sweeps it.
        for control in self.controls() {
            let _ = fs::remove_dir(&control.folder);
        }
    }
}

/// Where a controller of version 1, or version 2 (`None`), is mounted, and our own group there.
fn place<'a>(mounts: &'a str, own: &str, controller: Option<&str>) -> Option<(&'a Path, PathBuf)> {
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
        found.then(|| (Path::new(point), Path::new(point).join(below.trim_start_matches('/'))))
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
        let found = |controller| place(mounts, own, controller).map(|(_, group)| group);
        assert_eq!(found(Some("memory")), Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(found(Some("pids")), Some("/sys/fs/cgroup/pids/y".into()));
        assert_eq!(found(None), Some("/sys/fs/cgroup/unified/user.slice".into()));
        assert_eq!(found(Some("hugetlb")), None);
    }

    /// In plain folders, since most machines have the controllers in one version only.
    #[test]
    fn limits_and_kills_of_version_2_stand_in_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        for file in ["memory.max", "memory.swap.max", "pids.max"] {
            fs::write(path.join(file), "").unwrap();
        }
        let control = Control { version: Version::V2, folder: path.clone() };
        let group = Group { memory: Some(control.clone()), tasks: Some(control) };
        group.set(5 << 20, 7).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!((read("memory.max"), read("memory.swap.max"), read("pids.max")), ("5242880".into(), "0".into(), "7".into()));
        assert_eq!(group.kills(), 0);
        fs::write(path.join("memory.events"), "low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!((group.kills(), group.to_string()), (2, "v2".to_owned()));
        assert!(group.doors().is_err(), "no process joins what is no group");
        fs::write(path.join("cgroup.procs"), "").unwrap();
        assert_eq!(group.doors().unwrap().len(), 1);
    }

    /// With whatever controllers this machine has.
    #[test]
    #[expect(clippy::print_stdout, reason = "a test may say what it was run with")]
    fn a_group_of_the_kernel_limits_what_joins_it() {
        use std::process::{Command, Stdio};
        let Some(group) = Group::make() else {
            println!("skipped: no control group can be made here");
            return;
        };
        println!("control group: {group}");
        group.set(64 << 20, 8).unwrap();
        let inside = |script: &str| {
            let mut shell = Command::new("/bin/sh");
            let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // It waits for what to do, so that it is in the group by then.
            for mut door in group.doors().unwrap() {
                door.write_all(child.id().to_string().as_bytes()).unwrap();
            }
            child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        if group.tasks.is_some() {
            assert!(inside("for i in 1 2 3 4; do sleep 0.01 & done; wait").status.success());
            let many = inside("for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2 & done; wait; echo all");
            let told = String::from_utf8_lossy(&many.stderr);
            assert!(!many.status.success() && told.contains("fork"), "{many:?}");
        }
        if group.limits_memory() {
            // Orphans of the shell above may not be reaped yet.
            group.set(64 << 20, 64).unwrap();
            assert!(inside("x=$(head -c 8000000 /dev/zero | tr '\\0' a)").status.success());
            assert_eq!(group.kills(), 0);
            let big = inside("x=$(head -c 200000000 /dev/zero | tr '\\0' a); echo all");
            assert!(!String::from_utf8_lossy(&big.stdout).contains("all"), "{:?}", big.status);
            assert!(group.kills() > 0, "{:?}", big.status);
        }
        let folders: Vec<PathBuf> = group.controls().map(|control| control.folder.clone()).collect();
        let empty = || folders.iter().all(|folder| fs::read(folder.join("cgroup.procs")).is_ok_and(|text| text.is_empty()));
        for _ in 0..500 {
            if empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        drop(group);
        assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
    }

    #[test]
    fn a_folder_without_controllers_is_no_group() {
        let folder = tempfile::tempdir().unwrap();
        let unified = folder.path().join("unified");
        fs::create_dir(&unified).unwrap();
        let mounts = format!("32 24 0:28 / {} rw - cgroup2 cgroup2 rw\n", unified.display());
        assert!(Group::make_in(&mounts, "0::/\n", "potstill-x").is_none());
        assert_eq!(fs::read_dir(&unified).unwrap().count(), 0, "nothing is left in it");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nor above the place where it is mounted");
    }
}
