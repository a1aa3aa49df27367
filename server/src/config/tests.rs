//! Tests of settings from all sources together.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use cairn_storage::object::StorageClass;
use clap::{Args, FromArgMatches};

use super::*;
use crate::identities::Snapshot;

const EVERY_SECTION: &str = include_str!("fixtures/every_section.toml");

/// Loads settings from a file's text, variables and flags.
fn load_from(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, ConfigError> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    let command = Flags::augment_args(clap::Command::new("test").no_binary_name(true));
    let path = on_disk.path().to_str().unwrap();
    let arguments = ["--config", path].into_iter().chain(flags.iter().copied());
    let flags = Flags::from_arg_matches(&command.get_matches_from(arguments)).unwrap();
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    load(&Sources::new(&flags, &|name| variables.get(name).map(Into::into)))
}

fn error_of(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
    load_from(file, variables, flags).unwrap_err().to_string()
}

fn account(fields: &str) -> String {
    format!("[[account]]\nid = \"200000000009\"\ncanonical_id = \"a9\"\ndisplay_name = \"nine\"\n{fields}\n")
}

fn file_of(source: MasterKeySource) -> PathBuf {
    match source {
        MasterKeySource::File(path) => path,
        source => panic!("{source:?}"),
    }
}

#[test]
fn a_master_key_of_the_environment_wins_and_is_not_shown() {
    let digits = "5a".repeat(32);
    let variables = [("CAIRN_MASTER_KEY", digits.as_str()), ("CAIRN_MASTER_KEY_FILE", "/etc/cairn/master.key")];
    let mut loaded = load_from("", &variables, &[]).unwrap();
    assert!(!loaded.print().contains(&digits) && !format!("{loaded:?}").contains(&digits));
    assert!(matches!(loaded.config.take_master_key(), MasterKeySource::Given(key) if key.expose() == &[0x5a; 32]));
    assert!(load_from("", &[("CAIRN_MASTER_KEY", "5a5a")], &[]).unwrap_err().to_string().contains("CAIRN_MASTER_KEY"));
}

#[test]
fn without_any_source_the_defaults_hold() {
    let mut config = load_from("", &[], &[]).unwrap().config;
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(file_of(config.take_master_key()), PathBuf::from("./data/master.key"));
    assert_eq!(config.encryption.default, DefaultEncryption::Aes256);
    assert_eq!(config.s3.listen, "127.0.0.1:9000".parse().unwrap());
    assert_eq!(config.ops.listen, "127.0.0.1:9001".parse().unwrap());
    assert_eq!(config.s3.signature_v2, SignatureV2::Query);
    assert_eq!(config.s3.domains.iter().map(Domain::as_str).collect::<Vec<_>>(), ["s3.localhost"]);
    assert!(config.s3.bucket_hosts.is_empty() && config.cors.origins.is_empty() && config.proxies.trusted.is_empty());
    assert_eq!(config.storage.inline_threshold_bytes, 32 << 10);
    assert_eq!(config.storage.free_space_floor_bytes, 256 << 20);
    assert_eq!(config.storage.ballast_bytes, 64 << 20);
    assert_eq!(config.storage.block_cache_bytes, 128 << 20);
    assert_eq!(config.storage.write_buffer_bytes, 64 << 20);
    assert_eq!(config.limits.header_read_timeout, Duration::from_secs(30));
    assert!(config.compression.classes.is_empty() && config.compression.level == 3);
    assert!(config.accounts.is_empty() && config.root_key.is_none());
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let listen = |file: &str, variables: &[(&str, &str)], flags: &[&str]| {
        let loaded = load_from(file, variables, flags).unwrap();
        (loaded.config.s3.listen.port(), loaded.merged.origin("s3.listen"))
    };
    let file = "[s3]\nlisten = \"127.0.0.1:2\"";
    let variable = [("CAIRN_S3_LISTEN", "127.0.0.1:3")];
    let flag = ["--s3-listen", "127.0.0.1:4"];
    assert_eq!(listen("", &[], &[]), (9000, Origin::Default));
    assert_eq!(listen(file, &[], &[]), (2, Origin::File));
    assert_eq!(listen(file, &variable, &[]), (3, Origin::Environment("CAIRN_S3_LISTEN".to_owned())));
    assert_eq!(listen(file, &variable, &flag), (4, Origin::Flag("s3-listen".to_owned())));
}

#[test]
fn the_file_can_be_named_in_the_environment() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "region = \"eu-north-1\"").unwrap();
    let variable = |name: &str| (name == "CAIRN_CONFIG").then(|| file.path().as_os_str().to_owned());
    let loaded = load(&Sources::new(&Flags::default(), &variable)).unwrap();
    assert_eq!(loaded.config.region.as_str(), "eu-north-1");
}

#[test]
fn an_empty_variable_counts_as_absent() {
    assert_eq!(load_from("", &[("CAIRN_REGION", "")], &[]).unwrap().config.region.as_str(), "us-east-1");
}

#[test]
fn text_from_the_environment_takes_the_type_of_its_setting() {
    let variables = [
        ("CAIRN_S3_DOMAINS", "s3.localhost, s3.example.org"),
        ("CAIRN_S3_ALLOW_SSEC_OVER_HTTP", "true"),
        ("CAIRN_WEBSITE_LISTEN", "127.0.0.1:9002"),
        ("CAIRN_WEBSITE_DOMAINS", "sites.example"),
        ("CAIRN_WEBSITE_PLAIN", "true"),
        ("CAIRN_LIMITS_SHUTDOWN_GRACE_SECONDS", "0"),
        ("CAIRN_MASTER_KEY_FILE", "/etc/cairn/master.key"),
    ];
    let mut config = load_from("", &variables, &[]).unwrap().config;
    let domains: Vec<&str> = config.s3.domains.iter().map(Domain::as_str).collect();
    assert_eq!(domains, ["s3.localhost", "s3.example.org"]);
    assert!(config.s3.allow_ssec_over_http);
    assert_eq!(config.website.listen, Some("127.0.0.1:9002".parse().unwrap()));
    assert_eq!((config.website.domains[0].as_str(), config.website.plain), ("sites.example", true));
    assert_eq!(config.limits.shutdown_grace, Duration::ZERO);
    assert_eq!(file_of(config.take_master_key()), PathBuf::from("/etc/cairn/master.key"));
}

#[test]
fn proxies_are_addresses_and_networks() {
    let trusted = |value: &str| load_from(&format!("[proxies]\ntrusted = [\"{value}\"]"), &[], &[]);
    let address = "192.0.2.1".parse::<std::net::IpAddr>().unwrap();
    for network in ["192.0.2.1", "192.0.2.0/24", "192.0.2.7/24", "0.0.0.0/0"] {
        assert!(trusted(network).unwrap().config.proxies.trusted[0].contains(&address), "{network}");
    }
    assert!(!trusted("::/0").unwrap().config.proxies.trusted[0].contains(&address));
    for wrong in ["proxy.example", "192.0.2.0/33", "192.0.2", ""] {
        assert!(trusted(wrong).unwrap_err().to_string().contains("proxies.trusted"), "{wrong}");
    }
}

#[test]
fn an_origin_of_the_configuration_is_written_as_browsers_write_it() {
    let origins = |value: &str| load_from(&format!("[cors]\norigins = [\"{value}\"]"), &[], &[]);
    for origin in ["https://console.example", "http://127.0.0.1:3000", "http://localhost:8080", "https://[::1]:8443"] {
        assert_eq!(origins(origin).unwrap().config.cors.origins[0].as_str(), origin);
    }
    for wrong in
        ["*", "https://*", "console.example", "https://console.example/", "https://a:0", "https://A.example", "null"]
    {
        assert!(origins(wrong).unwrap_err().to_string().contains("cors.origins"), "{wrong}");
    }
}

#[test]
fn a_kms_is_asked_without_tls_on_this_machine_only() {
    let address = |value: &str| {
        load_from(&format!("[external_kms]\naddress = \"{value}\"\ntoken_file = \"/run/token\""), &[], &[])
    };
    for good in [
        "https://vault.example:8200",
        "https://10.0.0.1",
        "http://127.0.0.1:8200",
        "http://[::1]:8200",
        "http://localhost",
    ] {
        let mut config = address(good).unwrap().config;
        assert_eq!(config.take_external_kms().unwrap().address, good);
    }
    for wrong in [
        "http://vault:8200",
        "http://10.0.0.1:8200",
        "vault:8200",
        "https://vault:8200/v1",
        "https://a@b",
        "http://127.0.0.1.example",
    ] {
        assert!(address(wrong).unwrap_err().to_string().contains("external_kms.address"), "{wrong}");
    }
    for name in ["", "..", "a/b", ".a", "a.", "a b", "%2e"] {
        let error = error_of(&format!("[[kms_key]]\nid = \"k\"\ntransit_key = \"{name}\""), &[], &[]);
        assert!(error.contains("the name of a transit key"), "{error}");
    }
}

#[test]
fn the_token_of_the_external_kms_is_given_once_and_shown_nowhere() {
    let variables = [
        ("CAIRN_EXTERNAL_KMS_ADDRESS", "https://vault:8200"),
        ("CAIRN_EXTERNAL_KMS_TOKEN", "s.CANARY"),
        ("CAIRN_EXTERNAL_KMS_MASTER_KEY", "cairn"),
    ];
    let mut loaded = load_from("", &variables, &[]).unwrap();
    assert!(!format!("{}{loaded:?}", loaded.print()).contains("CANARY"));
    let source = loaded.config.take_master_key();
    assert!(matches!(source, MasterKeySource::Sealed { under, .. } if under == "cairn"));
    let settings = loaded.config.take_external_kms().unwrap();
    assert_eq!((settings.mount.as_str(), settings.timeout), ("transit", Duration::from_secs(3)));
    assert!(matches!(&settings.token, Some(TokenSource::Given(token)) if token.expose() == "s.CANARY"));
    assert!(!format!("{settings:?}").contains("CANARY"));
    assert!(loaded.config.take_external_kms().is_none());
}

#[test]
fn every_section_loads() {
    let config = load_from(EVERY_SECTION, &[], &[]).unwrap().config;
    assert_eq!(config.s3.domains[0].as_str(), "s3.localhost");
    assert_eq!(config.s3.signature_v2, SignatureV2::All);
    assert_eq!(config.new_buckets.object_ownership, ObjectOwnership::ObjectWriter);
    assert_eq!(config.new_buckets.recreate_own, RecreateOwn::Ok);
    assert_eq!(config.encryption.default, DefaultEncryption::Off);
    assert_eq!(config.compression.classes, [StorageClass::StandardIa, StorageClass::Glacier]);
    assert_eq!(config.compression.level, 9);
    assert_eq!(config.lifecycle.day, Duration::from_secs(5));
    assert_eq!(config.restore.bulk, Duration::from_secs(3));
    assert_eq!(config.access_log.delivery, Duration::from_secs(5));
    assert_eq!(config.accounts.len(), 3);
    assert_eq!(config.accounts[1].users[0].keys[0].access_key.as_str(), "other-access");
    assert_eq!(config.accounts[2].administers, ["200000000002".parse().unwrap()]);
    assert_eq!(config.remotes[0].endpoint.as_str(), "https://s3.example.org");
    assert_eq!(config.remotes[0].addressing, RemoteAddressing::VirtualHost);
    assert_eq!(config.remotes[1].profile.as_deref(), Some("backup"));
    assert_eq!(config.tiers[0].name.as_str(), "cold");
    assert!(matches!(&config.tiers[1].home, TierHome::Bucket { prefix, .. } if prefix.as_str() == "server-1/"));
    assert_eq!(config.tiers[0].classes, [StorageClass::Glacier, StorageClass::DeepArchive]);
    assert_eq!(config.kms_keys.len(), 2);
    assert_eq!(config.kms_keys[1].account, Some("200000000002".parse().unwrap()));
}

#[test]
fn root_keys_of_the_file_find_their_accounts() {
    let snapshot = Snapshot::of_roots(load_from(EVERY_SECTION, &[], &[]).unwrap().config.accounts);
    let key = snapshot.key("main-access").unwrap();
    assert_eq!((key.account.display_name.as_str(), key.secret.expose()), ("main", "main-secret-key-0001"));
    assert_eq!(snapshot.accounts().by_id("200000000001".parse().unwrap()), Some(&key.account));
    assert!(snapshot.key("other-access").is_none(), "a user's key is not a root key");
}

#[test]
fn settings_whose_feature_is_missing_are_named() {
    assert_eq!(load_from("", &[], &[]).unwrap().not_in_force(), Vec::<String>::new());
    let names = load_from(EVERY_SECTION, &[], &[]).unwrap().not_in_force();
    assert!(names.iter().any(|name| name == "access_log.delivery_seconds"), "{names:?}");
}

#[test]
fn an_unknown_name_is_an_error_with_its_path() {
    for (file, path) in [
        ("colour = 1", ": colour: "),
        ("[s3]\nlissten = \"\"", ": s3.lissten: "),
        ("[s33]\na = 1", ": s33: "),
        (&account("colour = 1"), ": account[0].colour: "),
        (&account("[[account.user]]\nname = \"u\"\ncolour = 1"), ": account[0].user[0].colour: "),
        ("[[kms_key]]\nid = \"a\"\ncolour = 1", ": kms_key[0].colour: "),
        ("[[tier]]\nname = \"a\"\npath = \"b\"\ncolour = 1", ": tier[0].colour: "),
    ] {
        let error = error_of(file, &[], &[]);
        assert!(error.contains(path) && error.contains("unknown field"), "{error}");
    }
}

#[test]
fn a_wrong_value_is_an_error_with_its_name_and_origin() {
    let port = [("CAIRN_S3_LISTEN", "9000")];
    assert_eq!(error_of("", &port, &[]), "s3.listen: invalid socket address syntax (env CAIRN_S3_LISTEN)");
    assert_eq!(
        error_of("", &[], &["--limits-connections-max", "none"]),
        "limits.connections_max: expected an integer (flag --limits-connections-max)"
    );
    for (file, why) in [
        ("region = \"US\"", "region: a region is"),
        ("[s3]\ndomains = [\"Upper.case\"]", "s3.domains[0]: a domain is"),
        ("[s3]\nsignature_v2 = \"some\"", "s3.signature_v2: unknown variant"),
        ("[limits]\nconnections_max = 0", "limits.connections_max: 0 is not between 1 and 1000000"),
        ("[limits]\nheader_read_timeout_seconds = -1", "-1 is not between 1 and 3600"),
        ("[storage]\ninline_threshold_bytes = 1048577", "is not between 0 and 1048576"),
        ("[compression]\nclasses = [\"WARM\"]", "compression.classes: \"WARM\" is no storage class"),
        ("[compression]\nlevel = 20", "compression.level: 20 is not between 1 and 19"),
        ("s3 = 1", ": s3: invalid type"),
        ("a = ", "line 1: "),
        ("[[account]]\nid = \"1\"", "account[0].id: an account's id is a text of 12 digits"),
        ("[[kms_key]]\nid = \"\"", "kms_key[0].id: the id of a KMS key is"),
        ("[[remote]]\nname = \"A\"\nendpoint = \"http://h\"", "remote[0].name: a remote's name is"),
        ("[[remote]]\nname = \"a\"\nendpoint = \"http://h/path\"", "remote[0].endpoint: an endpoint is"),
        ("[[tier]]\nname = \"a b\"\npath = \"b\"", "tier[0].name: a tier's name is"),
        ("[[tier]]\nname = \"a\"\npath = \"b\"\nclasses = [\"COLD\"]", "tier[0].classes: \"COLD\" is no storage class"),
        ("[[kms_key]]\nid = \"a\"\naccount = \"1\"", "kms_key[0].account: an account's id is"),
    ] {
        let error = error_of(file, &[], &[]);
        assert!(error.contains(why), "{error}");
    }
}

fn tier(name: &str, classes: &str) -> String {
    format!("[[tier]]\nname = \"{name}\"\npath = \"/{name}\"\nclasses = {classes}\n")
}

fn remote_tiers(one: &str, other: &str) -> String {
    let tier = |name: &str, prefix: &str| {
        format!("[[tier]]\nname = \"{name}\"\nremote = \"r\"\nbucket = \"bbb\"\nprefix = \"{prefix}\"\n")
    };
    format!("[[remote]]\nname = \"r\"\nendpoint = \"http://h\"\n{}{}", tier("a", one), tier("b", other))
}

#[test]
fn tiers_of_one_bucket_have_prefixes_of_their_own() {
    load_from(&remote_tiers("one/", "two/"), &[], &[]).unwrap();
}

#[test]
fn what_must_be_unique_is() {
    let one = account("root_key = { access_key = \"one\", secret_key = \"a-secret-of-one\" }");
    let twin = |from: &str, to: &str| format!("{one}\n{}", one.replace(from, to));
    let other_id = one.replace("200000000009", "200000000008");
    for (file, why) in [
        (twin("one", "two"), "the id 200000000009 is used twice"),
        (format!("{one}\n{other_id}"), "the canonical id a9 is used twice"),
        (format!("{one}\n{}", other_id.replace("a9", "a8")), "the access key one is used twice"),
        ("[[kms_key]]\nid = \"k\"\n[[kms_key]]\nid = \"k\"".to_owned(), "the id k is used twice"),
        ("[[remote]]\nname = \"a\"\nendpoint = \"http://h\"\n".repeat(2), "remote: the name a is used twice"),
        (
            "[[remote]]\nname = \"a\"\nendpoint = \"http://h\"\naccess_key = \"abc\"".to_owned(),
            "remote a: access_key and secret_key must be set together",
        ),
        ("[[tier]]\nname = \"a\"\nremote = \"r\"\nbucket = \"bbb\"".to_owned(), "tier a: r is no [[remote]]"),
        ("[[tier]]\nname = \"a\"\npath = \"p\"\nbucket = \"bbb\"".to_owned(), "a tier has a path, or a remote"),
        (tier("a", "[]") + &tier("a", "[]"), "the name a is used twice"),
        (tier("a", "[\"GLACIER\"]") + &tier("b", "[\"GLACIER\"]"), "tier b: the class GLACIER is named twice"),
        (
            remote_tiers("", "cold/"),
            "tier b: it is mixed up with a: both are in one bucket, and the prefix of one begins",
        ),
        (remote_tiers("one/two", "one/t"), "tier b: it is mixed up with a"),
        ("[[kms_key]]\nid = \"k\"\naccount = \"200000000001\"".to_owned(), "kms_key k: 200000000001 is not an account"),
        (
            "[[kms_key]]\nid = \"k\"\ntransit_key = \"t\"".to_owned(),
            "kms_key k: it has a transit_key, and external_kms",
        ),
        ("[external_kms]\nmaster_key = \"m\"".to_owned(), "external_kms.address is not set"),
        (account("administers = [\"200000000001\"]"), "which is not an account"),
        ("[ops]\nlisten = \"127.0.0.1:9000\"".to_owned(), "s3.listen and ops.listen are both"),
        ("[website]\nlisten = \"127.0.0.1:9001\"".to_owned(), "ops.listen and website.listen are both"),
    ] {
        let error = error_of(&file, &[], &[]);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn root_credentials_of_the_environment_come_as_a_pair_and_only_without_accounts() {
    let both = [("CAIRN_ROOT_ACCESS_KEY", "an-access-key"), ("CAIRN_ROOT_SECRET_KEY", "a-secret-key")];
    let root_key = load_from("", &both, &[]).unwrap().config.root_key.unwrap();
    assert_eq!((root_key.access_key.as_str(), root_key.secret_key.expose()), ("an-access-key", "a-secret-key"));
    assert!(error_of("", &both[..1], &[]).contains("must be set together"));
    assert!(error_of(&account(""), &both, &[]).contains("only one of them"));
    let short = [both[0], ("CAIRN_ROOT_SECRET_KEY", "short")];
    assert!(error_of("", &short, &[]).starts_with("CAIRN_ROOT_SECRET_KEY: "));
}

#[test]
fn no_error_and_no_output_shows_a_secret() {
    let pair =
        |secret: &str| account(&format!("root_key = {{ access_key = \"an-access-key\", secret_key = {secret} }}"));
    for file in [
        pair("\"CANARY"),
        pair("1234567, other = \"CANARY\""),
        pair("[\"CANARY\"]"),
        pair("\"CANARY with blanks\""),
        account("root_key = \"CANARY\""),
        account("[[account.user]]\nname = \"u\"\nkeys = \"CANARY\""),
    ] {
        let error = error_of(&file, &[], &[]);
        assert!(!error.contains("CANARY"), "{error}");
    }
    let keys = "[[account.user]]\nname = \"u\"\nkeys = [{ access_key = \"two\", secret_key = \"CANARY-CANARY\" }]";
    let loaded = load_from(&(pair("\"CANARY-CANARY\"") + keys), &[], &[]).unwrap();
    let root = [("CAIRN_ROOT_ACCESS_KEY", "an-access-key"), ("CAIRN_ROOT_SECRET_KEY", "CANARY-CANARY")];
    let rooted = load_from("", &root, &[]).unwrap();
    for loaded in [loaded, rooted] {
        let shown = format!("{}{:?}", loaded.print(), loaded.config);
        assert!(shown.contains("an-access-key") && !shown.contains("CANARY"), "{shown}");
    }
}

#[test]
fn what_is_printed_is_a_configuration_with_origins() {
    let loaded = load_from(EVERY_SECTION, &[("CAIRN_LOG_LEVEL", "warn")], &["--region", "eu-north-1"]).unwrap();
    let printed = loaded.print();
    for line in [
        "region = \"eu-north-1\"  # flag --region",
        "level = \"warn\"  # env CAIRN_LOG_LEVEL",
        "listen = \"127.0.0.1:9000\"  # file",
        "connections_max = 4096  # default",
        "day_seconds = 5  # file",
        "delivery_seconds = 5  # file, not yet in force",
    ] {
        assert!(printed.lines().any(|one| one == line), "no line {line:?} in\n{printed}");
    }
    load_from(&printed.replace("(hidden)", "not-hidden"), &[], &[]).unwrap();
}

#[test]
fn every_default_is_a_value_of_its_setting() {
    for setting in settings::SETTINGS {
        let Some(default) = setting.default else {
            continue;
        };
        let (section, key) = setting.name.split_once('.').unwrap_or(("", setting.name));
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let loaded = load_from(&format!("{header}{key} = {default}"), &[], &[]).unwrap();
        assert_eq!(loaded.merged.origin(setting.name), Origin::File);
        assert_eq!(loaded.not_in_force(), Vec::<String>::new());
    }
}

#[test]
fn the_readme_explains_every_setting_in_force() {
    let readme = include_str!("../../../README.md");
    for setting in settings::SETTINGS.iter().filter(|setting| setting.in_force) {
        let default = match (setting.default, setting.name) {
            (Some(default), _) => format!("`{}`", default.trim_matches('"')),
            (None, "audit.folder") => "`data_dir/audit`".to_owned(),
            (None, "master_key_file") => "`data_dir/master.key`".to_owned(),
            (None, _) => "none".to_owned(),
        };
        let row = format!("| `{}` | {default} |", setting.name);
        assert!(readme.contains(&row), "the README has no row that begins with {row}");
    }
}
