//! Whose requests a command signs, and for which region: found where the `aws` command line finds them.
//!
//! In this order: options, the environment, the shared credentials file, the shared configuration file. Both halves of a key
//! come from the same place. Temporary credentials are refused, because the server knows none.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use aws_credential_types::Credentials;
use configparser::ini::{Ini, IniDefault};

const DEFAULT_PROFILE: &str = "default";
const DEFAULT_REGION: &str = "us-east-1";

/// The value of an environment variable.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// Who signs, and for which region.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) credentials: Credentials,
    pub(super) region: String,
}

/// What the options say; each may be absent.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) access_key: Option<String>,
    pub(super) secret_key: Option<String>,
    pub(super) region: Option<String>,
}

/// Why nobody can sign.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error(
        "there are no credentials: give --access-key and --secret-key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         or the profile {profile:?} in ~/.aws/credentials"
    )]
    Absent { profile: String },
    #[error("{place} has only one half of a key")]
    Half { place: &'static str },
    #[error("{place} has temporary credentials (a session token), which this server does not know")]
    Temporary { place: &'static str },
    #[error("{path} cannot be read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} cannot be understood: {fault}")]
    Malformed { path: PathBuf, fault: String },
}

/// Finds credentials and region.
pub(super) fn find(given: Given, environment: Environment<'_>) -> Result<Identity, CredentialsError> {
    let variable = |name: &str| text(environment(name));
    let profile = variable("AWS_PROFILE").or_else(|| variable("AWS_DEFAULT_PROFILE"));
    let profile = profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    let shared = Section::read(&file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials"), &profile)?;
    let section = if profile == DEFAULT_PROFILE { profile.clone() } else { format!("profile {profile}") };
    let config = Section::read(&file(environment, "AWS_CONFIG_FILE", "config"), &section)?;

    let region = given
        .region
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or_else(|| config.get("region"))
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let of_section = |section: &Section, place| {
        key(place, section.get("aws_access_key_id"), section.get("aws_secret_access_key"), section.get(SESSION_TOKEN))
    };
    let of_environment = || {
        let (access_key, secret_key) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
        key("the environment", access_key, secret_key, variable("AWS_SESSION_TOKEN"))
    };
    let found = match key("the command line", given.access_key, given.secret_key, None)? {
        Some(found) => Some(found),
        None => match of_environment()? {
            Some(found) => Some(found),
            None => match of_section(&shared, "the shared credentials file")? {
                Some(found) => Some(found),
                None => of_section(&config, "the shared configuration file")?,
            },
        },
    };
    let credentials = found.ok_or(CredentialsError::Absent { profile })?;
    Ok(Identity { credentials, region })
}

const SESSION_TOKEN: &str = "aws_session_token";

/// The key in one place, if there is one.
fn key(
    place: &'static str,
    access_key: Option<String>,
    secret_key: Option<String>,
    session_token: Option<String>,
) -> Result<Option<Credentials>, CredentialsError> {
    match (access_key, secret_key) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) if session_token.is_some() => Err(CredentialsError::Temporary { place }),
        (Some(access_key), Some(secret_key)) => Ok(Some(Credentials::new(access_key, secret_key, None, None, place))),
        _ => Err(CredentialsError::Half { place }),
    }
}

/// The file that a variable names, or the one of this name in `~/.aws`.
fn file(environment: Environment<'_>, variable: &str, name: &str) -> PathBuf {
    match environment(variable).filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(environment("HOME").unwrap_or_default()).join(".aws").join(name),
    }
}

/// One section of a file.
struct Section {
    ini: Ini,
    name: String,
}

impl Section {
    /// An absent file has no sections.
    fn read(path: &Path, name: &str) -> Result<Self, CredentialsError> {
        let mut defaults = IniDefault::default();
        // A secret may contain what would otherwise begin a comment or end a name.
        defaults.inline_comment_symbols = Some(Vec::new());
        defaults.delimiters = vec!['='];
        defaults.case_sensitive = true;
        let mut ini = Ini::new_from_defaults(defaults);
        match std::fs::read_to_string(path) {
            Ok(text) => {
                // The parser's own message may quote a line, and with it a secret.
                let fault = "it is not made of [sections] with name = value lines".to_owned();
                ini.read(text).map_err(|_| CredentialsError::Malformed { path: path.to_owned(), fault })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(CredentialsError::Unreadable { path: path.to_owned(), source }),
        }
        Ok(Self { ini, name: name.to_owned() })
    }

    fn get(&self, key: &str) -> Option<String> {
        self.ini.get(&self.name, key).filter(|value| !value.is_empty())
    }
}

/// A variable that is set to something. What is not UTF-8 is no key, profile or region.
fn text(value: Option<OsString>) -> Option<String> {
    value?.into_string().ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;

    use super::*;

    /// A home whose files are these.
    struct Home {
        folder: tempfile::TempDir,
        variables: HashMap<&'static str, String>,
    }

    impl Home {
        fn new(credentials: &str, config: &str, variables: &[(&'static str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join(".aws")).unwrap();
            std::fs::write(folder.path().join(".aws/credentials"), credentials).unwrap();
            std::fs::write(folder.path().join(".aws/config"), config).unwrap();
            let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            Self { folder, variables }
        }

        fn find(&self, given: Given) -> Result<(String, String, String), CredentialsError> {
            let environment = |name: &str| match name {
                "HOME" => Some(self.folder.path().into()),
                _ => self.variables.get(name).map(Into::into),
            };
            let Identity { credentials, region } = find(given, &environment)?;
            Ok((credentials.access_key_id().to_owned(), credentials.secret_access_key().to_owned(), region))
        }
    }

    fn found(access_key: &str, secret_key: &str, region: &str) -> (String, String, String) {
        (access_key.to_owned(), secret_key.to_owned(), region.to_owned())
    }

    const CREDENTIALS: &str = "[default]\naws_access_key_id = file\naws_secret_access_key = fi;le#=: secret\n\n\
                               # another\n[other]\naws_access_key_id=other\naws_secret_access_key=other-secret\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  max_concurrent_requests = 20\n\n[profile other]\n\
                          region = eu-north-1\n[profile third]\naws_access_key_id = third\n\
                          aws_secret_access_key = third-secret\n";
    const IN_ENVIRONMENT: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "env"), ("AWS_SECRET_ACCESS_KEY", "env-secret")];

    #[test]
    fn options_win_over_the_environment_and_that_over_the_files() {
        let given = || Given { access_key: Some("opt".into()), secret_key: Some("opt-secret".into()), region: None };
        let both = Home::new(CREDENTIALS, CONFIG, &IN_ENVIRONMENT);
        assert_eq!(both.find(given()).unwrap(), found("opt", "opt-secret", "eu-west-1"));
        assert_eq!(both.find(Given::default()).unwrap(), found("env", "env-secret", "eu-west-1"));
        let files = Home::new(CREDENTIALS, CONFIG, &[]);
        assert_eq!(files.find(Given::default()).unwrap(), found("file", "fi;le#=: secret", "eu-west-1"));
    }

    #[test]
    fn a_profile_names_its_sections() {
        for (profile, expected) in [
            ("other", found("other", "other-secret", "eu-north-1")),
            ("third", found("third", "third-secret", "us-east-1")),
        ] {
            let home = Home::new(CREDENTIALS, CONFIG, &[("AWS_PROFILE", profile)]);
            assert_eq!(home.find(Given::default()).unwrap(), expected, "{profile}");
        }
        let unknown = Home::new(CREDENTIALS, CONFIG, &[("AWS_PROFILE", "unknown")]);
        assert!(matches!(unknown.find(Given::default()), Err(CredentialsError::Absent { .. })));
    }

    #[test]
    fn half_a_key_and_temporary_ones_are_refused() {
        let half = Home::new(CREDENTIALS, "", &IN_ENVIRONMENT[..1]);
        assert!(matches!(half.find(Given::default()), Err(CredentialsError::Half { .. })));
        let temporary = [IN_ENVIRONMENT[0], IN_ENVIRONMENT[1], ("AWS_SESSION_TOKEN", "token")];
        let temporary = Home::new("", "", &temporary);
        assert!(matches!(temporary.find(Given::default()), Err(CredentialsError::Temporary { .. })));
    }

    #[test]
    fn a_file_that_is_none_is_refused_without_quoting_it() {
        let broken = Home::new("[default\naws_secret_access_key = hush\n", "", &[]);
        let error = broken.find(Given::default()).unwrap_err();
        assert!(matches!(error, CredentialsError::Malformed { .. }) && !error.to_string().contains("hush"), "{error}");
    }
}
