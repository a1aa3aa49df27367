//! An ID token (OpenID Connect Core, section 2): who its issuer says that its holder is.
//!
//! Checked here: the signature, by a key that the issuer publishes and an algorithm that takes one; the issuer; the audience;
//! and that its time has come and not passed. Everything else that a token says are values for conditions.

use cairn_storage::clock::Timestamp;
use http::StatusCode;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use crate::query_api::faults::fault;
use crate::s3::error::Failure;
use crate::s3::headers::document_time;

/// The longest token (API reference, AssumeRoleWithWebIdentity).
pub const TOKEN_CHARS_MAX: usize = 20_000;

/// How far an issuer's clock may be ahead of ours.
const LEEWAY_MS: i64 = 60_000;

/// The algorithms of keys that can be published. Those of shared secrets, and none, are not among them.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Where session tags and source identities are in a token (IAM user guide, "Pass session tags in STS").
const TAGS: &str = "https://aws.amazon.com/tags";
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";

/// A provider as far as its tokens go.
#[derive(Clone, Copy, Debug)]
pub struct Provider<'p> {
    /// The issuer without `https://`.
    pub url: &'p str,
    /// The audiences that the account accepts.
    pub client_ids: &'p [String],
}

/// What a token says, verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Whom it is about.
    pub subject: String,
    /// Whom it was made for.
    pub audience: String,
    /// Condition keys in lower case, and their values.
    pub claims: Vec<(String, Vec<String>)>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// The keys of the tags that are passed on.
    pub transitive_tag_keys: Vec<String>,
    /// The source identity.
    pub source_identity: Option<String>,
}

/// What a token says of itself before anything is verified: which issuer and which of its keys to ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct Heading {
    /// The issuer, without `https://`.
    pub issuer: String,
    /// Its key.
    pub key_id: Option<String>,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    azp: Option<String>,
    exp: f64,
    nbf: Option<f64>,
    amr: Option<OneOrMany>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(values: OneOrMany) -> Self {
        match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

#[derive(Default, Deserialize)]
struct Tags {
    #[serde(default)]
    principal_tags: std::collections::BTreeMap<String, OneOrMany>,
    #[serde(default)]
    transitive_tag_keys: Vec<String>,
}

/// Reads what has to be known to verify a token.
///
/// # Errors
/// `InvalidIdentityToken`.
pub fn heading(token: &str) -> Result<Heading, Failure> {
    if token.len() > TOKEN_CHARS_MAX {
        return Err(invalid("The ID Token provided is too long."));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| not_a_token())?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(invalid("The ID Token provided has a signature of an algorithm that is not supported."));
    }
    let Issuer { iss } = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| not_a_token())?;
    let issuer = name_of(&iss).ok_or_else(|| invalid("The ID Token's issuer is no https URL."))?;
    Ok(Heading { issuer: issuer.to_owned(), key_id: header.kid })
}

/// Verifies a token by the keys that its issuer publishes. None: its key is not among them.
///
/// # Errors
/// `InvalidIdentityToken`, `ExpiredTokenException`.
pub fn verify(token: &str, keys: &JwkSet, provider: Provider<'_>, now: Timestamp) -> Result<Option<Identity>, Failure> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| not_a_token())?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(not_a_token());
    }
    let key = match &header.kid {
        Some(id) => keys.find(id),
        // Without an id there is no telling several apart.
        None => keys.keys.first().filter(|_| keys.keys.len() == 1),
    };
    let Some(key) = key else { return Ok(None) };
    let key = DecodingKey::from_jwk(key).map_err(|_| unverified())?;
    let mut validation = Validation::new(header.alg);
    // Time and audience are compared below, by our clock and AWS's rules.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|_| unverified())?.claims;
    identity(claims, provider, now).map(Some)
}

fn identity(claims: Claims, provider: Provider<'_>, now: Timestamp) -> Result<Identity, Failure> {
    let Claims { iss, sub, aud, azp, exp, nbf, amr, rest } = claims;
    if name_of(&iss) != Some(provider.url) {
        return Err(invalid("The ID Token is of another issuer."));
    }
    let audiences = Vec::from(aud);
    let audience = audience_of(&audiences, azp.as_deref())?;
    if !provider.client_ids.contains(&audience) {
        return Err(invalid("Incorrect token audience"));
    }
    check_time(exp, nbf, now)?;
    let mut identity = Identity { subject: sub.clone(), audience: audience.clone(), ..Identity::default() };
    let mut claim = |name: &str, values: Vec<String>| {
        identity.claims.push((format!("{}:{name}", provider.url).to_lowercase(), values));
    };
    claim("aud", vec![audience]);
    claim("sub", vec![sub]);
    if let Some(azp) = azp {
        claim("azp", vec![azp]);
        claim("oaud", audiences);
    }
    if let Some(amr) = amr {
        claim("amr", amr.into());
    }
    let tags: Tags = match rest.get(TAGS) {
        Some(tags) => {
            serde_json::from_value(tags.clone()).map_err(|_| invalid("The ID Token's tags are malformed."))?
        }
        None => Tags::default(),
    };
    for (key, values) in tags.principal_tags {
        let [value] = <[String; 1]>::try_from(Vec::from(values))
            .map_err(|_| invalid("The ID Token has a tag that has not one value."))?;
        identity.tags.push((key, value));
    }
    identity.transitive_tag_keys = tags.transitive_tag_keys;
    identity.source_identity = match rest.get(SOURCE_IDENTITY) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return Err(invalid("The ID Token's source identity is no text.")),
        None => None,
    };
    Ok(identity)
}

/// An issuer's URL as providers are named: without its scheme, and without a slash at its end.
fn name_of(url: &str) -> Option<&str> {
    url.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'))
}

/// For whom a token was made: the party that it was issued to, if it names one; else its only audience (IAM user guide,
/// "Available keys for AWS web identity federation").
fn audience_of(audiences: &[String], azp: Option<&str>) -> Result<String, Failure> {
    match (azp, audiences) {
        (Some(azp), _) => Ok(azp.to_owned()),
        (None, [audience]) => Ok(audience.clone()),
        (None, _) => Err(invalid("The ID Token has several audiences and no azp claim.")),
    }
}

fn check_time(exp: f64, nbf: Option<f64>, now: Timestamp) -> Result<(), Failure> {
    // Beyond the range of the type, a float becomes its end: such a time is very far away.
    let expires_at = Timestamp((exp * 1_000.0) as i64);
    if expires_at <= now {
        return Err(fault(
            "ExpiredTokenException",
            StatusCode::BAD_REQUEST,
            format!(
                "Token expired: current date/time {} must be before the expiration date/time {}",
                document_time(now),
                document_time(expires_at)
            ),
        ));
    }
    if nbf.is_some_and(|nbf| (nbf * 1_000.0) as i64 > now.0.saturating_add(LEEWAY_MS)) {
        return Err(invalid("The ID Token is not valid yet."));
    }
    Ok(())
}

/// `InvalidIdentityToken`.
pub fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    fault("InvalidIdentityToken", StatusCode::BAD_REQUEST, message)
}

fn not_a_token() -> Failure {
    invalid("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
}

fn unverified() -> Failure {
    invalid("Couldn't verify the signature of the ID Token by the keys of its issuer.")
}

#[cfg(test)]
mod tests;
