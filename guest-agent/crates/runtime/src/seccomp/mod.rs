//! Seccomp filters: a spec's rules as a program for the kernel.
//!
//! ```text
//! architecture ──► its block: number ──► ranges with one action each ──► rules with arguments ──► default
//!        └─ not in the spec: kill
//! ```
//! Jumps are short: each range and each rule is a few instructions that fall through to the next, so no offset can overflow. The kernel keeps a
//! bitmap of the numbers that are always allowed and runs the program for the others only.
//!
//! As with runc, a number beyond all that the spec knows answers ENOSYS when the default is EPERM, so that programs fall back to older calls. A
//! name that an architecture does not have is left out. x32 calls get the default action.
//!
//! Spec: OCI runtime, config-linux, seccomp. Linux: Documentation/userspace-api/seccomp_filter.rst.

mod generated;

use std::collections::BTreeMap;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator,
};

/// Longest program. Linux: include/uapi/linux/bpf_common.h, BPF_MAXINSNS.
const MAX_INSTRUCTIONS: usize = 4096;

/// Offsets in what a filter looks at. Linux: include/uapi/linux/seccomp.h, struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Linux: include/uapi/linux/audit.h, AUDIT_ARCH_*.
const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

/// Where 32-bit arm's own calls begin, far beyond all others. Linux: arch/arm/include/uapi/asm/unistd.h, __ARM_NR_BASE.
const ARM_PRIVATE: u32 = 0x000f_0000;

/// Set in the number of an x32 call. Linux: arch/x86/include/uapi/asm/unistd.h.
const X32_BIT: u32 = 0x4000_0000;

/// Linux: include/uapi/linux/seccomp.h, SECCOMP_RET_*.
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

/// A container's seccomp filter, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub(crate) program: Vec<Instruction>,
    pub(crate) flags: u32,
}

/// One instruction. Linux: include/uapi/linux/filter.h, struct sock_filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// A filter could not be compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("seccomp action {0:?} is not supported by this runtime")]
    Action(LinuxSeccompAction),
    #[error("seccomp architecture {0:?} is not one of this machine")]
    Architecture(Arch),
    #[error("seccomp argument {0} does not exist")]
    Argument(usize),
    #[error(
        "the seccomp filter has {0} instructions, more than the {MAX_INSTRUCTIONS} a kernel takes"
    )]
    TooLong(usize),
}

/// Code values. Linux: include/uapi/linux/bpf_common.h.
mod code {
    pub(super) const LOAD: u16 = 0x20;
    pub(super) const AND: u16 = 0x54;
    pub(super) const RETURN: u16 = 0x06;
    pub(super) const JUMP: u16 = 0x05;
    pub(super) const JUMP_EQUAL: u16 = 0x15;
    pub(super) const JUMP_GREATER: u16 = 0x25;
    pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35;
}

const fn step(code: u16, value: u32) -> Instruction {
    Instruction {
        code,
        if_true: 0,
        if_false: 0,
        value,
    }
}

const fn branch(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        value,
    }
}

/// Compiles a spec's filter for the architectures it names, or this machine's.
pub(crate) fn compile(seccomp: &LinuxSeccomp) -> Result<Filter, CompileError> {
    let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
    let mut architectures = Vec::new();
    match seccomp.architectures().as_deref() {
        None | Some([]) => architectures.push(native()),
        Some(named) => {
            for one in named {
                match one {
                    Arch::ScmpArchNative => architectures.push(native()),
                    Arch::ScmpArchX86_64 => architectures.push(X86_64),
                    Arch::ScmpArchX86 => architectures.push(X86),
                    Arch::ScmpArchAarch64 => architectures.push(AARCH64),
                    Arch::ScmpArchArm => architectures.push(ARM),
                    // Its calls come with the bit of x32 and get the default action.
                    Arch::ScmpArchX32 => {}
                    other => return Err(CompileError::Architecture(*other)),
                }
            }
        }
    }
    architectures.sort_unstable();
    architectures.dedup();
    let mut program = vec![step(code::LOAD, ARCHITECTURE)];
    for architecture in architectures {
        let block = block(seccomp, architecture, default)?;
        let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
        // The block of another architecture is jumped over; its length may not fit a branch.
        program.push(branch(code::JUMP_EQUAL, architecture, 1, 0));
        program.push(step(code::JUMP, length));
        program.extend(block);
    }
    program.push(step(code::RETURN, KILL_PROCESS));
    if program.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(program.len()));
    }
    Ok(Filter {
        program,
        flags: flags(seccomp),
    })
}

/// What is done with one number.
#[derive(Debug, Default)]
struct Rules<'a> {
    with_arguments: Vec<(u32, &'a [LinuxSeccompArg])>,
    always: Option<u32>,
}

fn block(
    seccomp: &LinuxSeccomp,
    architecture: u32,
    default: u32,
) -> Result<Vec<Instruction>, CompileError> {
    let table = table(architecture);
    let mut rules: BTreeMap<u32, Rules<'_>> = BTreeMap::new();
    for rule in seccomp.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        for name in rule.names() {
            let Ok(index) = table.binary_search_by_key(&name.as_str(), |(name, _)| name) else {
                continue;
            };
            let rules = rules.entry(table[index].1).or_default();
            match rule.args().as_deref() {
                None | Some([]) => {
                    rules.always.get_or_insert(action);
                }
                Some(arguments) => rules.with_arguments.push((action, arguments)),
            }
        }
    }
    let mut program = vec![step(code::LOAD, NUMBER)];
    if architecture == X86_64 {
        program.extend([
            branch(code::JUMP_GREATER_EQUAL, X32_BIT, 0, 1),
            step(code::RETURN, default),
        ]);
    }
    for (first, last, action) in ranges(&rules) {
        if first == last {
            program.push(branch(code::JUMP_EQUAL, first, 0, 1));
        } else {
            program.push(branch(code::JUMP_GREATER_EQUAL, first, 0, 2));
            program.push(branch(code::JUMP_GREATER, last, 1, 0));
        }
        program.push(step(code::RETURN, action));
    }
    for (&number, rules) in rules
        .iter()
        .filter(|(_, rules)| !rules.with_arguments.is_empty())
    {
        let mut tests = Vec::new();
        for (action, arguments) in &rules.with_arguments {
            tests.extend(test(*action, arguments)?);
        }
        tests.push(step(code::RETURN, rules.always.unwrap_or(default)));
        program.push(branch(code::JUMP_EQUAL, number, 1, 0));
        program.push(step(
            code::JUMP,
            u32::try_from(tests.len()).unwrap_or(u32::MAX),
        ));
        program.extend(tests);
    }
    if default == ERRNO | libc::EPERM.unsigned_abs()
        && let Some(last) = rules.keys().rfind(|&&number| number < ARM_PRIVATE)
    {
        program.push(branch(code::JUMP_GREATER, *last, 0, 1));
        program.push(step(code::RETURN, ERRNO | libc::ENOSYS.unsigned_abs()));
    }
    program.push(step(code::RETURN, default));
    Ok(program)
}

/// Neighbouring numbers with the same action and no look at arguments.
fn ranges(rules: &BTreeMap<u32, Rules<'_>>) -> Vec<(u32, u32, u32)> {
    let mut all: Vec<(u32, u32, u32)> = Vec::new();
    for (&number, rules) in rules {
        let (Some(action), true) = (rules.always, rules.with_arguments.is_empty()) else {
            continue;
        };
        match all.last_mut() {
            Some((_, last, same)) if *last + 1 == number && *same == action => *last = number,
            _ => all.push((number, number, action)),
        }
    }
    all
}

/// All of a rule's conditions, then its action; falls through behind it when one does not hold.
fn test(action: u32, arguments: &[LinuxSeccompArg]) -> Result<Vec<Instruction>, CompileError> {
    let mut program = vec![step(code::RETURN, action)];
    // From behind: each condition knows how far the way out is.
    for argument in arguments.iter().rev() {
        let condition = condition(argument, program.len())?;
        program.splice(0..0, condition);
    }
    Ok(program)
}

/// One condition on a 64-bit argument: falls through when it holds, else jumps over the `rest`.
fn condition(argument: &LinuxSeccompArg, rest: usize) -> Result<Vec<Instruction>, CompileError> {
    /// Arguments of a call.
    const ARGUMENT_COUNT: usize = 6;
    let index = argument.index();
    if index >= ARGUMENT_COUNT {
        return Err(CompileError::Argument(index));
    }
    let rest = u8::try_from(rest).map_err(|_| CompileError::TooLong(rest))?;
    let low_at = ARGUMENTS + 8 * u32::try_from(index).unwrap_or(0);
    let (load_low, load_high) = (step(code::LOAD, low_at), step(code::LOAD, low_at + 4));
    let half = |value: u64| ((value & 0xffff_ffff) as u32, (value >> 32) as u32);
    let (low, high) = half(argument.value());
    // The way out from the last instruction is `rest`; from the one `n` before it `rest + n`.
    Ok(match argument.op() {
        LinuxSeccompOperator::ScmpCmpEq => vec![
            load_high,
            branch(code::JUMP_EQUAL, high, 0, rest + 2),
            load_low,
            branch(code::JUMP_EQUAL, low, 0, rest),
        ],
        LinuxSeccompOperator::ScmpCmpNe => vec![
            load_high,
            branch(code::JUMP_EQUAL, high, 0, 2),
            load_low,
            branch(code::JUMP_EQUAL, low, rest, 0),
        ],
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            // `value` is the mask here, and the second value what must be left.
            let (want_low, want_high) = half(argument.value_two().unwrap_or(0));
            vec![
                load_high,
                step(code::AND, high),
                branch(code::JUMP_EQUAL, want_high, 0, rest + 3),
                load_low,
                step(code::AND, low),
                branch(code::JUMP_EQUAL, want_low, 0, rest),
            ]
        }
        LinuxSeccompOperator::ScmpCmpGt => {
            greater(load_high, load_low, (high, low), code::JUMP_GREATER, rest)
        }
        LinuxSeccompOperator::ScmpCmpGe => greater(
            load_high,
            load_low,
            (high, low),
            code::JUMP_GREATER_EQUAL,
            rest,
        ),
        LinuxSeccompOperator::ScmpCmpLe => {
            not_greater(load_high, load_low, (high, low), code::JUMP_GREATER, rest)
        }
        LinuxSeccompOperator::ScmpCmpLt => not_greater(
            load_high,
            load_low,
            (high, low),
            code::JUMP_GREATER_EQUAL,
            rest,
        ),
    })
}

fn greater(
    load_high: Instruction,
    load_low: Instruction,
    (high, low): (u32, u32),
    last: u16,
    rest: u8,
) -> Vec<Instruction> {
    vec![
        load_high,
        branch(code::JUMP_GREATER, high, 3, 0),
        branch(code::JUMP_EQUAL, high, 0, rest + 2),
        load_low,
        branch(last, low, 0, rest),
    ]
}

fn not_greater(
    load_high: Instruction,
    load_low: Instruction,
    (high, low): (u32, u32),
    last: u16,
    rest: u8,
) -> Vec<Instruction> {
    vec![
        load_high,
        branch(code::JUMP_GREATER, high, rest + 3, 0),
        branch(code::JUMP_EQUAL, high, 0, 2),
        load_low,
        branch(last, low, rest, 0),
    ]
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, CompileError> {
    match action {
        // A notifier would have to be handed to somebody.
        LinuxSeccompAction::ScmpActNotify => Err(CompileError::Action(action)),
        LinuxSeccompAction::ScmpActErrno => {
            Ok(ERRNO | errno.unwrap_or(libc::EPERM.unsigned_abs()) & 0xffff)
        }
        other => Ok(other.as_u32(errno)),
    }
}

fn flags(seccomp: &LinuxSeccomp) -> u32 {
    /// Linux: include/uapi/linux/seccomp.h, SECCOMP_FILTER_FLAG_*.
    const LOG: u32 = 1 << 1;
    const SPEC_ALLOW: u32 = 1 << 2;
    match seccomp.flags() {
        None => SPEC_ALLOW,
        Some(flags) => flags.iter().fold(0, |all, flag| {
            all | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
                // One thread needs no synchronising, and there is no notifier.
                _ => 0,
            }
        }),
    }
}

const fn native() -> u32 {
    if cfg!(target_arch = "aarch64") {
        AARCH64
    } else {
        X86_64
    }
}

fn table(architecture: u32) -> &'static [(&'static str, u32)] {
    match architecture {
        X86 => generated::X86,
        AARCH64 => generated::AARCH64,
        ARM => generated::ARM,
        _ => generated::X86_64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = ERRNO | 1;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut register) = (0, 0_u32);
        loop {
            let Instruction {
                code,
                if_true,
                if_false,
                value,
            } = program[at];
            at += 1;
            let holds = match code {
                code::LOAD => {
                    register = match value {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        offset => {
                            let argument = arguments[(offset - ARGUMENTS) as usize / 8];
                            let half = if (offset - ARGUMENTS).is_multiple_of(8) {
                                argument
                            } else {
                                argument >> 32
                            };
                            u32::try_from(half & 0xffff_ffff).expect("32 bits")
                        }
                    };
                    continue;
                }
                code::AND => {
                    register &= value;
                    continue;
                }
                code::JUMP => {
                    at += value as usize;
                    continue;
                }
                code::RETURN => return value,
                code::JUMP_EQUAL => register == value,
                code::JUMP_GREATER => register > value,
                code::JUMP_GREATER_EQUAL => register >= value,
                other => panic!("code {other:#x}"),
            };
            at += usize::from(if holds { if_true } else { if_false });
        }
    }

    fn filter(json: serde_json::Value) -> Vec<Instruction> {
        compile(&serde_json::from_value(json).expect("a filter"))
            .expect("compiled")
            .program
    }

    fn number(name: &str) -> u32 {
        generated::X86_64
            .iter()
            .find(|(one, _)| *one == name)
            .expect("a name")
            .1
    }

    #[test]
    fn names_are_allowed_others_get_the_default() {
        let program = filter(
            serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": ["read", "write", "open", "no_such_call", "statx"], "action": "SCMP_ACT_ALLOW"}]}),
        );
        let x86_64 = |number| run(&program, X86_64, number, [0; 6]);
        for name in ["read", "write", "open", "statx"] {
            assert_eq!(x86_64(number(name)), ALLOW, "{name}");
        }
        assert_eq!(x86_64(number("mount")), EPERM);
        assert_eq!(x86_64(X32_BIT | number("read")), EPERM);
        // Beyond what the filter knows.
        assert_eq!(
            x86_64(number("statx") + 1),
            ERRNO | libc::ENOSYS.unsigned_abs()
        );
        // 32-bit programs have numbers of their own: 3 is read there, and close here.
        assert_eq!(run(&program, X86, 3, [0; 6]), ALLOW);
        assert_eq!(x86_64(3), EPERM);
        assert_eq!(run(&program, AARCH64, 63, [0; 6]), KILL_PROCESS);
    }

    #[test]
    fn arm_programs_have_numbers_of_their_own() {
        let program = filter(
            serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
            "syscalls": [{"names": ["read", "statx", "set_tls"], "action": "SCMP_ACT_ALLOW"}]}),
        );
        for allowed in [3, 397, 0xf_0005] {
            assert_eq!(run(&program, ARM, allowed, [0; 6]), ALLOW, "{allowed}");
        }
        assert_eq!(run(&program, AARCH64, 63, [0; 6]), ALLOW);
        assert_eq!(run(&program, ARM, 63, [0; 6]), EPERM);
        // Beyond what the filter knows, in spite of the far numbers.
        let unknown = ERRNO | libc::ENOSYS.unsigned_abs();
        assert_eq!(run(&program, ARM, 398, [0; 6]), unknown);
    }

    #[test]
    fn the_first_matching_condition_decides_and_else_the_unconditional_rule() {
        let program = filter(
            serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 9, "op": "SCMP_CMP_EQ"}]},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0x7e02_0000_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            ]}),
        );
        let call = |name, arguments| run(&program, X86_64, number(name), arguments);
        assert_eq!(call("socket", [16, 0, 9, 0, 0, 0]), ERRNO | 22);
        assert_eq!(call("socket", [16, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(call("socket", [40, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(
            call("clone", [0x1200_0011 & !0x7e02_0000, 0, 0, 0, 0, 0]),
            ALLOW
        );
        assert_eq!(call("clone", [0x1000_0000, 0, 0, 0, 0, 0]), EPERM);
    }

    proptest! {
        #[test]
        fn every_operator_compares_64_bits(argument: u64, value: u64, two: u64, near in 0_u64..3, pick in 0_usize..7) {
            // Values close to each other, or every comparison would be decided by the high half.
            let argument = if near == 0 { argument } else { value.wrapping_add(near).wrapping_sub(2) };
            let (name, want) = [
                ("EQ", argument == value), ("NE", argument != value), ("GT", argument > value), ("GE", argument >= value),
                ("LT", argument < value), ("LE", argument <= value), ("MASKED_EQ", argument & value == two & value),
            ][pick];
            let program = filter(serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 5, "value": value, "valueTwo": two & value, "op": format!("SCMP_CMP_{name}")}]}]}));
            let got = run(&program, X86_64, 0, [0, 0, 0, 0, 0, argument]);
            prop_assert_eq!(got == ALLOW, want, "{} {:#x} {:#x}", name, argument, value);
        }
    }

    #[test]
    fn what_cannot_be_filtered_is_named() {
        let compiled = |json| compile(&serde_json::from_value(json).expect("a filter"));
        let notify = compiled(serde_json::json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
        assert_eq!(
            notify,
            Err(CompileError::Action(LinuxSeccompAction::ScmpActNotify))
        );
        let seventh = compiled(
            serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}),
        );
        assert_eq!(seventh, Err(CompileError::Argument(6)));
    }

    #[test]
    fn the_tables_are_sorted_for_the_search() {
        for table in [
            generated::X86_64,
            generated::X86,
            generated::AARCH64,
            generated::ARM,
        ] {
            assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
