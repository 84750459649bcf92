//! Docker's rules, which say for whom they are, and the spec's, which do not.

use errdefs::Result;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompFilterFlag, LinuxSyscall, LinuxSyscallBuilder,
};

use super::super::{Machine, built, system};

/// A profile before it is known where it is used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Profile {
    pub(super) default_action: Option<LinuxSeccompAction>,
    pub(super) default_errno: Option<u32>,
    pub(super) architectures: Vec<Arch>,
    /// Architectures with those whose programs they run too.
    pub(super) families: Vec<(Arch, Vec<Arch>)>,
    pub(super) flags: Option<Vec<LinuxSeccompFilterFlag>>,
    pub(super) rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: LinuxSeccompAction,
    pub(super) errno: Option<u32>,
    pub(super) arguments: Vec<LinuxSeccompArg>,
    /// It holds only where all of this is true.
    pub(super) includes: Conditions,
    /// It does not hold where any of this is true.
    pub(super) excludes: Conditions,
}

/// Where a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) capabilities: Vec<String>,
    /// Docker's names: `amd64`, `arm64`, ….
    pub(super) architectures: Vec<String>,
    /// At least this kernel.
    pub(super) kernel: Option<(u32, u32)>,
}

/// Where a profile is used.
pub(super) struct Here<'a> {
    capabilities: &'a [&'a str],
    kernel: (u32, u32),
    architecture: (&'static str, Arch),
}

impl<'a> Here<'a> {
    pub(super) fn new(capabilities: &'a [&'a str], machine: &dyn Machine) -> Self {
        Self {
            capabilities,
            kernel: machine.kernel_version(),
            architecture: match std::env::consts::ARCH {
                "aarch64" => ("arm64", Arch::ScmpArchAarch64),
                _ => ("amd64", Arch::ScmpArchX86_64),
            },
        }
    }

    fn applies(&self, rule: &Rule) -> bool {
        let has = |name: &String| self.capabilities.contains(&name.as_str());
        let is = |names: &[String]| names.iter().any(|name| name == self.architecture.0);
        let (includes, excludes) = (&rule.includes, &rule.excludes);
        let excluded = is(&excludes.architectures)
            || excludes.capabilities.iter().any(has)
            || excludes.kernel.is_some_and(|least| self.kernel >= least);
        let included = (includes.architectures.is_empty() || is(&includes.architectures))
            && includes.capabilities.iter().all(has)
            && includes.kernel.is_none_or(|least| self.kernel >= least);
        included && !excluded
    }
}

impl Profile {
    /// The spec's filter. None: the profile says nothing.
    ///
    /// # Errors
    /// `System`, when it has rules and no default.
    pub(super) fn resolve(self, here: &Here<'_>) -> Result<Option<LinuxSeccomp>> {
        let Some(default) = self.default_action else {
            return if self.rules.is_empty() {
                Ok(None)
            } else {
                Err(system("the seccomp profile has no default action"))
            };
        };
        let mut architectures = self.architectures;
        let family = self
            .families
            .into_iter()
            .find(|(first, _)| *first == here.architecture.1);
        if let Some((first, others)) = family {
            architectures.push(first);
            architectures.extend(others);
        }
        let mut calls = Vec::new();
        for rule in self.rules.into_iter().filter(|rule| here.applies(rule)) {
            calls.push(rule.into_call()?);
        }
        let mut filter = built(
            LinuxSeccompBuilder::default()
                .default_action(default)
                .syscalls(calls)
                .build(),
        )?;
        filter
            .set_default_errno_ret(self.default_errno)
            .set_architectures((!architectures.is_empty()).then_some(architectures))
            .set_flags(self.flags);
        Ok(Some(filter))
    }
}

impl Rule {
    fn into_call(self) -> Result<LinuxSyscall> {
        let mut call = built(
            LinuxSyscallBuilder::default()
                .names(self.names)
                .action(self.action)
                .build(),
        )?;
        let mut arguments = Vec::new();
        for argument in self.arguments {
            arguments.push(without_zero(argument)?);
        }
        call.set_errno_ret(self.errno)
            .set_args((!arguments.is_empty()).then_some(arguments));
        Ok(call)
    }
}

/// A second value of 0 is the same as none; Docker's spec leaves it out.
fn without_zero(argument: LinuxSeccompArg) -> Result<LinuxSeccompArg> {
    if argument.value_two() != Some(0) {
        return Ok(argument);
    }
    built(
        LinuxSeccompArgBuilder::default()
            .index(argument.index())
            .value(argument.value())
            .op(argument.op())
            .build(),
    )
}
