//! INTELLIGENT_TIERING through the real binary: its configurations, and objects that move by how they are used.

#![allow(clippy::unwrap_used)]

use cairn_tests::harness::files_below;
use cairn_tests::lifecycle::{Calendar, configuration, restore, rule};
use cairn_tests::patience::until_so;
use cairn_tests::random::body;
use cairn_tests::{Cairn, Call, Client, Config, skip};

const LARGE: usize = 200_000;

fn put_configuration(client: &Client, bucket: &str, id: &str, content: &str) -> Call {
    let document = format!("<IntelligentTieringConfiguration>{content}</IntelligentTieringConfiguration>");
    client.bucket("PUT", bucket).query("id", id).query("intelligent-tiering", "").body(document)
}

fn tiering(tier: &str, days: i32) -> String {
    format!("<Tiering><AccessTier>{tier}</AccessTier><Days>{days}</Days></Tiering>")
}

#[tokio::test]
async fn configurations_are_kept_as_they_were_put_and_bad_ones_change_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("tiering").await;
    let call = |method: &str, id: &str| client.bucket(method, &bucket).query("id", id).query("intelligent-tiering", "");
    call("GET", "logs").send().await.expect_error(404, "NoSuchConfiguration");
    let archive = tiering("ARCHIVE_ACCESS", 90);
    let good = format!("<Id>logs</Id><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>{archive}");
    put_configuration(&client, &bucket, "logs", &good).send().await.expect(200);
    assert!(call("GET", "logs").send().await.expect(200).text().contains(&good));
    let enabled = "<Id>logs</Id><Status>Enabled</Status>";
    for (id, bad, code) in [
        ("other", good.clone(), "InvalidArgument"),
        ("", good.clone(), "InvalidArgument"),
        ("logs", enabled.to_owned(), "MalformedXML"),
        ("logs", format!("{enabled}{}", tiering("ARCHIVE_ACCESS", 89)), "InvalidArgument"),
        ("logs", format!("{enabled}{}", tiering("DEEP_ARCHIVE_ACCESS", 179)), "InvalidArgument"),
        ("logs", format!("{enabled}{}", tiering("DEEP_ARCHIVE_ACCESS", 731)), "InvalidArgument"),
        ("logs", format!("{enabled}{}", tiering("COLD", 90)), "MalformedXML"),
        ("logs", format!("{enabled}{archive}{archive}"), "MalformedXML"),
    ] {
        put_configuration(&client, &bucket, id, &bad).send().await.expect_error(400, code);
        assert!(call("GET", "logs").send().await.expect(200).text().contains(&good), "{bad}");
    }
    let others = (0..100).map(|number| format!("other-{number:03}"));
    for id in others.clone() {
        let content = format!("<Id>{id}</Id><Status>Disabled</Status>{archive}");
        put_configuration(&client, &bucket, &id, &content).send().await.expect(200);
    }
    let list = || client.bucket("GET", &bucket).query("intelligent-tiering", "");
    let first = list().send().await.expect(200);
    assert_eq!((first.xml_all("Id").len(), first.xml("IsTruncated")), (100, "true".to_owned()));
    let token = first.xml("NextContinuationToken");
    let second = list().query("continuation-token", &token).send().await.expect(200);
    assert_eq!((second.xml_all("Id"), second.xml("IsTruncated")), (vec!["other-099".to_owned()], "false".to_owned()));
    list().query("continuation-token", "nonsense").send().await.expect_error(400, "InvalidArgument");
    call("DELETE", "logs").send().await.expect(204);
    call("DELETE", "logs").send().await.expect_error(404, "NoSuchConfiguration");
    call("DELETE", "").send().await.expect_error(400, "InvalidArgument");
}

/// How many batches were committed.
fn commits(cairn: &Cairn) -> u64 {
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    let sum = metrics.lines().find_map(|line| line.strip_prefix("cairn_commit_group_batches_sum ")).unwrap();
    sum.parse::<f64>().unwrap() as u64
}

/// The tiers to which the audit log says that objects moved, which no rule asked for.
fn told_tiers(cairn: &Cairn) -> Vec<String> {
    let text = std::fs::read_to_string(cairn.data_dir().join("audit/audit.jsonl")).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let moves = lines.filter(|line| line["operation"] == "s3:IntelligentTiering" && line.get("rule").is_none());
    moves.map(|line| line["to"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn objects_move_by_how_they_are_used_and_come_back_from_archives_by_a_restore() {
    let mut calendar = Calendar::start();
    let client = calendar.cairn.client();
    let bucket = client.fresh_bucket("used").await;
    let put = |key: &str| client.object("PUT", &bucket, key).header("x-amz-storage-class", "INTELLIGENT_TIERING");
    put("key").body(body(1, LARGE)).send().await.expect(200);
    put("small").body(body(2, 1_000)).send().await.expect(200);
    let tiers = tiering("ARCHIVE_ACCESS", 95) + &tiering("DEEP_ARCHIVE_ACCESS", 180);
    let archives = format!("<Id>all</Id><Status>Enabled</Status>{tiers}");
    put_configuration(&client, &bucket, "all", &archives).send().await.expect(200);
    let call = |method: &str| client.object(method, &bucket, "key");
    let files =
        |calendar: &Calendar, class: &str| files_below(&calendar.cairn.data_dir().join("classes").join(class)).len();

    let printed = match calendar.pass(32, &[&bucket]) {
        Ok(printed) => printed,
        Err(reason) => skip!("{reason}"),
    };
    assert!(printed.contains("1  moved to INFREQUENT_ACCESS"), "{printed}");
    assert_eq!(files(&calendar, "STANDARD_IA"), 1);
    let head = calendar.send(call("HEAD")).await.expect(200);
    assert_eq!(head.header("x-amz-storage-class"), Some("INTELLIGENT_TIERING"));
    // Looking is no access; reading is.
    assert!(!calendar.pass(1, &[&bucket]).unwrap().contains("moved to"));
    let before = commits(&calendar.cairn);
    for _ in 0..50 {
        assert_eq!(calendar.send(call("GET")).await.expect(200).body, body(1, LARGE));
    }
    let written = commits(&calendar.cairn) - before;
    assert!(written < 10, "50 reads were written down in {written} commits");
    let printed = calendar.pass(1, &[&bucket]).unwrap();
    assert!(printed.contains("1  moved to FREQUENT_ACCESS"), "{printed}");
    let told = || told_tiers(&calendar.cairn) == ["INFREQUENT_ACCESS", "FREQUENT_ACCESS"];
    until_so("what is told", told).await;

    let printed = calendar.pass(96, &[&bucket]).unwrap();
    assert!(printed.contains("1  moved to ARCHIVE_ACCESS"), "{printed}");
    let refused = calendar.send(call("GET")).await.expect_error(403, "InvalidObjectState");
    assert_eq!(
        (refused.xml("StorageClass"), refused.xml("AccessTier")),
        ("INTELLIGENT_TIERING".into(), "ARCHIVE_ACCESS".into())
    );
    let head = calendar.send(call("HEAD")).await.expect(200);
    assert_eq!(head.header("x-amz-archive-status"), Some("ARCHIVE_ACCESS"));
    calendar.send(client.object("GET", &bucket, "small")).await.expect(200);

    calendar.send(restore(&client, &bucket, "key", "<Days>1</Days>")).await.expect_error(400, "InvalidArgument");
    calendar.send(restore(&client, &bucket, "key", "")).await.expect(202);
    let head = calendar.send(call("HEAD")).await.expect(200);
    assert_eq!(head.header("x-amz-restore"), Some("ongoing-request=\"true\""));
    calendar.send(call("GET")).await.expect_error(403, "InvalidObjectState");
    let printed = calendar.pass(1, &[&bucket]).unwrap();
    assert!(printed.contains("1  moved to FREQUENT_ACCESS"), "{printed}");
    assert_eq!(calendar.send(call("GET")).await.expect(200).body, body(1, LARGE));
    let head = calendar.send(call("HEAD")).await.expect(200);
    assert!(head.header("x-amz-restore").is_none() && head.header("x-amz-archive-status").is_none());
    calendar.cairn.stop();
    let (status, printed) = calendar.cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn a_plan_tells_of_moves_between_access_tiers_also_without_rules() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("foreseen").await;
    for (key, size) in [("key", LARGE), ("small", 1_000)] {
        let put = client.object("PUT", &bucket, key).header("x-amz-storage-class", "INTELLIGENT_TIERING");
        put.body(body(1, size)).send().await.expect(200);
    }
    let plan = |more: &[&str]| {
        let arguments = [&["lifecycle", "plan", "--bucket", &bucket], more].concat();
        let output = cairn.calling_command(&arguments).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let printed = plan(&["--days", "29"]);
    assert!(printed.contains("of 2 versions") && printed.contains("nothing is due"), "{printed}");
    let printed = plan(&["--days", "40"]);
    let line = "  by access: moved to INFREQUENT_ACCESS of INTELLIGENT_TIERING\n           0  now, 0 bytes\n\
                \u{20}          1  within 40 days after, 200000 bytes\n              such as key\n";
    assert!(printed.contains(line), "{printed}");
    let in_a_year = time::OffsetDateTime::now_utc() + time::Duration::days(365);
    let in_a_year = in_a_year.format(&time::format_description::well_known::Rfc3339).unwrap();
    let printed = plan(&["--at", &in_a_year]);
    assert!(printed.contains("by access: moved to ARCHIVE_INSTANT_ACCESS"), "{printed}");
    put_configuration(
        &client,
        &bucket,
        "all",
        &format!("<Id>all</Id><Status>Enabled</Status>{}", tiering("DEEP_ARCHIVE_ACCESS", 200)),
    )
    .send()
    .await
    .expect(200);
    assert!(plan(&["--at", &in_a_year]).contains("by access: moved to DEEP_ARCHIVE_ACCESS"));
    // A rule that comes first is what is told.
    let file = cairn.scratch_dir().join("foreseen.xml");
    let moves = "<Transition><Days>10</Days><StorageClass>GLACIER</StorageClass></Transition>";
    std::fs::write(&file, configuration(&rule("cold", "", moves))).unwrap();
    let printed = plan(&["--days", "40", "--config", file.to_str().unwrap()]);
    assert!(printed.contains("rule cold: moved to GLACIER from INTELLIGENT_TIERING"), "{printed}");
    assert!(!printed.contains("by access"), "{printed}");
}

#[tokio::test]
async fn what_is_in_an_access_tier_goes_where_the_class_that_is_as_warm_has_its_files() {
    let elsewhere = tempfile::tempdir().unwrap();
    let tier =
        |classes: &str| format!("\n[[tier]]\nname = \"warm\"\npath = {:?}\nclasses = [{classes}]\n", elsewhere.path());
    let mut calendar = Calendar::with(Config { more: tier("\"STANDARD_IA\""), ..Config::default() });
    let client = calendar.cairn.client();
    let bucket = client.fresh_bucket("warm").await;
    let put = client.object("PUT", &bucket, "key").header("x-amz-storage-class", "INTELLIGENT_TIERING");
    put.body(body(1, LARGE)).send().await.expect(200);
    let printed = match calendar.pass(32, &[&bucket]) {
        Ok(printed) => printed,
        Err(reason) => skip!("{reason}"),
    };
    assert!(printed.contains("1  moved to INFREQUENT_ACCESS"), "{printed}");
    assert_eq!(files_below(&elsewhere.path().join("blobs")).len(), 1);
    let config = std::fs::read_to_string(calendar.cairn.config_file()).unwrap();
    let of_data_dir = calendar.cairn.data_dir().join("classes/STANDARD_IA");
    // The tier gets no class any more, and then its class again.
    for (classes, in_tier, here) in [("", 0, 1), ("\"STANDARD_IA\"", 1, 0)] {
        calendar.cairn.stop();
        std::fs::write(calendar.cairn.config_file(), config.replace(&tier("\"STANDARD_IA\""), &tier(classes))).unwrap();
        calendar.cairn.start_again();
        let moving = calendar.cairn.calling_command(&["tier", "move"]).output().unwrap();
        assert!(moving.status.success(), "{moving:?}");
        let are_where_they_belong =
            || files_below(&elsewhere.path().join("blobs")).len() == in_tier && files_below(&of_data_dir).len() == here;
        until_so("the move", are_where_they_belong).await;
        let head = calendar.send(client.object("HEAD", &bucket, "key")).await.expect(200);
        assert_eq!(head.header("x-amz-storage-class"), Some("INTELLIGENT_TIERING"));
    }
    // Who reads it finds it, and it comes back into the place of what is used.
    assert_eq!(calendar.send(client.object("GET", &bucket, "key")).await.expect(200).body, body(1, LARGE));
    let printed = calendar.pass(1, &[&bucket]).unwrap();
    assert!(printed.contains("1  moved to FREQUENT_ACCESS"), "{printed}");
    until_so("freeing", || files_below(&elsewhere.path().join("blobs")).is_empty()).await;
    calendar.cairn.stop();
    let (status, printed) = calendar.cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}
