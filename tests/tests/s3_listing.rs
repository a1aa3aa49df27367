//! ListObjects and ListObjectsV2: against a naive listing of a sorted set, and rule by rule.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use cairn_tests::sigv4::form_decode;
use cairn_tests::{Cairn, Call, Client, Config, Random, Reply, xml};

/// A bucket that holds `keys`, each with the key's length as its content's length.
async fn bucket_of(client: &Client, purpose: &str, keys: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    for key in keys {
        client.put(&bucket, key.as_ref(), key.as_ref().to_owned()).await;
    }
    bucket
}

fn list_v2(client: &Client, bucket: &str) -> Call {
    client.bucket("GET", bucket).query("list-type", "2")
}

fn common_prefixes(reply: &Reply) -> Vec<String> {
    xml::sections(&reply.text(), "CommonPrefixes").iter().filter_map(|inner| xml::text(inner, "Prefix")).collect()
}

/// What a listing returns, decided naively: keys, and prefixes marked as such, in order.
fn naive(keys: &BTreeSet<String>, prefix: &str, delimiter: &str, after: &str) -> Vec<(String, bool)> {
    let mut entries = BTreeMap::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix) && key.as_str() > after) {
        let rest = &key[prefix.len()..];
        match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
            Some(position) => entries.insert(key[..prefix.len() + position + delimiter.len()].to_owned(), true),
            None => entries.insert(key.clone(), false),
        };
    }
    entries.into_iter().collect()
}

/// All pages of a listing, and its entries in order.
async fn all_pages(call: impl Fn() -> Call, page_size: usize) -> Vec<(String, bool)> {
    let mut entries = Vec::new();
    let mut token = String::new();
    loop {
        let mut call = call().query("max-keys", &page_size.to_string()).query("encoding-type", "url");
        if !token.is_empty() {
            call = call.query("continuation-token", &token);
        }
        let page = call.send().await.expect(200);
        let mut on_page: Vec<(String, bool)> =
            page.xml_all("Key").iter().map(|key| (form_decode(key), false)).collect();
        on_page.extend(common_prefixes(&page).iter().map(|prefix| (form_decode(prefix), true)));
        on_page.sort();
        assert_eq!(page.xml("KeyCount"), on_page.len().to_string(), "{page:?}");
        assert!(on_page.len() <= page_size, "{page:?}");
        entries.extend(on_page);
        match page.xml("IsTruncated").as_str() {
            "true" => token = page.xml("NextContinuationToken"),
            _ => return entries,
        }
        assert!(!token.is_empty(), "{page:?}");
    }
}

#[tokio::test]
async fn random_listings_agree_with_a_naive_one() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let mut random = Random::new(0x1157);
    let alphabet = ["a", "b", "/", "//", "-", "é", "日", "\u{1}", "\u{7f}", "\u{10ffff}", " ", "+", "%", "&"];
    let mut word = |length: usize| -> String { (0..length).map(|_| *random.pick(&alphabet)).collect() };
    let keys: BTreeSet<String> = (0..300).map(|number| word(1 + number % 7)).collect();
    let bucket = bucket_of(&client, "naive", &keys).await;
    let prefixes = ["", "a", "a/", "/", "b-", "é", "zz", "日/"];
    let delimiters = ["", "/", "//", "-", "a/", "é"];
    let mut random = Random::new(0x1158);
    for step in 0..90 {
        let (prefix, delimiter) = (*random.pick(&prefixes), *random.pick(&delimiters));
        let page_size = *random.pick(&[1, 2, 3, 7, 50, 1_000]).max(&if step % 9 == 0 { 1 } else { 3 });
        let expected = naive(&keys, prefix, delimiter, "");
        let got =
            all_pages(|| list_v2(&client, &bucket).query("prefix", prefix).query("delimiter", delimiter), page_size);
        assert_eq!(got.await, expected, "prefix {prefix:?} delimiter {delimiter:?} pages of {page_size}");
    }
}

#[tokio::test]
async fn start_after_agrees_with_a_naive_listing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let keys: BTreeSet<String> =
        ["a", "a/", "a/b", "a/c", "a0", "b", "b/x/y", "c/"].into_iter().map(String::from).collect();
    let bucket = bucket_of(&client, "start-after", &keys).await;
    for after in ["", "a", "a/", "a/b", "a/bb", "b", "b/x", "zzz"] {
        let got = all_pages(|| list_v2(&client, &bucket).query("start-after", after), 3).await;
        assert_eq!(got, naive(&keys, "", "", after), "start-after {after:?}");
    }
}

#[tokio::test]
async fn a_key_and_keys_below_it_coexist_in_byte_order() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "order", ["a/b", "a", "a-", "B", "ä", "a0", "Z"]).await;
    assert_eq!(client.keys(&bucket).await, ["B", "Z", "a", "a-", "a/b", "a0", "ä"]);
}

#[tokio::test]
async fn an_entry_carries_what_s3_says_of_it() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("entry").await;
    let etag = client.put(&bucket, "key", "twelve bytes").await.etag();
    let reply = list_v2(&client, &bucket).send().await.expect(200);
    assert_eq!(reply.xml("Name"), bucket);
    assert_eq!((reply.xml("Key").as_str(), reply.xml("Size").as_str()), ("key", "12"));
    assert_eq!((reply.xml("ETag"), reply.xml("StorageClass").as_str()), (etag, "STANDARD"));
    assert_eq!((reply.xml("KeyCount").as_str(), reply.xml("MaxKeys").as_str()), ("1", "1000"));
    assert!(reply.xml("LastModified").ends_with('Z'), "{reply:?}");
    assert_eq!(reply.xml("IsTruncated"), "false");
}

#[tokio::test]
async fn the_owner_is_shown_in_v2_only_if_asked_for() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "owner", ["key"]).await;
    assert!(!list_v2(&client, &bucket).send().await.text().contains("<Owner>"));
    let owned = list_v2(&client, &bucket).query("fetch-owner", "true").send().await.expect(200);
    assert_eq!(owned.xml("ID"), format!("{:064x}", 1));
    let v1 = client.bucket("GET", &bucket).send().await.expect(200);
    assert_eq!(v1.xml("ID"), format!("{:064x}", 1));
}

#[tokio::test]
async fn max_keys_is_checked_and_cut() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "max-keys", ["a", "b"]).await;
    for call in [list_v2(&client, &bucket), client.bucket("GET", &bucket)] {
        for bad in ["blah", "-1", "1.5"] {
            call.clone().query("max-keys", bad).send().await.expect_error(400, "InvalidArgument");
        }
        let none = call.clone().query("max-keys", "0").send().await.expect(200);
        assert_eq!((none.xml_all("Key").len(), none.xml("IsTruncated").as_str()), (0, "false"));
        let cut = call.clone().query("max-keys", "5000").send().await.expect(200);
        assert_eq!(cut.xml("MaxKeys"), "1000");
    }
}

#[tokio::test]
async fn an_empty_delimiter_is_no_delimiter() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "empty-delimiter", ["a/b", "c"]).await;
    let reply = list_v2(&client, &bucket).query("delimiter", "").send().await.expect(200);
    assert_eq!(reply.xml_all("Key"), ["a/b", "c"]);
    assert!(!reply.text().contains("<Delimiter>"), "{reply:?}");
}

#[tokio::test]
async fn a_delimiter_may_be_long() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "long-delimiter", ["xabcy", "xabcz", "xab", "abc"]).await;
    let reply = list_v2(&client, &bucket).query("delimiter", "abc").send().await.expect(200);
    assert_eq!(reply.xml_all("Key"), ["xab"]);
    assert_eq!(common_prefixes(&reply), ["abc", "xabc"]);
}

#[tokio::test]
async fn url_encoding_covers_keys_prefixes_and_delimiters() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "encoding", ["ü/a b", "ü/\u{1}c"]).await;
    let call = list_v2(&client, &bucket).query("encoding-type", "url").query("prefix", "ü/");
    let reply = call.clone().send().await.expect(200);
    assert_eq!(reply.xml("EncodingType"), "url");
    assert!(reply.text().contains("%C3%BC/"), "{reply:?}");
    assert_eq!(reply.xml_all("Key").iter().map(|key| form_decode(key)).collect::<Vec<_>>(), ["ü/\u{1}c", "ü/a b"]);
    let folded = call.query("delimiter", " ").send().await.expect(200);
    assert_eq!(common_prefixes(&folded).iter().map(|prefix| form_decode(prefix)).collect::<Vec<_>>(), ["ü/a "]);
    list_v2(&client, &bucket).query("encoding-type", "base64").send().await.expect_error(400, "InvalidArgument");
}

#[tokio::test]
async fn a_listing_without_url_encoding_is_well_formed_for_ordinary_keys() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "plain", ["a&b<c>\"'", "ü"]).await;
    assert_eq!(client.keys(&bucket).await, ["a&b<c>\"'", "ü"]);
}

#[tokio::test]
async fn v1_pages_with_markers() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "v1", ["a", "b/1", "b/2", "c", "d/1"]).await;
    let page = |marker: &str| {
        client.bucket("GET", &bucket).query("delimiter", "/").query("max-keys", "2").query("marker", marker).send()
    };
    let first = page("").await.expect(200);
    assert_eq!((first.xml_all("Key"), common_prefixes(&first)), (vec!["a".into()], vec!["b/".into()]));
    assert_eq!((first.xml("IsTruncated").as_str(), first.xml("NextMarker").as_str()), ("true", "b/"));
    let second = page("b/").await.expect(200);
    assert_eq!((second.xml_all("Key"), common_prefixes(&second)), (vec!["c".into()], vec!["d/".into()]));
    assert_eq!(second.xml("IsTruncated"), "false");
}

#[tokio::test]
async fn v1_without_a_delimiter_pages_by_the_last_key() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "v1-plain", ["a", "b", "c"]).await;
    let first = client.bucket("GET", &bucket).query("max-keys", "2").send().await.expect(200);
    assert_eq!((first.xml_all("Key"), first.xml("IsTruncated").as_str()), (vec!["a".into(), "b".into()], "true"));
    assert!(!first.text().contains("NextMarker"), "{first:?}");
    let second = client.bucket("GET", &bucket).query("marker", "b").send().await.expect(200);
    assert_eq!(second.xml_all("Key"), ["c"]);
}

#[tokio::test]
async fn a_made_up_continuation_token_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_of(&client, "token", ["a"]).await;
    for token in ["nonsense", "%%%"] {
        let call = list_v2(&client, &bucket).query("continuation-token", token);
        call.send().await.expect_error(400, "InvalidArgument");
    }
}

#[tokio::test]
async fn a_continuation_token_survives_a_restart_and_changes_of_the_bucket() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = bucket_of(&client, "restart", ["a", "b", "c", "d"]).await;
    let first = list_v2(&client, &bucket).query("max-keys", "2").send().await.expect(200);
    client.delete(&bucket, "b").await;
    client.delete(&bucket, "c").await;
    client.put(&bucket, "a1", "late").await;
    cairn.restart();
    let call = list_v2(&client, &bucket).query("continuation-token", &first.xml("NextContinuationToken"));
    assert_eq!(call.send().await.expect(200).xml_all("Key"), ["d"]);
}

#[tokio::test]
async fn a_missing_bucket_has_no_listing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    list_v2(&client, "no-such-bucket").send().await.expect_error(404, "NoSuchBucket");
    client.bucket("GET", "no-such-bucket").send().await.expect_error(404, "NoSuchBucket");
}

#[tokio::test]
async fn a_page_holds_a_thousand_keys_at_most() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("thousand").await;
    let mut puts = Vec::new();
    for number in 0..1_010 {
        puts.push(tokio::spawn(client.object("PUT", &bucket, &format!("k{number:05}")).body("x").send()));
        if puts.len() == 32 {
            for put in puts.drain(..) {
                put.await.unwrap().expect(200);
            }
        }
    }
    for put in puts {
        put.await.unwrap().expect(200);
    }
    let reply = list_v2(&client, &bucket).send().await.expect(200);
    assert_eq!((reply.xml_all("Key").len(), reply.xml("IsTruncated").as_str()), (1_000, "true"));
    assert_eq!(client.keys(&bucket).await.len(), 1_010);
}
