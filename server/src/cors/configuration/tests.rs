//! Tests of CORS configurations.

#![allow(clippy::unwrap_used)]

use super::*;

fn parse(rules: &str) -> Result<Configuration, Failure> {
    Configuration::parse(format!("<CORSConfiguration>{rules}</CORSConfiguration>").as_bytes())
}

/// A rule for GET by `https://a.example`, and more.
fn rule_with(more: &str) -> String {
    let needed = "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://a.example</AllowedOrigin>";
    format!("<CORSRule>{needed}{more}</CORSRule>")
}

fn refusal(rules: &str) -> String {
    match parse(rules) {
        Ok(_) => "accepted".to_owned(),
        Err(failure) => format!("{}: {}", failure.code(), failure.message()),
    }
}

#[test]
fn a_configuration_round_trips_as_document_and_as_record() {
    let more = "<ID>x &amp; y</ID><AllowedHeader>X-*</AllowedHeader><AllowedHeader>*</AllowedHeader>\
                <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>3000</MaxAgeSeconds>\
                <AllowedMethod>HEAD</AllowedMethod><AllowedOrigin/>";
    let read = parse(&(rule_with(more) + &rule_with(""))).unwrap();
    assert_eq!(Configuration::from_value(&read.to_value().unwrap()).unwrap(), read);
    assert_eq!(Configuration::parse(read.document().finish().as_bytes()).unwrap(), read);
    let rule = Rule {
        id: Some("x & y".to_owned()),
        origins: vec!["https://a.example".to_owned(), String::new()],
        methods: vec![AllowedMethod::Get, AllowedMethod::Head],
        headers: vec!["X-*".to_owned(), "*".to_owned()],
        exposed: vec!["ETag".to_owned()],
        max_age_seconds: Some(3000),
    };
    assert_eq!(read.rules[0], rule);
}

#[test]
fn the_largest_document_fits_into_a_record() {
    let rule = rule_with(&"<AllowedMethod>GET</AllowedMethod>".repeat(1_800));
    assert!(rule.len() > DOCUMENT_BYTES_MAX - 8_000);
    parse(&rule).unwrap().to_value().unwrap();
    let origin = "o".repeat(DOCUMENT_BYTES_MAX - 300);
    parse(&rule_with(&format!("<AllowedOrigin>{origin}</AllowedOrigin>"))).unwrap().to_value().unwrap();
}

#[test]
fn what_is_no_configuration_is_refused_in_s3s_words() {
    let malformed =
        "MalformedXML: The XML you provided was not well-formed or did not validate against our published schema";
    for rules in [
        String::new(),
        "<CORSRule/>".to_owned(),
        "<CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule>".to_owned(),
        "<CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule>".to_owned(),
        rule_with("<MaxAgeSeconds>-1</MaxAgeSeconds>"),
        rule_with("<MaxAgeSeconds>soon</MaxAgeSeconds>"),
        rule_with("<ExposeHeader>a&#10;b</ExposeHeader>"),
        rule_with("<AllowedNothing>x</AllowedNothing>"),
    ] {
        assert_eq!(refusal(&rules), malformed, "{rules}");
    }
    for (more, expected) in [
        (
            "<AllowedMethod>OPTIONS</AllowedMethod>",
            "InvalidRequest: Found unsupported HTTP method in CORS config. Unsupported method is OPTIONS",
        ),
        (
            "<AllowedMethod>get</AllowedMethod>",
            "InvalidRequest: Found unsupported HTTP method in CORS config. Unsupported method is get",
        ),
        (
            "<AllowedOrigin>https://*.a.*</AllowedOrigin>",
            "InvalidRequest: AllowedOrigin \"https://*.a.*\" can not have more than one wildcard.",
        ),
        (
            "<AllowedHeader>x-*-*</AllowedHeader>",
            "InvalidRequest: AllowedHeader \"x-*-*\" can not have more than one wildcard.",
        ),
        (
            "<ExposeHeader>*</ExposeHeader>",
            "InvalidRequest: ExposeHeader \"*\" contains wildcard. We currently do not support wildcard for ExposeHeader.",
        ),
    ] {
        assert_eq!(refusal(&rule_with(more)), expected);
    }
}

#[test]
fn the_limits_of_s3_hold() {
    assert_eq!(refusal(&rule_with("").repeat(100)), "accepted");
    let too_many = "InvalidRequest: The number of CORS rules should not exceed allowed limit of 100 rules.";
    assert_eq!(refusal(&rule_with("").repeat(101)), too_many);
    let with_id = |length| rule_with(&format!("<ID>{}</ID>", "é".repeat(length)));
    assert_eq!(refusal(&with_id(255)), "accepted");
    assert_eq!(refusal(&with_id(256)), "InvalidArgument: ID length should not exceed allowed limit of 255");
    let large = vec![b' '; DOCUMENT_BYTES_MAX + 1];
    assert_eq!(Configuration::parse(&large).unwrap_err().code(), "MaxMessageLengthExceeded");
    assert_eq!(Configuration::parse(b"").unwrap_err().code(), "MissingRequestBodyError");
}

fn asked(origin: &str, method: &str, headers: &[&str]) -> Asked {
    Asked {
        origin: HeaderValue::from_str(origin).unwrap(),
        method: AllowedMethod::named(method),
        headers: headers.iter().map(|&header| header.to_owned()).collect(),
    }
}

/// The origin that the rules' answer allows.
fn allowed(rules: &Configuration, asked: &Asked) -> Option<String> {
    Some(rules.allow(asked)?[ACCESS_CONTROL_ALLOW_ORIGIN].to_str().unwrap().to_owned())
}

fn one(origins: &[&str], headers: &[&str]) -> Configuration {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let (origins, headers) = (texts(origins), texts(headers));
    Configuration { rules: vec![Rule { origins, headers, methods: vec![AllowedMethod::Get], ..Rule::default() }] }
}

#[test]
fn an_origin_matches_as_it_is_written_or_by_its_wildcard() {
    for (pattern, origin, does) in [
        ("https://a.example", "https://a.example", true),
        ("https://a.example", "https://A.example", false),
        ("https://a.example", "https://a.example/", false),
        ("https://a.example", "https://a.example:8443", false),
        ("https://a.example:*", "https://a.example:8443", true),
        ("https://*.example", "https://a.b.example", true),
        ("https://*.example", "https://.example", true),
        ("https://*.example", "https://example", false),
        ("a*a", "a", false),
        ("*suffix", "suffix", true),
        ("", "null", false),
        ("null", "null", true),
    ] {
        let got = allowed(&one(&[pattern], &[]), &asked(origin, "GET", &[]));
        assert_eq!(got.as_deref(), does.then_some(origin), "{pattern} {origin}");
    }
}

#[test]
fn only_an_origin_that_is_not_any_may_send_credentials() {
    let any = one(&["*"], &[]).allow(&asked("https://a.example", "GET", &[])).unwrap();
    assert_eq!(any[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert!(!any.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    let own = one(&["https://*"], &[]).allow(&asked("https://a.example", "GET", &[])).unwrap();
    assert_eq!(own[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
    assert_eq!(own[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    // The first origin that matches decides.
    let both = one(&["https://a.example", "*"], &[]);
    assert_eq!(allowed(&both, &asked("https://a.example", "GET", &[])).as_deref(), Some("https://a.example"));
    assert_eq!(allowed(&both, &asked("https://b.example", "GET", &[])).as_deref(), Some("*"));
}

#[test]
fn every_header_that_is_asked_for_must_be_allowed() {
    for (patterns, names, does) in [
        (&[][..], &[][..], true),
        (&[], &["content-type"], false),
        (&["*"], &["content-type", "x-amz-date"], true),
        (&["Content-Type"], &["content-type"], true),
        (&["x-amz-*"], &["x-amz-date", "x-amz-acl"], true),
        (&["x-amz-*"], &["x-amz-date", "content-type"], false),
    ] {
        let got = one(&["*"], patterns).allow(&asked("https://a.example", "GET", names));
        assert_eq!(got.is_some(), does, "{patterns:?} {names:?}");
        if let Some(answer) = got.filter(|_| !names.is_empty()) {
            assert_eq!(answer[ACCESS_CONTROL_ALLOW_HEADERS], names.join(", "));
        }
    }
}

#[test]
fn the_first_rule_that_allows_it_answers() {
    let rules = "<CORSRule><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>\
                 <CORSRule><AllowedMethod>GET</AllowedMethod><AllowedMethod>HEAD</AllowedMethod>\
                 <AllowedOrigin>https://*</AllowedOrigin><ExposeHeader>ETag</ExposeHeader><ExposeHeader>x</ExposeHeader>\
                 <MaxAgeSeconds>0</MaxAgeSeconds></CORSRule>\
                 <CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>";
    let rules = parse(rules).unwrap();
    let answer = rules.allow(&asked("https://a.example", "GET", &[])).unwrap();
    assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD");
    assert_eq!(answer[ACCESS_CONTROL_EXPOSE_HEADERS], "ETag, x");
    assert_eq!(answer[ACCESS_CONTROL_MAX_AGE], "0");
    assert_eq!(answer[VARY], VARIES);
    assert_eq!(allowed(&rules, &asked("http://a.example", "GET", &[])).as_deref(), Some("*"));
    assert_eq!(rules.allow(&asked("https://a.example", "DELETE", &[])), None);
    assert_eq!(rules.allow(&asked("https://a.example", "PATCH", &[])), None);
}
