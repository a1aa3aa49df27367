//! Replication configurations as large as S3 takes them.

#![allow(clippy::unwrap_used)]

use cairn_tests::replication::{MAY_ALL, Rule, STATUS, put_rules, role, until, versioned};
use cairn_tests::{Cairn, Config};

/// The largest document.
const BYTES_MAX: usize = 2 << 20;

const RULES: usize = 1_000;

/// A thousand rules with prefixes of so many bytes.
fn rules<'a>(filters: &'a [String]) -> Vec<Rule<'a>> {
    let rule = |(number, filter): (usize, &'a String)| Rule {
        id: format!("{number:0255}"),
        priority: number,
        filter,
        markers: false,
        target: "arn:aws:s3:::target",
        ..Rule::default()
    };
    filters.iter().enumerate().map(rule).collect()
}

fn filters(value_bytes: usize) -> Vec<String> {
    let filter = |number: usize| {
        let (prefix, tag) = ("p".repeat(1_000), "v".repeat(value_bytes));
        let tags = format!("<Tag><Key>1</Key><Value>{tag}</Value></Tag><Tag><Key>2</Key><Value>{tag}</Value></Tag>");
        format!("<And><Prefix>{number:04}/{prefix}</Prefix>{tags}</And>")
    };
    (0..RULES).map(filter).collect()
}

#[tokio::test]
async fn a_configuration_of_a_thousand_rules_and_two_megabytes_is_kept_and_followed_and_a_larger_one_refused() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    versioned(&client, "source").await;
    versioned(&client, "target").await;
    let role_arn = role(&client, MAY_ALL).await;
    let (filters_2mb, larger) = (filters(190), filters(256));
    let put = put_rules(&client, "source", &role_arn, &rules(&filters_2mb));
    put.send().await.expect(200);
    let get = || client.bucket("GET", "source").query("replication", "").send();
    let kept = get().await.expect(200).text();
    assert!((BYTES_MAX * 9 / 10..BYTES_MAX).contains(&kept.len()), "{}", kept.len());
    assert!(filters_2mb.iter().all(|filter| kept.contains(filter)));
    let larger = put_rules(&client, "source", &role_arn, &rules(&larger));
    larger.send().await.expect_error(400, "MaxMessageLengthExceeded");
    assert_eq!(get().await.expect(200).text(), kept);
    // The last of them is followed as well.
    let (key, value) = (format!("0999/{}", "p".repeat(1_000)), "v".repeat(190));
    let tagged = client.object("PUT", "source", &key).header("x-amz-tagging", &format!("1={value}&2={value}"));
    tagged.body("x").send().await.expect(200);
    client.put("source", "else", "x").await.expect(200);
    let head = || client.object("HEAD", "source", &key);
    until("its replication", head, |reply| reply.header(STATUS) == Some("COMPLETED")).await;
    client.head("target", &key).await.expect(200);
    assert_eq!(client.head("source", "else").await.expect(200).header(STATUS), None);
}
