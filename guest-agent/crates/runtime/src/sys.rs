//! System calls that no safe crate wraps.
#![expect(unsafe_code, reason = "raw system calls, one a function")]

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use crate::{
    device_filter,
    seccomp::{Filter, Instruction},
};

/// Linux: include/uapi/linux/mount.h.
const MOUNT_ATTR_SIZE: usize = size_of::<libc::mount_attr>();

/// What `clone3` gave: the child's side, or its pid and pidfd.
pub(crate) enum Cloned {
    Child,
    Parent(i32, OwnedFd),
}

/// Makes a child in new namespaces and in a cgroup.
///
/// # Errors
/// What the kernel says.
pub(crate) fn clone_into(namespaces: u64, cgroup: BorrowedFd<'_>) -> io::Result<Cloned> {
    // SAFETY: clone_args is plain numbers; all zeroes is valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces | CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    clone3(arguments)
}

/// Makes a child of this process's parent.
///
/// # Errors
/// What the kernel says.
pub(crate) fn clone_sibling() -> io::Result<Cloned> {
    // SAFETY: clone_args is plain numbers; all zeroes is valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    // The parent hears of its end as it hears of this process's: an exit signal of its own is refused.
    arguments.flags = u64::from(libc::CLONE_PARENT.cast_unsigned());
    clone3(arguments)
}

fn clone3(mut arguments: libc::clone_args) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    arguments.flags |= u64::from(libc::CLONE_PIDFD.cast_unsigned());
    arguments.pidfd = &raw mut pidfd as u64;
    // SAFETY: without CLONE_VM the child is a copy, like fork's; the arguments live until the call returns and have their own size.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(Cloned::Child),
        // SAFETY: the kernel has just opened this descriptor for us.
        Ok(pid) if pid > 0 => Ok(Cloned::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Enters every namespace of a process, its root and a pid namespace for children.
///
/// # Errors
/// What the kernel says: the process is gone.
pub(crate) fn enter_namespaces(process: BorrowedFd<'_>) -> io::Result<()> {
    let all = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    // SAFETY: plain numbers; the caller is a process with one thread.
    match unsafe { libc::setns(process.as_raw_fd(), all) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Linux: include/uapi/linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Sets and clears attributes of a mount, or of all below it.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string with its end, and the attributes are given with their size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            MOUNT_ATTR_SIZE,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Replaces this process. Returns only when it fails.
pub(crate) fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|one| one.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end with null and point at strings that live on.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process without running anything that the parent registered.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Drops a capability from the bounding set.
pub(crate) fn drop_from_bounding_set(capability: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe {
        libc::prctl(
            libc::PR_CAPBSET_DROP,
            libc::c_ulong::from(capability),
            0,
            0,
            0,
        )
    })
}

/// Keeps permitted capabilities over the change of user.
pub(crate) fn keep_capabilities(keep: bool) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0, 0, 0) })
}

/// Raises an ambient capability.
pub(crate) fn raise_ambient(capability: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
            libc::c_ulong::from(capability),
            0,
            0,
        )
    })
}

/// Sets effective, permitted and inheritable capabilities of this process.
pub(crate) fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    /// Linux: include/uapi/linux/capability.h, _LINUX_CAPABILITY_VERSION_3.
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let half = |set: u64, high: bool| {
        if high {
            (set >> 32) as u32
        } else {
            (set & 0xffff_ffff) as u32
        }
    };
    let data: [[u32; 3]; 2] = [false, true].map(|high| {
        [
            half(effective, high),
            half(permitted, high),
            half(inheritable, high),
        ]
    });
    // SAFETY: header and data have the layout of version 3: two triples of 32 bits.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
}

/// Changes this process's groups and user, for good.
pub(crate) fn set_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list is given with its length; the process has one thread, so raw calls change all of it.
    unsafe {
        check(libc::syscall(
            libc::SYS_setgroups,
            groups.len(),
            groups.as_ptr(),
        ))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

/// Sets one limit of this process; -1 is no limit.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let none: *mut libc::rlimit64 = std::ptr::null_mut();
    // SAFETY: the limit lives until the call returns; a bad resource is an error. Each libc has another type for the resource.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, none) })
}

/// Closes every descriptor but the standard streams and these.
pub(crate) fn close_all_but<'a>(keep: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.map(|one| one.as_raw_fd().unsigned_abs()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for kept in keep.into_iter().chain([u32::MAX]) {
        if first < kept {
            // SAFETY: the callers' other descriptors are not used again; the process ends by exec or exit.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, kept - 1, 0) })?;
        }
        first = kept.saturating_add(1).max(first);
    }
    Ok(())
}

/// Makes a terminal the controlling one of this session.
pub(crate) fn take_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open; the call takes a number.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })
}

/// Installs a seccomp filter.
pub(crate) fn install_filter(filter: &Filter) -> io::Result<()> {
    /// Linux: include/uapi/linux/seccomp.h.
    const SET_MODE_FILTER: libc::c_uint = 1;
    let length = u16::try_from(filter.program.len())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const Instruction,
    }
    let program = Program {
        length,
        instructions: filter.program.as_ptr(),
    };
    // SAFETY: the instructions have the kernel's layout, are given with their number, and live until the call returns.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            filter.flags,
            &raw const program,
        )
    })
}

/// Loads a device filter and attaches it to a cgroup; it goes with the group.
pub(crate) fn attach_device_filter(
    program: &[device_filter::Instruction],
    cgroup: BorrowedFd<'_>,
) -> io::Result<()> {
    /// Linux: include/uapi/linux/bpf.h: BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE.
    const LOAD: libc::c_int = 5;
    const ATTACH: libc::c_int = 8;
    const TYPE: u32 = 15;
    const PLACE: u32 = 6;
    /// The first members of `union bpf_attr` for a load; the kernel takes the rest as zero.
    #[repr(C)]
    struct Program {
        kind: u32,
        length: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    /// The same for an attach.
    #[repr(C)]
    struct Place {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let length =
        u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let load = Program {
        kind: TYPE,
        length,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: the attributes are given with their size, and all that they point at lives until the call returns.
    let loaded =
        unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of::<Program>()) };
    let descriptor = i32::try_from(loaded)
        .ok()
        .filter(|&descriptor| descriptor >= 0);
    let descriptor = descriptor.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just opened this descriptor for us.
    let loaded = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let attach = Place {
        target: cgroup.as_raw_fd().unsigned_abs(),
        program: loaded.as_raw_fd().unsigned_abs(),
        kind: PLACE,
        flags: 0,
    };
    // SAFETY: the attributes are given with their size; both descriptors are open.
    check(unsafe { libc::syscall(libc::SYS_bpf, ATTACH, &raw const attach, size_of::<Place>()) })
}

/// Every signal back to its default, none blocked.
pub(crate) fn reset_signals() {
    // SAFETY: sets dispositions and mask of this process only; signals that cannot be changed give an error that does not matter.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn check(result: impl Into<i64>) -> io::Result<()> {
    if result.into() == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
