use super::{super::tests::TestMachine, *};
use oci_spec::runtime::{Arch, LinuxSeccompAction};

fn resolved(wish: SeccompWish<'_>, capabilities: &[&str]) -> Result<Option<LinuxSeccomp>> {
    let security = SecurityOptions {
        no_new_privileges: false,
        writable_cgroups: None,
        seccomp: wish,
    };
    filter(&security, false, capabilities, &TestMachine::default())
}

fn names(filter: &LinuxSeccomp) -> Vec<String> {
    let rules = filter.syscalls().as_ref().unwrap();
    rules.iter().flat_map(|rule| rule.names().clone()).collect()
}

#[test]
fn dockers_profile_has_its_numbers() {
    let filter = resolved(SeccompWish::Unset, &["CAP_SYS_CHROOT"])
        .unwrap()
        .unwrap();
    let rules = filter.syscalls().as_ref().unwrap();
    assert_eq!(rules[0].names().len(), 361);
    assert_eq!(filter.default_action(), LinuxSeccompAction::ScmpActErrno);
    assert_eq!(filter.default_errno_ret(), Some(1));
    let all = names(&filter);
    assert!(all.contains(&"chroot".to_owned()) && !all.contains(&"mount".to_owned()));
    if std::env::consts::ARCH == "x86_64" {
        assert_eq!(
            filter.architectures().as_deref(),
            Some(&[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32][..])
        );
        // Everybody's, trace, socket, personalities, arch_prctl, modify_ldt, chroot, clone, clone3.
        assert_eq!(rules.len(), 1 + 1 + 1 + 5 + 2 + 1 + 2);
    }
}

#[test]
fn clone_is_limited_until_the_container_may_do_everything() {
    let rule = |capabilities: &[&str], name: &str| {
        let filter = resolved(SeccompWish::Builtin, capabilities)
            .unwrap()
            .unwrap();
        let rules = filter.syscalls().clone().unwrap();
        rules
            .into_iter()
            .filter(|rule| rule.names().contains(&name.to_owned()))
            .collect::<Vec<_>>()
    };
    let clone = rule(&[], "clone");
    let argument = clone[0].args().as_ref().unwrap()[0];
    assert_eq!(
        (argument.value(), argument.value_two()),
        (0x7e02_0000, None)
    );
    assert_eq!(rule(&[], "clone3")[0].errno_ret(), Some(38));
    let free = rule(&["CAP_SYS_ADMIN"], "clone3");
    assert_eq!(free.len(), 1);
    assert_eq!(free[0].action(), LinuxSeccompAction::ScmpActAllow);
    let socket = rule(&[], "socket");
    assert_eq!(socket.len(), 1);
    assert_eq!(socket[0].args().as_ref().unwrap()[0].value(), 40);
}

#[test]
fn unconfined_and_privileged_have_no_filter() {
    assert!(resolved(SeccompWish::Unconfined, &[]).unwrap().is_none());
    let unset = SecurityOptions {
        no_new_privileges: false,
        writable_cgroups: None,
        seccomp: SeccompWish::Unset,
    };
    let machine = TestMachine::default();
    assert!(filter(&unset, true, &[], &machine).unwrap().is_none());
    let own = SecurityOptions {
        seccomp: SeccompWish::Profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#),
        ..unset
    };
    assert!(filter(&own, true, &[], &machine).unwrap().is_some());
}

#[test]
fn a_users_profile_is_read_with_its_conditions() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
        "syscalls":[{"name":"chmod","action":"SCMP_ACT_ERRNO","args":null},
        {"names":["mount"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["a"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"250.1"}},
        {"names":["b"],"action":"SCMP_ACT_ERRNO","errnoRet":5,"includes":{"arches":["s390x"]},"comment":"x"},
        {"names":["c"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"valueTwo":0,"op":"SCMP_CMP_EQ"}]}]}"#;
    let filter = resolved(SeccompWish::Profile(json), &["CAP_CHOWN"])
        .unwrap()
        .unwrap();
    assert_eq!(names(&filter), ["chmod", "mount", "c"]);
    let admin = resolved(SeccompWish::Profile(json), &["CAP_SYS_ADMIN"])
        .unwrap()
        .unwrap();
    assert_eq!(names(&admin), ["chmod", "c"]);
    assert!(resolved(SeccompWish::Profile("{}"), &[]).unwrap().is_none());
}

#[test]
fn a_bad_profile_is_told_with_dockers_texts() {
    let check = |json: &str, want: &str| {
        let error = resolved(SeccompWish::Profile(json), &[]).unwrap_err();
        assert!(error.message().starts_with(want), "{}", error.message());
    };
    check("/no/json", "Decoding seccomp profile failed: ");
    check(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4"}}]}"#,
        "Decoding seccomp profile failed: invalid kernel version: \"4\", expected \"<kernel>.<major>\"",
    );
    check(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["a"],"action":"SCMP_ACT_ALLOW"}]}"#,
        "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
    );
    check(
        r#"{"architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
        "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
    );
}
