#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cairn_crypto::secret::{KEY_BYTES, MasterKey};
use s3s::auth::SecretKey;

use crate::auth::KnowsSecrets;
use crate::sts::session::Sessions;

use super::*;

/// The credentials of Amazon's examples.
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request";

/// 2015-12-29T00:00:00Z, the time of Amazon's example.
const NOW: Timestamp = Timestamp(1_451_347_200_000);

/// The policy of Amazon's example ("Example: browser-based upload using HTTP POST"), and its signature.
const POLICY: &str = "{ \"expiration\": \"2015-12-30T12:00:00.000Z\",\r\n  \"conditions\": [\r\n    \
    {\"bucket\": \"sigv4examplebucket\"},\r\n    [\"starts-with\", \"$key\", \"user/user1/\"],\r\n    \
    {\"acl\": \"public-read\"},\r\n    \
    {\"success_action_redirect\": \"http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html\"},\r\n    \
    [\"starts-with\", \"$Content-Type\", \"image/\"],\r\n    {\"x-amz-meta-uuid\": \"14365123651274\"},\r\n    \
    {\"x-amz-server-side-encryption\": \"AES256\"},\r\n    [\"starts-with\", \"$x-amz-meta-tag\", \"\"],\r\n\r\n    \
    {\"x-amz-credential\": \"AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request\"},\r\n    \
    {\"x-amz-algorithm\": \"AWS4-HMAC-SHA256\"},\r\n    {\"x-amz-date\": \"20151229T000000Z\" }\r\n  ]\r\n}";
const SIGNATURE: &str = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";

/// Knows the one access key of these tests.
#[derive(Debug)]
struct OneKey;

impl KnowsSecrets for OneKey {
    fn secret(&self, access_key: &str) -> Option<SecretKey> {
        (access_key == ACCESS_KEY).then(|| SecretKey::from(SECRET_KEY))
    }
}

fn example() -> Vec<(&'static str, String)> {
    vec![
        ("policy", BASE64.encode(POLICY)),
        ("x-amz-algorithm", ALGORITHM.to_owned()),
        ("x-amz-credential", CREDENTIAL.to_owned()),
        ("x-amz-date", "20151229T000000Z".to_owned()),
        ("x-amz-signature", SIGNATURE.to_owned()),
    ]
}

fn version_2() -> Vec<(&'static str, String)> {
    let policy = BASE64.encode(POLICY);
    let mut mac = Hmac::<Sha1>::new_from_slice(SECRET_KEY.as_bytes()).unwrap();
    mac.update(policy.as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    vec![("policy", policy), ("AWSAccessKeyId", ACCESS_KEY.to_owned()), ("signature", signature)]
}

fn who(pairs: &[(&str, String)], accepted: SignatureV2, now: Timestamp) -> Result<Option<String>, String> {
    let mut fields = Fields::default();
    pairs.iter().for_each(|(name, value)| fields.add(name, value.clone()).unwrap());
    let sessions = Sessions::new(&MasterKey::from_bytes([7; KEY_BYTES]));
    let secrets = Secrets { keys: Arc::new(OneKey), sessions };
    let scope = Scope { region: "us-east-1", or_regions: &[], service: "s3" };
    let signed = verify(&fields, &secrets, scope, accepted, now).map_err(|failure| {
        let argument = failure.fields().iter().find(|(name, _)| *name == "ArgumentName");
        format!("{} {}", failure.code(), argument.map_or("", |(_, value)| value)).trim().to_owned()
    })?;
    Ok(signed.map(|(signer, _)| signer.access_key))
}

fn with(name: &str, value: &str) -> Vec<(&'static str, String)> {
    let mut form = example();
    form.iter_mut().find(|(known, _)| *known == name).unwrap().1 = value.to_owned();
    form
}

#[test]
fn the_published_example_is_verified() {
    assert_eq!(who(&example(), SignatureV2::Off, NOW), Ok(Some(ACCESS_KEY.to_owned())));
}

#[test]
fn a_form_without_a_signature_is_nobodys() {
    assert_eq!(who(&[], SignatureV2::Query, NOW), Ok(None));
    assert_eq!(who(&example()[..1], SignatureV2::Query, NOW), Ok(None));
    assert_eq!(
        who(&[("x-amz-security-token", "t".to_owned())], SignatureV2::Query, NOW),
        Err("InvalidToken".to_owned())
    );
}

#[test]
fn a_signature_must_be_whole() {
    let names = ["Policy", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature"];
    for (index, name) in names.iter().enumerate() {
        let mut form = example();
        form.remove(index);
        assert_eq!(who(&form, SignatureV2::Query, NOW), Err(format!("InvalidArgument {name}")));
    }
    for (index, name) in ["Policy", "AWSAccessKeyId", "Signature"].iter().enumerate() {
        let mut form = version_2();
        form.remove(index);
        assert_eq!(who(&form, SignatureV2::Query, NOW), Err(format!("InvalidArgument {name}")));
    }
}

#[test]
fn a_signature_must_be_right() {
    let region = "AKIAIOSFODNN7EXAMPLE/20151229/eu-west-1/s3/aws4_request";
    let service = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/iam/aws4_request";
    for (name, value, told) in [
        ("policy", "e30=", "SignatureDoesNotMatch"),
        ("x-amz-signature", &SIGNATURE.replace('8', "9"), "SignatureDoesNotMatch"),
        ("x-amz-signature", &SIGNATURE.to_uppercase(), "SignatureDoesNotMatch"),
        ("x-amz-signature", "", "SignatureDoesNotMatch"),
        ("x-amz-algorithm", "AWS4-HMAC-SHA512", "InvalidArgument X-Amz-Algorithm"),
        ("x-amz-credential", region, "InvalidArgument X-Amz-Credential"),
        ("x-amz-credential", service, "InvalidArgument X-Amz-Credential"),
        ("x-amz-credential", "AK", "InvalidArgument X-Amz-Credential"),
        ("x-amz-credential", &CREDENTIAL.replace("AKIA", "AKIB"), "InvalidAccessKeyId"),
        ("x-amz-date", "20151228T000000Z", "InvalidArgument X-Amz-Date"),
        ("x-amz-date", "2015-12-29", "InvalidArgument X-Amz-Date"),
    ] {
        assert_eq!(who(&with(name, value), SignatureV2::Query, NOW), Err(told.to_owned()), "{name} {value}");
    }
}

#[test]
fn a_signing_key_is_good_for_a_week() {
    let after = |seconds: i64| who(&example(), SignatureV2::Off, Timestamp(NOW.0 + seconds * 1_000));
    assert!(after(7 * 24 * 60 * 60).is_ok() && after(-15 * 60).is_ok());
    assert_eq!(after(7 * 24 * 60 * 60 + 1), Err("AccessDenied".to_owned()));
    assert_eq!(after(-15 * 60 - 1), Err("AccessDenied".to_owned()));
}

#[test]
fn version_2_is_for_where_it_is_accepted() {
    assert_eq!(who(&version_2(), SignatureV2::Query, NOW), Ok(Some(ACCESS_KEY.to_owned())));
    assert_eq!(who(&version_2(), SignatureV2::Off, NOW), Err("InvalidRequest".to_owned()));
    let mut wrong = version_2();
    wrong[0].1 = "e30=".to_owned();
    assert_eq!(who(&wrong, SignatureV2::Query, NOW), Err("SignatureDoesNotMatch".to_owned()));
    let both = [example(), version_2()[1..].to_vec()].concat();
    assert_eq!(who(&both, SignatureV2::Query, NOW), Err("InvalidArgument".to_owned()));
}

#[test]
fn a_temporary_key_comes_with_its_token() {
    let form = with("x-amz-credential", &CREDENTIAL.replace("AKIA", "ASIA"));
    assert_eq!(who(&form, SignatureV2::Query, NOW), Err("SignatureDoesNotMatch".to_owned()));
    let mut stray = example();
    stray.push(("x-amz-security-token", "t".to_owned()));
    assert_eq!(who(&stray, SignatureV2::Query, NOW), Err("InvalidToken".to_owned()));
}
