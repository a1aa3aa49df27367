//! Every setting of the server: where it may come from, what it may be, and what it is.
//!
//! A setting is looked for in the command line, then in the environment (`CAIRN_*`), then in the TOML file, and else has
//! its default. The layers are merged into one TOML document ([`layers`]), which is then parsed once into [`Config`], whose
//! types cannot hold a wrong value: nothing past this module sees a raw string. A name that no version knows is an error
//! that names it. Accounts, KMS keys, tiers and remotes are lists and come from the file only; the root credentials of a server without
//! accounts come from the environment only, because a command line can be read by every user of the machine.

pub mod layers;
mod lists;
mod print;
mod sections;
mod settings;
mod values;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use cairn_crypto::secret::{MasterKey, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

pub use layers::{Flags, Origin, Sources};
pub use lists::*;
pub use sections::*;
pub use values::{
    AccessKey, CanonicalId, Domain, EndpointUrl, KeyPair, KmsAddress, KmsKeyId, MountPath, Namespace, PageOrigin,
    Region, RemoteBucket, RemoteName, RemotePrefix, SecretKey, TierName, TransitKeyName, UserName,
};

use crate::audit::FileSettings;
use crate::kms::external::{ExternalKmsSettings, TokenSource};
use crate::master_key::{self, MasterKeySource};

use layers::Merged;

/// The folder in the data directory that holds the audit log, unless `audit.folder` says otherwise.
const AUDIT_FOLDER_NAME: &str = "audit";

/// The file in the data directory that holds the master key, unless `master_key_file` says otherwise.
const MASTER_KEY_FILE_NAME: &str = "master.key";

/// The file in the data directory that holds the master key sealed by the external KMS.
const SEALED_MASTER_KEY_FILE_NAME: &str = "master.key.sealed";

/// The credential of systemd's that is the token of the external KMS.
const EXTERNAL_KMS_TOKEN_NAME: &str = "external-kms.token";

/// The longest display name or e-mail address of an account, and the longest name of a policy.
const TEXT_BYTES_MAX: usize = 256;

/// Accounts in the file at most; also the bound on the users, keys and policies of one account.
const LIST_LENGTH_MAX: usize = 10_000;

/// What the server was told to do. Values are valid by construction.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The folder that holds everything.
    pub data_dir: PathBuf,
    master_key_file: Option<PathBuf>,
    /// The region that buckets are in and that signatures name.
    pub region: Region,
    /// The S3 endpoint.
    pub s3: S3,
    /// Pages of other origins.
    pub cors: Cors,
    /// Reverse proxies.
    pub proxies: Proxies,
    /// Buckets as websites.
    pub website: Website,
    /// Temporary credentials.
    pub sts: Sts,
    /// The operations port.
    pub ops: Ops,
    /// What a new bucket starts with.
    pub new_buckets: NewBuckets,
    /// How objects are sealed.
    pub encryption: Encryption,
    /// Another KMS.
    pub external_kms: ExternalKms,
    /// The index and the blob store.
    pub storage: Storage,
    /// Which files are compressed.
    pub compression: Compression,
    /// Limits and time-outs.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
    /// Replication between buckets of this server.
    #[serde(default)]
    pub replication: Replication,
    /// The sweep of lifecycle rules.
    pub lifecycle: Lifecycle,
    /// How long a restore from an archive class takes.
    pub restore: Restore,
    /// Server access logs.
    pub access_log: AccessLog,
    /// The audit log.
    pub audit: Audit,
    /// The accounts of the file; empty when the server keeps one account by itself.
    #[serde(default, rename = "account")]
    pub accounts: Vec<Account>,
    /// Other S3 services.
    #[serde(default, rename = "remote")]
    pub remotes: Vec<Remote>,
    /// Where classes have their files that are not in the data directory.
    #[serde(default, rename = "tier")]
    pub tiers: Vec<Tier>,
    /// The KMS keys that exist from the start.
    #[serde(default, rename = "kms_key")]
    pub kms_keys: Vec<KmsKey>,
    /// The root credentials given in the environment, for a server without `[[account]]`.
    #[serde(skip)]
    pub root_key: Option<KeyPair>,
    /// The master key given in the environment.
    #[serde(skip)]
    master_key: Option<MasterKey>,
    /// The token of the external KMS given in the environment.
    #[serde(skip)]
    external_kms_token: Option<SecretString>,
    /// The folder of the credentials that systemd passes.
    #[serde(skip)]
    credentials_dir: Option<PathBuf>,
}

/// What is wrong with the settings, in words that name the setting and where it came from; never a secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// The settings, and where each came from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    merged: Merged,
}

impl Loaded {
    /// The settings as TOML with each value's origin as a comment and without secrets, for `--print-config`.
    pub fn print(&self) -> String {
        print::print(&self.merged, self.config.root_key.as_ref())
    }

    /// The names that were set, and whose feature this version does not have.
    pub fn not_in_force(&self) -> Vec<String> {
        self.merged.set_but_not_in_force().map(str::to_owned).collect()
    }
}

/// Reads the settings from all of their sources.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigError> {
    let merged = Merged::read(sources)?;
    let mut config = merged.parse()?;
    config.root_key = root_key(sources)?;
    config.master_key = master_key(sources)?;
    config.external_kms_token = sources.environment(EXTERNAL_KMS_TOKEN)?.map(SecretString::from);
    config.credentials_dir = sources.environment(CREDENTIALS_DIRECTORY)?.map(PathBuf::from);
    config.check()?;
    Ok(Loaded { config, merged })
}

const ROOT_ACCESS_KEY: &str = "CAIRN_ROOT_ACCESS_KEY";
const ROOT_SECRET_KEY: &str = "CAIRN_ROOT_SECRET_KEY";

fn root_key(sources: &Sources<'_>) -> Result<Option<KeyPair>, ConfigError> {
    match (sources.environment(ROOT_ACCESS_KEY)?, sources.environment(ROOT_SECRET_KEY)?) {
        (None, None) => Ok(None),
        (Some(access_key), Some(secret_key)) => Ok(Some(KeyPair {
            access_key: AccessKey::try_from(access_key)
                .map_err(|error| ConfigError(format!("{ROOT_ACCESS_KEY}: {error}")))?,
            secret_key: SecretKey::new(secret_key)
                .map_err(|error| ConfigError(format!("{ROOT_SECRET_KEY}: {error}")))?,
        })),
        _ => Err(ConfigError(format!("{ROOT_ACCESS_KEY} and {ROOT_SECRET_KEY} must be set together"))),
    }
}

const MASTER_KEY: &str = "CAIRN_MASTER_KEY";

const EXTERNAL_KMS_TOKEN: &str = "CAIRN_EXTERNAL_KMS_TOKEN";

/// Set by systemd for services with `LoadCredential=` or `LoadCredentialEncrypted=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

fn master_key(sources: &Sources<'_>) -> Result<Option<MasterKey>, ConfigError> {
    let Some(digits) = sources.environment(MASTER_KEY)?.map(Zeroizing::new) else { return Ok(None) };
    let malformed = || ConfigError(format!("{MASTER_KEY}: the master key is 64 hexadecimal digits"));
    master_key::parse(digits.as_bytes()).map(Some).ok_or_else(malformed)
}

impl Config {
    /// Where the master key is: sealed in a file of the data directory, if it is to be under a key of the external KMS; else in the
    /// environment, the file that is set, systemd's credential `master.key`, or the file of that name in the data directory. A
    /// key of the environment is given away by this.
    pub fn take_master_key(&mut self) -> MasterKeySource {
        let Some(under) = self.external_kms.master_key.take() else { return self.take_unsealed_master_key() };
        MasterKeySource::Sealed {
            file: self.data_dir.join(SEALED_MASTER_KEY_FILE_NAME),
            under: under.as_str().to_owned(),
            before: Box::new(self.take_unsealed_master_key()),
        }
    }

    /// The external KMS, if there is one. A token of the environment is given away by this.
    pub fn take_external_kms(&mut self) -> Option<ExternalKmsSettings> {
        let token = self.take_external_kms_token();
        let settings = &mut self.external_kms;
        Some(ExternalKmsSettings {
            address: settings.address.take()?.as_str().to_owned(),
            mount: settings.mount.as_str().to_owned(),
            namespace: settings.namespace.as_ref().map(|namespace| namespace.as_str().to_owned()),
            token,
            ca_file: settings.ca_file.clone(),
            timeout: settings.timeout,
            held_for: settings.cache,
        })
    }

    fn take_external_kms_token(&mut self) -> Option<TokenSource> {
        if let Some(token) = self.external_kms_token.take() {
            return Some(TokenSource::Given(token));
        }
        if let Some(file) = &self.external_kms.token_file {
            return Some(TokenSource::File(file.clone()));
        }
        self.credential(EXTERNAL_KMS_TOKEN_NAME).map(TokenSource::File)
    }

    /// A file that systemd passes.
    fn credential(&self, name: &str) -> Option<PathBuf> {
        let path = self.credentials_dir.as_ref().map(|folder| folder.join(name));
        path.filter(|path| path.exists())
    }

    fn take_unsealed_master_key(&mut self) -> MasterKeySource {
        if let Some(key) = self.master_key.take() {
            return MasterKeySource::Given(key);
        }
        if let Some(file) = &self.master_key_file {
            return MasterKeySource::File(file.clone());
        }
        match self.credential(MASTER_KEY_FILE_NAME) {
            Some(path) => MasterKeySource::Credential(path),
            None => MasterKeySource::File(self.data_dir.join(MASTER_KEY_FILE_NAME)),
        }
    }

    /// Where the audit log goes; None: nowhere.
    pub fn audit_log(&self) -> Option<FileSettings> {
        let Audit { folder, file_bytes_max, files_max } = &self.audit;
        let folder = folder.clone().unwrap_or_else(|| self.data_dir.join(AUDIT_FOLDER_NAME));
        (*files_max > 0).then_some(FileSettings { folder, file_bytes_max: *file_bytes_max, files_max: *files_max })
    }

    /// What no single value can show.
    fn check(&self) -> Result<(), ConfigError> {
        let mut listening = BTreeMap::new();
        let always = [("s3.listen", self.s3.listen), ("ops.listen", self.ops.listen)];
        let website = self.website.listen.map(|address| ("website.listen", address));
        for (name, address) in always.into_iter().chain(website) {
            if let Some(other) = listening.insert(address, name).filter(|_| address.port() != 0) {
                return Err(ConfigError(format!("{other} and {name} are both {address}")));
            }
        }
        if self.s3.tls_cert_file.is_some() != self.s3.tls_key_file.is_some() {
            return Err(ConfigError("s3.tls_cert_file and s3.tls_key_file must be set together".to_owned()));
        }
        if self.root_key.is_some() && !self.accounts.is_empty() {
            return Err(ConfigError(format!(
                "{ROOT_ACCESS_KEY} is set, but the file has [[account]]: only one of them can name the root"
            )));
        }
        self.check_accounts()?;
        self.check_remotes()?;
        self.check_tiers()?;
        self.check_external_kms()?;
        self.check_kms_keys()
    }

    fn check_remotes(&self) -> Result<(), ConfigError> {
        let mut names = HashSet::new();
        for remote in &self.remotes {
            let name = &remote.name;
            if !names.insert(name) {
                return Err(ConfigError(format!("remote: the name {name} is used twice")));
            }
            remote.check().map_err(|fault| ConfigError(format!("remote {name}: {fault}")))?;
        }
        Ok(())
    }

    fn check_tiers(&self) -> Result<(), ConfigError> {
        let (mut names, mut classes) = (HashSet::new(), HashSet::new());
        for (number, Tier { name, classes: of_tier, home }) in self.tiers.iter().enumerate() {
            if let TierHome::Bucket { remote, .. } = home
                && !self.remotes.iter().any(|one| one.name == *remote)
            {
                return Err(ConfigError(format!("tier {name}: {remote} is no [[remote]]")));
            }
            if let Some(other) = self.tiers[..number].iter().find(|other| other.home.overlaps(home)) {
                let why = "both are in one bucket, and the prefix of one begins that of the other";
                return Err(ConfigError(format!("tier {name}: it is mixed up with {}: {why}", other.name)));
            }
            if !names.insert(name) {
                return Err(ConfigError(format!("tier: the name {name} is used twice")));
            }
            if let Some(class) = of_tier.iter().find(|class| !classes.insert(**class)) {
                return Err(ConfigError(format!("tier {name}: the class {} is named twice", class.name())));
            }
        }
        Ok(())
    }

    fn check_external_kms(&self) -> Result<(), ConfigError> {
        let external = &self.external_kms;
        match &external.master_key {
            Some(name) if external.address.is_none() => Err(ConfigError(format!(
                "external_kms.master_key: {name} cannot be asked for, because external_kms.address is not set"
            ))),
            _ => Ok(()),
        }
    }

    fn check_accounts(&self) -> Result<(), ConfigError> {
        let lists_fit = self.accounts.len() <= LIST_LENGTH_MAX && self.accounts.iter().all(Account::lists_fit);
        if !lists_fit {
            return Err(ConfigError(format!("account: a list has more than {LIST_LENGTH_MAX} entries")));
        }
        let (mut ids, mut canonical_ids, mut access_keys) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut emails = HashSet::new();
        for account in &self.accounts {
            let id = &account.id;
            account.check_texts()?;
            if !ids.insert(id) {
                return Err(ConfigError(format!("account: the id {id} is used twice")));
            }
            let canonical_id = &account.canonical_id;
            if !canonical_ids.insert(canonical_id) {
                return Err(ConfigError(format!("account: the canonical id {canonical_id} is used twice")));
            }
            if let Some(email) = account.email.as_ref().filter(|email| !emails.insert(email.to_lowercase())) {
                return Err(ConfigError(format!("account: the e-mail address {email} is used twice")));
            }
            for key in account.keys() {
                let access_key = &key.access_key;
                if !access_keys.insert(access_key) {
                    return Err(ConfigError(format!("account: the access key {access_key} is used twice")));
                }
            }
        }
        for account in &self.accounts {
            if let Some(unknown) = account.administers.iter().find(|id| !ids.contains(id)) {
                return Err(ConfigError(format!(
                    "account {}: administers {unknown}, which is not an account",
                    account.id
                )));
            }
        }
        Ok(())
    }

    fn check_kms_keys(&self) -> Result<(), ConfigError> {
        if self.kms_keys.len() > LIST_LENGTH_MAX {
            return Err(ConfigError(format!("kms_key: there are more than {LIST_LENGTH_MAX}")));
        }
        let accounts: HashSet<_> = self.accounts.iter().map(|account| account.id).collect();
        let mut kms_keys = HashSet::new();
        for key in &self.kms_keys {
            if !kms_keys.insert(&key.id) {
                return Err(ConfigError(format!("kms_key: the id {} is used twice", key.id)));
            }
            if let Some(unknown) = key.account.filter(|id| !accounts.contains(id)) {
                return Err(ConfigError(format!("kms_key {}: {unknown} is not an account", key.id)));
            }
            // A key that was made so could never be used, nor be made anew.
            if key.transit_key.is_some() && self.external_kms.address.is_none() {
                return Err(ConfigError(format!(
                    "kms_key {}: it has a transit_key, and external_kms.address is not set",
                    key.id
                )));
            }
        }
        Ok(())
    }
}

impl Account {
    fn keys(&self) -> impl Iterator<Item = &KeyPair> {
        self.root_key.iter().chain(self.users.iter().flat_map(|user| &user.keys))
    }

    fn lists_fit(&self) -> bool {
        let lengths = [self.administers.len(), self.users.len()];
        let of_users = self.users.iter().flat_map(|user| [user.policies.len(), user.keys.len()]);
        lengths.into_iter().chain(of_users).all(|length| length <= LIST_LENGTH_MAX)
    }

    fn check_texts(&self) -> Result<(), ConfigError> {
        check_text("account.display_name", &self.display_name)?;
        if let Some(email) = &self.email {
            check_text("account.email", email)?;
        }
        let policies = self.users.iter().flat_map(|user| &user.policies);
        policies.into_iter().try_for_each(|policy| check_text("account.user.policies", policy))
    }
}

fn check_text(name: &str, text: &str) -> Result<(), ConfigError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(ConfigError(format!("{name}: must be 1 to {TEXT_BYTES_MAX} bytes without control characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
