//! Tokens of an issuer that is made here, with keys of its own.

#![allow(clippy::unwrap_used)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const URL: &str = "issuer.example/tenant";
const NOW: Timestamp = Timestamp(1_000_000_000);

/// What an issuer signs with.
enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Key {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        }
    }

    fn public(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let key = pair.public_key();
                let [n, e] =
                    [key.modulus().big_endian_without_leading_zero(), key.exponent().big_endian_without_leading_zero()]
                        .map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": n, "e": e})
            }
            Self::Ec(pair) => {
                // An uncompressed point: 4, x, y.
                let point = &pair.public_key().as_ref()[1..];
                let [x, y] = [&point[..32], &point[32..]].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
                json!({"kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": id, "x": x, "y": y})
            }
        }
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
        }
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": "one"}), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&text));
        format!("{text}.{signature}")
    }
}

fn published(keys: &[Value]) -> JwkSet {
    serde_json::from_value(json!({ "keys": keys })).unwrap()
}

fn claims() -> Value {
    json!({"iss": format!("https://{URL}"), "sub": "repo:a/b", "aud": "app", "exp": 1_000_060, "iat": 999_999})
}

/// The claims with another one, or without it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let all = claims.as_object_mut().unwrap();
    if value.is_null() {
        all.remove(name)
    } else {
        all.insert(name.to_owned(), value)
    };
    claims
}

fn verified(token: &str, keys: &JwkSet) -> Result<Option<Identity>, String> {
    let client_ids = ["app".to_owned(), "other".to_owned()];
    let provider = Provider { url: URL, client_ids: &client_ids };
    verify(token, keys, provider, NOW).map_err(|failure| failure.code().to_owned())
}

#[test]
fn a_good_token_says_who_its_holder_is() {
    for key in [Key::rsa(), Key::ec()] {
        let token = key.token(&claims());
        let heading = heading(&token).unwrap();
        assert_eq!((heading.issuer.as_str(), heading.key_id.as_deref()), (URL, Some("one")));
        let identity = verified(&token, &published(&[key.public("one")])).unwrap().unwrap();
        assert_eq!((identity.subject.as_str(), identity.audience.as_str()), ("repo:a/b", "app"));
        let claim = |name: &str, value: &str| (format!("{URL}:{name}"), vec![value.to_owned()]);
        assert_eq!(identity.claims, [claim("aud", "app"), claim("sub", "repo:a/b")]);
    }
}

#[test]
fn whom_a_token_was_issued_to_is_its_audience() {
    let key = Key::ec();
    let keys = published(&[key.public("one")]);
    let mut both = with("azp", "other".into());
    both["aud"] = json!(["x", "y"]);
    let identity = verified(&key.token(&both), &keys).unwrap().unwrap();
    assert_eq!(identity.audience, "other");
    assert!(identity.claims.contains(&(format!("{URL}:oaud"), vec!["x".to_owned(), "y".to_owned()])));
    assert!(verified(&key.token(&with("aud", json!(["app"]))), &keys).unwrap().is_some());
    for claims in [with("aud", json!(["app", "other"])), with("aud", "x".into()), with("azp", "x".into())] {
        assert_eq!(verified(&key.token(&claims), &keys), Err("InvalidIdentityToken".to_owned()), "{claims}");
    }
}

#[test]
fn a_token_has_its_time() {
    let key = Key::ec();
    let keys = published(&[key.public("one")]);
    assert_eq!(verified(&key.token(&with("exp", 1_000_000.into())), &keys), Err("ExpiredTokenException".to_owned()));
    assert!(verified(&key.token(&with("exp", json!(1_000_000.5))), &keys).unwrap().is_some());
    assert!(verified(&key.token(&with("nbf", 1_000_060.into())), &keys).unwrap().is_some());
    assert_eq!(verified(&key.token(&with("nbf", 1_000_061.into())), &keys), Err("InvalidIdentityToken".to_owned()));
}

#[test]
fn a_token_without_what_it_must_say_is_none() {
    let key = Key::ec();
    let keys = published(&[key.public("one")]);
    for name in ["iss", "sub", "aud", "exp"] {
        assert_eq!(
            verified(&key.token(&with(name, Value::Null)), &keys),
            Err("InvalidIdentityToken".to_owned()),
            "{name}"
        );
    }
    for issuer in ["https://issuer.example", "http://issuer.example/tenant", "https://issuer.example/tenant2"] {
        let token = key.token(&with("iss", issuer.into()));
        assert_eq!(verified(&token, &keys), Err("InvalidIdentityToken".to_owned()), "{issuer}");
    }
}

#[test]
fn only_the_issuers_own_keys_verify() {
    let (key, other) = (Key::ec(), Key::ec());
    let token = key.token(&claims());
    assert_eq!(verified(&token, &published(&[other.public("one")])), Err("InvalidIdentityToken".to_owned()));
    assert_eq!(verified(&token, &published(&[key.public("two")])), Ok(None), "a key that may have been added since");
    let nameless = key.token_with(&json!({"alg": "ES256"}), &claims());
    assert!(verified(&nameless, &published(&[key.public("one")])).unwrap().is_some());
    assert_eq!(verified(&nameless, &published(&[key.public("one"), other.public("two")])), Ok(None));
}

#[test]
fn a_changed_token_is_refused() {
    let key = Key::rsa();
    let keys = published(&[key.public("one")]);
    let token = key.token(&claims());
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let other = URL_SAFE_NO_PAD.encode(with("sub", "repo:a/c".into()).to_string());
    assert_eq!(verified(&format!("{header}.{other}.{signature}"), &keys), Err("InvalidIdentityToken".to_owned()));
    assert_eq!(verified(head, &keys), Err("InvalidIdentityToken".to_owned()));
    assert_eq!(verified(&format!("{head}."), &keys), Err("InvalidIdentityToken".to_owned()));
}

#[test]
fn only_algorithms_of_published_keys_are_taken() {
    let key = Key::rsa();
    let keys = published(&[key.public("one")]);
    for algorithm in ["none", "HS256", "HS512", "EdDSA", "ES256", "RS384"] {
        let token = key.token_with(&json!({"alg": algorithm, "kid": "one"}), &claims());
        assert_eq!(verified(&token, &keys), Err("InvalidIdentityToken".to_owned()), "{algorithm}");
    }
}

#[test]
fn tags_and_source_identity_come_from_their_claims() {
    let key = Key::ec();
    let keys = published(&[key.public("one")]);
    let mut claims =
        with(TAGS, json!({"principal_tags": {"team": ["red"], "cost": "7"}, "transitive_tag_keys": ["team"]}));
    claims[SOURCE_IDENTITY] = "anna".into();
    let identity = verified(&key.token(&claims), &keys).unwrap().unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(identity.tags, [pair("cost", "7"), pair("team", "red")]);
    assert_eq!(
        (identity.transitive_tag_keys, identity.source_identity),
        (vec!["team".to_owned()], Some("anna".to_owned()))
    );
    for (name, value) in
        [(TAGS, json!({"principal_tags": {"team": []}})), (TAGS, json!(1)), (SOURCE_IDENTITY, json!(1))]
    {
        let token = key.token(&with(name, value));
        assert_eq!(verified(&token, &keys), Err("InvalidIdentityToken".to_owned()), "{name}");
    }
}

#[test]
fn what_is_no_token_is_told_so() {
    let long = "x".repeat(TOKEN_CHARS_MAX + 1);
    for text in ["", "x", "a.b.c", "..", "e30.e30.", &long] {
        assert_eq!(heading(text).unwrap_err().code(), "InvalidIdentityToken", "{text:.20}");
    }
    let http = Key::ec().token(&with("iss", "http://issuer.example".into()));
    assert_eq!(heading(&http).unwrap_err().code(), "InvalidIdentityToken");
}
