//! What IAM has for its users and roles elsewhere and nobody can have here: instance profiles, SSH public keys, certificates,
//! credentials for single services, SAML providers. Their lists are empty, which clients ask for before they delete somebody.

use crate::query_api::Reply;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;

/// The actions, whose lists they tell, and how the list is called.
const LISTS: [(&str, Of, &str); 7] = [
    ("ListInstanceProfiles", Of::Account, "InstanceProfiles"),
    ("ListInstanceProfilesForRole", Of::Role, "InstanceProfiles"),
    ("ListSAMLProviders", Of::Account, "SAMLProviderList"),
    ("ListSSHPublicKeys", Of::User, "SSHPublicKeys"),
    ("ListServerCertificates", Of::Account, "ServerCertificateMetadataList"),
    ("ListServiceSpecificCredentials", Of::User, "ServiceSpecificCredentials"),
    ("ListSigningCertificates", Of::User, "Certificates"),
];

pub(super) const ACTIONS: &[&str] =
    &[LISTS[0].0, LISTS[1].0, LISTS[2].0, LISTS[3].0, LISTS[4].0, LISTS[5].0, LISTS[6].0];

/// Whose a list is.
#[derive(Clone, Copy)]
enum Of {
    Account,
    User,
    Role,
}

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    let found = LISTS.iter().find(|(action, ..)| *action == ask.action());
    let (_, of, name) = found.ok_or_else(|| ask.misrouted())?;
    match of {
        Of::Account => ask.allow(ask.directory()?, &Target::everything())?,
        Of::User => {
            let (account, user) = ask.user()?;
            let directory = ask.directory_of(account)?;
            ask.allow(directory, &Target::user(directory, &user))?;
            directory.user(&user)?;
        }
        Of::Role => {
            let role = ask.params().required("RoleName")?;
            let directory = ask.directory()?;
            ask.allow(directory, &Target::role(directory, role))?;
            directory.role(role)?;
        }
    }
    let page = Page::<()>::of(ask.params(), std::iter::empty())?;
    Ok(Reply::result(|document: &mut Document| page.write(document, name, |_, ()| {})))
}
