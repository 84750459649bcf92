//! The container's first process, from clone to exec.
//!
//! Everything that can be prepared before the clone is in [`Plan`]. Each step is a function of its own module; the first that fails sends its
//! text to the parent and ends the process.

mod copy_up;
mod devices;
mod identity;
mod mounts;
mod procfs;
mod program;
mod propagation;
mod root;
pub(crate) mod sysctl;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::{
    fs::{Mode, OFlags},
    mount::{UnmountFlags, unmount},
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use self::propagation::Propagation;
use crate::{
    channel::{Channel, Message},
    container::{CreateOptions, Root, Stdio, namespace_flag},
    error::CreateError,
    seccomp::{self, Filter},
    sys::{self, Cloned},
};

/// A step that failed: what was tried and why, as clients of Docker read it.
pub(crate) struct Failure(String);

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn of(what: impl std::fmt::Display, error: impl Into<io::Error>) -> Self {
        Self(format!("{what}: {}", describe(&error.into())))
    }
}

/// The system's word for an error, as C and Go programs print it: lower case, no number.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}

/// What the child needs, read before it is cloned.
pub(crate) struct Plan<'a> {
    spec: &'a Spec,
    process: &'a Process,
    root: &'a Root,
    mount_point: &'a Path,
    stdio: &'a Stdio<'a>,
    new_namespaces: u64,
    filter: Option<Filter>,
    /// Namespaces that the child joins.
    joined: Vec<(OwnedFd, LinkNameSpaceType)>,
    /// The one that it is born in: a process cannot change its own.
    pid_namespace: Option<OwnedFd>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(options: &'a CreateOptions<'_>) -> Result<Self, CreateError> {
        let spec = options.spec;
        let process = spec
            .process()
            .as_ref()
            .ok_or_else(|| CreateError::Invalid("no process".to_owned()))?;
        if process
            .args()
            .as_ref()
            .is_none_or(|arguments| arguments.is_empty())
        {
            return Err(CreateError::Invalid("no program to run".to_owned()));
        }
        let (mut new_namespaces, mut joined, mut pid_namespace) = (0, Vec::new(), None);
        for namespace in spec
            .linux()
            .iter()
            .flat_map(|linux| linux.namespaces().iter().flatten())
        {
            match (namespace.path(), namespace.typ()) {
                (None, kind) => new_namespaces |= namespace_flag(kind),
                (Some(path), LinuxNamespaceType::Pid) => {
                    pid_namespace = Some(open_namespace(path)?);
                }
                (Some(path), kind) => joined.push((open_namespace(path)?, joinable(kind)?)),
            }
        }
        let filter = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().as_ref());
        let filter = filter
            .map(seccomp::compile)
            .transpose()
            .map_err(|error| CreateError::Invalid(error.to_string()))?;
        let stdio = &options.stdio;
        Ok(Self {
            spec,
            process,
            root: options.root,
            mount_point: options.mount_point,
            stdio,
            new_namespaces,
            filter,
            joined,
            pid_namespace,
        })
    }

    /// What the parent keeps of it.
    pub(crate) fn into_filter(self) -> Option<Filter> {
        self.filter
    }

    /// Clones the child into its namespaces and the group.
    pub(crate) fn clone_into(&self, cgroup: BorrowedFd<'_>) -> io::Result<Cloned> {
        let Some(pid_namespace) = &self.pid_namespace else {
            return sys::clone_into(self.new_namespaces, cgroup);
        };
        let kind = Some(LinkNameSpaceType::ProcessID);
        let own = rustix::fs::open(
            "/proc/self/ns/pid",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // From its first moment the child is seen by the processes that are in there.
        let dumpable = rustix::process::dumpable_behavior()?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        // Changes where this process's children are born, and is taken back for the next ones.
        let cloned = move_into_link_name_space(pid_namespace.as_fd(), kind)
            .map_err(io::Error::from)
            .and_then(|()| sys::clone_into(self.new_namespaces, cgroup));
        if !matches!(cloned, Ok(Cloned::Child)) {
            move_into_link_name_space(own.as_fd(), kind)?;
            set_dumpable_behavior(dumpable)?;
        }
        cloned
    }
}

fn open_namespace(path: &Path) -> Result<OwnedFd, CreateError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
        CreateError::Invalid(format!(
            "namespace {}: {}",
            path.display(),
            describe(&error.into())
        ))
    })
}

fn joinable(kind: LinuxNamespaceType) -> Result<LinkNameSpaceType, CreateError> {
    match kind {
        LinuxNamespaceType::Network => Ok(LinkNameSpaceType::Network),
        LinuxNamespaceType::Ipc => Ok(LinkNameSpaceType::InterProcessCommunication),
        LinuxNamespaceType::Uts => Ok(LinkNameSpaceType::HostNameAndNISDomainName),
        LinuxNamespaceType::Cgroup => Ok(LinkNameSpaceType::ControlGroup),
        LinuxNamespaceType::Pid => Ok(LinkNameSpaceType::ProcessID),
        LinuxNamespaceType::Mount | LinuxNamespaceType::User | LinuxNamespaceType::Time => Err(
            CreateError::Unsupported("joining a mount, user or time namespace"),
        ),
    }
}

/// Becomes the container's program, or dies.
pub(crate) fn main(plan: &Plan<'_>, channel: &Channel) -> ! {
    if let Err(Failure(text)) = run(plan, channel) {
        // Without a parent there is nobody to tell.
        let _ = channel.send(&Message::Failed(text), None);
    }
    sys::exit(1)
}

fn run(plan: &Plan<'_>, channel: &Channel) -> Result<(), Failure> {
    sys::reset_signals();
    rustix::process::setsid().map_err(|error| Failure::of("setsid", error))?;
    // Until exec this is a copy of the caller: no process of the container may look into it (CVE-2019-5736).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::of("hide from the container", error))?;
    for (namespace, kind) in &plan.joined {
        move_into_link_name_space(namespace.as_fd(), Some(*kind))
            .map_err(|error| Failure::of("join a namespace", error))?;
    }
    set_oom_score(plan.process).map_err(|error| Failure::of("set oom_score_adj", error))?;
    identity::set_host_name(plan.spec)?;
    let terminal = view_of_files(plan)?;
    identity::set_limits(plan.process)?;
    let own_end = attach_stdio(plan.stdio, terminal)?;
    identity::own_streams(plan.process)?;
    close_others(channel, own_end.as_ref())?;
    become_user(plan.process, plan.filter.as_ref())?;
    let program = program::find(plan.process)?;
    channel
        .send(&Message::Ready, own_end.as_ref().map(AsFd::as_fd))
        .map_err(|error| Failure::of("tell the parent", error))?;
    drop(own_end);
    match channel.receive() {
        Ok(Some((Message::Go, _))) => {}
        // The parent is gone: nobody wants this container any more.
        _ => sys::exit(1),
    }
    // As late as can be where that is allowed: the filter need not let pass what led here.
    if plan.process.no_new_privileges().unwrap_or(false) {
        identity::install(plan.filter.as_ref())?;
    }
    Err(program.execute())
}

/// Becomes a process of a running container, whose namespaces this process is in, or dies.
pub(crate) fn exec_main(
    process: &Process,
    stdio: &Stdio<'_>,
    filter: Option<&Filter>,
    channel: &Channel,
) -> ! {
    if let Err(Failure(text)) = exec_run(process, stdio, filter, channel) {
        // Without a parent there is nobody to tell.
        let _ = channel.send(&Message::Failed(text), None);
    }
    sys::exit(1)
}

fn exec_run(
    process: &Process,
    stdio: &Stdio<'_>,
    filter: Option<&Filter>,
    channel: &Channel,
) -> Result<(), Failure> {
    sys::reset_signals();
    rustix::process::setsid().map_err(|error| Failure::of("setsid", error))?;
    let terminal = match stdio {
        Stdio::Terminal { rows, columns } => Some(devices::terminal_inside(*rows, *columns)?),
        Stdio::Streams(_) => None,
    };
    identity::set_limits(process)?;
    let own_end = attach_stdio(stdio, terminal)?;
    identity::own_streams(process)?;
    close_others(channel, own_end.as_ref())?;
    become_user(process, filter)?;
    let program = program::find(process)?;
    channel
        .send(&Message::Ready, own_end.as_ref().map(AsFd::as_fd))
        .map_err(|error| Failure::of("tell the parent", error))?;
    drop(own_end);
    if process.no_new_privileges().unwrap_or(false) {
        identity::install(filter)?;
    }
    Err(program.execute())
}

/// Sets how soon this process and its children are killed for memory. With the caller's /proc: the container's could be anything.
pub(crate) fn set_oom_score(process: &Process) -> io::Result<()> {
    match process.oom_score_adj() {
        Some(score) => std::fs::write("/proc/self/oom_score_adj", score.to_string()),
        None => Ok(()),
    }
}

/// Becomes the spec's user in its working folder, which that user need not be allowed to enter, or may be the only one who is.
fn become_user(process: &Process, filter: Option<&Filter>) -> Result<(), Failure> {
    let entered = program::enter_folder(process);
    identity::drop_privileges(process, filter)?;
    entered.or_else(|_| program::enter_folder(process))
}

/// Closes all that the caller had open. Before anything of the container's is looked up: a path through `/proc/self/fd` would lead outside
/// (CVE-2024-21626). Descriptors of this process's own that are closed here are never used or dropped after it: it ends by exec or exit.
fn close_others(channel: &Channel, terminal: Option<&OwnedFd>) -> Result<(), Failure> {
    let keep = [channel.as_fd()]
        .into_iter()
        .chain(terminal.map(AsFd::as_fd));
    sys::close_all_but(keep).map_err(|error| Failure::of("close descriptors", error))
}

/// Root, mounts, devices, masks. Gives the terminal when there is one.
fn view_of_files(plan: &Plan<'_>) -> Result<Option<devices::Terminal>, Failure> {
    let of_root = Propagation::of_root(plan.spec)?;
    propagation::leave_the_hosts(of_root, plan.mount_point)?;
    let root = root::mount(plan.root, plan.mount_point)?;
    mounts::mount_all(&root, plan.spec)?;
    devices::make(&root, plan.spec)?;
    let terminal = match plan.stdio {
        Stdio::Terminal { rows, columns } => Some(devices::terminal(&root, *rows, *columns)?),
        Stdio::Streams(_) => None,
    };
    pivot(&root)?;
    propagation::of_the_new_root(of_root)?;
    sysctl::set(plan.spec)?;
    procfs::mask(&root, plan.spec)?;
    // Before the root is read-only, and as root: its user may not be allowed to make it.
    program::make_folder(&root, plan.process)?;
    if plan
        .spec
        .root()
        .as_ref()
        .is_some_and(|root| root.readonly().unwrap_or(false))
    {
        mounts::set_read_only(Path::new("/"), false)?;
    }
    Ok(terminal)
}

fn pivot(root: &root::RootFolder) -> Result<(), Failure> {
    let failed = |what: &'static str| move |error: rustix::io::Errno| Failure::of(what, error);
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).map_err(failed("open the old root"))?;
    rustix::process::fchdir(root.as_fd()).map_err(failed("enter the root"))?;
    // The old root is stacked on the new one, and then taken away: no folder for it is needed in the image.
    rustix::process::pivot_root(".", ".").map_err(failed("pivot_root"))?;
    rustix::process::fchdir(&old).map_err(failed("enter the old root"))?;
    propagation::let_go_here().map_err(failed("separate the old root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("leave the old root"))?;
    rustix::process::chdir("/").map_err(failed("chdir /"))
}

/// Connects 0, 1 and 2; gives what the caller keeps of a terminal.
fn attach_stdio(
    stdio: &Stdio<'_>,
    terminal: Option<devices::Terminal>,
) -> Result<Option<OwnedFd>, Failure> {
    let failed = |error: rustix::io::Errno| Failure::of("connect standard streams", error);
    match (stdio, terminal) {
        (Stdio::Streams([input, output, errors]), _) => {
            // Copies first: one of them may itself be 0, 1 or 2.
            let copies =
                [input, output, errors].map(|stream| rustix::io::fcntl_dupfd_cloexec(stream, 3));
            let [input, output, errors] = copies;
            rustix::stdio::dup2_stdin(input.map_err(failed)?).map_err(failed)?;
            rustix::stdio::dup2_stdout(output.map_err(failed)?).map_err(failed)?;
            rustix::stdio::dup2_stderr(errors.map_err(failed)?).map_err(failed)?;
            Ok(None)
        }
        (Stdio::Terminal { .. }, Some(terminal)) => {
            sys::take_terminal(terminal.inside.as_fd())
                .map_err(|error| Failure::of("take the terminal", error))?;
            rustix::stdio::dup2_stdin(&terminal.inside).map_err(failed)?;
            rustix::stdio::dup2_stdout(&terminal.inside).map_err(failed)?;
            rustix::stdio::dup2_stderr(&terminal.inside).map_err(failed)?;
            Ok(Some(terminal.outside))
        }
        (Stdio::Terminal { .. }, None) => Err(Failure::new("no terminal was made")),
    }
}

/// A path of the spec as one below the root: no leading slash.
fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| {
            matches!(
                part,
                std::path::Component::Normal(_) | std::path::Component::ParentDir
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_docker_prints_them() {
        assert_eq!(
            describe(&io::Error::from_raw_os_error(libc::EACCES)),
            "permission denied"
        );
        assert_eq!(
            describe(&io::Error::from_raw_os_error(libc::ENOENT)),
            "no such file or directory"
        );
    }

    #[test]
    fn a_destination_is_taken_below_the_root() {
        assert_eq!(relative(Path::new("/proc/sys/")), Path::new("proc/sys"));
        assert_eq!(relative(Path::new("/")), Path::new(""));
    }
}
