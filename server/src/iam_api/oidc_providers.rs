//! OpenID Connect providers.

use cairn_iam::identity::{Directory, Fault, NewProvider, Tagged};

use crate::query_api::Reply;
use crate::s3::error::Failure;

use super::ask::Ask;
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "AddClientIDToOpenIDConnectProvider",
    "CreateOpenIDConnectProvider",
    "DeleteOpenIDConnectProvider",
    "GetOpenIDConnectProvider",
    "ListOpenIDConnectProviders",
    "RemoveClientIDFromOpenIDConnectProvider",
    "UpdateOpenIDConnectProviderThumbprint",
];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "AddClientIDToOpenIDConnectProvider" => {
            let id = ask.params().required("ClientID")?.to_owned();
            change(ask, move |directory, arn| directory.add_client_id(arn, &id)).await
        }
        "CreateOpenIDConnectProvider" => create(ask).await,
        "DeleteOpenIDConnectProvider" => change(ask, |directory, arn| directory.delete_provider(arn)).await,
        "GetOpenIDConnectProvider" => get(ask),
        "ListOpenIDConnectProviders" => list(ask),
        "RemoveClientIDFromOpenIDConnectProvider" => {
            let id = ask.params().required("ClientID")?.to_owned();
            change(ask, move |directory, arn| directory.remove_client_id(arn, &id)).await
        }
        "UpdateOpenIDConnectProviderThumbprint" => {
            let thumbprints = thumbprints(ask);
            change(ask, move |directory, arn| directory.update_thumbprints(arn, thumbprints.clone())).await
        }
        _ => Err(ask.misrouted()),
    }
}

fn thumbprints(ask: &Ask) -> Vec<String> {
    ask.params().list("ThumbprintList").into_iter().map(str::to_owned).collect()
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let new = NewProvider {
        url: ask.params().required("Url")?.to_owned(),
        client_ids: ask.params().list("ClientIDList").into_iter().map(str::to_owned).collect(),
        thumbprints: thumbprints(ask),
        tags: ask.tags()?,
    };
    let account = ask.account()?;
    let now_ms = ask.identities().now_ms();
    let url = new.url.split_once("://").map_or(new.url.as_str(), |(_, rest)| rest);
    let target = Target::new(account, "oidc-provider", "/", url).with_tags(&new.tags);
    let tags = new.tags.clone();
    let made = ask.change(
        account,
        move |_| target.clone(),
        move |directory| {
            let provider = directory.create_provider(new.clone(), now_ms)?.clone();
            Ok(directory.provider_arn(&provider))
        },
    );
    let arn = made.await?;
    Ok(Reply::result(|document| {
        document.text("OpenIDConnectProviderArn", &arn);
        write::tags(document, &tags);
    }))
}

fn get(ask: &Ask) -> Result<Reply, Failure> {
    let arn = ask.params().required("OpenIDConnectProviderArn")?;
    let directory = ask.directory()?;
    ask.allow(directory, &Target::named(directory, Tagged::Provider(arn)))?;
    let provider = directory.provider(arn)?;
    Ok(Reply::result(|document| {
        document.text("Url", &provider.url);
        document.element("ClientIDList", |list| provider.client_ids.iter().for_each(|id| list.text("member", id)));
        document.element("ThumbprintList", |list| provider.thumbprints.iter().for_each(|one| list.text("member", one)));
        write::time(document, "CreateDate", provider.created_ms);
        write::tags(document, &provider.tags);
    }))
}

fn list(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    Ok(Reply::result(|document| {
        document.element("OpenIDConnectProviderList", |list| {
            for provider in directory.providers.iter() {
                list.element("member", |member| member.text("Arn", &directory.provider_arn(provider)));
            }
        });
    }))
}

/// Changes the provider that is named.
async fn change(
    ask: &Ask,
    change: impl Fn(&mut Directory, &str) -> Result<(), Fault> + Send + Sync + 'static,
) -> Result<Reply, Failure> {
    let arn = ask.params().required("OpenIDConnectProviderArn")?.to_owned();
    let target = arn.clone();
    let account = ask.account()?;
    ask.change(
        account,
        move |directory| Target::named(directory, Tagged::Provider(&target)),
        move |directory| change(directory, &arn),
    )
    .await?;
    Ok(Reply::empty())
}
