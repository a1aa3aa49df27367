//! OpenID Connect providers.

use crate::identity::fault::{Fault, FaultKind};
use crate::identity::limits::{CLIENT_IDS_MAX, OIDC_PROVIDERS_MAX, THUMBPRINTS_MAX, URL_CHARS_MAX};
use crate::identity::name::{check_length, check_tags, resource_of};
use crate::identity::{Directory, OidcProvider, Tag, folded};

/// Hexadecimal digits of a SHA-1 fingerprint.
const THUMBPRINT_CHARS: usize = 40;

/// A provider to be made.
#[derive(Clone, Debug)]
pub struct NewProvider {
    /// The issuer's URL, with `https://`.
    pub url: String,
    /// The audiences that are accepted.
    pub client_ids: Vec<String>,
    /// SHA-1 fingerprints of certificates.
    pub thumbprints: Vec<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

impl Directory {
    /// The provider of this ARN.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn provider(&self, arn: &str) -> Result<&OidcProvider, Fault> {
        let url = resource_of(arn, self.account(), "oidc-provider").and_then(|resource| resource.strip_prefix('/'));
        url.and_then(|url| self.providers.get(&folded(url))).ok_or_else(|| no_provider(arn))
    }

    /// Makes a provider.
    ///
    /// # Errors
    /// `EntityAlreadyExists`, `LimitExceeded`, `InvalidInput`, `ValidationError`.
    pub fn create_provider(&mut self, new: NewProvider, now_ms: u64) -> Result<&OidcProvider, Fault> {
        let url = issuer(&new.url)?;
        check_tags(&new.tags)?;
        check_client_ids(&new.client_ids)?;
        check_thumbprints(&new.thumbprints)?;
        let row = folded(&url);
        if self.providers.get(&row).is_some() {
            let message = format!("Provider with url {} already exists.", new.url);
            return Err(Fault::new(FaultKind::EntityAlreadyExists, message));
        }
        if self.providers.len() >= OIDC_PROVIDERS_MAX {
            return Err(Fault::limit("OpenIdConnectProvidersPerAccount", OIDC_PROVIDERS_MAX));
        }
        self.providers.put(OidcProvider {
            url: url.clone(),
            client_ids: new.client_ids,
            thumbprints: new.thumbprints,
            created_ms: now_ms,
            tags: new.tags,
        });
        self.providers.get(&row).ok_or_else(|| no_provider(&url))
    }

    /// Accepts one more audience; no error if it is accepted.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`, `ValidationError`.
    pub fn add_client_id(&mut self, arn: &str, client_id: &str) -> Result<(), Fault> {
        let provider = self.provider_mut(arn)?;
        if !provider.client_ids.iter().any(|known| known == client_id) {
            provider.client_ids.push(client_id.to_owned());
        }
        check_client_ids(&provider.client_ids)
    }

    /// Accepts an audience no more; no error if it was not accepted.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn remove_client_id(&mut self, arn: &str, client_id: &str) -> Result<(), Fault> {
        self.provider_mut(arn)?.client_ids.retain(|known| known != client_id);
        Ok(())
    }

    /// Replaces the fingerprints.
    ///
    /// # Errors
    /// `NoSuchEntity`, `InvalidInput`.
    pub fn update_thumbprints(&mut self, arn: &str, thumbprints: Vec<String>) -> Result<(), Fault> {
        check_thumbprints(&thumbprints)?;
        self.provider_mut(arn)?.thumbprints = thumbprints;
        Ok(())
    }

    /// Removes a provider.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn delete_provider(&mut self, arn: &str) -> Result<(), Fault> {
        let row = folded(&self.provider(arn)?.url);
        self.providers.remove(&row);
        Ok(())
    }

    pub(super) fn provider_mut(&mut self, arn: &str) -> Result<&mut OidcProvider, Fault> {
        let row = folded(&self.provider(arn)?.url);
        self.providers.get_mut(&row).ok_or_else(|| no_provider(arn))
    }
}

/// The URL without its scheme, which must be HTTPS: tokens are only as good as the keys that are fetched from there.
fn issuer(url: &str) -> Result<String, Fault> {
    check_length("url", url, 1..=URL_CHARS_MAX)?;
    let rest = url.strip_prefix("https://").filter(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/%".contains(&byte))
    });
    match rest {
        Some(rest) => Ok(rest.trim_end_matches('/').to_owned()),
        None => Err(Fault::new(FaultKind::InvalidInput, format!("Invalid Open ID Connect Provider URL: {url}"))),
    }
}

fn check_client_ids(client_ids: &[String]) -> Result<(), Fault> {
    if client_ids.len() > CLIENT_IDS_MAX {
        return Err(Fault::limit("ClientIdsPerOpenIdConnectProvider", CLIENT_IDS_MAX));
    }
    client_ids.iter().try_for_each(|client_id| check_length("clientID", client_id, 1..=URL_CHARS_MAX))
}

fn check_thumbprints(thumbprints: &[String]) -> Result<(), Fault> {
    let is_thumbprint =
        |text: &String| text.len() == THUMBPRINT_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if thumbprints.len() > THUMBPRINTS_MAX || !thumbprints.iter().all(is_thumbprint) {
        return Err(Fault::new(FaultKind::InvalidInput, "A thumbprint is 40 hexadecimal digits; there may be five."));
    }
    Ok(())
}

fn no_provider(arn: &str) -> Fault {
    Fault::new(FaultKind::NoSuchEntity, format!("OpenIDConnect Provider not found for arn {arn}"))
}
