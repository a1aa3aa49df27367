//! Where a request to a website leads. Pure.
//!
//! Invariants: no `Location` leads to another host unless the configuration names it, or the object that was read does; nothing of a
//! request can end a header or begin another one.

use std::borrow::Cow;

use http::StatusCode;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::s3::encoding::encode;

use super::configuration::{Protocol, RedirectAll, Rule, Website};

/// What is encoded of an address that a configuration or an object gives: what no address has. What it has of syntax stays.
const NOT_IN_ADDRESS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// A website as one request reaches it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'s> {
    pub(super) website: &'s Website,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// The host as the request has it, with a port if it has one.
    pub(super) host: &'s str,
}

/// What to do first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Redirect(Redirect),
    /// Read this key.
    Read(String),
}

/// An answer with a `Location`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) status: StatusCode,
    pub(super) location: String,
}

impl Site<'_> {
    /// What to do for a key, which may be empty or a folder's.
    pub(super) fn before_reading(&self, asked: &str, query: Option<&str>) -> Step {
        if let Some(RedirectAll { host, protocol }) = &self.website.redirect_all {
            let scheme = protocol.map_or(self.scheme, Protocol::name);
            let query = query.map(|query| format!("?{}", utf8_percent_encode(query, NOT_IN_ADDRESS)));
            let location = format!("{scheme}://{host}/{}{}", encode(asked), query.unwrap_or_default());
            return Step::Redirect(Redirect { status: StatusCode::MOVED_PERMANENTLY, location });
        }
        let rule = self.website.rules.iter().find(|rule| rule.error_status.is_none() && rule.is_for(asked));
        match rule {
            Some(rule) => Step::Redirect(self.by_rule(rule, asked)),
            None if asked.is_empty() || asked.ends_with('/') => {
                Step::Read(format!("{asked}{}", self.website.index_suffix))
            }
            None => Step::Read(asked.to_owned()),
        }
    }

    /// Where to go if reading failed with this status.
    pub(super) fn after_failure(&self, asked: &str, status: u16) -> Option<Redirect> {
        let rule = self.website.rules.iter().find(|rule| rule.error_status == Some(status) && rule.is_for(asked));
        rule.map(|rule| self.by_rule(rule, asked))
    }

    /// The key of the index of the folder that has the name of a key.
    pub(super) fn index_of_folder(&self, asked: &str) -> Option<String> {
        (!asked.is_empty() && !asked.ends_with('/')).then(|| format!("{asked}/{}", self.website.index_suffix))
    }

    fn by_rule(&self, rule: &Rule, asked: &str) -> Redirect {
        let given = |text: &str| utf8_percent_encode(text, NOT_IN_ADDRESS).to_string();
        let key = match (&rule.key, &rule.prefix) {
            (Some(key), _) => given(key),
            (None, Some(prefix)) => {
                let rest = asked.strip_prefix(rule.key_prefix.as_deref().unwrap_or_default()).unwrap_or(asked);
                format!("{}{}", given(prefix), encode(rest))
            }
            (None, None) => encode(asked).into_owned(),
        };
        let scheme = rule.protocol.map_or(self.scheme, Protocol::name);
        let host = rule.host.as_deref().unwrap_or(self.host);
        let status = rule.status.and_then(|status| StatusCode::from_u16(status).ok());
        Redirect {
            status: status.unwrap_or(StatusCode::MOVED_PERMANENTLY),
            location: format!("{scheme}://{host}/{key}"),
        }
    }
}

impl Rule {
    fn is_for(&self, asked: &str) -> bool {
        self.key_prefix.as_ref().is_none_or(|prefix| asked.starts_with(prefix.as_str()))
    }
}

/// To the folder that has the name of a key.
pub(super) fn to_folder(asked: &str) -> Redirect {
    Redirect { status: StatusCode::FOUND, location: format!("{}/", below_root(&encode(asked))) }
}

/// To where an object says. A path stays on this host, whatever it begins with.
pub(super) fn to_location(location: &str) -> Redirect {
    let location = match location.strip_prefix('/') {
        Some(path) => below_root(&utf8_percent_encode(path, NOT_IN_ADDRESS).to_string()).into_owned(),
        None => utf8_percent_encode(location, NOT_IN_ADDRESS).to_string(),
    };
    Redirect { status: StatusCode::MOVED_PERMANENTLY, location }
}

/// A path of a key that is encoded. Two slashes at its beginning would be read as a host.
fn below_root(encoded: &str) -> Cow<'static, str> {
    match encoded.strip_prefix('/') {
        Some(rest) => format!("/%2F{rest}").into(),
        None => format!("/{encoded}").into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn website(rules: Vec<Rule>) -> Website {
        Website { redirect_all: None, index_suffix: "index.html".to_owned(), error_key: None, rules }
    }

    fn site(website: &Website) -> Site<'_> {
        Site { website, scheme: "http", host: "b.site.localhost:8080" }
    }

    fn location(rule: Rule, asked: &str) -> Option<(u16, String)> {
        let website = website(vec![rule]);
        match site(&website).before_reading(asked, Some("q=1")) {
            Step::Redirect(redirect) => Some((redirect.status.as_u16(), redirect.location)),
            Step::Read(_) => None,
        }
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn folders_have_an_index() {
        let plain = website(vec![]);
        for (asked, key) in [("", "index.html"), ("a/", "a/index.html"), ("a", "a"), ("/", "/index.html")] {
            assert_eq!(site(&plain).before_reading(asked, None), Step::Read(key.to_owned()), "{asked}");
        }
        assert_eq!(site(&plain).index_of_folder("a"), text("a/index.html"));
        assert_eq!(site(&plain).index_of_folder("a/"), None);
    }

    #[test]
    fn a_rule_replaces_key_prefix_host_protocol_and_status() {
        let own = "http://b.site.localhost:8080";
        for (rule, asked, expected) in [
            (
                Rule { key_prefix: text("docs/"), prefix: text("documents/"), ..Rule::default() },
                "docs/a b",
                Some((301, format!("{own}/documents/a%20b"))),
            ),
            (Rule { key_prefix: text("docs/"), prefix: text("d/"), ..Rule::default() }, "other", None),
            (
                Rule { key_prefix: text("docs/"), prefix: text(""), ..Rule::default() },
                "docs/",
                Some((301, format!("{own}/"))),
            ),
            (Rule { prefix: text("#!/"), ..Rule::default() }, "a", Some((301, format!("{own}/#!/a")))),
            (
                Rule { key_prefix: text("a"), key: text("b?c=%20&d"), ..Rule::default() },
                "abc",
                Some((301, format!("{own}/b?c=%20&d"))),
            ),
            (
                Rule { host: text("e.com"), protocol: Some(Protocol::Https), status: Some(302), ..Rule::default() },
                "k<é>",
                Some((302, "https://e.com/k%3C%C3%A9%3E".to_owned())),
            ),
        ] {
            assert_eq!(location(rule.clone(), asked), expected, "{rule:?} {asked}");
        }
    }

    #[test]
    fn a_rule_about_an_error_waits_for_it() {
        let rule =
            Rule { key_prefix: text("a"), error_status: Some(404), key: text("missing.html"), ..Rule::default() };
        let website = website(vec![rule]);
        let site = site(&website);
        assert_eq!(site.before_reading("abc", None), Step::Read("abc".to_owned()));
        assert_eq!(site.after_failure("abc", 404).unwrap().location, "http://b.site.localhost:8080/missing.html");
        assert_eq!(site.after_failure("abc", 403), None);
        assert_eq!(site.after_failure("b", 404), None);
    }

    #[test]
    fn everything_can_be_redirected() {
        let redirect_all = Some(RedirectAll { host: "e.com".to_owned(), protocol: Some(Protocol::Https) });
        let website = Website { redirect_all, ..website(vec![]) };
        let Step::Redirect(redirect) = site(&website).before_reading("a b/", Some("c=d")) else {
            panic!("no redirect")
        };
        assert_eq!((redirect.status.as_u16(), redirect.location.as_str()), (301, "https://e.com/a%20b/?c=d"));
    }

    #[test]
    fn no_key_leads_to_another_host_or_into_another_header() {
        assert_eq!(to_folder("a/b c").location, "/a/b%20c/");
        for (asked, expected) in [
            ("/evil.com", "/%2Fevil.com/"),
            ("//evil.com", "/%2F/evil.com/"),
            ("\\evil.com", "/%5Cevil.com/"),
            ("a\r\nSet-Cookie: x", "/a%0D%0ASet-Cookie%3A%20x/"),
        ] {
            assert_eq!(to_folder(asked).location, expected);
        }
        for (given, expected) in [
            ("/a?b#c", "/a?b#c"),
            ("//evil.com", "/%2Fevil.com"),
            ("/\\evil.com", "/%5Cevil.com"),
            ("https://e.com/a?b", "https://e.com/a?b"),
            ("/a\r\nx: y", "/a%0D%0Ax:%20y"),
        ] {
            assert_eq!(to_location(given).location, expected);
        }
        let rule = Rule { key: text("a\r\nx: \"<y>"), ..Rule::default() };
        assert_eq!(location(rule, "k").unwrap().1, "http://b.site.localhost:8080/a%0D%0Ax:%20%22%3Cy%3E");
        let rule = Rule { prefix: text(""), ..Rule::default() };
        assert_eq!(location(rule, "/evil.com").unwrap().1, "http://b.site.localhost:8080//evil.com");
    }
}
