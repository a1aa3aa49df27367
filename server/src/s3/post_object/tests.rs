#![allow(clippy::unwrap_used)]

use super::*;

fn redirected(url: &str) -> Option<String> {
    let key = ObjectKey::new("a b/é&c").unwrap();
    redirect(url, "bucket", &key, "\"etag\"").map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn a_redirect_carries_what_was_stored() {
    let query = "bucket=bucket&key=a+b%2F%C3%A9%26c&etag=%22etag%22";
    assert_eq!(redirected("http://e.com/done").unwrap(), format!("http://e.com/done?{query}"));
    assert_eq!(redirected("https://e.com/?a=b").unwrap(), format!("https://e.com/?a=b&{query}"));
    assert_eq!(redirected("https://e.com/a#part").unwrap(), format!("https://e.com/a?{query}#part"));
}

#[test]
fn what_is_no_address_redirects_nowhere() {
    for url in ["", "/relative", "//e.com/x", "javascript:alert(1)", "ftp://e.com/", "http://", "http://e.com/\r\nx: y"]
    {
        assert_eq!(redirected(url), None, "{url:?}");
    }
}

#[test]
fn tags_are_encoded_as_the_header_has_them() {
    let document = "<Tagging><TagSet><Tag><Key>a b</Key><Value>c+d</Value></Tag><Tag><Key>e</Key><Value>:=</Value></Tag>\
                    </TagSet></Tagging>";
    let headers = [(TAGGING, tagging(document).unwrap())].into_iter().collect();
    let tags = tags::from_headers(&headers).unwrap();
    let tags: Vec<_> = tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())).collect();
    assert_eq!(tags, [("a b", "c+d"), ("e", ":=")]);
    assert_eq!(tagging("not-xml").unwrap_err().code(), "MalformedXML");
}
