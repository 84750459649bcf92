//! The OCI runtime: namespaces, mounts, cgroups, seccomp, exec.
