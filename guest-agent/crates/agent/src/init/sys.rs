//! System calls that no safe crate of ours offers: vsock addresses, interface ioctls, a terminal for a child.
#![expect(
    unsafe_code,
    reason = "raw system calls; each block keeps one promise of its callee"
)]

use std::{
    io,
    mem::size_of,
    net::Ipv4Addr,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use tokio::io::{Interest, unix::AsyncFd};

/// The host's vsock address.
pub(super) const HOST_CID: u32 = libc::VMADDR_CID_HOST;

/// Connections the kernel queues for us before they are accepted.
const BACKLOG: libc::c_int = 256;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn vsock_socket(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: `socket` takes no pointers.
    let fd = check(unsafe {
        libc::socket(
            libc::AF_VSOCK,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags,
            0,
        )
    })?;
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn vsock_address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: `sockaddr_vm` is plain integers; all zero is a valid value.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::sa_family_t::try_from(libc::AF_VSOCK).unwrap_or_default();
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

fn vsock_address_length() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_vm>()).unwrap_or_default()
}

/// A non-blocking listener on a vsock port.
pub(super) fn vsock_listen(port: u32) -> io::Result<OwnedFd> {
    let socket = vsock_socket(libc::SOCK_NONBLOCK)?;
    let address = vsock_address(libc::VMADDR_CID_ANY, port);
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            vsock_address_length(),
        )
    })?;
    // SAFETY: `listen` takes no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) })?;
    Ok(socket)
}

/// The next connection and the peer's CID; `WouldBlock` when there is none.
pub(super) fn vsock_accept(listener: RawFd) -> io::Result<(OwnedFd, u32)> {
    let mut address = vsock_address(0, 0);
    let mut length = vsock_address_length();
    // SAFETY: the pointers describe `address` and its size; both outlive the call.
    let fd = check(unsafe {
        libc::accept4(
            listener,
            (&raw mut address).cast(),
            &raw mut length,
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    })?;
    // SAFETY: the descriptor is new and ours alone.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, address.svm_cid))
}

/// A connection to a vsock port of the host. Blocks.
pub(super) fn vsock_connect(cid: u32, port: u32) -> io::Result<OwnedFd> {
    let socket = vsock_socket(0)?;
    let address = vsock_address(cid, port);
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    check(unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            vsock_address_length(),
        )
    })?;
    Ok(socket)
}

fn inet_socket() -> io::Result<OwnedFd> {
    // SAFETY: `socket` takes no pointers.
    let fd =
        check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain integers and arrays of them; all zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        // Signed or not, as the architecture has it.
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

fn inet_address(address: Ipv4Addr) -> libc::sockaddr {
    let inet = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain old data of 16 bytes; the kernel reads `sockaddr` as `sockaddr_in` by its family.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet) }
}

fn interface_ioctl(request: libc::Ioctl, argument: &mut libc::ifreq) -> io::Result<()> {
    let socket = inet_socket()?;
    // SAFETY: the requests used here read and write one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), request, std::ptr::from_mut(argument)) })
        .map(drop)
}

/// Brings an interface up.
pub(super) fn interface_up(name: &str) -> io::Result<()> {
    let mut request = interface_request(name)?;
    interface_ioctl(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let up = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
    request.ifr_ifru.ifru_flags = flags | up;
    interface_ioctl(libc::SIOCSIFFLAGS, &mut request)
}

/// Gives an interface its IPv4 address.
pub(super) fn interface_address(name: &str, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_addr = inet_address(address);
    interface_ioctl(libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_netmask = inet_address(mask);
    interface_ioctl(libc::SIOCSIFNETMASK, &mut request)
}

/// The IPv4 default route.
pub(super) fn default_route(gateway: Ipv4Addr) -> io::Result<()> {
    // SAFETY: `rtentry` is integers and a device pointer that may be null; all zero is a valid value.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = inet_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = inet_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = inet_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    let socket = inet_socket()?;
    // SAFETY: SIOCADDRT reads one `rtentry`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &raw mut route) }).map(drop)
}

/// Makes the command's child the leader of a new session; with a terminal on its standard input, that becomes the session's own.
pub(super) fn own_session(command: &mut Command, terminal: bool) {
    // SAFETY: the closure makes two system calls that are safe between fork and exec, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            check(libc::setsid())?;
            if terminal {
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
            Ok(())
        });
    }
}

/// Kills every process but the caller, which must be PID 1.
pub(super) fn kill_all_others() -> io::Result<()> {
    // SAFETY: `kill` takes no pointers.
    check(unsafe { libc::kill(-1, libc::SIGKILL) }).map(drop)
}

/// A descriptor that the runtime tells about when it can be read.
pub(super) fn watch_readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and nothing here replaces it.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(Into::into)
}
