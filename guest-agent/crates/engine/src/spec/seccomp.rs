//! Docker's default seccomp profile, and profiles of users in Docker's format.
//!
//! Facts of the table: the profile dockerd 28.5 ships (moby/profiles, seccomp 0.1.0).

use std::sync::LazyLock;

use errdefs::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::system;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const AF_VSOCK: u64 = 40;
/// `CLONE_NEW*` but for time: what `clone` may not ask for without CAP_SYS_ADMIN.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// Values of `personality` that are harmless.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Always allowed.
const ALWAYS: &str = "
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime
clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir
fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork
fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64
getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32
getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy
io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen
listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall
munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv
preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat
rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64
send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address
setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink
symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat
uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
";
/// Allowed on an architecture.
#[cfg(target_arch = "x86_64")]
const OF_ARCHITECTURE: &str = "arch_prctl modify_ldt";
#[cfg(target_arch = "aarch64")]
const OF_ARCHITECTURE: &str =
    "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];

/// Allowed with a capability.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    (
        "CAP_SYS_TIME",
        "settimeofday stime clock_settime clock_settime64",
    ),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

fn allow(names: &[&str]) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ALLOW"})
}

fn allow_if(name: &str, value: u64, op: &str) -> Value {
    json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value, "op": op}]})
}

/// The part that is the same for all.
static COMMON: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut rules = vec![
        allow(&words(ALWAYS)),
        allow(&["process_vm_readv", "process_vm_writev", "ptrace"]),
        allow_if("socket", AF_VSOCK, "SCMP_CMP_NE"),
    ];
    rules.extend(PERSONALITIES.map(|value| allow_if("personality", value, "SCMP_CMP_EQ")));
    rules.push(allow(&words(OF_ARCHITECTURE)));
    rules
});

/// The default profile for a set of capabilities.
pub(super) fn default_profile(capabilities: &[String]) -> Value {
    let has = |name: &str| capabilities.iter().any(|own| own == name);
    let mut rules = COMMON.clone();
    for (capability, names) in WITH_CAPABILITY {
        if has(capability) {
            rules.push(allow(&words(names)));
        }
    }
    if !has("CAP_SYS_ADMIN") {
        // The masked value is compared with 0, which is left out.
        rules.push(allow_if("clone", NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ"));
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
    }
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": EPERM, "architectures": ARCHITECTURES, "syscalls": rules})
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

/// When a rule holds.
#[derive(Default, Deserialize)]
struct Condition {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

impl Condition {
    /// Each part that is named fits: of the capabilities all, of the architectures one.
    fn includes(&self, capabilities: &[String]) -> bool {
        self.caps.iter().all(|name| capabilities.contains(name))
            && (self.arches.is_empty() || self.is_here())
    }

    fn excludes(&self, capabilities: &[String]) -> bool {
        self.caps.iter().any(|name| capabilities.contains(name)) || self.is_here()
    }

    fn is_here(&self) -> bool {
        let own = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        self.arches.iter().any(|name| name == own)
    }
}

/// A user's profile.
///
/// # Errors
/// `Decoding seccomp profile failed: …`.
pub(super) fn custom_profile(text: &str, capabilities: &[String]) -> Result<Value> {
    let profile: Profile = serde_json::from_str(text)
        .map_err(|error| system(format!("Decoding seccomp profile failed: {error}")))?;
    let mut rules = Vec::new();
    for rule in profile.syscalls {
        if !rule.includes.includes(capabilities) || rule.excludes.excludes(capabilities) {
            continue;
        }
        let names = if rule.name.is_empty() {
            rule.names
        } else {
            vec![rule.name]
        };
        let mut value = json!({"names": names, "action": rule.action});
        if let Some(errno) = rule.errno_ret {
            value["errnoRet"] = errno.into();
        }
        if let Some(args) = rule.args.filter(|args| !args.is_empty()) {
            value["args"] = args.into();
        }
        rules.push(value);
    }
    let architectures = if profile.architectures.is_empty() {
        ARCHITECTURES.map(str::to_owned).into()
    } else {
        profile.architectures
    };
    let mut value = json!({"defaultAction": profile.default_action, "architectures": architectures, "syscalls": rules});
    if let Some(errno) = profile.default_errno_ret {
        value["defaultErrnoRet"] = errno.into();
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(profile: &Value) -> Vec<&str> {
        let rules = profile["syscalls"].as_array().unwrap();
        rules
            .iter()
            .flat_map(|rule| rule["names"].as_array().unwrap())
            .filter_map(Value::as_str)
            .collect()
    }

    #[test]
    fn what_needs_a_capability_is_there_only_with_it() {
        let without = default_profile(&[]);
        assert!(names(&without).contains(&"openat") && !names(&without).contains(&"mount"));
        assert!(names(&without).contains(&"clone3"));
        let with = default_profile(&["CAP_SYS_ADMIN".to_owned()]);
        assert!(names(&with).contains(&"mount") && names(&with).contains(&"unshare"));
        assert_eq!(words(ALWAYS).len(), 361);
    }

    #[test]
    fn a_users_profile_is_filtered_or_refused() {
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir"],"action":"SCMP_ACT_ERRNO"},
            {"names":["mount"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
        assert_eq!(names(&custom_profile(text, &[]).unwrap()), ["mkdir"]);
        let error = custom_profile("{", &[]).unwrap_err();
        assert!(
            error
                .message()
                .starts_with("Decoding seccomp profile failed: "),
            "{error}"
        );
    }
}
