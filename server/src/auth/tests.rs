//! The fields of signatures, and what is refused of them.

#![allow(clippy::unwrap_used)]

use http::HeaderName;

use super::*;

const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const SCOPE_OF_S3: Scope<'_> = Scope { region: "us-east-1", or_regions: &[], service: "s3" };
const SCOPE: &str = "AK/20260101/us-east-1/s3/aws4_request";

fn checked(authorization: &[&str], query: &str, accepted: SignatureV2) -> Result<Found, Failure> {
    let mut headers = HeaderMap::new();
    for value in authorization {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers.insert(DATE, HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"));
    check(&headers, &Query::parse(Some(query)).unwrap(), SCOPE_OF_S3, accepted)
}

fn code(authorization: &[&str], query: &str) -> String {
    match checked(authorization, query, SignatureV2::Off) {
        Ok(Found::None | Found::Version4(_, _)) => "ok".to_owned(),
        Ok(Found::Version2(form)) => format!("{form:?}"),
        Err(failure) => failure.code().to_owned(),
    }
}

fn header(credential: &str, signed: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature=00")
}

#[test]
fn a_header_must_be_whole_and_for_this_endpoint() {
    assert_eq!(code(&[], ""), "ok");
    assert_eq!(code(&[&header(SCOPE, "host;x-amz-date")], ""), "ok");
    for (text, expected) in [
        ("", "AccessDenied"),
        ("AWS AK:sig", "InvalidRequest"),
        ("Bearer x", "InvalidArgument"),
        ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=x", "AuthorizationHeaderMalformed"),
        (&header("AK/20260101/us-east-1/s3", "host"), "AuthorizationHeaderMalformed"),
        (&header("AK/20260101/eu-west-1/s3/aws4_request", "host"), "AuthorizationHeaderMalformed"),
        (&header("AK/20260101/us-east-1/iam/aws4_request", "host"), "AuthorizationHeaderMalformed"),
        (&header("AK/20260101/us-east-1/s3/aws5_request", "host"), "AuthorizationHeaderMalformed"),
        (&header(SCOPE, "x-amz-date"), "AccessDenied"),
    ] {
        assert_eq!(code(&[text], ""), expected, "{text}");
    }
    let good = header(SCOPE, "host");
    assert_eq!(code(&[&good, &good], ""), "InvalidRequest");
}

#[test]
fn a_header_needs_a_date_and_a_payload_hash_that_can_be_read() {
    let code = |name: HeaderName, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&header(SCOPE, "host")).unwrap());
        headers.insert(headers::DATE, HeaderValue::from_static("20260101T000000Z"));
        headers.insert(name, HeaderValue::from_static(value));
        let checked = check(&headers, &Query::default(), SCOPE_OF_S3, SignatureV2::Off);
        checked.err().map(|failure| failure.code().to_owned())
    };
    for date in ["20260101T000000Z", "Thu, 01 Jan 2026 00:00:00 GMT"] {
        assert_eq!(code(headers::DATE, date), None, "{date}");
    }
    for date in ["", "now", "20261301T000000Z", "19691231T235959Z"] {
        assert_eq!(code(headers::DATE, date).as_deref(), Some("AccessDenied"), "{date}");
    }
    for hash in ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", SHA256] {
        assert_eq!(code(CONTENT_SHA256, hash), None, "{hash}");
    }
    for hash in ["", "unsigned-payload", "STREAMING", &SHA256[1..]] {
        assert_eq!(code(CONTENT_SHA256, hash).as_deref(), Some("InvalidArgument"), "{hash}");
    }
}

fn presigned(replace: &str, with: &str) -> String {
    format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SCOPE}&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60\
         &X-Amz-SignedHeaders=host&X-Amz-Signature=00"
    )
    .replace(replace, with)
}

#[test]
fn a_presigned_url_must_be_whole_and_short_lived() {
    let invalid = "AuthorizationQueryParametersError";
    assert_eq!(code(&[], &presigned("", "")), "ok");
    assert_eq!(code(&[], &presigned("Expires=60", "Expires=604800")), "ok");
    for (replace, with, expected) in [
        ("Expires=60", "Expires=0", invalid),
        ("Expires=60", "Expires=-1", invalid),
        ("Expires=60", "Expires=604801", invalid),
        ("Expires=60", "Expires=x", invalid),
        ("&X-Amz-Expires=60", "", invalid),
        ("&X-Amz-Signature=00", "", invalid),
        ("&X-Amz-Expires=60", "&X-Amz-Expires=60&X-Amz-Expires=61", invalid),
        ("us-east-1", "eu-west-1", invalid),
        ("/s3/", "/sts/", invalid),
        ("HMAC-SHA256", "HMAC-MD5", invalid),
        ("Headers=host", "Headers=range", "AccessDenied"),
    ] {
        assert_eq!(code(&[], &presigned(replace, with)), expected, "{replace} -> {with}");
    }
}

#[test]
fn a_date_beside_a_presigned_url_must_be_signed() {
    let mut headers = HeaderMap::new();
    headers.insert(headers::DATE, HeaderValue::from_static("20260101T000000Z"));
    let code = |signed: &str| {
        let query = Query::parse(Some(&presigned("Headers=host", signed))).unwrap();
        check(&headers, &query, SCOPE_OF_S3, SignatureV2::Off).map_err(|failure| failure.code().to_owned())
    };
    assert_eq!(code("Headers=host").unwrap_err(), "AccessDenied");
    assert_eq!(code("Headers=host%3Bx-amz-date").unwrap(), Found::Version4("AK".to_owned(), Place::Query));
}

#[test]
fn only_one_signature_is_allowed() {
    let version_2 = "AWSAccessKeyId=AK&Expires=1&Signature=x";
    assert_eq!(code(&[&header(SCOPE, "host")], &presigned("", "")), "InvalidArgument");
    assert_eq!(code(&[&header(SCOPE, "host")], version_2), "InvalidArgument");
    assert_eq!(code(&["AWS AK:x"], "Signature=x"), "InvalidArgument");
    assert_eq!(code(&[], &format!("{version_2}&{}", presigned("", ""))), "InvalidArgument");
}

#[test]
fn the_setting_says_where_version_2_is_accepted() {
    let query = |accepted| checked(&[], "AWSAccessKeyId=AK&Expires=1&Signature=x", accepted);
    let header = |accepted| checked(&["AWS AK:x"], "", accepted);
    assert_eq!(query(SignatureV2::Off).unwrap_err().code(), "InvalidRequest");
    assert_eq!(header(SignatureV2::Off).unwrap_err().code(), "InvalidRequest");
    assert_eq!(query(SignatureV2::Query).unwrap(), Found::Version2(v2::Form::Query));
    assert_eq!(header(SignatureV2::Query).unwrap_err().code(), "InvalidRequest");
    assert_eq!(query(SignatureV2::All).unwrap(), Found::Version2(v2::Form::Query));
    assert_eq!(header(SignatureV2::All).unwrap(), Found::Version2(v2::Form::Header));
}

#[test]
fn only_the_signature_that_was_claimed_is_confirmed() {
    let claim = |is_verified| {
        let signer = Signer { access_key: "AK".to_owned(), session: None };
        Some(Claim { signer, is_verified })
    };
    let confirmed = |claim, by_s3s| {
        let signer = Claim::confirm(claim, by_s3s).map_err(|failure| failure.code().to_owned())?;
        Ok(signer.map(|signer| signer.access_key))
    };
    assert_eq!(confirmed(None, None), Ok(None));
    assert_eq!(confirmed(claim(true), None), Ok(Some("AK".to_owned())));
    assert_eq!(confirmed(claim(false), Some("AK")), Ok(Some("AK".to_owned())));
    let refused: Result<Option<String>, String> = Err("InternalError".to_owned());
    for (claim, by_s3s) in
        [(None, Some("AK")), (claim(false), None), (claim(false), Some("OTHER")), (claim(true), Some("AK"))]
    {
        assert_eq!(confirmed(claim, by_s3s), refused);
    }
}

#[test]
fn a_request_dated_by_date_alone_gets_the_date_of_signatures() {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("x"));
    headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 -0000"));
    complete_date(&mut headers);
    assert_eq!(headers[headers::DATE], "19941106T084937Z");
}
