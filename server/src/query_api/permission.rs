//! Whether the caller of an action may have it done: by its policies, by what is asked, and under which circumstances.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Context, Decision, Policies, Request, Values, evaluate};
use cairn_storage::clock::Timestamp;
use http::StatusCode;
use http::header::{REFERER, USER_AGENT};

use crate::identities::Caller;
use crate::s3::error::Failure;
use crate::s3::headers::{self, document_time};

use super::Call;
use super::faults::fault;

/// What the server knows about every call.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'c> {
    /// The call.
    pub call: &'c Call,
    /// Who makes it.
    pub caller: &'c Caller,
    /// When it came.
    pub now: Timestamp,
    /// The server's region.
    pub region: &'c str,
}

/// Condition keys of one action, in lower case, with the values that its parameters give them. They win over what is known
/// otherwise.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, Vec<String>>, Vec<String>);

impl Keys {
    /// With a key of one value.
    pub fn one(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), vec![value.into()]);
    }

    /// With a key of several values; none is no key.
    pub fn many(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        if !values.is_empty() {
            self.1.push(key.to_owned());
            self.0.insert(key.to_owned(), values);
        }
    }

    /// With the keys of tags: those that a request gives (`aws:requesttag/`, `aws:tagkeys`).
    pub fn request_tags<'t>(&mut self, tags: impl IntoIterator<Item = (&'t str, &'t str)>) {
        let mut keys = Vec::new();
        for (key, value) in tags {
            self.one(format!("aws:requesttag/{}", key.to_lowercase()), value);
            keys.push(key.to_owned());
        }
        self.many("aws:tagkeys", keys);
    }

    /// With the keys of tags that a resource of IAM has.
    pub fn resource_tags<'t>(&mut self, tags: impl IntoIterator<Item = (&'t str, &'t str)>) {
        for (key, value) in tags {
            for prefix in ["aws:resourcetag", "iam:resourcetag"] {
                self.one(format!("{prefix}/{}", key.to_lowercase()), value);
            }
        }
    }

    /// The values of one.
    pub fn values(&self, key: &str) -> Option<Values<'_>> {
        let values = self.0.get(key)?;
        let is_list = self.1.iter().any(|list| list == key);
        Some(match values.as_slice() {
            [value] if !is_list => Values::One(value.as_str().into()),
            values => Values::Many(values.iter().map(|value| value.as_str().into()).collect()),
        })
    }
}

/// What is done to what.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'d> {
    /// `iam:CreateUser`
    pub action: &'d str,
    /// The ARN of what it is done to.
    pub resource: &'d str,
    /// Whose that is.
    pub account: AccountNumber,
    /// The policy that it has itself, as roles have.
    pub policy: Option<&'d Attached>,
}

struct CallContext<'c> {
    circumstances: Circumstances<'c>,
    keys: &'c Keys,
}

impl Context for CallContext<'_> {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        if let Some(values) = self.keys.values(key) {
            return values;
        }
        let Circumstances { call, caller, now, region } = self.circumstances;
        let header = |name| one(headers::text(&call.headers, name).map(Cow::Owned));
        match key {
            "aws:sourceip" => one(Some(call.connection.remote.ip().to_string().into())),
            "aws:securetransport" => one(Some(if call.connection.secure { "true" } else { "false" }.into())),
            "aws:viaawsservice" => one(Some("false".into())),
            "aws:currenttime" => one(Some(document_time(now).into())),
            "aws:epochtime" => one(Some(now.0.div_euclid(1_000).to_string().into())),
            "aws:useragent" => header(&USER_AGENT),
            "aws:referer" => header(&REFERER),
            "aws:requestedregion" => one(Some(region.into())),
            key => caller.condition(key, now),
        }
    }
}

fn one(value: Option<Cow<'_, str>>) -> Values<'_> {
    value.map_or(Values::Absent, Values::One)
}

/// Decides about an action.
pub fn decide(circumstances: Circumstances<'_>, deed: Deed<'_>, keys: &Keys) -> Decision {
    let caller = circumstances.caller;
    let context = CallContext { circumstances, keys };
    let request = Request {
        principal: &caller.principal,
        action: deed.action,
        resource: deed.resource,
        resource_account: Some(deed.account),
        context: &context,
    };
    let policies = Policies {
        identity: &caller.policies.identity,
        boundary: caller.policies.boundary.as_ref(),
        session: caller.session_policies.as_deref(),
        resource: deed.policy,
        resource_grants: false,
    };
    evaluate(&request, &policies)
}

/// Refuses an action that is not allowed.
///
/// # Errors
/// `AccessDenied`, with AWS's message.
pub fn check(circumstances: Circumstances<'_>, deed: Deed<'_>, keys: &Keys) -> Result<(), Failure> {
    let decision = decide(circumstances, deed, keys);
    let because = decision.because(deed.action);
    circumstances.call.trail.decided(deed.action, deed.resource, decision);
    match because {
        None => Ok(()),
        Some(because) => Err(denied(circumstances.caller, deed.action, deed.resource, Some(&because))),
    }
}

/// `AccessDenied` as AWS tells it. Without `because`, nothing is told about the resource.
pub fn denied(caller: &Caller, action: &str, resource: &str, because: Option<&str>) -> Failure {
    let who = caller.principal.caller_arn().unwrap_or_else(|| "anonymous".to_owned());
    let because = because.map(|because| format!(" {because}")).unwrap_or_default();
    let message = format!("User: {who} is not authorized to perform: {action} on resource: {resource}{because}");
    fault("AccessDenied", StatusCode::FORBIDDEN, message)
}
