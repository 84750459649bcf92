//! Device rules of a container's cgroup, as an eBPF program.
//!
//! The last rule that matches decides, and none means no. The program looks at the rules from the last to the first; each is a few comparisons
//! that jump to the next rule, and a verdict.
//!
//! Spec: OCI runtime, config-linux, allowed device list. Linux: include/uapi/linux/bpf.h, struct `bpf_cgroup_dev_ctx`.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Most rules; Docker's own list has about a dozen.
const MAX_RULES: usize = 1024;

/// One instruction. Linux: include/uapi/linux/bpf.h, struct `bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

/// Code values: class, size or operation, source. Linux: include/uapi/linux/bpf_common.h, bpf.h.
mod code {
    /// dst = *(u32 *)(src + offset)
    pub(super) const LOAD: u8 = 0x61;
    /// dst = value
    pub(super) const MOVE: u8 = 0xb7;
    /// dst = src
    pub(super) const COPY: u8 = 0xbf;
    /// dst &= value
    pub(super) const AND: u8 = 0x57;
    /// dst >>= value
    pub(super) const SHIFT: u8 = 0x77;
    /// if dst != value
    pub(super) const JUMP_NOT_EQUAL: u8 = 0x55;
    /// if dst == value
    pub(super) const JUMP_EQUAL: u8 = 0x15;
    /// if dst != src
    pub(super) const JUMP_NOT_SAME: u8 = 0x5d;
    /// return r0
    pub(super) const EXIT: u8 = 0x95;
}

/// Registers: the verdict, the context, a scratch, and what the context says.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Linux: include/uapi/linux/bpf.h, BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MAKE_NODE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MAKE_NODE | READ | WRITE;

const fn step(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset,
        value,
    }
}

/// What every container may use, whatever its rules say, as with runc: make any node, and use those that the runtime makes itself.
const ALWAYS: &[(i32, i32, Option<i32>, Option<i32>)] = &[
    (CHARACTER, MAKE_NODE, None, None),
    (BLOCK, MAKE_NODE, None, None),
    (CHARACTER, ALL, Some(1), Some(3)),
    (CHARACTER, ALL, Some(1), Some(5)),
    (CHARACTER, ALL, Some(1), Some(7)),
    (CHARACTER, ALL, Some(1), Some(8)),
    (CHARACTER, ALL, Some(1), Some(9)),
    (CHARACTER, ALL, Some(5), Some(0)),
    (CHARACTER, ALL, Some(5), Some(2)),
    (CHARACTER, ALL, Some(136), None),
];

/// A rule in the kernel's numbers; `None` is any.
struct Rule {
    kind: Option<i32>,
    access: i32,
    major: Option<i32>,
    minor: Option<i32>,
    allow: bool,
}

/// The program for a list of rules and what is always allowed.
///
/// # Errors
/// Too many rules, or a number that no device has.
pub(crate) fn compile(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Instruction>, &'static str> {
    if rules.len() > MAX_RULES {
        return Err("there are too many device rules");
    }
    let mut program = vec![
        step(code::LOAD, KIND, CONTEXT, 0, 0),
        step(code::COPY, ACCESS, KIND, 0, 0),
        step(code::AND, KIND, 0, 0, 0xffff),
        step(code::SHIFT, ACCESS, 0, 0, 16),
        step(code::LOAD, MAJOR, CONTEXT, 4, 0),
        step(code::LOAD, MINOR, CONTEXT, 8, 0),
    ];
    let always = ALWAYS.iter().map(|&(kind, access, major, minor)| Rule {
        kind: Some(kind),
        access,
        major,
        minor,
        allow: true,
    });
    for rule in always {
        program.extend(one(&rule)?);
    }
    for rule in rules.iter().rev() {
        let rule = Rule::read(rule)?;
        program.extend(one(&rule)?);
        if rule.holds_for_all() {
            // The kernel refuses a program with instructions that nothing reaches.
            return Ok(program);
        }
    }
    program.extend([
        step(code::MOVE, VERDICT, 0, 0, 0),
        step(code::EXIT, 0, 0, 0, 0),
    ]);
    Ok(program)
}

impl Rule {
    fn holds_for_all(&self) -> bool {
        self.kind.is_none() && self.access == ALL && self.major.is_none() && self.minor.is_none()
    }

    fn read(rule: &LinuxDeviceCgroup) -> Result<Self, &'static str> {
        let access = rule
            .access()
            .as_deref()
            .unwrap_or("rwm")
            .chars()
            .fold(0, |bits, letter| {
                bits | match letter {
                    'r' => READ,
                    'w' => WRITE,
                    'm' => MAKE_NODE,
                    _ => 0,
                }
            });
        // Negative stands for any.
        let number = |number: Option<i64>| match number.filter(|&number| number >= 0) {
            Some(number) => i32::try_from(number)
                .map(Some)
                .map_err(|_| "a device number is too large"),
            None => Ok(None),
        };
        let kind = match rule.typ() {
            Some(LinuxDeviceType::B) => Some(BLOCK),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
            // `a`, or nothing: both kinds.
            _ => None,
        };
        Ok(Self {
            kind,
            access,
            major: number(rule.major())?,
            minor: number(rule.minor())?,
            allow: rule.allow(),
        })
    }
}

fn one(rule: &Rule) -> Result<Vec<Instruction>, &'static str> {
    let mut tests = Vec::new();
    let must_be = |register, value| step(code::JUMP_NOT_EQUAL, register, 0, 0, value);
    tests.extend(rule.kind.map(|kind| must_be(KIND, kind)));
    if rule.access != ALL {
        tests.extend([
            step(code::COPY, SCRATCH, ACCESS, 0, 0),
            step(code::AND, SCRATCH, 0, 0, rule.access),
        ]);
        tests.push(if rule.allow {
            // All that is asked for must be in the rule.
            step(code::JUMP_NOT_SAME, SCRATCH, ACCESS, 0, 0)
        } else {
            // Anything of it is enough.
            step(code::JUMP_EQUAL, SCRATCH, 0, 0, 0)
        });
    }
    tests.extend(rule.major.map(|major| must_be(MAJOR, major)));
    tests.extend(rule.minor.map(|minor| must_be(MINOR, minor)));
    let count = tests.len();
    for (index, test) in tests.iter_mut().enumerate() {
        if matches!(
            test.code,
            code::JUMP_NOT_EQUAL | code::JUMP_EQUAL | code::JUMP_NOT_SAME
        ) {
            // Behind the verdict's two instructions.
            test.offset = i16::try_from(count - index - 1 + 2).map_err(|_| "a rule is too long")?;
        }
    }
    tests.extend([
        step(code::MOVE, VERDICT, 0, 0, i32::from(rule.allow)),
        step(code::EXIT, 0, 0, 0, 0),
    ]);
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], kind: i32, access: i32, major: i64, minor: i64) -> bool {
        let mut registers = [0_i64; 7];
        let mut at = 0;
        loop {
            let Instruction {
                code,
                registers: names,
                offset,
                value,
            } = program[at];
            let (to, from) = (usize::from(names & 15), usize::from(names >> 4));
            at += 1;
            let jump = match code {
                code::LOAD => {
                    registers[to] = [i64::from(access << 16 | kind), major, minor]
                        [usize::try_from(offset).expect("positive") / 4];
                    false
                }
                code::MOVE => {
                    registers[to] = value.into();
                    false
                }
                code::COPY => {
                    registers[to] = registers[from];
                    false
                }
                code::AND => {
                    registers[to] &= i64::from(value);
                    false
                }
                code::SHIFT => {
                    registers[to] >>= value;
                    false
                }
                code::JUMP_NOT_EQUAL => registers[to] != i64::from(value),
                code::JUMP_EQUAL => registers[to] == i64::from(value),
                code::JUMP_NOT_SAME => registers[to] != registers[from],
                code::EXIT => return registers[0] != 0,
                other => panic!("code {other:#x}"),
            };
            if jump {
                at += usize::try_from(offset).expect("forward");
            }
        }
    }

    fn program(json: serde_json::Value) -> Vec<Instruction> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(json).expect("rules");
        compile(&rules).expect("compiled")
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let program = program(serde_json::json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rwm"},
            {"allow": true, "type": "c", "major": 189, "minor": -1, "access": "rw"},
            {"allow": false, "type": "c", "major": 189, "minor": 9, "access": "w"},
        ]));
        for (kind, access, major, minor, want) in [
            (CHARACTER, ALL, 10, 200, true),
            (BLOCK, READ, 10, 200, false),
            (CHARACTER, READ, 10, 201, false),
            (CHARACTER, READ | WRITE, 189, 7, true),
            (CHARACTER, READ, 189, 9, true),
            (CHARACTER, READ | WRITE, 189, 9, false),
            (BLOCK, READ, 8, 0, false),
        ] {
            assert_eq!(
                run(&program, kind, access, major, minor),
                want,
                "{kind} {access} {major}:{minor}"
            );
        }
    }

    #[test]
    fn what_is_always_allowed_is_and_no_more() {
        let program = program(serde_json::json!([{"allow": false, "access": "rwm"}]));
        for (kind, access, major, minor, want) in [
            (BLOCK, MAKE_NODE, 8, 0, true),
            (BLOCK, MAKE_NODE | READ, 8, 0, false),
            (CHARACTER, ALL, 1, 3, true),
            (CHARACTER, READ | WRITE, 136, 5, true),
            (CHARACTER, READ, 1, 1, false),
        ] {
            assert_eq!(
                run(&program, kind, access, major, minor),
                want,
                "{kind} {access} {major}:{minor}"
            );
        }
    }

    #[test]
    fn no_rule_is_no_device() {
        assert!(!run(&program(serde_json::json!([])), CHARACTER, READ, 1, 1));
    }

    #[test]
    fn numbers_that_no_device_has_are_refused() {
        let rules: Vec<LinuxDeviceCgroup> =
            serde_json::from_value(serde_json::json!([{"allow": true, "major": 1_u64 << 40}]))
                .expect("rules");
        assert!(compile(&rules).is_err());
    }
}
