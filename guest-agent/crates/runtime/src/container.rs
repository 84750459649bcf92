//! A container, from its parent's side.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::{
    cgroup::Cgroup,
    channel::{Channel, Message},
    child, device_filter,
    error::{CreateError, StartError},
    seccomp::Filter,
    sys::{self, Cloned},
};

/// How the container's root is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// An overlay, mounted in the container's own namespace.
    Overlay {
        /// Read-only folders, topmost first.
        lower: Vec<PathBuf>,
        /// Writable folder.
        upper: PathBuf,
        /// overlayfs' work folder.
        work: PathBuf,
    },
    /// A folder.
    Folder(PathBuf),
}

/// The first process's standard streams.
#[derive(Debug)]
pub enum Stdio<'a> {
    /// Descriptors for input, output and errors.
    Streams([BorrowedFd<'a>; 3]),
    /// A terminal of the container's own; the other end is [`Container::take_terminal`].
    Terminal {
        /// Height.
        rows: u16,
        /// Width.
        columns: u16,
    },
}

/// What a container is made from.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    /// What to run. `root.path` is ignored.
    pub spec: &'a Spec,
    /// Its root.
    pub root: &'a Root,
    /// An empty folder of the caller's where the root is mounted, in the container's namespace only.
    pub mount_point: &'a Path,
    /// Standard streams.
    pub stdio: Stdio<'a>,
    /// Mount of the unified cgroup hierarchy.
    pub cgroup_root: &'a Path,
    /// Group for a spec without `linux.cgroupsPath`.
    pub default_group: &'a Path,
}

/// A container that is set up, or runs.
#[derive(Debug)]
pub struct Container {
    pid: i32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    channel: Option<Channel>,
    terminal: Option<OwnedFd>,
    warnings: Vec<String>,
    filter: Option<Filter>,
}

impl Container {
    /// Makes the container; its program waits.
    ///
    /// # Errors
    /// [`CreateError`]; nothing is left behind.
    pub fn create(options: &CreateOptions<'_>) -> Result<Self, CreateError> {
        refuse_unsupported(options.spec)?;
        let linux = options.spec.linux().as_ref();
        let path = linux
            .and_then(|linux| linux.cgroups_path().clone())
            .unwrap_or_else(|| options.default_group.to_owned());
        let in_cgroup = |source| CreateError::Cgroup {
            path: path.display().to_string(),
            source,
        };
        let cgroup = Cgroup::new(options.cgroup_root, &path).map_err(in_cgroup)?;
        cgroup.make(options.cgroup_root).map_err(in_cgroup)?;
        let container = Self::create_in(options, &cgroup);
        if container.is_err() {
            // The child is gone by now; a group that does not go is an orphan that the next start of the same name uses.
            let _ = cgroup.remove();
        }
        container
    }

    fn create_in(options: &CreateOptions<'_>, cgroup: &Cgroup) -> Result<Self, CreateError> {
        let system = |what| move |source| CreateError::System { what, source };
        let resources = options
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.resources().clone());
        let warnings = match &resources {
            Some(resources) => cgroup
                .limit(resources)
                .map_err(|source| CreateError::Cgroup {
                    path: cgroup.folder().display().to_string(),
                    source,
                })?,
            None => Vec::new(),
        };
        let plan = child::Plan::new(options)?;
        let group = cgroup.open().map_err(system("open the cgroup"))?;
        if let Some(rules) = resources
            .as_ref()
            .and_then(|resources| resources.devices().as_ref())
        {
            let program = device_filter::compile(rules)
                .map_err(|reason| CreateError::Invalid(reason.to_owned()))?;
            sys::attach_device_filter(&program, group.as_fd())
                .map_err(system("filter the container's devices"))?;
        }
        let (ours, theirs) = Channel::pair().map_err(system("make a socket pair"))?;
        match plan
            .clone_into(group.as_fd())
            .map_err(system("clone the container's first process"))?
        {
            Cloned::Child => {
                drop(ours);
                child::main(&plan, &theirs)
            }
            Cloned::Parent(pid, pidfd) => {
                drop(theirs);
                let mut container = Self {
                    pid,
                    pidfd,
                    cgroup: cgroup.clone(),
                    channel: None,
                    terminal: None,
                    warnings,
                    filter: plan.into_filter(),
                };
                match ours.receive().map_err(system("hear the child"))? {
                    Some((Message::Ready, terminal)) => {
                        container.terminal = terminal;
                        container.channel = Some(ours);
                        Ok(container)
                    }
                    other => {
                        container.reap();
                        Err(CreateError::Child(match other {
                            Some((Message::Failed(text), _)) => text,
                            _ => "the container's first process was killed while it was set up"
                                .to_owned(),
                        }))
                    }
                }
            }
        }
    }

    /// Runs the program; returns once exec has succeeded.
    ///
    /// # Errors
    /// [`StartError`]; the process is reaped then.
    pub fn start(&mut self) -> Result<(), StartError> {
        let channel = self.channel.take().ok_or(StartError::Started)?;
        if channel.send(&Message::Go, None).is_err() {
            self.reap();
            return Err(StartError::Gone);
        }
        match channel.receive() {
            // Closed by exec, or by death: the caller learns of that from the pidfd.
            Ok(None) => Ok(()),
            Ok(Some((Message::Failed(text), _))) => {
                self.reap();
                Err(StartError::Exec(text))
            }
            Ok(Some(_)) | Err(_) => Err(StartError::Gone),
        }
    }

    fn reap(&self) {
        let _ = self.signal(Signal::KILL);
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }

    /// First process, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when the first process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The caller's end of the terminal; once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// The filter that was made for its first process, for execs; once.
    pub fn take_filter(&mut self) -> Option<Filter> {
        self.filter.take()
    }

    /// What the spec asked and this system cannot do.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Its group.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> std::io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }
}

/// Flag of a kind of namespace. Linux: include/uapi/linux/sched.h.
pub(crate) fn namespace_flag(kind: LinuxNamespaceType) -> u64 {
    let flag = match kind {
        LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
        LinuxNamespaceType::User => libc::CLONE_NEWUSER,
        LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
        LinuxNamespaceType::Network => libc::CLONE_NEWNET,
        LinuxNamespaceType::Time => 0x80,
    };
    u64::from(flag.cast_unsigned())
}

fn refuse_unsupported(spec: &Spec) -> Result<(), CreateError> {
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| CreateError::Invalid("no process".to_owned()))?;
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let has = |kind| namespaces.is_some_and(|all| all.iter().any(|one| one.typ() == kind));
    let refused = [
        (has(LinuxNamespaceType::User), "a user namespace"),
        (has(LinuxNamespaceType::Time), "a time namespace"),
        (
            process
                .apparmor_profile()
                .as_ref()
                .is_some_and(|name| !name.is_empty()),
            "an AppArmor profile",
        ),
        (
            process
                .selinux_label()
                .as_ref()
                .is_some_and(|label| !label.is_empty()),
            "an SELinux label",
        ),
        (spec.hooks().is_some(), "a hook"),
    ];
    if let Some((_, what)) = refused.iter().find(|(asked, _)| *asked) {
        return Err(CreateError::Unsupported(what));
    }
    let named = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
    for (what, name) in [
        ("hostname", spec.hostname()),
        ("domainname", spec.domainname()),
    ] {
        // It would be the host's.
        if named(name) && !has(LinuxNamespaceType::Uts) {
            let text = format!("unable to set {what} without a private UTS namespace");
            return Err(CreateError::Invalid(text));
        }
    }
    child::sysctl::check(spec).map_err(CreateError::Invalid)?;
    if !has(LinuxNamespaceType::Mount) {
        return Err(CreateError::Invalid(
            "a container needs a mount namespace of its own".to_owned(),
        ));
    }
    Ok(())
}
