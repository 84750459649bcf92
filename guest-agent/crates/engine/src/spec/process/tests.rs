use docker_api::Ulimit;
use oci_spec::runtime::Capability;

use super::*;
use crate::spec::tests::Case;

fn own(list: &[&str]) -> Vec<String> {
    list.iter().map(|&one| one.to_owned()).collect()
}

fn process(case: &Case) -> Process {
    case.spec().process().clone().unwrap()
}

fn env(process: &Process) -> Vec<String> {
    process.env().clone().unwrap()
}

#[test]
fn variables_are_dockers_then_the_containers_in_place() {
    let mut case = Case::new();
    case.config.tty = true;
    case.config.env = Some(own(&["A=1", "PATH=/bin", "TERM", "B=2"]));
    assert_eq!(
        env(&process(&case)),
        [
            "PATH=/bin",
            "HOSTNAME=070707070707",
            "A=1",
            "B=2",
            "HOME=/root"
        ]
    );
}

#[test]
fn the_home_is_the_users_unless_it_is_set() {
    let mut case = Case::new();
    case.config.user = "foo".to_owned();
    let home = |case: &Case| env(&process(case)).last().cloned().unwrap();
    assert_eq!(home(&case), "HOME=/home/foo");
    case.config.user = "4242".to_owned();
    assert_eq!(home(&case), "HOME=/");
    case.config.env = Some(own(&["HOME=/x"]));
    assert_eq!(home(&case), "HOME=/x");
    case.config.env = Some(own(&["HOME="]));
    assert_eq!(home(&case), "HOME=/");
}

#[test]
fn the_plain_process_is_root_with_dockers_capabilities() {
    let process = process(&Case::new());
    assert_eq!(process.args().as_deref(), Some(&own(&["sh"])[..]));
    assert_eq!(process.cwd().to_str(), Some("/"));
    assert_eq!(process.terminal(), Some(false));
    assert!(process.console_size().is_none());
    assert_eq!(process.user().additional_gids().as_deref(), Some(&[0][..]));
    let sets = process.capabilities().as_ref().unwrap();
    assert_eq!(sets.bounding().as_ref().unwrap().len(), 14);
    assert_eq!(sets.bounding(), sets.permitted());
    assert!(sets.inheritable().is_none() && sets.ambient().is_none());
}

#[test]
fn groups_are_the_users_own_then_listed_then_added() {
    let mut case = Case::new();
    case.config.user = "foo".to_owned();
    case.host.group_add = Some(own(&["audio", "77"]));
    let user = process(&case).user().clone();
    assert_eq!((user.uid(), user.gid()), (1000, 1001));
    assert_eq!(
        user.additional_gids().as_deref(),
        Some(&[1001, 29, 29, 77][..])
    );
}

#[test]
fn init_stands_before_the_program() {
    let mut case = Case::new();
    case.init = Some("/usr/bin/docker-init".into());
    case.config.entrypoint = Some(own(&["entry"]));
    let want = own(&["/sbin/docker-init", "--", "entry", "sh"]);
    assert_eq!(process(&case).args().as_deref(), Some(&want[..]));
    case.pid = NamespaceOf::Path("/proc/1/ns/pid".into());
    let want = own(&["entry", "sh"]);
    assert_eq!(process(&case).args().as_deref(), Some(&want[..]));
}

#[test]
fn limits_are_named_as_the_kernel_does() {
    let mut case = Case::new();
    let limit = |name: &str| Ulimit {
        name: name.to_owned(),
        hard: -1,
        soft: 5,
    };
    case.host.ulimits = Some(vec![limit("nofile"), limit("core")]);
    let limits = process(&case).rlimits().clone().unwrap();
    assert_eq!(limits[0].typ(), PosixRlimitType::RlimitNofile);
    assert_eq!((limits[0].soft(), limits[0].hard()), (5, u64::MAX));
    case.host.ulimits = Some(vec![limit("foo")]);
    assert_eq!(
        crate::spec::build(&case.input()).unwrap_err().message(),
        "wrong rlimit value: RLIMIT_FOO"
    );
}

#[test]
fn a_terminal_has_its_first_size() {
    let mut case = Case::new();
    case.config.tty = true;
    case.host.console_size = [24, 80];
    case.host.security_opt = Some(own(&["no-new-privileges"]));
    let process = process(&case);
    let size = process.console_size().unwrap();
    assert_eq!((size.height(), size.width()), (24, 80));
    assert_eq!(process.no_new_privileges(), Some(true));
}

fn wish<'a>(args: &'a [String], user: &'a str) -> ExecWish<'a> {
    ExecWish {
        args,
        env: &[],
        user,
        working_dir: "",
        tty: false,
        console_size: None,
        privileged: false,
    }
}

fn exec(case: &Case, wish: &ExecWish<'_>) -> Result<Process> {
    exec_process(&case.input(), wish)
}

#[test]
fn an_exec_is_the_containers_process_with_its_own_words() {
    let mut case = Case::new();
    case.config.user = "foo".to_owned();
    case.config.working_dir = "/w".to_owned();
    case.config.env = Some(own(&["A=1", "B=1"]));
    case.host.security_opt = Some(own(&["no-new-privileges"]));
    let args = own(&["ls"]);
    let more = own(&["A=2", "C=3", "B"]);
    let process = exec(
        &case,
        &ExecWish {
            env: &more,
            tty: true,
            console_size: Some((1, 2)),
            ..wish(&args, "")
        },
    )
    .unwrap();
    assert_eq!(process.args().as_deref(), Some(&args[..]));
    assert_eq!(process.cwd().to_str(), Some("/w"));
    assert_eq!(
        (process.user().uid(), process.terminal()),
        (1000, Some(true))
    );
    assert_eq!(process.console_size().unwrap().width(), 2);
    assert_eq!(process.no_new_privileges(), Some(true));
    assert_eq!(
        env(&process)[2..],
        ["TERM=xterm", "A=2", "C=3", "HOME=/home/foo"]
    );
}

#[test]
fn an_exec_can_be_somebody_else() {
    let mut case = Case::new();
    case.host.group_add = Some(own(&["77"]));
    let args = own(&["ls"]);
    let who = |user: &str| {
        let process = exec(&case, &wish(&args, user)).unwrap();
        let user = process.user().clone();
        (
            user.uid(),
            user.gid(),
            user.additional_gids().clone().unwrap(),
        )
    };
    assert_eq!(who("1234"), (1234, 0, vec![0, 77]));
    assert_eq!(who("foo:audio"), (1000, 29, vec![29, 77]));
    assert_eq!(who("foo"), (1000, 1001, vec![1001, 29, 77]));
    assert_eq!(
        exec(&case, &wish(&args, "x")).unwrap_err().message(),
        "unable to find user x: no matching entries in passwd file"
    );
}

#[test]
fn a_privileged_exec_has_all_capabilities() {
    let args = own(&["ls"]);
    let privileged = ExecWish {
        privileged: true,
        working_dir: "/tmp",
        ..wish(&args, "")
    };
    let process = exec(&Case::new(), &privileged).unwrap();
    let sets = process.capabilities().clone().unwrap();
    assert!(
        sets.effective()
            .as_ref()
            .unwrap()
            .contains(&Capability::SysAdmin)
    );
    assert_eq!(process.cwd().to_str(), Some("/tmp"));
}
