//! Tags of users, roles, policies, MFA devices and OIDC providers.

use cairn_iam::identity::Fault;
use cairn_iam::identity::{Directory, Tagged};

use crate::query_api::Reply;
use crate::s3::error::Failure;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "ListMFADeviceTags",
    "ListOpenIDConnectProviderTags",
    "ListPolicyTags",
    "ListRoleTags",
    "ListUserTags",
    "TagMFADevice",
    "TagOpenIDConnectProvider",
    "TagPolicy",
    "TagRole",
    "TagUser",
    "UntagMFADevice",
    "UntagOpenIDConnectProvider",
    "UntagPolicy",
    "UntagRole",
    "UntagUser",
];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    let named = Named::of(ask)?;
    match ask.action() {
        action if action.starts_with("List") => list(ask, &named),
        action if action.starts_with("Tag") => tag(ask, named).await,
        _ => untag(ask, named).await,
    }
}

/// What the tags are of; its kind is in the action's name.
#[derive(Clone)]
struct Named {
    kind: fn(&str) -> Tagged<'_>,
    name: String,
}

impl Named {
    fn of(ask: &Ask) -> Result<Self, Failure> {
        type Kind = fn(&str) -> Tagged<'_>;
        let kinds: [(&str, &str, Kind); 5] = [
            ("User", "UserName", |name| Tagged::User(name)),
            ("Role", "RoleName", |name| Tagged::Role(name)),
            ("Policy", "PolicyArn", |name| Tagged::Policy(name)),
            ("MFADevice", "SerialNumber", |name| Tagged::Device(name)),
            ("OpenIDConnectProvider", "OpenIDConnectProviderArn", |name| Tagged::Provider(name)),
        ];
        let found = kinds.into_iter().find(|(noun, ..)| ask.action().contains(noun));
        let (_, parameter, kind) = found.ok_or_else(|| ask.misrouted())?;
        Ok(Self { kind, name: ask.params().required(parameter)?.to_owned() })
    }

    fn tagged(&self) -> Tagged<'_> {
        (self.kind)(&self.name)
    }

    fn target(&self, directory: &Directory) -> Target {
        Target::named(directory, self.tagged())
    }
}

fn list(ask: &Ask, named: &Named) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &named.target(directory))?;
    let mut tags: Vec<_> = directory.tags(named.tagged())?.iter().map(|tag| (tag.key.clone(), tag)).collect();
    tags.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let page = Page::of(ask.params(), tags.into_iter())?;
    Ok(Reply::result(|document| page.write(document, "Tags", write::one_tag)))
}

async fn tag(ask: &Ask, named: Named) -> Result<Reply, Failure> {
    let tags = ask.tags()?;
    let (of_target, of_call) = (named.clone(), tags.clone());
    let change = move |directory: &mut Directory| -> Result<(), Fault> { directory.tag(named.tagged(), tags.clone()) };
    ask.change(ask.account()?, move |directory| of_target.target(directory).with_tags(&of_call), change).await?;
    Ok(Reply::empty())
}

async fn untag(ask: &Ask, named: Named) -> Result<Reply, Failure> {
    let keys: Vec<String> = ask.params().list("TagKeys").into_iter().map(str::to_owned).collect();
    let (of_target, of_call) = (named.clone(), keys.clone());
    let change = move |directory: &mut Directory| -> Result<(), Fault> { directory.untag(named.tagged(), &keys) };
    ask.change(ask.account()?, move |directory| of_target.target(directory).with_tag_keys(&of_call), change).await?;
    Ok(Reply::empty())
}
