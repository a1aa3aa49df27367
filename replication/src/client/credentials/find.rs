//! The order in which places are asked.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use aws_credential_types::Credentials;

use super::metadata::{Container, Fetcher, Instance};
use super::profile::Section;
use super::{CredentialSource, CredentialsError};

const DEFAULT_PROFILE: &str = "default";
const DEFAULT_REGION: &str = "us-east-1";
const SESSION_TOKEN: &str = "aws_session_token";

/// Settings of a profile that say how to get credentials, in ways that are not known here. These count before any keys of its.
const UNSUPPORTED_FIRST: [&str; 3] = ["role_arn", "sso_session", "sso_start_url"];

/// Those that count before keys in the configuration file only.
const UNSUPPORTED_SECOND: [&str; 2] = ["login_session", "credential_process"];

/// As a role is given to programs in Kubernetes.
const WEB_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";

/// The value of an environment variable.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// Who signs, and for which region.
#[derive(Clone, Debug)]
pub struct Found {
    /// The credentials.
    pub credentials: CredentialSource,
    /// The region.
    pub region: String,
}

/// What is given; each may be absent.
#[derive(Clone, Default)]
pub struct Given {
    /// The access key.
    pub access_key: Option<String>,
    /// Its secret.
    pub secret_key: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The profile; if it is given, the environment's keys are not looked at.
    pub profile: Option<String>,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Given");
        shown.field("access_key", &self.access_key).field("region", &self.region).field("profile", &self.profile);
        shown.finish_non_exhaustive()
    }
}

/// Finds credentials and region. Files are read now; a service is asked when credentials are needed.
///
/// # Errors
/// If a place has half a key, a file cannot be read, or there are no credentials and no service may be asked.
pub fn find(given: Given, environment: Environment<'_>) -> Result<Found, CredentialsError> {
    let variable = |name: &str| text(environment(name));
    let is_named = given.profile.is_some();
    let profile = given.profile.or_else(|| variable("AWS_PROFILE")).or_else(|| variable("AWS_DEFAULT_PROFILE"));
    let profile = profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    let shared = self::section(file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials"), &profile)?;
    let section = if profile == DEFAULT_PROFILE { profile.clone() } else { format!("profile {profile}") };
    let config = self::section(file(environment, "AWS_CONFIG_FILE", "config"), &section)?;

    let region = given
        .region
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or_else(|| config.get("region"))
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    if let Some(found) = key("the command line", given.access_key, given.secret_key, None)? {
        return Ok(Found { credentials: found, region });
    }
    if !is_named {
        let (access_key, secret_key) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
        if let Some(found) = key("the environment", access_key, secret_key, variable("AWS_SESSION_TOKEN"))? {
            return Ok(Found { credentials: found, region });
        }
    }
    let places = [
        (&shared, "the shared credentials file", &UNSUPPORTED_FIRST[..]),
        (&config, "the shared configuration file", &UNSUPPORTED_SECOND[..]),
    ];
    for (section, place, unsupported) in places {
        let is_set = |setting: &&str| shared.get(setting).or_else(|| config.get(setting)).is_some();
        if let Some(setting) = unsupported.iter().copied().find(is_set) {
            return Err(CredentialsError::Unsupported { place: format!("the profile {profile:?}"), setting });
        }
        if !is_named && variable(WEB_IDENTITY).is_some() {
            let place = "the environment".to_owned();
            return Err(CredentialsError::Unsupported { place, setting: WEB_IDENTITY });
        }
        let (access_key, secret_key) = (section.get("aws_access_key_id"), section.get("aws_secret_access_key"));
        if let Some(found) = key(place, access_key, secret_key, section.get(SESSION_TOKEN))? {
            return Ok(Found { credentials: found, region });
        }
    }
    let credentials = CredentialSource::fetched(service(environment, profile)?);
    Ok(Found { credentials, region })
}

/// The service that gives out credentials where this runs.
fn service(environment: Environment<'_>, profile: String) -> Result<Fetcher, CredentialsError> {
    let variable = |name: &str| text(environment(name));
    if let Some(container) = Container::of(&variable)? {
        return Ok(Fetcher::Container(container));
    }
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(CredentialsError::Absent { profile });
    }
    Ok(Fetcher::Instance(Instance::of(&variable, profile)))
}

/// The key in one place, if there is one.
fn key(
    place: &'static str,
    access_key: Option<String>,
    secret_key: Option<String>,
    session_token: Option<String>,
) -> Result<Option<CredentialSource>, CredentialsError> {
    match (access_key, secret_key) {
        (None, None) => Ok(None),
        (Some(access_key), Some(secret_key)) => {
            let credentials = Credentials::new(access_key, secret_key, session_token, None, place);
            Ok(Some(CredentialSource::of(credentials)))
        }
        _ => Err(CredentialsError::Half { place }),
    }
}

/// The file that a variable names, or the one of this name in `~/.aws`.
///
/// Without a home there is none: a service's working directory is not to be looked into.
fn file(environment: Environment<'_>, variable: &str, name: &str) -> Option<PathBuf> {
    let path = |name: &str| environment(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    path(variable).or_else(|| Some(path("HOME")?.join(".aws").join(name)))
}

fn section(file: Option<PathBuf>, name: &str) -> Result<Section, CredentialsError> {
    file.map_or_else(|| Ok(Section::empty()), |file| Section::read(&file, name))
}

/// A variable that is set to something. What is not UTF-8 is no key, profile or region.
fn text(value: Option<OsString>) -> Option<String> {
    value?.into_string().ok().filter(|text| !text.is_empty())
}
