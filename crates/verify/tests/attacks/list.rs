//! Hostile programs. Each prints a line that starts with BREACH if it gets what it wants.
//!
//! `{secret}`, `{outside}`, `{tcp}`, `{udp}` and `{socket}` stand for a readable file outside the box, a writable folder
//! outside it, two open ports and a Unix socket of the test's.

/// A hostile program: its name, how many processes it may have, its Python text.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) processes: u32,
    pub(crate) source: &'static str,
}

const fn attack(name: &'static str, processes: u32, source: &'static str) -> Attack {
    Attack { name, processes, source }
}

/// What several of them use: try something, and call it a breach if it works.
pub(crate) const TRY: &str = r#"
import os, sys, time, signal
def attempt(what, f):
    try:
        r = f()
    except BaseException as e:
        return None
    print("BREACH", what, repr(r)[:200], flush=True)
    return r
def read(p):
    with open(p, "rb") as f: return f.read(64)
def syscall(*args):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    r = libc.syscall(*args)
    if r == -1: raise OSError(ctypes.get_errno(), "denied")
    return r
"#;

pub(crate) const ATTACKS: &[Attack] = &[
    attack(
        "read system files",
        1,
        r#"
for p in ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/var/log/dpkg.log", "/sys/kernel/uevent_seqnum", "/dev/mem", "/dev/kmsg"]: attempt(p, lambda: read(p))
"#,
    ),
    attack("read a file outside", 1, r#"attempt("secret", lambda: read("{secret}"))"#),
    attack(
        "list folders outside",
        1,
        r#"
for p in ["/home", "/root", "/var", "/proc", "/sys", "/run", "{outside}"]: attempt(p, lambda: os.listdir(p))
"#,
    ),
    attack(
        "read home and environment",
        1,
        r#"
for p in ["~/.ssh/id_rsa", "~/.bashrc", "~/.cargo/config.toml", "~root/.bashrc"]: attempt(p, lambda: read(os.path.expanduser(p)))
known = {"PATH","HOME","TMPDIR","LANG","LC_ALL","LC_CTYPE","PYTHONHASHSEED","PYTHONDONTWRITEBYTECODE","PYTHONIOENCODING","OMP_NUM_THREADS","OPENBLAS_NUM_THREADS","NODE_NO_WARNINGS"}
extra = set(os.environ) - known
if extra: print("BREACH", extra)
"#,
    ),
    attack(
        "read /proc of others",
        1,
        r#"
for p in ["/proc/1/environ", "/proc/1/cmdline", "/proc/self/environ", "/proc/self/maps", "/proc/%d/mem" % os.getppid(), "/proc/%d/environ" % os.getppid(), "/proc/net/tcp", "/proc/cpuinfo"]: attempt(p, lambda: read(p))
"#,
    ),
    attack(
        "write outside",
        1,
        r#"
for p in ["{outside}/pwned", "/tmp/../usr/pwned", "/var/tmp/pwned", "/dev/shm/pwned", "/usr/pwned", "/usr/lib/python3.11/os.py", "/pwned", "/etc/pwned", "../pwned", "../../pwned"]:
    attempt(p, lambda: open(p, "ab").write(b"x"))
"#,
    ),
    attack(
        "write through symbolic links",
        1,
        r#"
os.symlink("{outside}", "out"); os.symlink("/usr", "usr"); os.symlink("{secret}", "secret"); os.symlink("/", "root")
for p in ["out/pwned", "usr/pwned", "root/pwned"]: attempt(p, lambda: open(p, "wb").write(b"x"))
for p in ["secret", "root/etc/passwd"]: attempt(p, lambda: read(p))
"#,
    ),
    attack(
        "hard links to files outside",
        1,
        r#"
for p in ["{secret}", "/usr/bin/env", "/etc/passwd"]: attempt(p, lambda: os.link(p, "link"))
"#,
    ),
    attack(
        "rename over the edge",
        1,
        r#"
open("f", "w").write("x")
for p in ["{outside}/pwned", "/usr/pwned", "../pwned"]: attempt(p, lambda: os.rename("f", p))
attempt("swap", lambda: syscall(316, -100, b"f", -100, b"{secret}", 2))
"#,
    ),
    attack(
        "inherited descriptors",
        1,
        r#"
for fd in range(3, 1024): attempt(fd, lambda: os.fstat(fd))
"#,
    ),
    attack(
        "TCP",
        1,
        r#"
import socket
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", {tcp}), timeout=2))
attempt("listen", lambda: socket.socket().bind(("127.0.0.1", 0)))
"#,
    ),
    attack(
        "UDP",
        1,
        r#"
import socket
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"BREACH", ("127.0.0.1", {udp})))
attempt("udp6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
"#,
    ),
    attack(
        "Unix sockets",
        1,
        r#"
import socket
def go(kind, where):
    s = socket.socket(socket.AF_UNIX, kind); s.connect(where); s.send(b"BREACH")
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for where in ("{socket}", "/dev/log", "\0abstract"): attempt(where, lambda: go(kind, where))
attempt("datagram pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"BREACH", "{socket}"))
"#,
    ),
    attack(
        "raw, packet and netlink sockets",
        1,
        r#"
import socket
for family, kind, proto in [(2, 3, 1), (17, 3, 768), (16, 3, 0), (40, 1, 0), (38, 5, 0)]: attempt((family, kind), lambda: socket.socket(family, kind, proto))
"#,
    ),
    attack(
        "names",
        1,
        r#"
import socket
attempt("dns", lambda: socket.getaddrinfo("example.com", 80))
"#,
    ),
    attack(
        "fork",
        1,
        r#"
attempt("fork", os.fork); attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
import subprocess
attempt("subprocess", lambda: subprocess.check_output(["/bin/true"]))
"#,
    ),
    attack(
        "fork bomb",
        8,
        r#"
n = 0
deadline = time.time() + 3
while time.time() < deadline:
    try:
        if os.fork() == 0: time.sleep(600)
        n += 1
    except OSError: time.sleep(0.01)
    if n > 200: print("BREACH", n, flush=True); break
"#,
    ),
    attack(
        "exponential fork bomb",
        8,
        r#"
while True:
    try: os.fork()
    except OSError: pass
"#,
    ),
    attack(
        "memory",
        1,
        r#"
blocks = []
for i in range(40): blocks.append(bytearray(100 << 20)); blocks[-1][::4096] = b"x" * len(blocks[-1][::4096])
print("BREACH 4 GB")
"#,
    ),
    attack(
        "shared memory mapping",
        1,
        r#"
import mmap
blocks = []
for i in range(40):
    m = mmap.mmap(-1, 100 << 20); blocks.append(m)
    for at in range(0, len(m), 4096): m[at] = 1
print("BREACH 4 GB")
"#,
    ),
    attack(
        "memory by children",
        8,
        r#"
children = 0
for i in range(7):
    if os.fork() == 0:
        try: block = bytearray(450 << 20); block[::4096] = b"x" * len(block[::4096]); time.sleep(1); os._exit(0)
        except MemoryError: os._exit(1)
done = sum(os.waitpid(-1, 0)[1] == 0 for i in range(7))
if done == 7: print("BREACH 3 GB")
"#,
    ),
    attack(
        "a large file",
        1,
        r#"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
f = open("big", "wb")
for i in range(200): f.write(b"x" * (1 << 20)); f.flush()
print("BREACH 200 MB")
"#,
    ),
    attack(
        "many files",
        1,
        r#"
for i in range(100): open("f%d" % i, "wb").write(b"x" * (2 << 20)); time.sleep(0.005)
print("BREACH 200 MB")
"#,
    ),
    attack(
        "many names",
        1,
        r#"
for i in range(60000): open("n%d" % i, "w").close()
time.sleep(0.2)
print("BREACH 60000 files")
"#,
    ),
    attack(
        "deep folders that cannot be entered",
        1,
        r#"
for i in range(300): os.mkdir("d"); os.chdir("d")
open("f", "w").write("x"); os.chmod(".", 0); os.chdir("/"); time.sleep(0.1)
"#,
    ),
    attack(
        "flood of output",
        1,
        r#"
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
b = b"x" * 65536
while True:
    try: os.write(1, b)
    except OSError: pass
"#,
    ),
    attack(
        "flood of errors",
        1,
        r#"
end = time.time() + 2
while time.time() < end: os.write(2, b"x" * 65536)
"#,
    ),
    attack("endless loop", 1, "while True: pass"),
    attack("endless sleep", 1, "time.sleep(1e6)"),
    attack(
        "deaf to signals",
        1,
        r#"
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
"#,
    ),
    attack(
        "survivor: double fork and setsid",
        8,
        r#"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)
os.wait()
"#,
    ),
    attack(
        "survivor: fifteen orphans",
        24,
        r#"
for i in range(15):
    if os.fork() == 0:
        os.setsid(); time.sleep(600); os._exit(0)
"#,
    ),
    attack(
        "survivor: holds standard output open",
        8,
        r#"
if os.fork() == 0:
    os.setsid()
    while True: time.sleep(1)
os._exit(0)
"#,
    ),
    attack(
        "signals to others",
        1,
        r#"
for pid in [os.getppid(), 1, 2, -1] + list(range(max(os.getpid() - 40, 2), os.getpid())):
    # In a pid namespace process 1 is the box's own and ignores it.
    if pid != os.getpid():
        try: os.kill(pid, signal.SIGKILL)
        except OSError: pass
        else: print("SENT", pid, flush=True)
"#,
    ),
    attack(
        "trace others",
        1,
        r#"
attempt("attach", lambda: syscall(101, 16, os.getppid(), 0, 0))
attempt("seize", lambda: syscall(101, 0x4206, os.getppid(), 0, 0))
attempt("process_vm_readv", lambda: syscall(310, os.getppid(), 0, 0, 0, 0, 0))
attempt("pidfd_open", lambda: syscall(434, os.getppid(), 0)); attempt("pidfd_getfd", lambda: syscall(438, 3, 0, 0)); attempt("kcmp", lambda: syscall(312, os.getpid(), os.getppid(), 0, 0, 1))
"#,
    ),
    attack(
        "namespaces",
        8,
        r#"
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000): attempt(hex(flag), lambda: syscall(272, flag))
attempt("clone", lambda: syscall(56, 0x10000000 | 17, 0, 0, 0, 0)); attempt("setns", lambda: syscall(308, 0, 0)); attempt("clone3", lambda: syscall(435, b"\0" * 88, 88))
"#,
    ),
    attack(
        "mounts and roots",
        1,
        r#"
attempt("mount", lambda: syscall(165, b"none", b".", b"tmpfs", 0, 0)); attempt("chroot", lambda: os.chroot(".")); attempt("pivot", lambda: syscall(155, b".", b"."))
attempt("umount", lambda: syscall(166, b"/", 2)); attempt("open_tree", lambda: syscall(428, -100, b"/", 1)); attempt("fsopen", lambda: syscall(430, b"tmpfs", 0)); attempt("by handle", lambda: syscall(304, -100, b"\0" * 16, 0))
"#,
    ),
    attack(
        "become root",
        1,
        r#"
if os.getuid() == 0 or os.geteuid() == 0: print("BREACH root")
for f in (os.setuid, os.setgid, os.seteuid): attempt(f.__name__, lambda: f(0))
attempt("groups", lambda: os.setgroups([0])); attempt("capset", lambda: syscall(126, b"\0" * 8, b"\xff" * 24))
"#,
    ),
    attack(
        "set-uid programs",
        1,
        r#"
open("s", "wb").write(open("/usr/bin/id", "rb").read()); os.chmod("s", 0o6755)
for p in ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd"):
    if os.path.exists(p): os.execv(p, [p, "--version"]) if False else None
os.execv("./s", ["s", "-u"])
"#,
    ),
    attack(
        "kernel interfaces",
        1,
        r#"
calls = {"bpf": (321, 0, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "io_uring_setup": (425, 1, b"\0" * 120), "userfaultfd": (323, 0), "memfd_create": (319, b"x", 0),
 "keyctl": (250, 0, -3, 1), "add_key": (248, b"user", b"k", b"v", 1, -2), "fanotify": (300, 0, 0), "inotify": (253,), "shmget": (29, 0, 4096, 0o1600), "semget": (64, 0, 1, 0o1600), "msgget": (68, 0, 0o1600),
 "mq_open": (240, b"x", 0o102, 0o600, 0), "syslog": (103, 3, b"\0" * 64, 64), "reboot": (169, 0, 0, 0, 0), "swapon": (167, b".", 0), "init_module": (175, 0, 0, 0), "acct": (163, 0), "seccomp": (317, 2, 0, 0),
 "personality": (135, 0x0040000), "move_pages": (279, os.getppid(), 0, 0, 0, 0, 0), "modify_ldt": (154, 0, 0, 0), "iopl": (172, 3), "quotactl": (179, 0, 0, 0, 0), "landlock": (444, 0, 0, 1), "memfd_secret": (447, 0)}
for name, args in calls.items(): attempt(name, lambda: syscall(*args))
"#,
    ),
    attack(
        "devices and pipes",
        1,
        r#"
import stat
attempt("block", lambda: os.mknod("b", stat.S_IFBLK | 0o600, os.makedev(8, 0))); attempt("char", lambda: os.mknod("c", stat.S_IFCHR | 0o600, os.makedev(1, 1))); attempt("fifo", lambda: os.mkfifo("p"))
"#,
    ),
    attack(
        "clock and names of the machine",
        1,
        r#"
attempt("clock", lambda: time.clock_settime(time.CLOCK_REALTIME, 0)); attempt("name", lambda: syscall(170, b"x", 1)); attempt("domain", lambda: syscall(171, b"x", 1))
"#,
    ),
    attack(
        "raise the limits",
        1,
        r#"
import resource
for which in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
    attempt(which, lambda: resource.setrlimit(which, (1 << 40, 1 << 40)))
attempt("parent", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0)))
"#,
    ),
    attack(
        "priorities of others",
        1,
        r#"
for pid in (os.getppid(), 1): attempt(pid, lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)); attempt(pid, lambda: os.sched_setaffinity(pid, {0}))
attempt("nice", lambda: os.nice(-10)); attempt("realtime", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
"#,
    ),
    attack(
        "terminal input",
        1,
        r#"
import fcntl
for fd in (0, 1, 2): attempt(fd, lambda: fcntl.ioctl(fd, 0x5412, b"x"))
attempt("tty", lambda: open("/dev/tty")); attempt("ptmx", lambda: open("/dev/ptmx"))
"#,
    ),
    attack("crash with a core", 1, "os.abort()"),
    attack(
        "descriptors",
        1,
        r#"
kept = []
for i in range(5000): kept.append(open("/dev/null"))
print("BREACH", len(kept))
"#,
    ),
    attack(
        "threads",
        1,
        r#"
import threading
n = 0
try:
    for i in range(1000): threading.Thread(target=time.sleep, args=(1,), daemon=True).start(); n += 1
except RuntimeError: pass
if n > 64: print("BREACH", n)
os._exit(0)
"#,
    ),
    attack(
        "deep recursion",
        1,
        r#"
sys.setrecursionlimit(10**9)
def f(n): return f(n + 1) + 1
class A:
    def __getattr__(self, n): return getattr(self, n)
try: f(0)
except (RecursionError, MemoryError): pass
A().x
"#,
    ),
    attack(
        "wide use of the standard streams",
        1,
        r#"
os.dup2(1, 0); os.close(0); os.close(1); os.close(2)
time.sleep(0.1)
"#,
    ),
    attack(
        "change the input",
        1,
        r#"
attempt("write stdin", lambda: os.write(0, b"x")); attempt("truncate stdin", lambda: os.ftruncate(0, 1 << 30)); attempt("grow stdin", lambda: os.pwrite(0, b"x", 1 << 30))
"#,
    ),
];
