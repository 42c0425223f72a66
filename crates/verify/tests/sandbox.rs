//! Hostile programs in every level of the sandbox that this machine allows, as this user and, where this user is root, as
//! an ordinary one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may fail, print and read the environment"
)]

#[path = "attacks/list.rs"]
mod list;

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use list::{ATTACKS, Attack, TRY};
use potstill_verify::sandbox::{End, Job, Launcher, Level, Limits, Sandbox, Settings};

/// Where a second run of this test, as another user, finds the helper.
const HELPER: &str = "POTSTILL_TEST_HELPER";
const PYTHON: &str = "/usr/bin/python3";

fn sandbox(level: Option<Level>) -> Option<Sandbox> {
    let program = std::env::var_os(HELPER).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_potstill-sandbox")), PathBuf::from);
    let launcher = Launcher { program, args: Vec::new() };
    let settings = Settings { launcher, level, boxes: 4, readable: Vec::new(), scratch: std::env::temp_dir() };
    match Sandbox::start(settings) {
        Ok(sandbox) => {
            println!("{}: {}", sandbox.level(), sandbox.notes().join("; "));
            Some(sandbox)
        }
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn levels() -> impl Iterator<Item = Sandbox> {
    [Level::L1, Level::L2].into_iter().filter_map(|level| sandbox(Some(level)))
}

fn limits() -> Limits {
    Limits { wall_ms: 6_000, cpu_ms: 2_000, memory: 512 << 20, output: 1 << 20, disk: 16 << 20, ..Limits::default() }
}

fn job(source: &str, args: &[&str]) -> Job {
    let argv = [PYTHON, "-S", "-s", "a.py"].iter().chain(args).map(|&arg| arg.to_owned()).collect();
    Job { argv, files: vec![("a.py".to_owned(), source.as_bytes().to_vec())], limits: limits(), ..Job::default() }
}

/// What hostile programs try to reach.
struct Outside {
    folder: tempfile::TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    socket: UnixDatagram,
}

impl Outside {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        let socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        std::fs::set_permissions(folder.path().join("socket"), std::fs::Permissions::from_mode(0o777)).unwrap();
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { folder, tcp, udp, socket }
    }

    fn source(&self, attack: &Attack) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        format!("{TRY}\n{}", attack.source)
            .replace("{secret}", &path("secret"))
            .replace("{outside}", &self.folder.path().display().to_string())
            .replace("{socket}", &path("socket"))
            .replace("{tcp}", &self.tcp.local_addr().unwrap().port().to_string())
            .replace("{udp}", &self.udp.local_addr().unwrap().port().to_string())
    }

    /// Nothing of it was touched.
    fn untouched(&self) -> Result<(), String> {
        let names: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        let mut buffer = [0_u8; 16];
        let got_datagram = self.udp.recv(&mut buffer).is_ok() || self.socket.recv(&mut buffer).is_ok();
        if names.len() != 2 || std::fs::read(self.folder.path().join("secret")).unwrap() != b"secret" {
            return Err(format!("files outside were changed: {names:?}"));
        }
        if self.tcp.accept().is_ok() || got_datagram {
            return Err("something came over the network".to_owned());
        }
        for path in ["/usr/pwned", "/pwned", "/etc/pwned", "/var/tmp/pwned", "/dev/shm/pwned", "/tmp/pwned"] {
            if Path::new(path).exists() {
                return Err(format!("{path} was written"));
            }
        }
        Ok(())
    }
}

/// Processes on this machine whose command line holds `marker`.
fn alive(marker: &str) -> usize {
    let of = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    let lines = std::fs::read_dir("/proc").unwrap().flatten().filter_map(of);
    lines.filter(|line| String::from_utf8_lossy(line).split('\0').any(|arg| arg == marker)).count()
}

/// Runs an attack; what it achieved, if anything.
fn achieved(sandbox: &Sandbox, outside: &Outside, attack: &Attack, group: bool) -> Result<End, String> {
    // Each run has a mark of its own on its command line, which children inherit.
    let marker = format!("mark-{}-{:?}", attack.name.replace(' ', "-"), Instant::now()).replace(['{', '}', ' '], "");
    let mut job = job(&outside.source(attack), &[&marker]);
    job.limits.processes = attack.processes;
    let begun = Instant::now();
    let outcome = sandbox.run(job).map_err(|e| e.to_string())?;
    let stdout = String::from_utf8_lossy(&outcome.stdout);
    if stdout.contains("BREACH") && (group || attack.name != "memory by children") {
        return Err(stdout.lines().take(5).collect::<Vec<_>>().join(" | "));
    }
    if attack.name == "set-uid programs" && stdout.trim() == "0" {
        return Err("a set-uid program ran as root".to_owned());
    }
    if begun.elapsed() > Duration::from_secs(15) {
        return Err(format!("it ran for {:?}", begun.elapsed()));
    }
    let left = alive(&marker);
    if left > 0 {
        return Err(format!("{left} processes survived"));
    }
    outside.untouched()?;
    Ok(outcome.end)
}

#[test]
fn hostile_programs_get_nothing() {
    let outside = Outside::new();
    for sandbox in levels() {
        let group = sandbox.notes().iter().all(|note| !note.starts_with("no control group for memory"));
        let results: Vec<_> = ATTACKS.iter().map(|attack| (attack.name, achieved(&sandbox, &outside, attack, group))).collect();
        let breaches: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).collect();
        assert!(breaches.is_empty(), "{}: {breaches:#?}", sandbox.level());
        let end = |name: &str| results.iter().find(|(n, _)| *n == name).and_then(|(_, end)| end.clone().ok());
        assert_eq!(end("endless sleep"), Some(End::WallLimit));
        // On a busy machine the clock may run out first.
        assert!(matches!(end("endless loop"), Some(End::CpuLimit | End::WallLimit)), "{:?}", end("endless loop"));
        assert_eq!(end("flood of output"), Some(End::OutputLimit));
        assert!(matches!(end("survivor: double fork and setsid"), Some(End::Exited(_))));
        println!("{}: {} hostile programs denied", sandbox.level(), results.len());
        // The box is as good as new.
        let outcome = sandbox.run(job("import os\nprint(os.listdir('.'), input())", &[])).unwrap();
        assert_eq!((outcome.end, outcome.stdout.as_slice()), (End::Exited(1), &b""[..]), "no input");
    }
}

#[test]
fn an_honest_program_gets_what_it_needs() {
    for sandbox in levels() {
        let mut honest = job(
            "import sys, tempfile, threading, asyncio, random\nopen('f', 'w').write('x')\nprint(input() * 2, open('f').read(), file=sys.stdout)\nprint('é', file=sys.stderr)\nt = threading.Thread(target=print, args=('t',)); t.start(); t.join()\nasyncio.run(asyncio.sleep(0))\nsys.exit(3)",
            &[],
        );
        honest.stdin = b"ab\n".to_vec();
        let outcome = sandbox.run(honest).unwrap();
        assert_eq!(outcome.end, End::Exited(3), "{}", String::from_utf8_lossy(&outcome.stderr));
        assert_eq!(String::from_utf8_lossy(&outcome.stdout), "abab x\nt\n");
        assert_eq!(String::from_utf8_lossy(&outcome.stderr), "é\n");
        let missing = sandbox.run(Job { argv: vec!["/usr/bin/no-such-thing".to_owned()], ..Job::default() }).unwrap_err();
        assert!(missing.to_string().contains("cannot start `/usr/bin/no-such-thing`"), "{missing}");
        assert_eq!(sandbox.run(job("print(1)", &[])).unwrap().stdout, b"1\n", "a missing program breaks nothing");
    }
}

#[test]
fn many_threads_share_the_boxes() {
    for sandbox in levels() {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let sandbox = &sandbox;
                scope.spawn(move || {
                    for round in 0..4 {
                        let outcome = sandbox.run(job(&format!("print({thread} * 100 + {round})"), &[])).unwrap();
                        assert_eq!(String::from_utf8_lossy(&outcome.stdout).trim(), (thread * 100 + round).to_string());
                    }
                });
            }
        });
    }
}

/// Runs the tests above once more as `nobody`, from copies that `nobody` may read.
#[test]
fn the_same_as_an_ordinary_user() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: this user is an ordinary one already");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (tests, helper) = (folder.path().join("tests"), folder.path().join("helper"));
    std::fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_potstill-sandbox"), &helper).unwrap();
    let mut command = Command::new(&tests);
    command
        .args(["--nocapture", "--test-threads", "1", "--skip", "the_same_as_an_ordinary_user"])
        .env(HELPER, &helper)
        .env("TMPDIR", "/tmp");
    let output = command.uid(65_534).gid(65_534).current_dir("/").output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{}", text.lines().filter(|l| l.contains("L1") || l.contains("L2") || l.contains("skipped")).collect::<Vec<_>>().join("\n"));
    assert!(output.status.success(), "{text}");
}
