//! What was found out about asking.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use engine::ports::registry::Credentials;
use http::HeaderValue;
use oci::Digest;

/// Grants that are kept.
const MAX_GRANTS: usize = 128;

/// Whom a grant is for: registry, scope, and a hash of who asks, so that no secret is kept as a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    authority: String,
    scope: String,
    asker: Digest,
}

impl Key {
    pub(crate) fn new(authority: &str, scope: &str, credentials: Option<&Credentials>) -> Self {
        let mut bytes = Vec::new();
        if let Some(who) = credentials {
            for part in [
                &who.username,
                &who.password,
                &who.identity_token,
                &who.registry_token,
            ] {
                bytes.extend(part.len().to_le_bytes());
                bytes.extend(part.as_bytes());
            }
        }
        Self {
            authority: authority.to_owned(),
            scope: scope.to_owned(),
            asker: Digest::of(&bytes),
        }
    }
}

/// What to say, and how long it holds.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// Value of `Authorization`, marked as secret.
    pub(crate) value: HeaderValue,
    /// `None`: until it is refused.
    pub(crate) until: Option<Instant>,
}

/// Grants by whom they are for.
#[derive(Debug, Default)]
pub(crate) struct Grants(Mutex<HashMap<Key, Grant>>);

impl Grants {
    /// What holds now.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<HeaderValue> {
        let mut grants = self.lock();
        let grant = grants.get(key)?;
        if grant.until.is_some_and(|until| until <= now) {
            grants.remove(key);
            return None;
        }
        Some(grant.value.clone())
    }

    pub(crate) fn insert(&self, key: Key, grant: Grant, now: Instant) {
        let mut grants = self.lock();
        if grants.len() >= MAX_GRANTS {
            grants.retain(|_, grant| grant.until.is_some_and(|until| until > now));
        }
        if grants.len() >= MAX_GRANTS {
            grants.clear();
        }
        grants.insert(key, grant);
    }

    pub(crate) fn remove(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Grant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: &str, credentials: Option<&Credentials>) -> Key {
        Key::new("reg.example", name, credentials)
    }

    #[test]
    fn a_grant_is_for_its_asker_and_its_time() {
        let grants = Grants::default();
        let now = Instant::now();
        let me = Credentials {
            username: "me".into(),
            ..Credentials::default()
        };
        let grant = Grant {
            value: HeaderValue::from_static("x"),
            until: Some(now + Duration::from_secs(60)),
        };
        grants.insert(key("a", Some(&me)), grant, now);
        assert!(grants.get(&key("a", None), now).is_none());
        assert!(grants.get(&key("b", Some(&me)), now).is_none());
        assert!(grants.get(&key("a", Some(&me)), now).is_some());
        let later = now + Duration::from_secs(60);
        assert!(grants.get(&key("a", Some(&me)), later).is_none());
    }

    #[test]
    fn the_number_of_grants_is_bounded() {
        let grants = Grants::default();
        for index in 0..MAX_GRANTS * 3 {
            let grant = Grant {
                value: HeaderValue::from_static("x"),
                until: None,
            };
            grants.insert(key(&index.to_string(), None), grant, Instant::now());
        }
        assert!(grants.lock().len() <= MAX_GRANTS);
    }
}
