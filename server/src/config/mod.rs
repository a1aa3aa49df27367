//! Every setting of the server: where it may come from, what it may be, and what it is.
//!
//! A setting is looked for in the command line, then in the environment (`CAIRN_*`), then in the TOML file, and else has
//! its default. The layers are merged into one TOML document ([`layers`]), which is then parsed once into [`Config`], whose
//! types cannot hold a wrong value: nothing past this module sees a raw string. A name that no version knows is an error
//! that names it. Accounts and KMS keys are lists and come from the file only; the root credentials of a server without
//! accounts come from the environment only, because a command line can be read by every user of the machine.

pub mod layers;
mod print;
mod settings;
mod values;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cairn_crypto::secret::MasterKey;
use cairn_storage::id::AccountId;
use ipnet::IpNet;
use serde::Deserialize;
use zeroize::Zeroizing;

pub use layers::{Flags, Origin, Sources};
pub use values::{AccessKey, CanonicalId, Domain, KeyPair, KmsKeyId, PageOrigin, Region, SecretKey, UserName};

use crate::audit::FileSettings;
use crate::master_key::{self, MasterKeySource};

use layers::Merged;

/// The folder in the data directory that holds the audit log, unless `audit.folder` says otherwise.
const AUDIT_FOLDER_NAME: &str = "audit";

/// The file in the data directory that holds the master key, unless `master_key_file` says otherwise.
const MASTER_KEY_FILE_NAME: &str = "master.key";

/// The longest display name or e-mail address of an account, and the longest name of a policy or an external key.
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
    /// The index and the blob store.
    pub storage: Storage,
    /// Limits and time-outs.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
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
    /// The KMS keys that exist from the start.
    #[serde(default, rename = "kms_key")]
    pub kms_keys: Vec<KmsKey>,
    /// The root credentials given in the environment, for a server without `[[account]]`.
    #[serde(skip)]
    pub root_key: Option<KeyPair>,
    /// The master key given in the environment.
    #[serde(skip)]
    master_key: Option<MasterKey>,
    /// The folder of the credentials that systemd passes.
    #[serde(skip)]
    credentials_dir: Option<PathBuf>,
}

/// `[s3]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct S3 {
    /// Where S3 requests are answered.
    pub listen: SocketAddr,
    /// `BUCKET.<domain>` addresses a bucket; every other host is path style.
    pub domains: Vec<Domain>,
    /// Hosts that each address the bucket of the same name.
    pub bucket_hosts: Vec<Domain>,
    /// Where signature version 2 is accepted.
    pub signature_v2: SignatureV2,
    tls_cert_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    /// Whether customer keys are accepted on connections that are not encrypted.
    pub allow_ssec_over_http: bool,
}

impl S3 {
    /// The files of the certificate chain and of its key, if the endpoint has TLS.
    pub fn tls_files(&self) -> Option<(PathBuf, PathBuf)> {
        self.tls_cert_file.clone().zip(self.tls_key_file.clone())
    }
}

/// Where signature version 2 is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureV2 {
    /// Nowhere.
    Off,
    /// In presigned URLs.
    Query,
    /// Also in the Authorization header.
    All,
}

/// `[cors]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cors {
    /// Origins whose pages may use everything.
    pub origins: Vec<PageOrigin>,
}

/// `[proxies]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Proxies {
    /// The addresses of those that are believed who the client is.
    #[serde(deserialize_with = "values::networks")]
    pub trusted: Vec<IpNet>,
    /// What they set.
    pub headers: ForwardingHeaders,
}

/// The headers in which a reverse proxy says who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ForwardingHeaders {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[serde(rename = "x-forwarded")]
    XForwarded,
    /// `Forwarded`.
    #[serde(rename = "forwarded")]
    Forwarded,
}

/// `[website]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Website {
    /// Where websites are answered; None: nowhere.
    pub listen: Option<SocketAddr>,
    /// `BUCKET.<domain>` is a bucket's website.
    pub domains: Vec<Domain>,
    /// Whether websites are answered without TLS although S3 requests have it.
    pub plain: bool,
}

/// `[sts]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Sts {
    /// Whether identity providers at loopback addresses are asked without TLS.
    pub plain_loopback_issuers: bool,
}

/// `[ops]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ops {
    /// Where health and metrics are answered.
    pub listen: SocketAddr,
}

/// `[new_buckets]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewBuckets {
    /// The object ownership of a new bucket.
    pub object_ownership: ObjectOwnership,
    /// Whether a new bucket blocks public access.
    pub block_public_access: bool,
    /// What creating a bucket that one already owns answers.
    pub recreate_own: RecreateOwn,
}

/// Who owns the objects that are written into a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ObjectOwnership {
    /// The bucket's owner; ACLs are off.
    BucketOwnerEnforced,
    /// The bucket's owner, if the writer grants it full control.
    BucketOwnerPreferred,
    /// Who writes the object.
    ObjectWriter,
}

/// What creating a bucket that one already owns answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecreateOwn {
    /// 200, as us-east-1 does.
    Ok,
    /// 409 BucketAlreadyOwnedByYou, as every other region does.
    Conflict,
}

/// `[encryption]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Encryption {
    /// How new objects are sealed about which neither the request nor the bucket says anything.
    pub default: DefaultEncryption,
}

/// How new objects are sealed by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum DefaultEncryption {
    /// Under the server's own key (SSE-S3).
    #[serde(rename = "AES256")]
    Aes256,
    /// Not at all.
    #[serde(rename = "off")]
    Off,
}

/// `[storage]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Storage {
    /// Contents up to this size live in the index.
    #[serde(deserialize_with = "values::bounded::<_, _, 0, { 1 << 20 }>")]
    pub inline_threshold_bytes: usize,
    /// Uploads are refused while less disk space than this is left.
    #[serde(deserialize_with = "values::bounded::<_, _, 0, { 1 << 50 }>")]
    pub free_space_floor_bytes: u64,
    /// Space that is set aside, and given back when the disk runs out in spite of the floor.
    #[serde(deserialize_with = "values::bounded::<_, _, 0, { 1 << 40 }>")]
    pub ballast_bytes: u64,
    /// Memory for blocks of the index.
    #[serde(deserialize_with = "values::bounded::<_, _, { 8 << 20 }, { 1 << 40 }>")]
    pub block_cache_bytes: usize,
    /// Memory for index rows that are not yet in a sorted file.
    #[serde(deserialize_with = "values::bounded::<_, _, { 4 << 20 }, { 1 << 36 }>")]
    pub write_buffer_bytes: usize,
}

/// `[limits]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections on the S3 endpoint.
    #[serde(deserialize_with = "values::bounded::<_, _, 1, 1_000_000>")]
    pub connections_max: usize,
    /// Requests being worked on; more are answered with 503 SlowDown.
    #[serde(deserialize_with = "values::bounded::<_, _, 1, 1_000_000>")]
    pub requests_in_flight_max: usize,
    /// From when a connection is ready for a request until its headers have arrived: so an idle connection lives no longer.
    #[serde(rename = "header_read_timeout_seconds", deserialize_with = "values::seconds::<_, 1, 3_600>")]
    pub header_read_timeout: Duration,
    /// How long a client may pause while it sends a body.
    #[serde(rename = "body_progress_timeout_seconds", deserialize_with = "values::seconds::<_, 1, 3_600>")]
    pub body_progress_timeout: Duration,
    /// How long a client may pause while it receives an answer.
    #[serde(rename = "write_progress_timeout_seconds", deserialize_with = "values::seconds::<_, 1, 3_600>")]
    pub write_progress_timeout: Duration,
    /// How long requests in flight may go on after the server was asked to stop.
    #[serde(rename = "shutdown_grace_seconds", deserialize_with = "values::seconds::<_, 0, 3_600>")]
    pub shutdown_grace: Duration,
}

/// `[log]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people when the log goes to a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The least severe event that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Faults of the server.
    Error,
    /// Also what may become one.
    Warn,
    /// Also one line for each request.
    Info,
    /// Also what the server does inside.
    Debug,
    /// Everything.
    Trace,
}

/// `[lifecycle]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Lifecycle {
    /// The length of a "day" of a rule.
    #[serde(rename = "day_seconds", deserialize_with = "values::seconds::<_, 1, 86_400>")]
    pub day: Duration,
    /// The pause between two sweeps.
    #[serde(rename = "sweep_interval_seconds", deserialize_with = "values::seconds::<_, 1, 86_400>")]
    pub sweep_interval: Duration,
}

/// `[restore]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Restore {
    /// The delay of an expedited retrieval.
    #[serde(rename = "expedited_seconds", deserialize_with = "values::seconds::<_, 0, 604_800>")]
    pub expedited: Duration,
    /// The delay of a standard retrieval.
    #[serde(rename = "standard_seconds", deserialize_with = "values::seconds::<_, 0, 604_800>")]
    pub standard: Duration,
    /// The delay of a bulk retrieval.
    #[serde(rename = "bulk_seconds", deserialize_with = "values::seconds::<_, 0, 604_800>")]
    pub bulk: Duration,
}

/// `[access_log]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AccessLog {
    /// The pause between two deliveries of access log objects.
    #[serde(rename = "delivery_seconds", deserialize_with = "values::seconds::<_, 1, 86_400>")]
    pub delivery: Duration,
}

/// `[audit]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Audit {
    /// The folder of the log.
    pub folder: Option<PathBuf>,
    /// The size at which the next file begins.
    pub file_bytes_max: u64,
    /// Files that are kept; 0: nothing is logged.
    pub files_max: usize,
}

/// `[[account]]`: an owner of buckets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Account {
    /// The account's number.
    #[serde(deserialize_with = "values::account_id")]
    pub id: AccountId,
    /// The account's name in ACLs.
    pub canonical_id: CanonicalId,
    /// The account's name for people.
    pub display_name: String,
    /// The account's e-mail address, by which ACLs can name it too.
    pub email: Option<String>,
    /// The key that acts with the account's full rights.
    pub root_key: Option<KeyPair>,
    /// The accounts whose users this account's root may edit.
    #[serde(default, deserialize_with = "values::account_ids")]
    pub administers: Vec<AccountId>,
    /// IAM users that exist from the start.
    #[serde(default, rename = "user")]
    pub users: Vec<User>,
}

/// `[[account.user]]`: an IAM user that exists from the start.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct User {
    /// The user's name.
    pub name: UserName,
    /// The ARNs of the policies attached to the user.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The user's access keys.
    #[serde(default)]
    pub keys: Vec<KeyPair>,
}

/// `[[kms_key]]`: a KMS key that exists from the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KmsKey {
    /// The key's id.
    pub id: KmsKeyId,
    /// The account that it belongs to; by default the first one, or the server's own.
    #[serde(default, deserialize_with = "values::some_account_id")]
    pub account: Option<AccountId>,
    /// The name of the key in the external KMS that has its material.
    pub transit_key: Option<String>,
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

/// Set by systemd for services with `LoadCredential=` or `LoadCredentialEncrypted=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

fn master_key(sources: &Sources<'_>) -> Result<Option<MasterKey>, ConfigError> {
    let Some(digits) = sources.environment(MASTER_KEY)?.map(Zeroizing::new) else { return Ok(None) };
    let malformed = || ConfigError(format!("{MASTER_KEY}: the master key is 64 hexadecimal digits"));
    master_key::parse(digits.as_bytes()).map(Some).ok_or_else(malformed)
}

impl Config {
    /// Where the master key is: in the environment, the file that is set, systemd's credential `master.key`, or the file of
    /// that name in the data directory. A key of the environment is given away by this.
    pub fn take_master_key(&mut self) -> MasterKeySource {
        if let Some(key) = self.master_key.take() {
            return MasterKeySource::Given(key);
        }
        if let Some(file) = &self.master_key_file {
            return MasterKeySource::File(file.clone());
        }
        let credential = self.credentials_dir.as_ref().map(|folder| folder.join(MASTER_KEY_FILE_NAME));
        match credential.filter(|path| path.exists()) {
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
        self.check_accounts()
    }

    fn check_accounts(&self) -> Result<(), ConfigError> {
        let lists_fit = self.accounts.len() <= LIST_LENGTH_MAX
            && self.kms_keys.len() <= LIST_LENGTH_MAX
            && self.accounts.iter().all(Account::lists_fit);
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
        let mut kms_keys = HashSet::new();
        for key in &self.kms_keys {
            if !kms_keys.insert(&key.id) {
                return Err(ConfigError(format!("kms_key: the id {} is used twice", key.id)));
            }
            if let Some(unknown) = key.account.filter(|id| !ids.contains(id)) {
                return Err(ConfigError(format!("kms_key {}: {unknown} is not an account", key.id)));
            }
            // A key that was made so could never be used, nor be made anew.
            if key.transit_key.is_some() {
                return Err(ConfigError(format!(
                    "kms_key {}: no external KMS can be set for its transit_key yet",
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
