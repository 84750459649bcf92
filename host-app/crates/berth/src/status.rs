//! Machines in words.

use control_api::MachineStatus;

/// Several lines about one machine.
pub(crate) fn describe(machine: &MachineStatus) -> String {
    let mut text = format!("machine   {}\nstate     {}\n", machine.name, machine.state);
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<10}{value}\n"));
    if let Some(reason) = &machine.reason {
        line("reason", reason.clone());
    }
    if let Some(backend) = &machine.backend {
        line("backend", backend.clone());
    }
    line(
        "size",
        format!("{} CPUs, {} MiB", machine.cpus, machine.memory_mib),
    );
    let (used, apparent) = machine.disk_bytes;
    if apparent > 0 {
        line(
            "disk",
            format!("{} MiB used of {} GiB", used >> 20, apparent >> 30),
        );
    }
    if let Some(socket) = &machine.docker_socket {
        line("docker", socket.clone());
    }
    for port in &machine.ports {
        line("port", port.clone());
    }
    for grant in &machine.grants {
        line("shared", grant.clone());
    }
    if !machine.timeline.is_empty() {
        let phases: Vec<String> = machine
            .timeline
            .iter()
            .map(|(phase, ms)| format!("{phase} {ms} ms"))
            .collect();
        line("started", phases.join(", "));
    }
    text
}

/// What a user wants to read after a start.
pub(crate) fn started(machine: &MachineStatus) -> String {
    let backend = machine.backend.as_deref().unwrap_or("unknown");
    let mut text = format!("machine {} is running ({backend})\n", machine.name);
    if let Some(socket) = &machine.docker_socket {
        text.push_str(&format!("docker:  export DOCKER_HOST={socket}\n"));
    }
    text
}

/// One line a machine.
pub(crate) fn table(machines: &[MachineStatus]) -> String {
    let mut text = format!(
        "{:<24} {:<10} {:<14} DOCKER SOCKET\n",
        "NAME", "STATE", "BACKEND"
    );
    for machine in machines {
        text.push_str(&format!(
            "{:<24} {:<10} {:<14} {}\n",
            machine.name,
            machine.state,
            machine.backend.as_deref().unwrap_or("-"),
            machine.docker_socket.as_deref().unwrap_or("-")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> MachineStatus {
        MachineStatus {
            name: "default".into(),
            state: "failed".into(),
            reason: Some("qemu: no memory".into()),
            backend: None,
            docker_socket: None,
            timeline: vec![],
            ports: vec![],
            grants: vec![],
            cpus: 2,
            memory_mib: 512,
            disk_bytes: (0, 0),
            pid: None,
        }
    }

    #[test]
    fn a_failure_is_told_with_its_reason() {
        assert!(describe(&machine()).contains("reason    qemu: no memory\n"));
    }

    #[test]
    fn the_table_has_a_line_a_machine() {
        assert_eq!(table(&[machine(), machine()]).lines().count(), 3);
    }
}
