//! Which system calls a container may make: Docker's profile or the user's own, with what does not apply here left out.

mod custom;
mod default;
mod rule;

use errdefs::Result;
use oci_spec::runtime::LinuxSeccomp;

use super::{
    Machine,
    security::{SeccompWish, SecurityOptions},
};

/// The container's filter; none: everything is allowed.
///
/// # Errors
/// `System`: `Decoding seccomp profile failed: …`.
pub(super) fn filter(
    security: &SecurityOptions<'_>,
    privileged: bool,
    capabilities: &[&str],
    machine: &dyn Machine,
) -> Result<Option<LinuxSeccomp>> {
    let profile = match security.seccomp {
        SeccompWish::Unconfined => return Ok(None),
        SeccompWish::Unset if privileged => return Ok(None),
        SeccompWish::Unset | SeccompWish::Builtin => default::profile(),
        SeccompWish::Profile(json) => custom::decode(json)?,
    };
    profile.resolve(&rule::Here::new(capabilities, machine))
}

#[cfg(test)]
mod tests;
