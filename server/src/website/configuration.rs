//! How a bucket is a website: the document of PutBucketWebsite, validated, and as it is kept.
//!
//! What was accepted can be followed without asking again: protocols, codes and host names are what they must be.

use cairn_storage::StorageError;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::object::KEY_BYTES_MAX;
use cairn_storage::ops::{Bucket, Store};
use cairn_storage::record::Record;
use minicbor::{Decode, Encode};
use s3s::S3ErrorCode;
use s3s::dto;

use crate::s3::error::Failure;
use crate::s3::xml::{self, Document};

/// Rules of one bucket (S3 user guide, "Configuring a webpage redirect").
const RULES_MAX: usize = 50;

/// The longest name of a host, with a port.
const HOST_BYTES_MAX: usize = 255;

/// A bucket's configuration: either everything is redirected, or there are index documents.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Website {
    /// Where everything is redirected to.
    #[n(0)]
    pub redirect_all: Option<RedirectAll>,
    /// What a folder's key is completed with; empty if everything is redirected.
    #[n(1)]
    pub index_suffix: String,
    /// The key of what is shown with an error.
    #[n(2)]
    pub error_key: Option<String>,
    /// The rules, of which the first that fits counts.
    #[n(3)]
    pub rules: Vec<Rule>,
}

/// Where everything is redirected to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RedirectAll {
    /// The host, perhaps with a port.
    #[n(0)]
    pub host: String,
    /// None: the request's own.
    #[n(1)]
    pub protocol: Option<Protocol>,
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs)]
pub enum Protocol {
    #[n(0)]
    Http,
    #[n(1)]
    Https,
}

impl Protocol {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A routing rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rule {
    /// Keys that begin so.
    #[n(0)]
    pub key_prefix: Option<String>,
    /// Requests that fail with this status.
    #[n(1)]
    pub error_status: Option<u16>,
    /// To this protocol; None: the request's own.
    #[n(2)]
    pub protocol: Option<Protocol>,
    /// To this host; None: the request's own.
    #[n(3)]
    pub host: Option<String>,
    /// With this status; None: 301.
    #[n(4)]
    pub status: Option<u16>,
    /// To this key.
    #[n(5)]
    pub key: Option<String>,
    /// To the key with this prefix in place of the one that fits.
    #[n(6)]
    pub prefix: Option<String>,
}

impl Record for Website {
    const NAME: &'static str = "website";
    const BYTES_MAX: usize = 192 << 10;
}

impl Website {
    /// The bucket's; None: it is no website.
    ///
    /// # Errors
    /// The index's.
    pub async fn of(store: &Store, bucket: &Bucket) -> Result<Option<Self>, StorageError> {
        let document = store.document(bucket, DocumentKind::Website).await?;
        Ok(document.map(|document| Self::from_value(&document)).transpose()?)
    }

    /// Reads a `WebsiteConfiguration`.
    ///
    /// # Errors
    /// `MalformedXML`, and `InvalidArgument` or `InvalidRequest` for what cannot be.
    pub fn parse(document: &[u8]) -> Result<Self, Failure> {
        let configuration: dto::WebsiteConfiguration = xml::parse(document)?;
        let (index, error) = (configuration.index_document, configuration.error_document);
        let rules = configuration.routing_rules;
        if let Some(to) = configuration.redirect_all_requests_to {
            if index.is_some() || error.is_some() || rules.is_some() {
                return Err(Failure::invalid_request(
                    "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
                ));
            }
            let redirect_all =
                Some(RedirectAll { host: checked_host(to.host_name)?, protocol: protocol(to.protocol.as_ref())? });
            return Ok(Self { redirect_all, index_suffix: String::new(), error_key: None, rules: Vec::new() });
        }
        let index_suffix = index.map(|index| index.suffix).ok_or_else(|| {
            Failure::invalid_argument(
                "IndexDocument",
                "null",
                "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            )
        })?;
        if index_suffix.is_empty() || index_suffix.contains('/') || index_suffix.len() > KEY_BYTES_MAX {
            let message = "The IndexDocument Suffix is not well formed";
            return Err(Failure::invalid_argument("IndexDocument", &index_suffix, message));
        }
        let error_key = error.map(|error| error.key);
        if let Some(key) = error_key.as_ref().filter(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            return Err(Failure::invalid_argument("ErrorDocument", key, "The ErrorDocument Key is not well formed"));
        }
        let rules = rules.unwrap_or_default();
        if rules.len() > RULES_MAX {
            return Err(Failure::invalid_request(format!(
                "{} routing rules provided, the number of routing rules in a website configuration is limited to {RULES_MAX}.",
                rules.len()
            )));
        }
        let rules = rules.into_iter().map(Rule::read).collect::<Result<_, _>>()?;
        Ok(Self { redirect_all: None, index_suffix, error_key, rules })
    }

    /// The `WebsiteConfiguration`.
    pub fn document(&self) -> Document {
        let mut document = Document::new("WebsiteConfiguration");
        if let Some(RedirectAll { host, protocol }) = &self.redirect_all {
            document.element("RedirectAllRequestsTo", |to| {
                to.text("HostName", host);
                to.optional("Protocol", protocol.map(Protocol::name));
            });
            return document;
        }
        document.element("IndexDocument", |index| index.text("Suffix", &self.index_suffix));
        if let Some(key) = &self.error_key {
            document.element("ErrorDocument", |error| error.text("Key", key));
        }
        if !self.rules.is_empty() {
            document.element("RoutingRules", |list| {
                self.rules.iter().for_each(|rule| list.element("RoutingRule", |element| rule.write(element)));
            });
        }
        document
    }
}

impl Rule {
    fn read(rule: dto::RoutingRule) -> Result<Self, Failure> {
        let mut read = Self::default();
        if let Some(condition) = rule.condition {
            read.error_status =
                condition.http_error_code_returned_equals.map(|code| error_status(&code)).transpose()?;
            read.key_prefix = condition.key_prefix_equals.map(checked_key).transpose()?;
            if read.error_status.is_none() && read.key_prefix.is_none() {
                return Err(Failure::invalid_request(
                    "Condition cannot be empty. To redirect all requests without a condition, the condition element \
                     shouldn't be present.",
                ));
            }
        }
        let redirect = rule.redirect;
        if redirect.replace_key_with.is_some() && redirect.replace_key_prefix_with.is_some() {
            return Err(Failure::invalid_request("You can only define ReplaceKeyPrefix or ReplaceKey but not both."));
        }
        read.protocol = protocol(redirect.protocol.as_ref())?;
        read.host = redirect.host_name.map(checked_host).transpose()?;
        read.status = redirect.http_redirect_code.map(|code| redirect_status(&code)).transpose()?;
        read.key = redirect.replace_key_with.map(checked_key).transpose()?;
        read.prefix = redirect.replace_key_prefix_with.map(checked_key).transpose()?;
        let changes = [read.protocol.is_some(), read.host.is_some(), read.status.is_some()];
        if changes == [false; 3] && read.key.is_none() && read.prefix.is_none() {
            // A redirect to where the request came from already would never end.
            return Err(S3ErrorCode::MalformedXML.into());
        }
        Ok(read)
    }

    fn write(&self, element: &mut Document) {
        if self.key_prefix.is_some() || self.error_status.is_some() {
            element.element("Condition", |condition| {
                if let Some(status) = self.error_status {
                    condition.value("HttpErrorCodeReturnedEquals", status);
                }
                condition.optional("KeyPrefixEquals", self.key_prefix.as_deref());
            });
        }
        element.element("Redirect", |redirect| {
            redirect.optional("HostName", self.host.as_deref());
            if let Some(status) = self.status {
                redirect.value("HttpRedirectCode", status);
            }
            redirect.optional("Protocol", self.protocol.map(Protocol::name));
            redirect.optional("ReplaceKeyPrefixWith", self.prefix.as_deref());
            redirect.optional("ReplaceKeyWith", self.key.as_deref());
        });
    }
}

fn protocol(protocol: Option<&dto::Protocol>) -> Result<Option<Protocol>, Failure> {
    match protocol.map(dto::Protocol::as_str) {
        None => Ok(None),
        Some("http") => Ok(Some(Protocol::Http)),
        Some("https") => Ok(Some(Protocol::Https)),
        Some(_) => Err(Failure::invalid_request(
            "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.",
        )),
    }
}

fn error_status(text: &str) -> Result<u16, Failure> {
    text.parse().ok().filter(|status| (400..600).contains(status)).ok_or_else(|| {
        Failure::invalid_request(format!(
            "The provided HTTP error code ({text}) is not valid. Valid codes are 4XX or 5XX."
        ))
    })
}

fn redirect_status(text: &str) -> Result<u16, Failure> {
    text.parse().ok().filter(|status| (301..400).contains(status)).ok_or_else(|| {
        Failure::invalid_request(format!(
            "The provided HTTP redirect code ({text}) is not valid. Valid codes are 3XX except 300."
        ))
    })
}

fn checked_key(key: String) -> Result<String, Failure> {
    if key.len() <= KEY_BYTES_MAX { Ok(key) } else { Err(S3ErrorCode::KeyTooLongError.into()) }
}

/// A host that cannot lead anywhere but where it says: no path, no user, no white space.
fn checked_host(host: String) -> Result<String, Failure> {
    let (name, port) = host.rsplit_once(':').unwrap_or((&host, "80"));
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if is_name && port.parse::<u16>().is_ok() && host.len() <= HOST_BYTES_MAX {
        return Ok(host);
    }
    Err(Failure::invalid_argument("HostName", &host, "The HostName is not well formed"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(content: &str) -> Result<Website, Failure> {
        Website::parse(format!("<WebsiteConfiguration>{content}</WebsiteConfiguration>").as_bytes())
    }

    const INDEX: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>";

    fn with_rule(rule: &str) -> String {
        format!("{INDEX}<RoutingRules><RoutingRule>{rule}</RoutingRule></RoutingRules>")
    }

    #[test]
    fn a_configuration_round_trips_as_document_and_as_record() {
        let rule = "<Condition><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>\
                    <KeyPrefixEquals>a&lt;/</KeyPrefixEquals></Condition><Redirect><HostName>example.com:8080</HostName>\
                    <HttpRedirectCode>307</HttpRedirectCode><Protocol>https</Protocol>\
                    <ReplaceKeyPrefixWith>b/</ReplaceKeyPrefixWith></Redirect>";
        for content in [
            INDEX.to_owned(),
            format!("{INDEX}<ErrorDocument><Key>errors/404.html</Key></ErrorDocument>"),
            with_rule(rule),
            with_rule("<Redirect><ReplaceKeyWith></ReplaceKeyWith></Redirect>"),
            "<RedirectAllRequestsTo><HostName>example.com</HostName></RedirectAllRequestsTo>".to_owned(),
            "<RedirectAllRequestsTo><HostName>e.com</HostName><Protocol>https</Protocol></RedirectAllRequestsTo>"
                .to_owned(),
        ] {
            let read = parse(&content).unwrap();
            assert_eq!(Website::from_value(&read.to_value().unwrap()).unwrap(), read);
            assert_eq!(Website::parse(read.document().finish().as_bytes()).unwrap(), read, "{content}");
        }
    }

    #[test]
    fn the_largest_configuration_fits_into_its_record() {
        let long = "k".repeat(KEY_BYTES_MAX);
        let host = format!("{}.com", "h".repeat(HOST_BYTES_MAX - 4));
        let rule = format!(
            "<RoutingRule><Condition><KeyPrefixEquals>{long}</KeyPrefixEquals></Condition><Redirect>\
             <HostName>{host}</HostName><ReplaceKeyWith>{long}</ReplaceKeyWith></Redirect></RoutingRule>"
        );
        let of = |count: usize| {
            format!(
                "<IndexDocument><Suffix>{long}</Suffix></IndexDocument><ErrorDocument><Key>{long}</Key></ErrorDocument>\
                 <RoutingRules>{}</RoutingRules>",
                rule.repeat(count)
            )
        };
        assert!(parse(&of(RULES_MAX)).unwrap().to_value().is_ok());
        assert_eq!(parse(&of(RULES_MAX + 1)).unwrap_err().code(), "InvalidRequest");
    }

    #[test]
    fn what_cannot_be_a_website_is_refused() {
        let all = "<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>";
        let redirect = |content: &str| with_rule(&format!("<Redirect>{content}</Redirect>"));
        let condition = |content: &str| {
            with_rule(&format!("<Condition>{content}</Condition><Redirect><HostName>h</HostName></Redirect>"))
        };
        for (content, code) in [
            (String::new(), "InvalidArgument"),
            ("<IndexDocument/>".to_owned(), "MalformedXML"),
            ("<IndexDocument><Suffix></Suffix></IndexDocument>".to_owned(), "InvalidArgument"),
            ("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>".to_owned(), "InvalidArgument"),
            (format!("{INDEX}<ErrorDocument><Key></Key></ErrorDocument>"), "InvalidArgument"),
            (format!("{INDEX}{all}"), "InvalidRequest"),
            (all.replace(">h<", "><"), "InvalidArgument"),
            (all.replace(">h<", ">evil.com/path<"), "InvalidArgument"),
            (all.replace(">h<", ">a b<"), "InvalidArgument"),
            (all.replace(">h<", ">user@evil.com<"), "InvalidArgument"),
            (all.replace(">h<", ">h:port<"), "InvalidArgument"),
            (all.replace(">h<", ">h&#13;&#10;x: y<"), "InvalidArgument"),
            (redirect("<Protocol>javascript</Protocol>"), "InvalidRequest"),
            (redirect("<HttpRedirectCode>200</HttpRedirectCode>"), "InvalidRequest"),
            (redirect("<HttpRedirectCode>300</HttpRedirectCode>"), "InvalidRequest"),
            (redirect("<HttpRedirectCode>moved</HttpRedirectCode>"), "InvalidRequest"),
            (
                redirect("<ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith>"),
                "InvalidRequest",
            ),
            (redirect(""), "MalformedXML"),
            (with_rule("<Condition><KeyPrefixEquals>a</KeyPrefixEquals></Condition>"), "MalformedXML"),
            (condition(""), "InvalidRequest"),
            (condition("<HttpErrorCodeReturnedEquals>200</HttpErrorCodeReturnedEquals>"), "InvalidRequest"),
            (condition(&format!("<KeyPrefixEquals>{}</KeyPrefixEquals>", "k".repeat(1025))), "KeyTooLongError"),
        ] {
            assert_eq!(parse(&content).unwrap_err().code(), code, "{content}");
        }
    }
}
