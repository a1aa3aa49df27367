//! Examples of roles' trust policies (IAM user guide, "The confused deputy problem" and "Creating IAM roles").

use cairn_iam::evaluate::{Policies, SourceKind};
use cairn_iam::policy::PolicyKind;

use super::Expected::{self, Allow, Nothing};
use super::{EVERYTHING, attached, decide, document};

/// Who may assume a role of the owner's, by its trust policy alone. Who is of another account may do everything there.
fn check_trust_policy(name: &str, statements: &str, rows: &[(&str, &str, &str, Expected)]) {
    let trust = attached(SourceKind::Resource, &document(statements), PolicyKind::Trust);
    let everything = [attached(SourceKind::User, EVERYTHING, PolicyKind::Identity)];
    for &(who, action, context, expected) in rows {
        let identity =
            if who.starts_with("partner/") || who.ends_with(" with everything") { &everything[..] } else { &[] };
        let who = who.trim_end_matches(" with everything");
        let policies = Policies { identity, resource: Some(&trust), ..Policies::default() };
        let found = decide(&policies, (who, action, "arn:aws:iam::111122223333:role/reader", context));
        assert_eq!(found, expected, "{name}: {who} {action} {context}");
    }
}

#[test]
fn trust_policies() {
    check_trust_policy(
        "The confused deputy problem: an external id",
        r#"{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"12345"}}}"#,
        &[
            ("partner/dave", "sts:AssumeRole", "sts:ExternalId=12345", Allow),
            ("partner/dave", "sts:AssumeRole", "sts:ExternalId=54321", Nothing),
            ("partner/dave", "sts:AssumeRole", "", Nothing),
            ("anna with everything", "sts:AssumeRole", "sts:ExternalId=12345", Nothing),
        ],
    );
    check_trust_policy(
        "The confused deputy problem: a service that acts for one account's resource",
        r#"{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sts:AssumeRole",
            "Condition":{"StringEquals":{"aws:SourceAccount":"111122223333"},"ArnLike":{"aws:SourceArn":"arn:aws:s3:::source*"}}}"#,
        &[
            (
                "service/s3.amazonaws.com",
                "sts:AssumeRole",
                "aws:SourceAccount=111122223333&aws:SourceArn=arn:aws:s3:::source-1",
                Allow,
            ),
            (
                "service/s3.amazonaws.com",
                "sts:AssumeRole",
                "aws:SourceAccount=444455556666&aws:SourceArn=arn:aws:s3:::source-1",
                Nothing,
            ),
            (
                "service/s3.amazonaws.com",
                "sts:AssumeRole",
                "aws:SourceAccount=111122223333&aws:SourceArn=arn:aws:s3:::other",
                Nothing,
            ),
            ("service/s3.amazonaws.com", "sts:AssumeRole", "aws:SourceAccount=111122223333", Nothing),
            ("service/s3.amazonaws.com", "sts:AssumeRole", "", Nothing),
        ],
    );
    check_trust_policy(
        "Within the account: whoever is named may, whoever is only of the account needs a policy of his own",
        r#"{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:root","arn:aws:iam::111122223333:user/anna"]},"Action":"sts:AssumeRole"}"#,
        &[
            ("anna", "sts:AssumeRole", "", Allow),
            ("bob", "sts:AssumeRole", "", Nothing),
            ("bob with everything", "sts:AssumeRole", "", Allow),
            ("nobody", "sts:AssumeRole", "", Nothing),
        ],
    );
    check_trust_policy(
        "A policy of one's own is not enough, even for the root",
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/anna"},"Action":"sts:AssumeRole"}"#,
        &[("bob with everything", "sts:AssumeRole", "", Nothing), ("root", "sts:AssumeRole", "", Nothing)],
    );
    check_trust_policy(
        "A role for web identity federation",
        r#"{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/id.example.com"},
            "Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"id.example.com:aud":"cairn"},"StringLike":{"id.example.com:sub":"repo:cairn/*"}}}"#,
        &[
            (
                "web/id.example.com",
                "sts:AssumeRoleWithWebIdentity",
                "id.example.com:aud=cairn&id.example.com:sub=repo:cairn/main",
                Allow,
            ),
            (
                "web/id.example.com",
                "sts:AssumeRoleWithWebIdentity",
                "id.example.com:aud=cairn&id.example.com:sub=repo:other/main",
                Nothing,
            ),
            ("web/id.example.com", "sts:AssumeRoleWithWebIdentity", "id.example.com:sub=repo:cairn/main", Nothing),
            (
                "web/evil.example.com",
                "sts:AssumeRoleWithWebIdentity",
                "id.example.com:aud=cairn&id.example.com:sub=repo:cairn/main",
                Nothing,
            ),
            (
                "web/id.example.com",
                "sts:AssumeRole",
                "id.example.com:aud=cairn&id.example.com:sub=repo:cairn/main",
                Nothing,
            ),
        ],
    );
    check_trust_policy(
        "A role that a service assumes, and MFA for people",
        r#"{"Effect":"Allow","Principal":{"Service":["s3.amazonaws.com"]},"Action":"sts:AssumeRole"},
           {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/anna"},"Action":"sts:AssumeRole","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}"#,
        &[
            ("service/s3.amazonaws.com", "sts:AssumeRole", "", Allow),
            ("service/ec2.amazonaws.com", "sts:AssumeRole", "", Nothing),
            ("anna", "sts:AssumeRole", "aws:MultiFactorAuthPresent=true", Allow),
            ("anna", "sts:AssumeRole", "aws:MultiFactorAuthPresent=false", Nothing),
            ("anna", "sts:AssumeRole", "", Nothing),
        ],
    );
}
