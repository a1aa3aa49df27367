//! The AWS Query protocol, which the APIs of IAM and STS speak: a form in, XML out.
//!
//! A call is `POST /` with a form that names the action and its parameters (`UserName=anna&Tags.member.1.Key=team`), signed with
//! version 4 in the header for its service. `gate/service_apis.rs` recognises calls and reads their forms; an `s3s` of each
//! service's own verifies the signature; the [`Route`] behind it finds the action and wraps what it replies. What the actions are
//! and do, each [`Api`] says.

pub mod faults;
pub mod params;
pub mod permission;

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::S3Request;

use crate::audit::Trail;
use crate::auth::Signer;
use crate::gate::ids::RequestId;
use crate::gate::verifier::{self, Dispatch};
use crate::identities::Caller;
use crate::listener::ConnectionInfo;
use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::request::Answer;
use crate::s3::xml::Document;
use crate::sts::session::{Session, Whose};

pub use params::Params;

/// The id of a request, as these services send it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The media type of every answer.
pub const CONTENT_TYPE_XML: HeaderValue = HeaderValue::from_static("text/xml");

const JSON: &str = "application/json";

/// A service that speaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Identities and policies.
    Iam,
    /// Temporary credentials.
    Sts,
}

impl Service {
    /// The service that a signature's scope names.
    pub fn from_scope(name: &str) -> Option<Self> {
        [Self::Iam, Self::Sts].into_iter().find(|service| service.name() == name)
    }

    /// Its name in the scope of a signature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Sts => "sts",
        }
    }

    /// The version of its API, which each call names.
    pub fn version(self) -> &'static str {
        match self {
            Self::Iam => "2010-05-08",
            Self::Sts => "2011-06-15",
        }
    }

    /// The namespace of its documents.
    fn namespace(self) -> &'static str {
        match self {
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }
}

/// A call whose signature, if it has one, was verified.
#[derive(Debug)]
pub struct Call {
    /// Who signed it. None: it has no signature, which only some actions allow.
    pub signer: Option<Signer>,
    /// What the form says besides action and version.
    pub params: Params,
    /// The headers.
    pub headers: HeaderMap,
    /// How it came.
    pub connection: ConnectionInfo,
    /// Its id.
    pub id: RequestId,
    /// Where it is noted what is decided about it.
    pub trail: Trail,
}

impl Call {
    /// Notes who makes the call.
    pub fn made_by(&self, caller: &Arc<Caller>) {
        self.trail.caller(caller);
    }
}

/// What an action replies.
#[derive(Debug)]
pub struct Reply(Content);

#[derive(Debug)]
enum Content {
    Nothing,
    Elements(Document),
    Texts(Vec<(&'static str, String)>),
}

impl Reply {
    /// The reply of an action that AWS gives no result, such as DeleteUser.
    pub fn empty() -> Self {
        Self(Content::Nothing)
    }

    /// A result, whose elements `write` writes.
    pub fn result(write: impl FnOnce(&mut Document)) -> Self {
        let mut elements = Document::fragment();
        write(&mut elements);
        Self(Content::Elements(elements))
    }

    /// A result that is a list of texts, which clients may have in JSON.
    pub fn texts(texts: Vec<(&'static str, String)>) -> Self {
        Self(Content::Texts(texts))
    }
}

/// The actions of a service.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// Whose they are.
    fn service(&self) -> Service;

    /// The name of an action, if there is one of this name.
    fn action(&self, name: &str) -> Option<&'static str>;

    /// Whether an action proves by its parameters who calls it, and so needs no signature.
    fn needs_no_signature(&self, _action: &'static str) -> bool {
        false
    }

    /// Whether an action may be called by a presigned URL.
    fn may_be_url(&self, _action: &'static str) -> bool {
        false
    }

    /// Does what an action of [`Api::action`] says, if the caller may have it done.
    async fn call(&self, action: &'static str, call: Call) -> Result<Reply, Failure>;
}

/// A form on its way from the gate through `s3s` to its action.
#[derive(Clone, Debug)]
pub struct Form {
    /// All its parameters.
    pub params: Params,
    /// It is the query of a presigned URL.
    pub is_url: bool,
    /// How it came.
    pub connection: ConnectionInfo,
    /// The request's id.
    pub id: RequestId,
    /// Where it is noted what is decided about it.
    pub trail: Trail,
}

/// Takes calls to their actions.
pub struct Route(pub Arc<dyn Api>);

impl Dispatch for Route {
    async fn dispatch(&self, mut request: S3Request<s3s::Body>) -> Result<Answer, Failure> {
        let Form { params, is_url, connection, id, trail } =
            request.extensions.remove().ok_or_else(|| Failure::internal("a call passed by the gate"))?;
        let signer = verifier::signer(&mut request)?;
        let service = self.0.service();
        let action = find(self.0.as_ref(), &params, signer.is_some())?;
        if is_url && !self.0.may_be_url(action) {
            return Err(faults::invalid_action(service, &params));
        }
        if let Some(session) = signer.as_ref().and_then(|signer| signer.session.as_deref()) {
            check_session(service, action, session)?;
        }
        let wants_json = headers::text(&request.headers, &ACCEPT).is_some_and(|text| text.trim() == JSON);
        let call = Call { signer, params, headers: request.headers, connection, id, trail };
        match self.0.call(action, call).await? {
            Reply(Content::Texts(texts)) if wants_json => Ok(json_answer(action, texts, id)),
            reply => Ok(answer(service, action, reply, id)),
        }
    }
}

/// The action that a call names, if it may be called so.
fn find(api: &dyn Api, params: &Params, is_signed: bool) -> Result<&'static str, Failure> {
    let service = api.service();
    let action = params.get("Action").and_then(|name| api.action(name));
    let action = action.filter(|_| params.get("Version") == Some(service.version()));
    if !is_signed && !action.is_some_and(|action| api.needs_no_signature(action)) {
        return Err(faults::missing_signature());
    }
    action.ok_or_else(|| faults::invalid_action(service, params))
}

/// What sessions that are no role's may not call, whatever their policies say (API references of GetSessionToken and
/// GetFederationToken).
fn check_session(service: Service, action: &'static str, session: &Session) -> Result<(), Failure> {
    let is_allowed = match (&session.whose, service) {
        (Whose::Role { .. }, _) => true,
        (Whose::User { .. } | Whose::Root { .. }, Service::Iam) => session.mfa_at_ms.is_some(),
        (Whose::User { .. } | Whose::Root { .. }, Service::Sts) => {
            ["AssumeRole", "GetCallerIdentity"].contains(&action)
        }
        (Whose::Federated { .. }, Service::Iam) => false,
        (Whose::Federated { .. }, Service::Sts) => action == "GetCallerIdentity",
    };
    match (is_allowed, service) {
        (true, _) => Ok(()),
        (false, Service::Iam) => Err(faults::invalid_client_token()),
        (false, Service::Sts) => Err(faults::fault(
            "AccessDenied",
            StatusCode::FORBIDDEN,
            format!("Cannot call {action} with session credentials"),
        )),
    }
}

fn answer(service: Service, action: &str, reply: Reply, id: RequestId) -> Answer {
    let id = id.request_id();
    let mut document = Document::in_namespace(format!("{action}Response"), service.namespace());
    let name = format!("{action}Result");
    match reply.0 {
        Content::Nothing => {}
        Content::Elements(elements) => document.element(&name, |result| result.append(elements)),
        Content::Texts(texts) => document.element(&name, |result| {
            texts.iter().for_each(|(name, text)| result.text(name, text));
        }),
    }
    document.element("ResponseMetadata", |metadata| metadata.text("RequestId", &id));
    with_body(CONTENT_TYPE_XML, document.finish(), &id)
}

/// The same in JSON, as who verifies tokens of Kubernetes asks for it.
fn json_answer(action: &str, texts: Vec<(&'static str, String)>, id: RequestId) -> Answer {
    let id = id.request_id();
    let result: serde_json::Map<String, serde_json::Value> =
        texts.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    let (result_name, metadata) = (format!("{action}Result"), serde_json::json!({ "RequestId": id }));
    let response = serde_json::json!({ result_name: result, "ResponseMetadata": metadata });
    let document = serde_json::json!({ format!("{action}Response"): response });
    with_body(HeaderValue::from_static(JSON), document.to_string(), &id)
}

fn with_body(content_type: HeaderValue, body: String, id: &str) -> Answer {
    let mut answer = Answer::empty(StatusCode::OK).header(CONTENT_TYPE, content_type);
    answer.headers.insert(REQUEST_ID, headers::value(id));
    answer.body = s3s::Body::from(body);
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    struct Greeter;

    #[async_trait]
    impl Api for Greeter {
        fn service(&self) -> Service {
            Service::Sts
        }

        fn action(&self, name: &str) -> Option<&'static str> {
            ["Greet", "GreetStranger"].into_iter().find(|action| *action == name)
        }

        fn needs_no_signature(&self, action: &'static str) -> bool {
            action == "GreetStranger"
        }

        async fn call(&self, _: &'static str, _: Call) -> Result<Reply, Failure> {
            Ok(Reply::empty())
        }
    }

    fn found(form: &str, is_signed: bool) -> Result<&'static str, String> {
        let params = Params::parse(form.as_bytes()).unwrap();
        find(&Greeter, &params, is_signed).map_err(|failure| failure.code().to_owned())
    }

    #[test]
    fn an_action_is_found_by_name_and_version() {
        assert_eq!(found("Action=Greet&Version=2011-06-15", true), Ok("Greet"));
        for form in ["Action=greet&Version=2011-06-15", "Action=Greet&Version=2010-05-08", "Action=Greet", ""] {
            assert_eq!(found(form, true), Err("InvalidAction".to_owned()), "{form}");
        }
    }

    #[test]
    fn an_action_without_a_signature_is_told_nothing_unless_it_needs_none() {
        assert_eq!(found("Action=GreetStranger&Version=2011-06-15", false), Ok("GreetStranger"));
        for form in ["Action=Greet&Version=2011-06-15", "Action=Other&Version=2011-06-15", ""] {
            assert_eq!(found(form, false), Err("MissingAuthenticationToken".to_owned()), "{form}");
        }
    }

    #[test]
    fn sessions_that_are_no_roles_call_little() {
        let user = || Session::new(Whose::User { account: 1, user_id: "AIDAX".to_owned() }, 0, 1);
        let with_mfa = Session { mfa_at_ms: Some(0), ..user() };
        let federated = Session::new(Whose::Federated { account: 1, user_id: None, name: "guest".to_owned() }, 0, 1);
        for (session, service, action, expected) in [
            (&user(), Service::Iam, "GetUser", Some("InvalidClientTokenId")),
            (&with_mfa, Service::Iam, "GetUser", None),
            (&with_mfa, Service::Sts, "AssumeRole", None),
            (&with_mfa, Service::Sts, "GetSessionToken", Some("AccessDenied")),
            (&federated, Service::Iam, "GetUser", Some("InvalidClientTokenId")),
            (&federated, Service::Sts, "AssumeRole", Some("AccessDenied")),
            (&federated, Service::Sts, "GetCallerIdentity", None),
        ] {
            let checked = check_session(service, action, session).err();
            assert_eq!(checked.as_ref().map(Failure::code), expected, "{action}");
        }
    }

    #[test]
    fn a_service_is_named_exactly() {
        assert_eq!(Service::from_scope("iam"), Some(Service::Iam));
        assert_eq!(Service::from_scope("sts"), Some(Service::Sts));
        for name in ["", "s3", "IAM", "cairn"] {
            assert_eq!(Service::from_scope(name), None, "{name}");
        }
    }
}
