//! QEMU as our child: it dies with us, and we hear when it ends.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, bail};
use machine_api::{Backend, MachineSpec};
use rustix::process::Signal;

use crate::{kvm, shares, state::State};

/// Disk, console and network of a machine, and where its back ends listen.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) vsock: PathBuf,
    pub(crate) shares: PathBuf,
}

impl Sockets {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            vsock: folder.join("vsock.sock"),
            shares: folder.join("shares.sock"),
        }
    }
}

/// What the console said last, for errors.
pub(crate) fn console_log(spec: &MachineSpec) -> PathBuf {
    spec.run_dir.join("console.log")
}

pub(crate) const PROGRAM: &str = if cfg!(target_arch = "aarch64") {
    "qemu-system-aarch64"
} else {
    "qemu-system-x86_64"
};

/// Where QEMU is, if it is installed.
pub(crate) fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(PROGRAM))
        .find(|file| file.is_file())
}

pub(crate) use sys::die_with_parent;

/// How QEMU runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// What the settings say; where they leave it open, KVM if a test boot has proven it. That takes some seconds, once.
    pub(crate) async fn pick(spec: &MachineSpec, state: &State) -> Self {
        match spec.backend {
            Backend::QemuKvm => Self::Kvm,
            Backend::QemuTcg => Self::Tcg,
            Backend::Auto if !kvm::may_be_used() => Self::Tcg,
            Backend::Auto => {
                state.enter("test boot of KVM");
                if kvm::works(spec).await {
                    Self::Kvm
                } else {
                    Self::Tcg
                }
            }
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "qemu (kvm)",
            Self::Tcg => "qemu (tcg)",
        }
    }
}

/// Starts it.
pub(crate) fn start(
    spec: &MachineSpec,
    sockets: &Sockets,
    accelerator: Accelerator,
) -> anyhow::Result<tokio::process::Child> {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(arguments(spec, sockets, accelerator));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    sys::die_with_parent(&mut command);
    match command.spawn() {
        Ok(child) => Ok(child),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "{PROGRAM} is not installed: install Debian's package qemu-system-x86 (or your system's QEMU)"
            )
        }
        Err(error) => Err(error).with_context(|| format!("start {PROGRAM}")),
    }
}

/// The command line. QEMU's `,` in values is doubled.
fn arguments(spec: &MachineSpec, sockets: &Sockets, accelerator: Accelerator) -> Vec<OsString> {
    let path = |path: &Path| path.display().to_string().replace(',', ",,");
    let memory = format!(
        "memory-backend-memfd,id=ram,size={}M,share=on",
        spec.memory_mib
    );
    let (accel, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        // One thread for all CPUs: with several, a CPU may run code that another has just rewritten (the kernel's jump labels), and the
        // guest panics. It is not slower here.
        Accelerator::Tcg => ("tcg,thread=single", "max"),
    };
    // Under TCG a lost tick is a slow tick: the watchdogs of a real kernel would cry, and its test of the timer would panic on a busy host
    // before there is a console to say so. Guests of KVM leave that test out by themselves.
    let kernel_line =
        "console=hvc0 panic=-1 quiet loglevel=3 random.trust_cpu=on nowatchdog no_timer_check";
    let mut words: Vec<String> = [
        "-name",
        &spec.name,
        "-machine",
        "q35,memory-backend=ram",
        "-accel",
        accel,
        "-cpu",
        cpu,
        "-smp",
        &spec.cpus.to_string(),
        "-m",
        &spec.memory_mib.to_string(),
        "-object",
        &memory,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-kernel",
        &spec.kernel.display().to_string(),
        "-initrd",
        &spec.initrd.display().to_string(),
        "-append",
        kernel_line,
        "-chardev",
        &format!("file,id=console,path={}", path(&console_log(spec))),
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtconsole,chardev=console",
        "-chardev",
        &format!("socket,id=vsock,path={}", path(&sockets.vsock)),
        "-device",
        "vhost-user-vsock-pci,chardev=vsock",
        "-chardev",
        &format!("socket,id=shares,path={}", path(&sockets.shares)),
        "-device",
        &format!(
            "vhost-user-fs-pci,chardev=shares,tag={},queue-size={}",
            shares::TAG,
            shares::QUEUE_SIZE
        ),
        "-object",
        "rng-random,id=rng,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=rng",
        "-netdev",
        "user,id=net",
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
        // writeback honours the guest's flushes by fdatasync: what the guest synced is on the disk.
        "-drive",
        &format!(
            "if=none,id=data,format=raw,cache=writeback,discard=unmap,detect-zeroes=unmap,file={}",
            path(&spec.data_disk)
        ),
        "-device",
        "virtio-blk-pci,drive=data,serial=berth-data",
    ]
    .map(str::to_owned)
    .into();
    if let Some(image) = &spec.system_image {
        words.push("-drive".to_owned());
        words.push(format!(
            "if=none,id=system,format=raw,readonly=on,file={}",
            path(image)
        ));
        words.extend([
            "-device".to_owned(),
            "virtio-blk-pci,drive=system,serial=berth-system".to_owned(),
        ]);
    }
    words.into_iter().map(OsString::from).collect()
}

/// Why it ended, and the way out where that is known.
pub(crate) fn failure(status: ExitStatus, complaint: &str, spec: &MachineSpec) -> anyhow::Error {
    let way_out = if complaint.contains("Cannot allocate memory") {
        format!(
            ": this host has no {} MiB to give now; end other programs, or set memory_mib lower in settings.toml",
            spec.memory_mib
        )
    } else {
        String::new()
    };
    anyhow::anyhow!("QEMU ended ({status}): {complaint}{way_out}")
}

/// Ends it at once.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        // Gone already is as good.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

mod sys {
    #![expect(
        unsafe_code,
        reason = "a child's own settings are made between fork and exec"
    )]

    /// The child is killed when the thread that started it ends. That is berth-vmm's main thread: see [`crate::run`].
    pub(crate) fn die_with_parent(command: &mut tokio::process::Command) {
        let parent = rustix::process::getpid();
        // SAFETY: the closure only makes system calls, which is all that may be done between fork and exec.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(
                    rustix::process::Signal::KILL,
                ))?;
                // The parent may have died before the signal was set.
                if rustix::process::getppid() != Some(parent) {
                    return Err(std::io::ErrorKind::NotFound.into());
                }
                Ok(())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachineSpec {
        MachineSpec {
            name: "m".into(),
            socket: "/r/s".into(),
            run_dir: "/r,x".into(),
            cpus: 2,
            memory_mib: 512,
            kernel: "/k".into(),
            initrd: "/i".into(),
            system_image: Some("/sys".into()),
            data_disk: "/d".into(),
            data_disk_bytes: 1,
            share_roots: vec![],
            share_denied: vec![],
            daemon_json: "{}".into(),
            backend: Backend::Auto,
        }
    }

    fn line(accelerator: Accelerator) -> String {
        let words = arguments(&spec(), &Sockets::in_folder(Path::new("/r,x")), accelerator);
        words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_comma_in_a_path_does_not_become_an_option() {
        assert!(line(Accelerator::Tcg).contains("path=/r,,x/vsock.sock"));
    }

    #[test]
    fn each_accelerator_has_its_options() {
        assert!(line(Accelerator::Tcg).contains("-accel tcg,thread=single"));
        assert!(line(Accelerator::Kvm).contains("-accel kvm -cpu host"));
    }

    #[test]
    fn the_system_image_is_read_only() {
        assert!(line(Accelerator::Tcg).contains("readonly=on,file=/sys"));
    }
}
