//! Giving names and taking them away, by Docker's rules.

use std::collections::BTreeSet;

use engine::ports::images::Removed;
use errdefs::{Error, ErrorKind, Result};
use oci::{Digest, Reference};

use crate::{
    error::invalid,
    image::{Parsed, id_digits, parse, unknown},
    names::{Names, Target, familiar, is_nameless},
    store::{Inner, now},
};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    /// These names go, the image stays by others.
    Untag(Vec<String>),
    /// This name goes, the image stays without.
    Strip(String),
    /// All names go, and the image.
    Delete(Vec<String>, Digest),
}

/// What a text means where it may mean several names of one image.
struct All {
    /// It is a name itself.
    exact: Option<String>,
    image: Digest,
    /// Every name of the image, sorted.
    names: Vec<String>,
}

impl Names {
    fn resolve_all(&self, text: &str) -> Result<All> {
        let parsed = parse(text)?;
        let (exact, image) = match &parsed {
            Parsed::Id(digest) => (None, digest.clone()),
            Parsed::Name(name) => self
                .exact_or_id(name, text)?
                .ok_or_else(|| unknown(&parsed))?,
        };
        let names: Vec<String> = self.of(&image).into_iter().map(str::to_owned).collect();
        if names.is_empty() {
            return Err(unknown(&parsed));
        }
        Ok(All {
            exact,
            image,
            names,
        })
    }

    fn exact_or_id(
        &self,
        name: &Reference,
        text: &str,
    ) -> Result<Option<(Option<String>, Digest)>> {
        let full = name.clone().or_latest().to_string();
        let exact = self.get(&full).map(|target| &target.descriptor.digest);
        // A name that could be an id, too, must not mean another image by that.
        let by_id: BTreeSet<&Digest> = match id_digits(text) {
            Some(digits) => self
                .iter()
                .map(|(_, target)| &target.descriptor.digest)
                .filter(|digest| digest.hex().starts_with(digits))
                .collect(),
            None => BTreeSet::new(),
        };
        let mut meant: BTreeSet<&Digest> = by_id;
        meant.extend(exact);
        if meant.len() > 1 {
            return Err(Error::new(ErrorKind::NotFound, "ambiguous reference"));
        }
        let meant = meant.into_iter().next().or(name.digest());
        Ok(meant.map(|digest| (exact.map(|_| full), digest.clone())))
    }

    fn plan(&self, text: &str, force: bool, is_used: impl Fn(&Digest) -> bool) -> Result<Plan> {
        let all = self.resolve_all(text)?;
        let is_id = all.image.as_str().starts_with(text) || all.image.hex().starts_with(text);
        let mut may_have_others = force;
        match &all.exact {
            None => {
                let name = (!is_id).then(|| text.parse::<Reference>().ok()).flatten();
                let same = same_references(name.as_ref(), &all.names);
                if let Some(name) = name {
                    if same.is_empty() {
                        return Err(unknown(&Parsed::Name(name)));
                    }
                    if same.len() != all.names.len() {
                        return Ok(Plan::Untag(same));
                    }
                }
                may_have_others |= same.len() == all.names.len();
            }
            Some(_) if is_id => {}
            Some(name) => {
                let same = same_references(name.parse().ok().as_ref(), &all.names);
                if same.len() != all.names.len() {
                    return Ok(Plan::Untag(same));
                }
                may_have_others |= all.names.len() > 1;
                if force && is_used(&all.image) {
                    return Ok(Plan::Strip(name.clone()));
                }
            }
        }
        if all.names.len() > 1 && !may_have_others {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                    &all.image.hex()[..12]
                ),
            ));
        }
        Ok(Plan::Delete(all.names, all.image))
    }
}

/// Names that go together with one: the same repository with the same tag, and its names with digests when no other tag is left. Without a name, the first one
/// is meant.
fn same_references(name: Option<&Reference>, names: &[String]) -> Vec<String> {
    let any_tag = name.is_some_and(|name| name.tag().is_none() && name.digest().is_some());
    let mut meant = name.cloned();
    let mut tag = name.and_then(|name| name.tag().map(str::to_owned));
    let mut same = Vec::new();
    let mut with_digest = Some(Vec::new());
    for text in names {
        if let Some(candidate) = (!is_nameless(text))
            .then(|| text.parse::<Reference>().ok())
            .flatten()
        {
            let Some(meant) = &meant else {
                tag = candidate.tag().map(str::to_owned);
                meant = Some(candidate);
                same.push(text.clone());
                continue;
            };
            if (meant.domain(), meant.path()) != (candidate.domain(), candidate.path()) {
                continue;
            }
            if !any_tag {
                match candidate.tag() {
                    Some(other) => {
                        if tag.get_or_insert_with(|| other.to_owned()) != other {
                            with_digest = None;
                            continue;
                        }
                    }
                    None => {
                        if let Some(list) = &mut with_digest {
                            list.push(text.clone());
                        }
                        continue;
                    }
                }
            }
        }
        same.push(text.clone());
    }
    same.extend(with_digest.unwrap_or_default());
    same
}

impl Inner {
    pub(crate) fn tag(&self, text: &str, name: &Reference) -> Result<()> {
        if name.digest().is_some() {
            return Err(invalid("refusing to create a tag with a digest reference"));
        }
        let changes = self.changes();
        let descriptor = self.resolve(text)?.descriptor;
        let target = Target::new(descriptor, now());
        self.rename(&changes, |names| names.assign(name, target))
    }

    pub(crate) fn remove(&self, text: &str, force: bool) -> Result<Vec<Removed>> {
        let changes = self.changes();
        let plan = {
            let state = self.state();
            let is_used = |digest: &Digest| {
                let mut containers = state.containers.values();
                containers.any(|container| container.image == *digest)
            };
            state.names.plan(text, force, is_used)?
        };
        let mut removed = Vec::new();
        let untagged = |name: &String| Removed::Untagged(familiar(name));
        self.rename(&changes, |names| match &plan {
            Plan::Strip(name) => {
                names.strip(name);
                removed.push(untagged(name));
            }
            Plan::Untag(list) | Plan::Delete(list, _) => {
                for name in list {
                    names.remove(name);
                    if !is_nameless(name) {
                        removed.push(untagged(name));
                    }
                }
            }
        })?;
        drop(changes);
        if let Plan::Delete(_, image) = plan {
            removed.push(Removed::Deleted(image));
            self.collect_garbage();
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use engine::ports::{images::Descriptor, world::Timestamp};

    use super::*;

    const CONTENT: &str = "image";

    fn names(list: &[&str]) -> Names {
        let mut names = Names::default();
        for name in list {
            let descriptor = Descriptor {
                media_type: String::new(),
                digest: Digest::of(CONTENT.as_bytes()),
                size: 0,
            };
            let target = Target::new(descriptor, Timestamp(0));
            match name {
                &"" => names.keep(target),
                name => names.assign(&name.parse().expect("a name"), target),
            }
        }
        names
    }

    fn deleted(names: Vec<String>) -> Plan {
        Plan::Delete(names, id())
    }

    fn id() -> Digest {
        Digest::of(CONTENT.as_bytes())
    }

    fn check(list: &[&str], text: &str, force: bool, expected: Result<Plan, &str>) {
        let plan = names(list).plan(text, force, |_| false);
        match expected {
            Ok(expected) => assert_eq!(plan.expect(text), expected, "{list:?} {text}"),
            Err(message) => assert_eq!(plan.expect_err(text).to_string(), message),
        }
    }

    fn full(list: &[&str]) -> Vec<String> {
        list.iter()
            .map(|name| format!("docker.io/library/{name}"))
            .collect()
    }

    #[test]
    fn the_last_name_takes_the_image_with_it() {
        check(&["a"], "a", false, Ok(deleted(full(&["a:latest"]))));
        check(
            &["a"],
            &id().hex()[..12],
            false,
            Ok(deleted(full(&["a:latest"]))),
        );
        check(
            &[""],
            id().as_str(),
            false,
            Ok(deleted(vec![id().to_string()])),
        );
    }

    #[test]
    fn one_name_of_several_goes_alone() {
        check(
            &["a", "a:2", "b"],
            "a:2",
            false,
            Ok(Plan::Untag(full(&["a:2"]))),
        );
        check(&["a", "b"], "b", true, Ok(Plan::Untag(full(&["b:latest"]))));
    }

    #[test]
    fn an_id_with_several_names_must_be_forced() {
        let conflict = format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            &id().hex()[..12]
        );
        check(&["a", "b"], id().hex(), false, Err(&conflict));
        check(&["a", "a:2"], &id().hex()[..12], false, Err(&conflict));
        check(
            &["a", "b"],
            &id().hex()[..12],
            true,
            Ok(deleted(full(&["a:latest", "b:latest"]))),
        );
    }

    #[test]
    fn a_tag_and_a_digest_of_one_repository_go_together() {
        let digested = format!("a@{}", id());
        let both = full(&["a:latest", &digested]);
        check(&["a", &digested], "a", false, Ok(deleted(both.clone())));
        check(
            &["a", &digested],
            &digested,
            false,
            Ok(deleted(both.clone())),
        );
        check(&["a", &digested], id().hex(), false, Ok(deleted(both)));
        check(&["a"], &digested, false, Ok(deleted(full(&["a:latest"]))));
    }

    #[test]
    fn what_is_not_there_cannot_be_removed() {
        check(&["a"], "b", false, Err("No such image: b:latest"));
        check(
            &["a"],
            &format!("b@{}", id()),
            false,
            Err(&format!("No such image: b@{}", id())),
        );
    }

    #[test]
    fn a_used_image_loses_its_name_by_force_and_stays() {
        let plan = names(&["a"]).plan("a", true, |_| true).expect("planned");
        assert_eq!(plan, Plan::Strip("docker.io/library/a:latest".to_owned()));
    }
}
