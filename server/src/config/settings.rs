//! The names of the single-valued settings, once: the command line, the environment, the defaults, `--print-config` and the
//! README's table are all made from this list. The values' types and ranges are in [`super::Config`].

/// One setting. Its dotted name gives the flag (`s3.listen`: `--s3-listen`) and the variable (`CAIRN_S3_LISTEN`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// The name in the file: at most one dot, which separates the section.
    pub(super) name: &'static str,
    /// The default, in TOML. None: the default depends on other settings, and `help` says how.
    pub(super) default: Option<&'static str>,
    /// Whether this version acts on it.
    pub(super) in_force: bool,
    /// One line for people.
    pub(super) help: &'static str,
}

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default: Some(default), in_force: true, help }
}

/// A setting that is read and checked, but whose feature has not landed.
const fn planned(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default: Some(default), in_force: false, help }
}

/// Every setting, in the order in which they are printed.
pub(super) const SETTINGS: &[Setting] = &[
    setting("data_dir", r#""./data""#, "The folder that holds everything"),
    Setting {
        name: "master_key_file",
        default: None,
        in_force: true,
        help: "The file of the master key; by default master.key in the data folder",
    },
    setting("region", r#""us-east-1""#, "The region that signatures name"),
    setting("s3.listen", r#""127.0.0.1:9000""#, "Where S3 requests are answered"),
    setting("s3.domains", r#"["s3.localhost"]"#, "BUCKET.<domain> addresses a bucket; other hosts are path style"),
    setting("s3.bucket_hosts", "[]", "Hosts that each address the bucket of the same name (CNAME style)"),
    setting(
        "s3.signature_v2",
        r#""query""#,
        "Where signature version 2 is accepted: off, query (presigned URLs and forms) or all (also the Authorization header)",
    ),
    Setting {
        name: "s3.tls_cert_file",
        default: None,
        in_force: true,
        help: "The certificate chain in PEM with which S3 requests are answered over HTTPS; by default there is no TLS",
    },
    Setting {
        name: "s3.tls_key_file",
        default: None,
        in_force: true,
        help: "The private key in PEM that belongs to s3.tls_cert_file",
    },
    setting("s3.http2", "false", "Speak HTTP/2 with clients that ask for it, also for websites"),
    setting("s3.allow_ssec_over_http", "false", "Accept customer keys on connections that are not encrypted"),
    Setting {
        name: "website.listen",
        default: None,
        in_force: true,
        help: "Where buckets that are websites are answered; by default nowhere",
    },
    setting(
        "website.domains",
        r#"["s3-website.localhost"]"#,
        "BUCKET.<domain> is a bucket's website; any other host is the name of its bucket",
    ),
    setting("website.plain", "false", "Answer websites without TLS although S3 requests have it"),
    setting(
        "sts.plain_loopback_issuers",
        "false",
        "Ask identity providers at loopback addresses without TLS, for trying things out",
    ),
    setting("cors.origins", "[]", "Origins whose pages may use everything, besides those that a bucket's rules allow"),
    setting("proxies.trusted", "[]", "Addresses and networks of reverse proxies that are believed who the client is"),
    setting(
        "proxies.headers",
        r#""x-forwarded""#,
        "What those proxies set: x-forwarded (X-Forwarded-For, -Proto and -Host) or forwarded (RFC 7239)",
    ),
    setting("ops.listen", r#""127.0.0.1:9001""#, "Where health and metrics are answered"),
    setting(
        "new_buckets.object_ownership",
        r#""BucketOwnerEnforced""#,
        "Who owns what is written: BucketOwnerEnforced (ACLs are off), BucketOwnerPreferred or ObjectWriter",
    ),
    setting("new_buckets.block_public_access", "true", "Whether a new bucket blocks public access"),
    setting(
        "new_buckets.recreate_own",
        r#""ok""#,
        "What creating a bucket that one already owns answers: ok (200) or conflict (409)",
    ),
    setting(
        "encryption.default",
        r#""AES256""#,
        "How new objects are encrypted that nothing is said about: AES256 (under the server's key) or off",
    ),
    Setting {
        name: "external_kms.address",
        default: None,
        in_force: true,
        help: "Where a HashiCorp Vault or OpenBao is (https://HOST:PORT) whose transit engine has keys; by default there is none",
    },
    setting("external_kms.mount", r#""transit""#, "The path at which the transit engine is mounted"),
    Setting {
        name: "external_kms.namespace",
        default: None,
        in_force: true,
        help: "The namespace of the engine and the token",
    },
    Setting {
        name: "external_kms.token_file",
        default: None,
        in_force: true,
        help: "The file of the token, read again when it changes; else CAIRN_EXTERNAL_KMS_TOKEN, or systemd's credential external-kms.token",
    },
    Setting {
        name: "external_kms.ca_file",
        default: None,
        in_force: true,
        help: "The certificates in PEM that are trusted there instead of the machine's",
    },
    Setting {
        name: "external_kms.master_key",
        default: None,
        in_force: true,
        help: "The key there that the master key is sealed under; by default it is not sealed",
    },
    setting("external_kms.timeout_seconds", "3", "How long it may take to answer; there are at most three attempts"),
    setting(
        "external_kms.cache_seconds",
        "900",
        "How long data keys that it opened are held in memory: so long reads go on without it",
    ),
    setting("storage.inline_threshold_bytes", "32768", "Contents up to this size live in the index"),
    setting("storage.free_space_floor_bytes", "268435456", "Uploads are refused while less disk space is left"),
    setting("storage.ballast_bytes", "67108864", "Space set aside for when the disk runs out nevertheless"),
    setting("storage.block_cache_bytes", "134217728", "Memory for blocks of the index"),
    setting("storage.write_buffer_bytes", "67108864", "Memory for index rows not yet in a sorted file"),
    setting("compression.classes", "[]", "The storage classes whose new files are compressed"),
    setting("compression.level", "3", "How hard zstd tries: 1 is fast, 19 is small"),
    setting("limits.connections_max", "4096", "Open connections on the S3 endpoint"),
    setting("limits.requests_in_flight_max", "1024", "Requests being worked on; more get 503 SlowDown"),
    setting(
        "limits.header_read_timeout_seconds",
        "30",
        "How long a connection may wait for the headers of its next request to arrive",
    ),
    setting("limits.body_progress_timeout_seconds", "30", "How long a client may pause while it sends a body"),
    setting("limits.write_progress_timeout_seconds", "30", "How long a client may pause while it receives"),
    setting("limits.shutdown_grace_seconds", "30", "How long requests in flight may go on at a stop"),
    setting("log.format", r#""auto""#, "human, json, or auto: human on a terminal"),
    setting("log.level", r#""info""#, "error, warn, info, debug or trace"),
    Setting {
        name: "audit.folder",
        default: None,
        in_force: true,
        help: "The folder of the audit log; by default audit in the data folder",
    },
    setting("audit.file_bytes_max", "16777216", "The size at which the next file of the audit log begins"),
    setting("audit.files_max", "8", "Files of the audit log that are kept; 0 switches it off"),
    Setting {
        name: "replication.bandwidth_limit",
        default: None,
        in_force: true,
        help: "Bytes a second at most that replication copies between buckets of this server; by default unlimited",
    },
    setting("lifecycle.day_seconds", "86400", "The length of a lifecycle rule's day; shorter ones are for tests"),
    setting(
        "lifecycle.sweep_interval_seconds",
        "900",
        "How often the objects of a bucket are held against its lifecycle rules",
    ),
    setting("restore.expedited_seconds", "180", "The delay of an expedited retrieval"),
    setting("restore.standard_seconds", "14400", "The delay of a standard retrieval"),
    setting("restore.bulk_seconds", "36000", "The delay of a bulk retrieval"),
    setting("restore.deep_archive_standard_seconds", "43200", "The delay of a standard retrieval from DEEP_ARCHIVE"),
    setting("restore.deep_archive_bulk_seconds", "172800", "The delay of a bulk retrieval from DEEP_ARCHIVE"),
    planned("access_log.delivery_seconds", "300", "The pause between two deliveries of access logs"),
];

impl Setting {
    /// The name on the command line, without the dashes before it.
    pub(super) fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// The name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("CAIRN_{}", self.name.replace('.', "_").to_uppercase())
    }
}
