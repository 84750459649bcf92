//! `WWW-Authenticate`. Pure; the values are hostile. Spec: RFC 9110, 11.6.1.

/// Most challenges, and most parameters of one, that are looked at.
const MAX_ITEMS: usize = 16;

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// How to answer.
    pub(crate) scheme: Scheme,
    parameters: Vec<(String, String)>,
}

/// Ways to answer that are known here, the better one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    /// A token from a token server. Spec: RFC 6750.
    Bearer,
    /// Name and password. Spec: RFC 7617.
    Basic,
}

impl Challenge {
    /// A parameter by its name in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The challenges of all of an answer's fields, the better ones first. What is not understood is left out.
pub(crate) fn challenges<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = fields.take(MAX_ITEMS).flat_map(parse).collect();
    found.sort_by_key(|challenge| challenge.scheme);
    found
}

/// One field: challenges separated by commas, as are the parameters of each.
fn parse(field: &str) -> Vec<Challenge> {
    let mut input = Input(field);
    let mut found = Vec::new();
    // The scheme at hand; `None`: one that is not known here, with parameters to be passed over.
    let mut current: Option<Challenge> = None;
    for _ in 0..MAX_ITEMS * MAX_ITEMS {
        input.skip(&[' ', '\t', ',']);
        let Some(word) = input.token() else { break };
        input.skip(&[' ', '\t']);
        if input.eat('=') {
            input.skip(&[' ', '\t']);
            let Some(value) = input.value() else { break };
            if let Some(challenge) = &mut current
                && challenge.parameters.len() < MAX_ITEMS
            {
                challenge
                    .parameters
                    .push((word.to_ascii_lowercase(), value));
            }
        } else {
            found.extend(current.take());
            current = scheme(word).map(|scheme| Challenge {
                scheme,
                parameters: Vec::new(),
            });
        }
    }
    found.extend(current);
    found
}

fn scheme(word: &str) -> Option<Scheme> {
    if word.eq_ignore_ascii_case("bearer") {
        Some(Scheme::Bearer)
    } else if word.eq_ignore_ascii_case("basic") {
        Some(Scheme::Basic)
    } else {
        None
    }
}

struct Input<'a>(&'a str);

impl<'a> Input<'a> {
    fn skip(&mut self, what: &[char]) {
        self.0 = self.0.trim_start_matches(what);
    }

    fn eat(&mut self, what: char) -> bool {
        match self.0.strip_prefix(what) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token or a quoted string. Some registries leave the quotes off around what is no token: up to the next comma.
    fn value(&mut self) -> Option<String> {
        if !self.eat('"') {
            let end = self.0.find([',', ' ']).unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(value.to_owned());
        }
        let mut value = String::new();
        let mut chars = self.0.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    self.0 = chars.as_str();
                    return Some(value);
                }
                '\\' => value.push(chars.next()?),
                c => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(fields: &[&str], expected: &[(Scheme, &[(&str, &str)])]) {
        let found = challenges(fields.iter().copied());
        let expected: Vec<Challenge> = expected
            .iter()
            .map(|(scheme, parameters)| Challenge {
                scheme: *scheme,
                parameters: parameters
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            })
            .collect();
        assert_eq!(found, expected, "{fields:?}");
    }

    #[test]
    fn what_registries_send_is_understood() {
        check(
            &[
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            ],
            &[(
                Scheme::Bearer,
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("service", "registry.docker.io"),
                    ("scope", "repository:a/b:pull,push"),
                ],
            )],
        );
        check(
            &[r#"Basic realm="tests""#],
            &[(Scheme::Basic, &[("realm", "tests")])],
        );
        check(
            &["bearer Realm=https://a/b , ERROR=invalid_token"],
            &[(
                Scheme::Bearer,
                &[("realm", "https://a/b"), ("error", "invalid_token")],
            )],
        );
    }

    #[test]
    fn the_better_way_comes_first_in_one_field_or_many() {
        let bearer: (Scheme, &[(&str, &str)]) = (Scheme::Bearer, &[("realm", "r")]);
        let basic: (Scheme, &[(&str, &str)]) = (Scheme::Basic, &[("realm", "b")]);
        check(&["Basic realm=b", "Bearer realm=r"], &[bearer, basic]);
        check(&[r#"Basic realm="b", Bearer realm="r""#], &[bearer, basic]);
        check(
            &[r#"Digest realm="d", nonce=n, Negotiate, Bearer realm=r"#],
            &[bearer],
        );
    }

    #[test]
    fn what_is_broken_is_left_out() {
        check(&[""], &[]);
        check(&["Bearer"], &[(Scheme::Bearer, &[])]);
        check(&[r#"Bearer realm="open"#], &[(Scheme::Bearer, &[])]);
        check(&[r#"Bearer realm="a\"#], &[(Scheme::Bearer, &[])]);
        check(
            &[r#"Bearer realm="a\"b""#],
            &[(Scheme::Bearer, &[("realm", "a\"b")])],
        );
        check(&["=, ;;"], &[]);
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_stays_bounded(field in "[a-zBb=\", \\\\;/:é]{0,400}") {
            let found = challenges(std::iter::once(field.as_str()));
            prop_assert!(found.len() <= MAX_ITEMS * MAX_ITEMS);
            prop_assert!(found.iter().all(|challenge| challenge.parameters.len() <= MAX_ITEMS));
        }

        #[test]
        fn quoted_values_come_back(value in "[ -~]{0,80}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let field = format!("Bearer realm=\"{quoted}\", service=x");
            let found = challenges(std::iter::once(field.as_str()));
            prop_assert_eq!(found[0].get("realm"), Some(value.as_str()));
            prop_assert_eq!(found[0].get("service"), Some("x"));
        }
    }
}
