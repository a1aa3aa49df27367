//! The command line: versions, configuration, the lock on the data directory, first credentials, and offline checks.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Output;

use cairn_tests::random::body;
use cairn_tests::{Cairn, Config};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn append_to_config(cairn: &Cairn, line: &str) {
    let config = fs::read_to_string(cairn.config_file()).unwrap();
    fs::write(cairn.config_file(), format!("{line}\n{config}")).unwrap();
}

#[test]
fn version_says_what_runs() {
    let cairn = Cairn::prepare(Config::default());
    let output = cairn.command(&["version"]).output().unwrap();
    assert!(output.status.success());
    assert!(text(&output).starts_with("cairn 0."), "{}", text(&output));
}

#[test]
fn printed_configuration_hides_secrets_and_shows_origins() {
    let cairn = Cairn::prepare(Config::default());
    let output = cairn
        .command(&["serve", "--print-config", "--config"])
        .arg(cairn.config_file())
        .env("CAIRN_REGION", "eu-north-1")
        .output();
    let output = output.unwrap();
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    assert!(!printed.contains(&cairn.client().credentials.secret_key), "{printed}");
    assert!(printed.contains(&cairn.client().credentials.access_key), "{printed}");
    let region = printed.lines().find(|line| line.starts_with("region")).unwrap_or_default();
    assert!(region.contains("eu-north-1") && region.contains("CAIRN_REGION"), "{printed}");
    assert!(printed.contains("default"), "{printed}");
    toml::from_str::<toml::Table>(&String::from_utf8_lossy(&output.stdout)).unwrap();
    assert!(!cairn.data_dir().exists(), "printing the configuration created data");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let cairn = Cairn::prepare(Config::default());
    let region = |flag: Option<&str>, environment: Option<&str>| {
        let mut command = cairn.command(&["serve", "--print-config", "--config"]);
        command.arg(cairn.config_file());
        if let Some(region) = flag {
            command.args(["--region", region]);
        }
        if let Some(region) = environment {
            command.env("CAIRN_REGION", region);
        }
        let output = command.output().unwrap();
        let printed: toml::Table = toml::from_str(&String::from_utf8_lossy(&output.stdout)).unwrap();
        printed["region"].as_str().unwrap().to_owned()
    };
    assert_eq!(region(None, None), "us-east-1");
    assert_eq!(region(None, Some("from-environment")), "from-environment");
    assert_eq!(region(Some("from-flag"), Some("from-environment")), "from-flag");
}

#[test]
fn an_unknown_setting_is_an_error_that_names_it() {
    let mut cairn = Cairn::prepare(Config::default());
    append_to_config(&cairn, "no_such_setting = 1");
    let error = cairn.launch().unwrap_err();
    assert!(error.status.is_some_and(|status| !status.success()), "{error:?}");
    assert!(error.log.contains("no_such_setting"), "{error:?}");
}

#[test]
fn settings_that_make_no_sense_are_errors_that_name_them() {
    for (old, new, named) in [
        ("region = \"us-east-1\"", "region = \"\"", "region"),
        ("listen = \"127.0.0.1", "listen = \"nowhere", "listen"),
        ("free_space_floor_bytes = ", "free_space_floor_bytes = -", "free_space_floor_bytes"),
        ("cairn-other-access", "cairn-test-access", "cairn-test-access"),
    ] {
        let mut cairn = Cairn::prepare(Config::default());
        let config = fs::read_to_string(cairn.config_file()).unwrap();
        assert!(config.contains(old));
        fs::write(cairn.config_file(), config.replace(old, new)).unwrap();
        let error = cairn.launch().unwrap_err();
        assert!(error.status.is_some_and(|status| !status.success()), "{new}: {error:?}");
        assert!(error.log.contains(named), "{new}: {error:?}");
        assert!(!error.log.contains("panicked"), "{error:?}");
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("locked").await;
    let mut second = Cairn::prepare(Config { data_dir: Some(cairn.data_dir()), ..Config::default() });
    let error = second.launch().unwrap_err();
    assert!(error.status.is_some_and(|status| !status.success()), "{error:?}");
    assert!(
        error.log.contains(cairn.data_dir().to_str().unwrap()),
        "the message does not name the directory: {error:?}"
    );
    let (status, _) = second.check();
    assert_eq!(status, Some(2), "a check beside a running server");
    client.put(&bucket, "key", "the first one still works").await;
}

#[tokio::test]
async fn generated_credentials_are_shown_once_and_keep_working() {
    let mut cairn = Cairn::start(Config { accounts: false, ..Config::default() });
    let first = cairn.log();
    let (access_key, secret_key) = shown_credentials(&first);
    let client = cairn.client_with(&access_key, &secret_key);
    let bucket = client.fresh_bucket("generated").await;
    cairn.restart();
    assert!(!cairn.log()[first.len()..].contains(&secret_key), "the secret is shown again");
    client.put(&bucket, "key", "x").await;
    cairn.stop();
    for file in cairn_tests::harness::files_below(&cairn.data_dir()) {
        let bytes = fs::read(&file).unwrap();
        let found = bytes.windows(secret_key.len()).any(|window| window == secret_key.as_bytes());
        assert!(!found, "{} holds the secret in plain", file.display());
    }
}

/// The credentials in the `aws` example that the first start prints.
fn shown_credentials(log: &str) -> (String, String) {
    let value = |name: &str| {
        let start = log.find(name).unwrap_or_else(|| panic!("{name} is not shown:\n{log}")) + name.len();
        let rest = log[start..].trim_start_matches(['=', ':', ' ', '"', '\'']);
        rest.split(|character: char| character.is_whitespace() || "\"'\\".contains(character))
            .next()
            .unwrap()
            .to_owned()
    };
    (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"))
}

#[tokio::test]
async fn there_are_no_default_credentials() {
    let cairn = Cairn::start(Config { accounts: false, ..Config::default() });
    for (access_key, secret_key) in
        [("minioadmin", "minioadmin"), ("admin", "admin"), ("root", "root"), ("cairn", "cairn"), ("", "")]
    {
        let reply = cairn.client_with(access_key, secret_key).call("GET", "/").send().await;
        assert!([400, 403].contains(&reply.status), "{access_key}: {reply:?}");
    }
}

#[test]
fn the_master_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let cairn = Cairn::start(Config { accounts: false, ..Config::default() });
    let mode = fs::metadata(cairn.data_dir().join("master.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_master_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut cairn = Cairn::start(Config { accounts: false, ..Config::default() });
    cairn.stop();
    let path = cairn.data_dir().join("master.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = cairn.launch().unwrap_err();
    assert!(error.log.contains("master.key"), "{error:?}");
}

#[test]
fn a_newer_format_is_refused() {
    let mut cairn = Cairn::start(Config::default());
    cairn.stop();
    let path = cairn.data_dir().join("format");
    let format = fs::read_to_string(&path).unwrap();
    assert!(format.contains("cairn-format 1"), "{format}");
    fs::write(&path, format.replace("cairn-format 1", "cairn-format 2")).unwrap();
    let error = cairn.launch().unwrap_err();
    assert!(error.log.contains("format"), "{error:?}");
}

#[tokio::test]
async fn a_check_of_whole_data_is_clean() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("checked").await;
    for size in [0, 10, 100_000, 3_000_000] {
        client.put(&bucket, &format!("key-{size}"), body(1, size)).await;
    }
    cairn.stop();
    let (status, output) = cairn.check();
    assert_eq!(status, Some(0), "{output}");
    cairn.start_again();
    assert_eq!(client.keys(&bucket).await.len(), 4);
}

#[tokio::test]
async fn a_check_reports_a_missing_file() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("missing-file").await;
    client.put(&bucket, "the-lost-key", body(1, 100_000)).await;
    cairn.stop();
    let file = cairn.blob_files().pop().unwrap();
    fs::remove_file(&file).unwrap();
    let (status, output) = cairn.check();
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains(file.file_name().unwrap().to_str().unwrap()), "{output}");
}

#[test]
fn a_check_of_no_data_cannot_check() {
    let cairn = Cairn::prepare(Config::default());
    let (status, output) = cairn.check();
    assert_eq!(status, Some(2), "{output}");
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    let cairn = Cairn::prepare(Config::default());
    let output = cairn.command(&["nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("Usage"), "{}", text(&output));
}
