#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cairn_crypto::secret::{KEY_BYTES, MasterKey};
use http::{HeaderValue, Request};
use s3s::auth::SecretKey;

use crate::auth::KnowsSecrets;
use crate::sts::session::Sessions;

use super::*;

/// The credentials of Amazon's examples.
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Tue, 27 Mar 2007 19:36:42 GMT, the time of Amazon's examples.
const NOW: Timestamp = Timestamp(1_175_024_202_000);

/// Knows the one access key of these tests.
#[derive(Debug)]
struct OneKey;

impl KnowsSecrets for OneKey {
    fn secret(&self, access_key: &str) -> Option<SecretKey> {
        (access_key == ACCESS_KEY).then(|| SecretKey::from(SECRET_KEY))
    }
}

fn secrets() -> Secrets {
    let sessions = Sessions::new(&MasterKey::from_bytes([7; KEY_BYTES]));
    Secrets { keys: Arc::new(OneKey), sessions }
}

/// The head of a request, owned.
#[derive(Clone)]
struct Head {
    method: Method,
    path: &'static str,
    host_bucket: Option<&'static str>,
    query: String,
    headers: HeaderMap,
}

impl Head {
    fn new(method: Method, path: &'static str) -> Self {
        Self { method, path, host_bucket: None, query: String::new(), headers: HeaderMap::new() }
    }

    /// Sent to another path than it was signed for.
    fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    fn in_bucket(mut self, bucket: &'static str) -> Self {
        self.host_bucket = Some(bucket);
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn query(mut self, query: &str) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(query);
        self
    }

    fn with<T>(&self, then: impl FnOnce(&SignedHead<'_>) -> T) -> T {
        let query = Query::parse(Some(&self.query)).unwrap();
        let Self { method, path, host_bucket, headers, .. } = self;
        then(&SignedHead { method, path, host_bucket: *host_bucket, query: &query, headers })
    }

    fn text(&self, date: &str) -> String {
        String::from_utf8(self.with(|head| string_to_sign(head, date.as_bytes()))).unwrap()
    }

    fn signature(&self, date: &str) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(SECRET_KEY.as_bytes()).unwrap();
        mac.update(self.text(date).as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }

    /// Signed as a URL that expires then.
    fn presigned(self, expires: &str) -> Self {
        let signature = self.signature(expires).replace('+', "%2B");
        self.query(&format!("AWSAccessKeyId={ACCESS_KEY}&Expires={expires}&Signature={signature}"))
    }

    /// Signed in the header, with what is in the header of the date.
    fn signed(self) -> Self {
        let date = match self.headers.get("x-amz-date") {
            Some(_) => "",
            None => self.headers.get(DATE).map_or("", |value| value.to_str().unwrap()),
        };
        let authorization = format!("AWS {ACCESS_KEY}:{}", self.signature(date));
        self.header("authorization", &authorization)
    }

    fn verify(&self, form: Form, now: Timestamp) -> Result<String, Failure> {
        self.with(|head| verify(head, form, &secrets(), now))
    }

    #[track_caller]
    fn expect(&self, form: Form, expected: &str) {
        let code = self.verify(form, NOW).map_or_else(|failure| failure.code().to_owned(), |_| "ok".to_owned());
        assert_eq!(code, expected);
    }
}

fn get() -> Head {
    Head::new(Method::GET, "/photos/puppy.jpg").in_bucket("johnsmith")
}

const DATE_TEXT: &str = "Tue, 27 Mar 2007 19:36:42 +0000";
const LATER: &str = "1175139620";

#[test]
fn the_published_header_examples_are_reproduced() {
    let key = |method| Head::new(method, "/photos/puppy.jpg").in_bucket("awsexamplebucket1");
    let bucket = || Head::new(Method::GET, "/").in_bucket("awsexamplebucket1");
    let upload = Head::new(Method::PUT, "/db-backup.dat.gz")
        .in_bucket("static.johnsmith.net")
        .header("x-amz-acl", "public-read")
        .header("content-type", "application/x-download")
        .header("content-md5", "4gJE4saaMU4BqNR0kLY+lw==")
        .header("x-amz-meta-reviewedby", "joe@johnsmith.net")
        .header("x-amz-meta-reviewedby", "jane@johnsmith.net")
        .header("x-amz-meta-filechecksum", "0x02661779")
        .header("x-amz-meta-checksumalgorithm", "crc32")
        .header("content-disposition", "attachment; filename=database.dat")
        .header("content-length", "5913339");
    for (head, date, signature) in [
        (key(Method::GET), "Tue, 27 Mar 2007 19:36:42 +0000", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g="),
        (
            key(Method::PUT).header("content-type", "image/jpeg"),
            "Tue, 27 Mar 2007 21:15:45 +0000",
            "iqRzw+ileNPu1fhspnRs8nOjjIA=",
        ),
        (
            bucket().query("prefix=photos&max-keys=50&marker=puppy"),
            "Tue, 27 Mar 2007 19:42:41 +0000",
            "m0WP8eCtspQl5Ahe6L1SozdX9YA=",
        ),
        (bucket().query("acl"), "Tue, 27 Mar 2007 19:44:46 +0000", "82ZHiFIjc+WbcwFKGUVEQspPn+0="),
        (
            Head::new(Method::DELETE, "/awsexamplebucket1/photos/puppy.jpg"),
            "Tue, 27 Mar 2007 21:20:26 +0000",
            "XbyTlbQdu9Xw5o8P4iMwPktxQd8=",
        ),
        (upload, "Tue, 27 Mar 2007 21:06:08 +0000", "ilyl83RwaSoYIEdixDQcA4OnAnc="),
        (Head::new(Method::GET, "/"), "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s="),
        (
            Head::new(Method::GET, "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re"),
            "Wed, 28 Mar 2007 01:49:49 +0000",
            "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
        ),
    ] {
        assert_eq!(head.signature(date), signature, "{}", head.text(date));
        let now = headers::parse_http_date(date).unwrap();
        let signed = head.header("date", date).header("authorization", &format!("AWS {ACCESS_KEY}:{signature}"));
        assert_eq!(signed.verify(Form::Header, now).unwrap(), ACCESS_KEY);
    }
}

#[test]
fn the_published_presigned_example_is_accepted() {
    let published = get()
        .query("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620");
    assert_eq!(published.verify(Form::Query, NOW).unwrap(), ACCESS_KEY);
}

#[test]
fn host_style_and_path_style_have_one_signature() {
    let path_style = Head::new(Method::GET, "/johnsmith/photos/puppy.jpg");
    assert_eq!(path_style.signature(LATER), get().signature(LATER));
}

#[test]
fn a_bucket_may_be_signed_with_a_slash_at_its_end() {
    let signed = Head::new(Method::GET, "/johnsmith/").presigned(LATER);
    for (path, expected) in [
        ("/johnsmith/", "ok"),
        ("/johnsmith", "ok"),
        ("/johnsmit", "SignatureDoesNotMatch"),
        ("/", "SignatureDoesNotMatch"),
    ] {
        signed.clone().at(path).expect(Form::Query, expected);
    }
    let object = Head::new(Method::GET, "/johnsmith/a/").presigned(LATER);
    object.at("/johnsmith/a").expect(Form::Query, "SignatureDoesNotMatch");
}

#[test]
fn values_are_signed_decoded_and_in_order() {
    let head = get().query("versionId=v&response-content-type=text%2Fx+y&acl=");
    assert!(head.text(LATER).ends_with("/johnsmith/photos/puppy.jpg?acl&response-content-type=text/x y&versionId=v"));
    assert!(SIGNED_PARAMETERS.is_sorted());
}

#[test]
fn a_url_ends_when_it_says() {
    let url = get().presigned("1175024202");
    assert!(url.verify(Form::Query, NOW).is_ok());
    let expired = url.verify(Form::Query, NOW.plus_ms(1)).unwrap_err();
    assert_eq!((expired.code(), expired.message()), ("AccessDenied", "Request has expired"));
    assert_eq!(expired.fields()[0], ("Expires", "2007-03-27T19:36:42.000Z".to_owned()));
}

#[test]
fn a_url_is_whole_and_its_end_a_number_of_seconds() {
    for query in ["AWSAccessKeyId=a&Expires=9999999999", "AWSAccessKeyId=a&Signature=x", "Expires=1&Signature=x"] {
        get().query(query).expect(Form::Query, "AccessDenied");
    }
    for expires in
        ["-1", "%2B9999999999", "+9999999999", "1e12", "99999999999999999999", "9223372036854775807", DATE_TEXT]
    {
        get().presigned(&expires.replace(' ', "+")).expect(Form::Query, "AccessDenied");
    }
}

#[test]
fn a_parameter_that_the_signature_does_not_cover_is_refused() {
    let url = get().presigned(LATER);
    url.expect(Form::Query, "ok");
    for name in ["attributes", "encryption", "legal-hold", "retention", "prefix", "x-id", "injected", "expires", ""] {
        for value in ["", "=1"] {
            url.clone().query(&format!("{name}{value}=")).expect(Form::Query, "AccessDenied");
        }
    }
    for name in SIGNED_PARAMETERS {
        url.clone().query(name).expect(Form::Query, "SignatureDoesNotMatch");
        get().query(name).presigned(LATER).expect(Form::Query, "ok");
    }
}

#[test]
fn a_parameter_may_repeat_a_header_that_is_signed() {
    let url = get().header("content-type", "text/x").header("x-amz-meta-a", "b").presigned(LATER);
    url.clone().query("content-type=text%2Fx&x-amz-meta-a=b").expect(Form::Query, "ok");
    for other in ["content-type=text%2Fy", "x-amz-meta-a=c", "x-amz-meta-b=b", "X-Amz-Meta-A=b", "content-md5=x"] {
        url.clone().query(other).expect(Form::Query, "AccessDenied");
    }
}

#[test]
fn only_a_listing_has_parameters_besides_those_that_a_header_signs() {
    let signed = || get().header("date", DATE_TEXT).signed();
    signed().query("prefix=a&delimiter=/&list-type=2&max-keys=1").expect(Form::Header, "ok");
    for name in ["attributes", "encryption", "legal-hold", "retention", "injected", "Expires", "Signature"] {
        signed().query(&format!("{name}=1")).expect(Form::Header, "AccessDenied");
    }
    signed().query("acl").expect(Form::Header, "SignatureDoesNotMatch");
}

#[test]
fn a_parameter_comes_once() {
    let url = get().query("response-content-type=a").presigned(LATER);
    url.expect(Form::Query, "ok");
    for again in ["response-content-type=a", "response-content-type=b", "Expires=9999999999", "Signature=x"] {
        url.clone().query(again).expect(Form::Query, "AccessDenied");
    }
}

#[test]
fn a_value_that_reads_like_another_parameter_is_refused() {
    let two = get().query("response-content-type=a&versionId=b");
    let one = get().query("response-content-type=a%26versionId%3Db");
    assert_eq!(two.text(LATER), one.text(LATER));
    two.presigned(LATER).expect(Form::Query, "ok");
    one.presigned(LATER).expect(Form::Query, "AccessDenied");
    get().query("response-content-disposition=a%26b").presigned(LATER).expect(Form::Query, "ok");
}

#[test]
fn what_was_signed_cannot_be_changed() {
    let head = get().query("versionId=1").header("x-amz-meta-a", "1").header("content-type", "text/plain");
    let signature = head.signature(LATER);
    let signed = |head: Head| {
        let own = format!("AWSAccessKeyId={ACCESS_KEY}&Expires={LATER}&Signature={}", signature.replace('+', "%2B"));
        head.query(&own)
    };
    signed(head.clone()).expect(Form::Query, "ok");
    let other_path = Head { path: "/photos/kitten.jpg", ..head.clone() };
    let other_method = Head { method: Method::PUT, ..head.clone() };
    let mut other_type = head.clone();
    other_type.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    let mut other_metadata = head.clone();
    other_metadata.headers.insert("x-amz-meta-a", HeaderValue::from_static("2"));
    let other_query = Head { query: "versionId=2".into(), ..head.clone() };
    let changed = [other_path, other_method, other_type, other_metadata, other_query, head.clone().in_bucket("other")];
    let added =
        ["content-md5", "x-amz-copy-source", "x-amz-date", "x-amz-meta-b"].map(|name| head.clone().header(name, "1"));
    for head in changed.into_iter().chain(added) {
        signed(head).expect(Form::Query, "SignatureDoesNotMatch");
    }
}

#[test]
fn a_signature_has_one_spelling() {
    let url =
        |signature: &str| get().query(&format!("AWSAccessKeyId={ACCESS_KEY}&Expires={LATER}&Signature={signature}"));
    url("NpgCjnDzrM%2BWFzoENXmpNDUsSn8=").expect(Form::Query, "ok");
    for other in ["NpgCjnDzrM%2BWFzoENXmpNDUsSn9=", "NpgCjnDzrM%2BWFzoENXmpNDUsSn8", "NpgCjnDzrM%2BWFzo", "%20", "="] {
        url(other).expect(Form::Query, "SignatureDoesNotMatch");
    }
}

#[test]
fn a_mismatch_shows_what_was_signed() {
    let failure = get().query(&format!("AWSAccessKeyId={ACCESS_KEY}&Expires={LATER}&Signature=AAAA"));
    let failure = failure.verify(Form::Query, NOW).unwrap_err();
    assert_eq!((failure.code(), failure.status_code().as_u16()), ("SignatureDoesNotMatch", 403));
    let fields: Vec<(&str, &str)> = failure.fields().iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(fields[0], ("AWSAccessKeyId", ACCESS_KEY));
    assert_eq!(fields[1], ("StringToSign", "GET\n\n\n1175139620\n/johnsmith/photos/puppy.jpg"));
    assert_eq!(fields[2], ("SignatureProvided", "AAAA"));
    assert!(fields[3].1.starts_with("47 45 54 0a 0a 0a 31"), "{}", fields[3].1);
}

#[test]
fn an_unknown_key_is_named() {
    let failure = get().query("AWSAccessKeyId=nobody&Expires=9999999999&Signature=AAAA").verify(Form::Query, NOW);
    let failure = failure.unwrap_err();
    assert_eq!(failure.code(), "InvalidAccessKeyId");
    assert_eq!(failure.fields(), [("AWSAccessKeyId", "nobody".to_owned())]);
}

#[test]
fn a_headers_signature_has_a_date_near_ours() {
    for (name, date, expected) in [
        ("date", DATE_TEXT, "ok"),
        ("date", "Tue, 27 Mar 2007 19:51:42 GMT", "ok"),
        ("date", "Tue, 27 Mar 2007 19:51:43 GMT", "RequestTimeTooSkewed"),
        ("date", "Tue, 27 Mar 2007 19:21:41 GMT", "RequestTimeTooSkewed"),
        ("date", "Fri, 31 Dec 9999 23:59:59 GMT", "RequestTimeTooSkewed"),
        ("date", "Fri, 07 Jul 1950 21:53:04 GMT", "AccessDenied"),
        ("date", "1175024202", "AccessDenied"),
        ("date", "", "AccessDenied"),
        ("x-amz-date", DATE_TEXT, "ok"),
        ("x-amz-date", "20070327T193642Z", "ok"),
        ("x-amz-date", "20070327T203642Z", "RequestTimeTooSkewed"),
        ("x-amz-date", "bad", "AccessDenied"),
    ] {
        let head = get().header(name, date).signed();
        let code = head.verify(Form::Header, NOW).map_or_else(|failure| failure.code().to_owned(), |_| "ok".into());
        assert_eq!(code, expected, "{name}: {date}");
    }
    get().signed().expect(Form::Header, "AccessDenied");
}

#[test]
fn an_amz_date_wins_over_a_date() {
    let stale = "Tue, 27 Mar 2001 19:36:42 GMT";
    get().header("date", stale).header("x-amz-date", DATE_TEXT).signed().expect(Form::Header, "ok");
    let stale_amz = get().header("date", DATE_TEXT).header("x-amz-date", stale);
    stale_amz.signed().expect(Form::Header, "RequestTimeTooSkewed");
}

#[test]
fn a_signature_of_one_form_is_none_of_the_other() {
    let signature = get().signature(LATER);
    let as_header = get().header("date", LATER).header("authorization", &format!("AWS {ACCESS_KEY}:{signature}"));
    as_header.expect(Form::Header, "AccessDenied");
    let signature = get().signature(DATE_TEXT).replace('+', "%2B");
    let date = DATE_TEXT.replace('+', "%2B").replace(' ', "+");
    let as_url = get().query(&format!("AWSAccessKeyId={ACCESS_KEY}&Expires={date}&Signature={signature}"));
    as_url.expect(Form::Query, "AccessDenied");
}

#[test]
fn a_malformed_header_is_refused() {
    for text in ["AWS", "AWS HAHAHA", "AWS4 a:b"] {
        get().header("date", DATE_TEXT).header("authorization", text).expect(Form::Header, "InvalidArgument");
    }
}

#[test]
fn signed_headers_come_once_but_for_user_metadata() {
    let repeated = |name| get().header(name, DATE_TEXT).header(name, DATE_TEXT).presigned(LATER);
    for name in ["content-md5", "content-type", "date", "x-amz-date", "x-amz-copy-source"] {
        repeated(name).expect(Form::Query, "InvalidRequest");
    }
    repeated("x-amz-meta-a").expect(Form::Query, "ok");
}

#[test]
fn only_an_unsigned_payload_may_be_declared() {
    let declared = |value| get().header("x-amz-content-sha256", value).presigned(LATER);
    declared("UNSIGNED-PAYLOAD").expect(Form::Query, "ok");
    for value in ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "00"] {
        declared(value).expect(Form::Query, "InvalidArgument");
    }
}

#[test]
fn a_verified_signature_is_taken_out_of_the_request() {
    for (uri, left) in [("/b//k%20?Signature=x&acl", "/b//k%20"), ("//k?x", "//k"), ("http://h/b?x", "http://h/b")] {
        let request = Request::builder().uri(uri).header("authorization", "AWS a:b").header("date", "x");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        remove(&mut parts).unwrap();
        assert_eq!(parts.uri.to_string(), left);
        assert_eq!(parts.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["date"]);
    }
}

#[test]
fn a_urls_session_token_is_signed_among_the_headers() {
    let head = Head::new(Method::GET, "/bucket/key").query("x-amz-security-token=to%2Bken");
    assert_eq!(head.text("1"), "GET\n\n\n1\nx-amz-security-token:to+ken\n/bucket/key");
    let in_header = Head::new(Method::GET, "/bucket/key").header("x-amz-security-token", "to+ken");
    assert_eq!(head.text("1"), in_header.text("1"));
}
