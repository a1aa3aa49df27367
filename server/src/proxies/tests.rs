//! Tests of trusted proxies.

#![allow(clippy::unwrap_used)]

use super::*;

const PROXY: &str = "10.0.0.1";

/// What is made of a request from `remote` over plain HTTP with these headers: address, whether it is secure, host; or the code
/// of the refusal.
fn seen(which: ForwardingHeaders, remote: &str, lines: &[(&str, &str)]) -> Result<(String, bool, String), String> {
    let proxies =
        Proxies { trusted: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()], headers: which };
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("inner"));
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let remote = SocketAddr::new(remote.parse().unwrap(), 1);
    let connection = ConnectionInfo { remote, secure: false, tls_version: None };
    let seen = proxies.seen(connection, &mut headers).map_err(|failure| failure.code().to_owned())?;
    let host = headers[HOST].to_str().unwrap().to_owned();
    Ok((seen.remote.ip().to_string(), seen.secure, host))
}

#[track_caller]
fn check_x(lines: &[(&str, &str)], address: &str, secure: bool, host: &str) {
    let expected = (address.to_owned(), secure, host.to_owned());
    assert_eq!(seen(ForwardingHeaders::XForwarded, PROXY, lines), Ok(expected), "{lines:?}");
}

#[track_caller]
fn check_forwarded(lines: &[&str], address: &str, secure: bool, host: &str) {
    let lines: Vec<(&str, &str)> = lines.iter().map(|&line| ("forwarded", line)).collect();
    let expected = (address.to_owned(), secure, host.to_owned());
    assert_eq!(seen(ForwardingHeaders::Forwarded, PROXY, &lines), Ok(expected), "{lines:?}");
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    check_x(&[], PROXY, false, "inner");
    check_x(&[("x-forwarded-for", "192.0.2.7")], "192.0.2.7", false, "inner");
    check_x(&[("x-forwarded-proto", "HTTPS")], PROXY, true, "inner");
    check_x(
        &[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "b.s3.example:8443")],
        "192.0.2.7",
        true,
        "b.s3.example:8443",
    );
    for address in ["2001:db9::7", "[2001:db9::7]", "[2001:db9::7]:443"] {
        check_x(&[("x-forwarded-for", address)], "2001:db9::7", false, "inner");
    }
    check_x(&[("x-forwarded-for", "192.0.2.7:4711")], "192.0.2.7", false, "inner");
    check_x(&[("x-forwarded-for", "::ffff:192.0.2.7")], "192.0.2.7", false, "inner");
}

#[test]
fn the_client_is_the_last_that_is_no_trusted_proxy() {
    check_x(&[("x-forwarded-for", "203.0.113.9, 192.0.2.7, 10.0.0.3, 2001:db8::2")], "192.0.2.7", false, "inner");
    check_x(&[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "10.0.0.3")], "192.0.2.7", false, "inner");
    check_x(&[("x-forwarded-for", "nonsense, 192.0.2.7")], "192.0.2.7", false, "inner");
    // All of them are proxies: a call of the first one's own.
    check_x(&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3", false, "inner");
}

#[test]
fn a_list_of_schemes_belongs_to_the_list_of_addresses() {
    let hops = ("x-forwarded-for", "203.0.113.9, 192.0.2.7, 10.0.0.3");
    check_x(&[hops, ("x-forwarded-proto", "https, http")], "192.0.2.7", true, "inner");
    // What stands before it, the client wrote.
    check_x(&[hops, ("x-forwarded-proto", "https, http, https")], "192.0.2.7", false, "inner");
    check_x(&[hops, ("x-forwarded-proto", "https")], "192.0.2.7", true, "inner");
}

#[test]
fn nobody_else_is_believed() {
    let lines = [
        ("x-forwarded-for", "10.0.0.3"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "b.s3.example"),
        ("forwarded", "for=10.0.0.3;proto=https;host=b.s3.example"),
    ];
    let expected = Ok(("192.0.2.7".to_owned(), false, "inner".to_owned()));
    for which in [ForwardingHeaders::XForwarded, ForwardingHeaders::Forwarded] {
        assert_eq!(seen(which, "192.0.2.7", &lines), expected);
    }
}

#[test]
fn a_trusted_proxy_is_believed_in_the_configured_headers_only() {
    check_x(&[("forwarded", "for=192.0.2.7;proto=https;host=x")], PROXY, false, "inner");
    let x = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "x")];
    let expected = Ok((PROXY.to_owned(), false, "inner".to_owned()));
    assert_eq!(seen(ForwardingHeaders::Forwarded, PROXY, &x), expected);
}

#[test]
fn what_a_trusted_proxy_says_and_cannot_be_read_is_refused() {
    for line in [
        ("x-forwarded-for", "unknown"),
        ("x-forwarded-for", "192.0.2.7, _hidden"),
        ("x-forwarded-for", "192.0.2.7, 10.0.0.3, 192.0.2.300"),
        ("x-forwarded-for", &["10.0.0.3"; HOPS_MAX + 1].join(",")),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "a b"),
        ("x-forwarded-host", "a/b"),
        ("x-forwarded-host", &"a".repeat(300)),
    ] {
        assert_eq!(seen(ForwardingHeaders::XForwarded, PROXY, &[line]), Err("InvalidRequest".to_owned()), "{line:?}");
    }
    let short = [("x-forwarded-for", "192.0.2.7, 10.0.0.2, 10.0.0.3"), ("x-forwarded-proto", "https, http")];
    assert_eq!(seen(ForwardingHeaders::XForwarded, PROXY, &short), Err("InvalidRequest".to_owned()));
    for line in [
        "for=unknown",
        "for=_hidden",
        "for",
        "for=",
        "for=\"192.0.2.7",
        "for=192.0.2.7 proto=https",
        "for=192.0.2.7;for=10.0.0.3",
        "for=\"192.0.2.7\"x",
        "=x",
    ] {
        let got = seen(ForwardingHeaders::Forwarded, PROXY, &[("forwarded", line)]);
        assert_eq!(got, Err("InvalidRequest".to_owned()), "{line}");
    }
}

#[test]
fn the_standard_header_is_read() {
    check_forwarded(&[], PROXY, false, "inner");
    check_forwarded(&["For=192.0.2.7;Proto=https;by=10.0.0.1;host=b.s3.example"], "192.0.2.7", true, "b.s3.example");
    check_forwarded(&["for=\"[2001:db9::7]:4711\""], "2001:db9::7", false, "inner");
    check_forwarded(&["for=\"192.0.2.\\7\" ; proto=\"https\""], "192.0.2.7", true, "inner");
    check_forwarded(&["proto=https"], PROXY, true, "inner");
    check_forwarded(
        &["for=203.0.113.9;proto=https, , for=192.0.2.7, for=10.0.0.3;proto=https"],
        "192.0.2.7",
        false,
        "inner",
    );
    check_forwarded(&["for=192.0.2.7;proto=https;host=outer", "for=10.0.0.3;host=middle"], "192.0.2.7", true, "outer");
    // A quoted comma separates nothing.
    check_forwarded(&["for=203.0.113.9;x=\"a,for=10.9.9.9\", for=192.0.2.7"], "192.0.2.7", false, "inner");
}
