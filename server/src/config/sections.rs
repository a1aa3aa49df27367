//! The sections of the settings: a type for each table of the file, which cannot hold a wrong value.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cairn_storage::blob::LEVEL_MAX;
use cairn_storage::object::StorageClass;
use ipnet::IpNet;
use serde::Deserialize;

use super::values::{self, Domain, KmsAddress, MountPath, Namespace, PageOrigin, TransitKeyName};

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
    pub(super) tls_cert_file: Option<PathBuf>,
    pub(super) tls_key_file: Option<PathBuf>,
    /// Whether HTTP/2 is spoken with clients that ask for it.
    pub http2: bool,
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

/// `[external_kms]`: the transit engine of a HashiCorp Vault or an OpenBao.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ExternalKms {
    /// Where it is; None: there is none.
    pub address: Option<KmsAddress>,
    /// The path at which the engine is mounted.
    pub mount: MountPath,
    /// The namespace of engine and token.
    pub namespace: Option<Namespace>,
    /// The file of the token, unless the environment has it.
    pub token_file: Option<PathBuf>,
    /// The certificates to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The key there that the master key is sealed under; None: it is not sealed.
    pub master_key: Option<TransitKeyName>,
    /// How long one attempt of a call may take.
    #[serde(rename = "timeout_seconds", deserialize_with = "values::seconds::<_, 1, 60>")]
    pub timeout: Duration,
    /// How long data keys that it opened are held.
    #[serde(rename = "cache_seconds", deserialize_with = "values::seconds::<_, 0, 86_400>")]
    pub cache: Duration,
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

/// `[compression]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Compression {
    /// The classes whose new files are compressed.
    #[serde(deserialize_with = "values::storage_classes")]
    pub classes: Vec<StorageClass>,
    /// zstd's level.
    #[serde(deserialize_with = "values::bounded::<_, _, 1, { LEVEL_MAX as u64 }>")]
    pub level: u8,
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

/// `[replication]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Replication {
    /// Bytes a second at most between buckets of this server.
    #[serde(default, deserialize_with = "values::some_bandwidth")]
    pub bandwidth_limit: Option<u64>,
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
    /// The delay of a standard retrieval from DEEP_ARCHIVE.
    #[serde(rename = "deep_archive_standard_seconds", deserialize_with = "values::seconds::<_, 0, 604_800>")]
    pub deep_archive_standard: Duration,
    /// The delay of a bulk retrieval from DEEP_ARCHIVE.
    #[serde(rename = "deep_archive_bulk_seconds", deserialize_with = "values::seconds::<_, 0, 604_800>")]
    pub deep_archive_bulk: Duration,
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
