//! Query strings the way Docker's server reads them.

use std::collections::{BTreeMap, BTreeSet};

use errdefs::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;

/// A decoded query string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// Filters: each name with its values.
pub type Filters = BTreeMap<String, BTreeSet<String>>;

impl Query {
    /// Reads a query string; what is not valid UTF-8 becomes replacement characters.
    pub fn parse(query: &str) -> Self {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// Checks that a query string can be read.
    ///
    /// # Errors
    /// `InvalidParameter` with Go's text. Go: net/url, `ParseQuery`.
    pub fn check(query: &str) -> Result<()> {
        let invalid = |text: String| Err(Error::new(ErrorKind::InvalidParameter, text));
        if query.contains(';') {
            return invalid("invalid semicolon separator in query".to_owned());
        }
        match bad_escape(query) {
            // Quoted like a string of Go's, which for what may stand in a URL is a string of Rust's.
            Some(escape) => invalid(format!("invalid URL escape {escape:?}")),
            None => Ok(()),
        }
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The names that were given a value.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        let given = self.0.iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, _)| name.as_str())
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// True unless absent, empty or one of `0`, `no`, `false`, `none`.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.get(name).unwrap_or("").trim().to_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// As [`Self::flag`], with a default where the name is absent.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.get(name).is_none() {
            default
        } else {
            self.flag(name)
        }
    }

    /// The `filters` parameter: `{"name":{"value":true}}` or the older `{"name":["value"]}`.
    ///
    /// # Errors
    /// `invalid filter` when it is neither.
    pub fn filters(&self) -> Result<Filters> {
        parse_filters(self.get("filters").unwrap_or(""))
    }
}

/// The first escape that is none: at most three characters, fewer at the end of a name or value.
fn bad_escape(query: &str) -> Option<String> {
    let parts = query.split(['&', '=']);
    let mut escapes = parts.flat_map(|part| part.match_indices('%').map(|(at, _)| &part[at..]));
    let is_bad = |escape: &&str| {
        let digits = escape.bytes().skip(1).take(2);
        digits.filter(u8::is_ascii_hexdigit).count() != 2
    };
    let bad = escapes.find(is_bad)?;
    Some(bad.chars().take(3).collect())
}

/// Reads filters in either of their two forms.
///
/// # Errors
/// `invalid filter` when it is neither.
pub fn parse_filters(text: &str) -> Result<Filters> {
    if text.is_empty() {
        return Ok(Filters::new());
    }
    if let Ok(filters) = serde_json::from_str::<BTreeMap<String, BTreeMap<String, bool>>>(text) {
        // Go's reader takes every key for set, whatever its value says.
        return Ok(filters
            .into_iter()
            .map(|(name, values)| (name, values.into_keys().collect()))
            .collect());
    }
    serde_json::from_str(text)
        .map_err(|_| Error::new(ErrorKind::InvalidParameter, "invalid filter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_go_does() {
        let query = Query::parse("a=1&b=True&c=yes&d=0&e=no&f=FALSE&g=none&h=&i=x%20y&i=z+w");
        for name in ["a", "b", "c"] {
            assert!(query.flag(name), "{name}");
        }
        for name in ["d", "e", "f", "g", "h", "absent"] {
            assert!(!query.flag(name), "{name}");
        }
        assert!(query.flag_or("absent", true));
        assert!(!query.flag_or("d", true));
        assert_eq!(query.all("i").collect::<Vec<_>>(), ["x y", "z w"]);
        let given: String = query.given().collect();
        assert_eq!(given, "abcdefgii");
    }

    #[test]
    fn a_query_that_cannot_be_read_has_gos_words() {
        for (query, want) in [
            ("a=%zz&b=%2", "invalid URL escape \"%zz\""),
            ("a=b%2", "invalid URL escape \"%2\""),
            ("%&a", "invalid URL escape \"%\""),
            ("a=%%20", "invalid URL escape \"%%2\""),
            ("a=%1&b=c;d", "invalid semicolon separator in query"),
        ] {
            assert_eq!(Query::check(query).unwrap_err().message(), want, "{query}");
        }
        for query in ["", "a", "a=%20b&c=%E4%f6", "a=%C3=b"] {
            assert!(Query::check(query).is_ok(), "{query}");
        }
    }

    #[test]
    fn filters_have_two_forms() {
        let expected = Filters::from([("label".into(), BTreeSet::from(["a=b".into()]))]);
        assert_eq!(
            parse_filters(r#"{"label":{"a=b":true}}"#).unwrap(),
            expected
        );
        assert_eq!(parse_filters(r#"{"label":["a=b"]}"#).unwrap(), expected);
        assert_eq!(parse_filters("").unwrap(), Filters::new());
        assert_eq!(
            parse_filters("foo").unwrap_err().message(),
            "invalid filter"
        );
    }
}
