//! The system calls that a program may make: what computing, files and threads need, and nothing else.
//!
//! No sockets (but connected pairs), no tracing, no namespaces, no keys, no shared memory that outlives a process. An
//! allow-list, so that calls of newer kernels are denied until somebody has looked at them.

use std::collections::BTreeMap;

use libc::{c_long, pid_t};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Op, SeccompCondition as Condition, SeccompFilter,
    SeccompRule as Rule, TargetArch, apply_filter,
};

use super::Limits;

/// Calls allowed with any arguments on every architecture.
const ALLOWED: &[c_long] = &[
    // Files and descriptors.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_pipe2,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    // Waiting for descriptors; data over connected pairs.
    libc::SYS_pselect6,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Who and where one is.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_capget,
    // Time.
    libc::SYS_gettimeofday,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    // Threads and scheduling.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_getrandom,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_execve,
    // The other filter answers this one with "no such call", so that libraries fall back to `clone`.
    libc::SYS_clone3,
];

/// The older forms of the same calls.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_access,
    libc::SYS_pipe,
    libc::SYS_dup2,
    libc::SYS_getdents,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_link,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_readlink,
    libc::SYS_chmod,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_select,
    libc::SYS_poll,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_time,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[libc::SYS_newfstatat, libc::SYS_renameat];

#[cfg(target_arch = "x86_64")]
const FORKS: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKS: &[c_long] = &[];

/// Terminal and descriptor requests that ask, or change one's own descriptor.
const IOCTLS: [u64; 7] = [
    libc::TCGETS as u64,
    libc::TIOCGWINSZ as u64,
    libc::FIONREAD as u64,
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    libc::FIONCLEX as u64,
    libc::FIOASYNC as u64,
];

/// Process settings that concern names and the naming of memory.
const PRCTLS: [i32; 6] =
    [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_GET_DUMPABLE, libc::PR_SET_VMA, libc::PR_GET_NO_NEW_PRIVS, libc::PR_CAPBSET_READ];

/// Installs the filters for this process and its children. `own_signals_only`: the program shares its user with others,
/// so that it may send signals to itself alone.
pub(super) fn install(limits: &Limits, own_signals_only: bool) -> Result<(), String> {
    let wrong = |e: &dyn std::fmt::Display| format!("seccomp: {e}");
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let rules = rules(limits, own_signals_only).map_err(|e| wrong(&e))?;
    for (rules, otherwise, matched) in [(no_clone3, SeccompAction::Allow, absent), (rules, denied, SeccompAction::Allow)] {
        let filter = SeccompFilter::new(rules, otherwise, matched, arch()?).map_err(|e| wrong(&e))?;
        let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| wrong(&e))?;
        // Once the strict filter stands no further one can be installed.
        apply_filter(&program).map_err(|e| wrong(&e))?;
    }
    Ok(())
}

fn arch() -> Result<TargetArch, String> {
    std::env::consts::ARCH.try_into().map_err(|_| format!("seccomp: no filter for {}", std::env::consts::ARCH))
}

fn rules(limits: &Limits, own_signals_only: bool) -> Result<BTreeMap<c_long, Vec<Rule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<Rule>> = ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    let one_of = |argument: u8, values: &[u64]| -> Result<Vec<Rule>, seccompiler::BackendError> {
        values.iter().map(|value| Rule::new(vec![Condition::new(argument, Width::Dword, Op::Eq, *value)?])).collect()
    };
    rules.insert(libc::SYS_ioctl, one_of(1, &IOCTLS)?);
    rules.insert(libc::SYS_prctl, one_of(0, &PRCTLS.map(|option| u64::from(option.cast_unsigned())))?);
    // Limits may be asked and lowered for oneself, never for another process.
    rules.insert(libc::SYS_prlimit64, one_of(0, &[0])?);
    // Connected pairs of streams: a datagram socket, even one of a pair, could send to any other.
    let kind = u64::from(libc::SOCK_STREAM.cast_unsigned());
    let stream_pair = vec![
        Condition::new(0, Width::Dword, Op::Eq, u64::from(libc::AF_UNIX.cast_unsigned()))?,
        Condition::new(1, Width::Dword, Op::MaskedEq(0xf), kind)?,
    ];
    rules.insert(libc::SYS_socketpair, vec![Rule::new(stream_pair)?]);
    if limits.processes > 1 {
        rules.extend(FORKS.iter().map(|call| (*call, Vec::new())));
        // Children, but no namespaces.
        let spaces = (libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP)
            .cast_unsigned();
        rules.insert(libc::SYS_clone, vec![Rule::new(vec![Condition::new(0, Width::Dword, Op::MaskedEq(u64::from(spaces)), 0)?])?]);
    } else {
        // Threads only.
        let thread = u64::from((libc::CLONE_THREAD | libc::CLONE_VM).cast_unsigned());
        rules.insert(libc::SYS_clone, vec![Rule::new(vec![Condition::new(0, Width::Dword, Op::MaskedEq(thread), thread)?])?]);
    }
    let own: pid_t = std::process::id().cast_signed();
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        let allowed = if own_signals_only { one_of(0, &[u64::from(own.cast_unsigned())])? } else { Vec::new() };
        rules.insert(call, allowed);
    }
    if !own_signals_only {
        rules.insert(libc::SYS_tkill, Vec::new());
    }
    Ok(rules)
}
