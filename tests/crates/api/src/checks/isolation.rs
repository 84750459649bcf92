//! What a container sees and may do.

use anyhow::ensure;

use super::checks;
use crate::Bed;

checks![
    it_sees_only_itself,
    capabilities_are_dockers_and_change_by_option,
    seccomp_filters_and_privileged_does_not,
    paths_are_masked_and_read_only,
    a_read_only_root_refuses_writes_but_for_tmpfs,
    tmpfs_has_its_size_and_mode,
];

fn it_sees_only_itself(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(
        &[],
        &[
            "sh",
            "-c",
            "echo $$; ls -d /proc/[0-9]* | wc -l; ls /sys/class/net",
        ],
    )?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines[0] == "1", "{text}");
    ensure!(lines[1].parse::<u32>()? <= 4, "{text}");
    ensure!(
        lines[2..].contains(&"eth0") && lines[2..].contains(&"lo"),
        "{text}"
    );
    Ok(())
}

/// `CapEff` of a process in a container.
fn effective(bed: &Bed, options: &[&str]) -> anyhow::Result<u64> {
    let text = bed.busybox(options, &["grep", "CapEff", "/proc/self/status"])?;
    Ok(u64::from_str_radix(
        text.trim_start_matches("CapEff:").trim(),
        16,
    )?)
}

fn capabilities_are_dockers_and_change_by_option(bed: &Bed) -> anyhow::Result<()> {
    // chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write setfcap
    let default = 0xa804_25fb;
    ensure!(
        effective(bed, &[])? == default,
        "{:x}",
        effective(bed, &[])?
    );
    ensure!(effective(bed, &["--cap-drop", "ALL"])? == 0);
    ensure!(effective(bed, &["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"])? == 1 << 12);
    ensure!(effective(bed, &["--cap-add", "CAP_SYS_ADMIN"])? == default | 1 << 21);
    ensure!(effective(bed, &["-u", "1000"])? == 0);
    ensure!(effective(bed, &["--privileged"])? > default);
    let output = bed
        .docker
        .fails(&["run", "--rm", "--cap-add", "NOT_A_CAP", "busybox", "true"])?;
    ensure!(
        output
            .stderr
            .contains("unknown capability: \"CAP_NOT_A_CAP\""),
        "{output:?}"
    );
    Ok(())
}

fn seccomp_filters_and_privileged_does_not(bed: &Bed) -> anyhow::Result<()> {
    let status = |options: &[&str]| {
        bed.busybox(
            options,
            &[
                "sh",
                "-c",
                "grep -w Seccomp: /proc/self/status | tr -d '\\t '",
            ],
        )
    };
    ensure!(status(&[])? == "Seccomp:2");
    ensure!(status(&["--privileged"])? == "Seccomp:0");
    ensure!(status(&["--security-opt", "seccomp=unconfined"])? == "Seccomp:0");
    let output = bed
        .docker
        .fails(&["run", "--rm", "busybox", "unshare", "-m", "true"])?;
    ensure!(
        output.stderr.contains("Operation not permitted"),
        "{output:?}"
    );
    Ok(())
}

fn paths_are_masked_and_read_only(bed: &Bed) -> anyhow::Result<()> {
    let script = "cat /proc/kcore | wc -c; cat /proc/timer_list 2>/dev/null | wc -c; echo 1 2>/dev/null >/proc/sys/kernel/panic || echo refused; touch /sys/x 2>/dev/null || echo refused";
    let text = bed.busybox(&[], &["sh", "-c", script])?;
    ensure!(text == "0\n0\nrefused\nrefused", "{text}");
    Ok(())
}

fn a_read_only_root_refuses_writes_but_for_tmpfs(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(
        &["--read-only", "--tmpfs", "/scratch"],
        &[
            "sh",
            "-c",
            "touch /x 2>/dev/null || echo refused; touch /scratch/x && echo written",
        ],
    )?;
    ensure!(text == "refused\nwritten", "{text}");
    Ok(())
}

fn tmpfs_has_its_size_and_mode(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(
        &["--tmpfs", "/t:size=1m,mode=700", "--shm-size", "3m"],
        &[
            "sh",
            "-c",
            "df -k /t /dev/shm | awk 'NR>1{print $2}'; stat -c %a /t",
        ],
    )?;
    ensure!(text == "1024\n3072\n700", "{text}");
    Ok(())
}
