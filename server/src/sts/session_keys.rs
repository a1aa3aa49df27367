//! The condition keys that tell of a session (IAM user guide, "AWS global condition context keys", and "IAM and AWS STS
//! condition context keys" for those of web identities).

use std::borrow::Cow;

use cairn_iam::evaluate::Values;
use cairn_storage::clock::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::session::{Session, Whose};

/// How the keys of a principal's tags begin.
pub const PRINCIPAL_TAG: &str = "aws:principaltag/";

/// The values that a session gives a key, which is in lower case. Absent: the session says nothing of it, and whose it is may.
pub fn values<'s>(session: &'s Session, key: &str, now: Timestamp) -> Values<'s> {
    if let Some(tag) = key.strip_prefix(PRINCIPAL_TAG) {
        let mut tags = session.tags.iter();
        return one(tags.find(|(name, _)| name.to_lowercase() == tag).map(|(_, value)| value.as_str().into()));
    }
    match key {
        "aws:tokenissuetime" => one(exact_time(session.issued_at_ms).map(Cow::from)),
        // Of whoever signs with a key that lasts it is not known, rather than false.
        "aws:multifactorauthpresent" => one(Some(if session.mfa_at_ms.is_some() { "true" } else { "false" }.into())),
        "aws:multifactorauthage" => {
            let age = session.mfa_at_ms.map(|at| now.0.saturating_sub(at).max(0) / 1_000);
            one(age.map(|seconds| seconds.to_string().into()))
        }
        "aws:sourceidentity" => one(session.source_identity.as_deref().map(Cow::from)),
        "aws:federatedprovider" => one(session.federation.as_ref().map(|of| of.provider.as_str().into())),
        "sts:rolesessionname" => match &session.whose {
            Whose::Role { session_name, .. } => one(Some(session_name.as_str().into())),
            Whose::User { .. } | Whose::Root { .. } | Whose::Federated { .. } => Values::Absent,
        },
        key => claim(session, key),
    }
}

/// To the millisecond: sessions are revoked by whether they are older than a moment.
fn exact_time(ms: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    time.format(&Rfc3339).ok()
}

fn one(value: Option<Cow<'_, str>>) -> Values<'_> {
    value.map_or(Values::Absent, Values::One)
}

fn claim<'s>(session: &'s Session, key: &str) -> Values<'s> {
    let mut claims = session.federation.iter().flat_map(|federation| &federation.claims);
    claims.find(|(name, _)| name == key).map_or(Values::Absent, |(_, values)| of_claim(key, values))
}

/// The values of a claim. Only `amr` may have several, and has a set operator's meaning even with one.
pub fn of_claim<'s>(key: &str, values: &'s [String]) -> Values<'s> {
    match values {
        [value] if !key.ends_with(":amr") => Values::One(value.as_str().into()),
        values => Values::Many(values.iter().map(|value| value.as_str().into()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Federation;
    use super::*;

    fn session() -> Session {
        Session {
            whose: Whose::Role {
                account: 42,
                role_id: "AROAX".to_owned(),
                role: "r".to_owned(),
                session_name: "job".to_owned(),
            },
            issued_at_ms: 7,
            expires_at_ms: 3_600_000,
            parent_access_key: None,
            policy: None,
            policy_arns: vec![],
            tags: vec![("Team".to_owned(), "red".to_owned())],
            transitive_tag_keys: vec![],
            source_identity: Some("anna".to_owned()),
            mfa_at_ms: None,
            federation: Some(Federation {
                provider: "arn:aws:iam::000000000042:oidc-provider/issuer.example".to_owned(),
                claims: vec![
                    ("issuer.example:sub".to_owned(), vec!["x".to_owned()]),
                    ("issuer.example:amr".to_owned(), vec!["mfa".to_owned()]),
                ],
            }),
        }
    }

    fn text(session: &Session, key: &str) -> Option<String> {
        match values(session, key, Timestamp(61_999)) {
            Values::Absent => None,
            Values::One(value) => Some(value.into_owned()),
            Values::Many(values) => Some(format!("{values:?}")),
        }
    }

    #[test]
    fn a_session_tells_when_and_how_it_was_made() {
        for (key, expected) in [
            ("aws:tokenissuetime", Some("1970-01-01T00:00:00.007Z")),
            ("aws:multifactorauthpresent", Some("false")),
            ("aws:multifactorauthage", None),
            ("aws:sourceidentity", Some("anna")),
            ("aws:principaltag/team", Some("red")),
            ("aws:principaltag/other", None),
            ("aws:federatedprovider", Some("arn:aws:iam::000000000042:oidc-provider/issuer.example")),
            ("sts:rolesessionname", Some("job")),
            ("issuer.example:sub", Some("x")),
            ("issuer.example:amr", Some("[\"mfa\"]")),
            ("issuer.example:aud", None),
            ("aws:username", None),
        ] {
            assert_eq!(text(&session(), key).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn the_age_of_a_code_is_in_whole_seconds() {
        let session = Session { mfa_at_ms: Some(1_000), ..session() };
        assert_eq!(text(&session, "aws:multifactorauthpresent").as_deref(), Some("true"));
        assert_eq!(text(&session, "aws:multifactorauthage").as_deref(), Some("60"));
    }
}
