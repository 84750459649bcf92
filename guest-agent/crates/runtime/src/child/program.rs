//! The program: its folder, its place, its exec. Texts are those that clients of Docker read.

use std::{
    ffi::{CString, OsStr},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Process;
use rustix::{
    fs::{Access, AtFlags, CWD, FileType, OFlags, accessat, stat},
    io::Errno,
};

use super::{Failure, describe, relative, root::RootFolder};
use crate::sys;

/// A program that was found.
pub(super) struct Program {
    name: String,
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// Makes the working folder when it is missing.
pub(super) fn make_folder(root: &RootFolder, process: &Process) -> Result<(), Failure> {
    let folder = process.cwd();
    root.ensure_folder(&relative(folder))
        .map(drop)
        .map_err(|error| Failure::of(format!("mkdir {}", folder.display()), error))
}

/// Enters the working folder, which no link of /proc may lead to: it could be one of the caller's (CVE-2024-21626).
pub(super) fn enter_folder(process: &Process) -> Result<(), Failure> {
    let folder = process.cwd();
    let failed = |error: Errno| {
        Failure::of(
            format!(
                "chdir to cwd ({:?}) set in config.json failed",
                folder.display().to_string()
            ),
            error,
        )
    };
    RootFolder::here()
        .and_then(|root| root.open(&relative(folder), OFlags::PATH | OFlags::DIRECTORY))
        .and_then(rustix::process::fchdir)
        .map_err(failed)?;
    // A folder that is not below the root would show what is outside of it.
    match rustix::process::getcwd(Vec::new()) {
        Ok(now) if now.as_bytes().starts_with(b"/") => Ok(()),
        _ => Err(Failure::new(
            "current working directory is outside of container mount namespace root",
        )),
    }
}

/// Finds the program as a shell would, in the container's PATH.
pub(super) fn find(process: &Process) -> Result<Program, Failure> {
    let arguments = process.args().as_deref().unwrap_or_default();
    let name = arguments
        .first()
        .ok_or_else(|| Failure::new("no program to run"))?
        .clone();
    let environment = process.env().as_deref().unwrap_or_default();
    let path = look_up(&name, environment)?;
    let c = |text: &str| {
        CString::new(text).map_err(|_| Failure(format!("exec: {name:?}: invalid argument")))
    };
    Ok(Program {
        path: CString::new(path.into_os_string().into_encoded_bytes())
            .map_err(|_| Failure(format!("exec: {name:?}: invalid argument")))?,
        arguments: arguments
            .iter()
            .map(|text| c(text))
            .collect::<Result<_, _>>()?,
        environment: environment
            .iter()
            .map(|text| c(text))
            .collect::<Result<_, _>>()?,
        name,
    })
}

fn look_up(name: &str, environment: &[String]) -> Result<PathBuf, Failure> {
    if name.contains('/') {
        return match runnable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(error) => Err(Failure(format!(
                "exec: {name:?}: {}",
                why(error, Path::new(name))
            ))),
        };
    }
    let folders = environment
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("PATH="))
        .unwrap_or_default();
    let mut refused = false;
    for folder in folders.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let path = Path::new(OsStr::from_bytes(folder.as_bytes())).join(name);
        match runnable(&path) {
            Ok(()) => return Ok(path),
            Err(Errno::ACCESS | Errno::PERM) => refused = true,
            Err(_) => {}
        }
    }
    let reason = if refused {
        "permission denied"
    } else {
        "executable file not found in $PATH"
    };
    Err(Failure(format!("exec: {name:?}: {reason}")))
}

fn runnable(path: &Path) -> Result<(), Errno> {
    let found = stat(path)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

fn why(error: Errno, path: &Path) -> String {
    match error {
        Errno::NOENT => format!("stat {}: no such file or directory", path.display()),
        other => describe(&other.into()),
    }
}

impl Program {
    /// Becomes it; what comes back is why not.
    pub(super) fn execute(&self) -> Failure {
        let error = sys::execute(&self.path, &self.arguments, &self.environment);
        Failure(format!("exec {}: {}", self.name, describe(&error)))
    }
}
