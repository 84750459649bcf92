//! Namespaces of the spec. Mounts are always the container's own; users are always the machine's.

use errdefs::Result;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType};

use super::{NamespaceOf, SpecInput, built};

/// The namespaces that are made or joined; one that is the machine's is not listed.
pub(super) fn namespaces(input: &SpecInput<'_>) -> Result<Vec<LinuxNamespace>> {
    let wanted = [
        (LinuxNamespaceType::Mount, &NamespaceOf::New),
        (LinuxNamespaceType::Network, &input.network),
        (LinuxNamespaceType::Uts, &input.uts),
        (LinuxNamespaceType::Pid, &input.pid),
        (LinuxNamespaceType::Ipc, &input.ipc),
        (LinuxNamespaceType::Cgroup, &input.cgroup_namespace),
    ];
    let mut all = Vec::new();
    for (kind, of) in wanted {
        let one = LinuxNamespaceBuilder::default().typ(kind);
        match of {
            NamespaceOf::Host => {}
            NamespaceOf::New => all.push(built(one.build())?),
            NamespaceOf::Path(path) => all.push(built(one.path(path).build())?),
        }
    }
    Ok(all)
}
