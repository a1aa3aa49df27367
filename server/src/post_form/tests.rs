#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::ops::RangeInclusive;

use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;

/// A body that arrives in pieces of this size.
fn body(text: &[u8], piece_bytes: usize) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin + use<> {
    let pieces: Vec<_> = text.chunks(piece_bytes).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    StreamBody::new(futures::stream::iter(pieces))
}

fn field(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(content: &str) -> String {
    format!(
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"C:\\dir\\a \\\"b\\\".txt\"\r\n\r\n{content}\r\n"
    )
}

type Outcome = Result<(Vec<(String, String)>, String), String>;

async fn read_with(text: &[u8], piece_bytes: usize, allowed: RangeInclusive<u64>) -> Outcome {
    let code = |failure: Failure| failure.code().to_owned();
    let Form { fields, file: mut bytes } = Form::read(body(text, piece_bytes), "b").await.map_err(code)?;
    bytes.allow(allowed);
    let mut content = Vec::new();
    while let Some(piece) = bytes.next().await {
        content.extend_from_slice(&piece.map_err(|error| code(crate::s3::error::of_body(error.as_ref())))?);
    }
    let fields = fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok((fields, String::from_utf8(content).unwrap()))
}

/// However the body arrives.
async fn read(text: &str) -> Outcome {
    let whole = read_with(text.as_bytes(), usize::MAX, 0..=u64::MAX).await;
    for piece_bytes in [1, 2, 3, 7, 64] {
        assert_eq!(read_with(text.as_bytes(), piece_bytes, 0..=u64::MAX).await, whole, "in pieces of {piece_bytes}");
    }
    whole
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn fields_and_the_file_are_told_apart_however_they_arrive() {
    let content = "\r\n--\r\n--a\r\n-\r\n\r--\r\nlast";
    for end in ["--b--", "--b--\r\n", "--b--\r\nepilogue", "--b \t\r\n\r\n"] {
        let text = field("Key", "a\r\nb") + &field("x-amz-meta-é", "") + &file(content) + end;
        let expected = (pairs(&[("key", "a\r\nb"), ("x-amz-meta-é", "")]), content.to_owned());
        assert_eq!(read(&text).await.unwrap(), expected, "{end:?}");
    }
    let with_preamble = format!("preamble\r\n{}{}--b--", field("key", "k"), file(""));
    assert_eq!(read(&with_preamble).await.unwrap(), (pairs(&[("key", "k")]), String::new()));
}

#[tokio::test]
async fn what_follows_the_file_is_ignored_unless_it_is_another_one() {
    let more = file("content") + &field("acl", "public-read") + "--b--";
    assert_eq!(read(&more).await.unwrap(), (vec![], "content".to_owned()));
    let second = file("content") + &file("more") + "--b--";
    assert_eq!(read(&second).await, Err("IncorrectNumberOfFilesInPostRequest".to_owned()));
}

#[tokio::test]
async fn the_file_name_replaces_its_variable() {
    let expanded = async |file_name: &str| {
        let disposition = format!("Content-Disposition: form-data; name=\"file\"{file_name}\r\n\r\n");
        let text = field("key", "up/${filename}") + &field("policy", "${filename}") + "--b\r\n" + &disposition;
        let fields = read(&(text + "\r\n--b--")).await.unwrap().0;
        assert_eq!(fields[1].1, "${filename}");
        fields[0].1.clone()
    };
    for (file_name, key) in [
        ("; filename=\"a.txt\"", "up/a.txt"),
        ("; filename=a.txt", "up/a.txt"),
        ("; filename=\"/home/me/a.txt\"", "up/a.txt"),
        ("; filename=\"C:\\docs\\a.txt\"", "up/a.txt"),
        ("; filename=\"a%22b\\\"c.txt\"", "up/a\"b\"c.txt"),
        ("; filename=\"é.txt\"", "up/é.txt"),
        ("; filename=\"\"", "up/"),
        ("", "up/${filename}"),
    ] {
        assert_eq!(expanded(file_name).await, key, "{file_name}");
    }
}

#[tokio::test]
async fn what_the_file_name_makes_of_the_fields_is_bounded() {
    let expanded = async |times: usize, name_bytes: usize| {
        let fields = field("key", "k") + &field("x-ignore-a", &"${filename}".repeat(times));
        let file = file("").replace("C:\\dir\\a \\\"b\\\".txt", &"n".repeat(name_bytes));
        read_with((fields + &file + "--b--").as_bytes(), 4096, 0..=9).await.map(|(fields, _)| fields[1].1.len())
    };
    assert_eq!(expanded(1, 10 << 10).await, Ok(10 << 10));
    assert_eq!(expanded(900, 20).await, Ok(18_000));
    for (times, name_bytes) in [(2, 10 << 10), (900, 9 << 10)] {
        let code = "MaxPostPreDataLengthExceeded".to_owned();
        assert_eq!(expanded(times, name_bytes).await, Err(code), "{times} of {name_bytes}");
    }
}

#[tokio::test]
async fn malformed_forms_are_refused() {
    let malformed = "MalformedPOSTRequest";
    let no_name = "--b\r\nContent-Disposition: form-data\r\n\r\nv\r\n".to_owned() + &file("") + "--b--";
    let no_head = "--b\r\n\r\nv\r\n".to_owned() + &file("") + "--b--";
    let attachment = file("").replace("form-data", "attachment") + "--b--";
    let twice = file("").replace("; filename", "; name=\"key\"; filename") + "--b--";
    for (text, code) in [
        (String::new(), malformed),
        ("nothing of a form".to_owned(), malformed),
        ("--b--".to_owned(), "InvalidArgument"),
        (field("key", "k") + "--b--", "InvalidArgument"),
        (field("key", "k") + "--b", malformed),
        (field("key", "k") + "--bc\r\n", malformed),
        (field("key", "k"), malformed),
        (file("content"), malformed),
        (file("content").trim_end().to_owned(), malformed),
        (file("content") + "--b", malformed),
        (file("content") + "--bc--", malformed),
        (no_name, malformed),
        (no_head, malformed),
        (attachment, malformed),
        (twice, malformed),
        (field("key", "1") + &field("KEY", "2") + &file("") + "--b--", "InvalidArgument"),
    ] {
        assert_eq!(read(&text).await, Err(code.to_owned()), "{text:?}");
    }
    let latin: [&[u8]; 1] = [b"--b\r\ncontent-disposition: form-data; name=\"x\"\r\n\r\n\xe9\r\n--b--"];
    assert_eq!(read_with(&latin.concat(), 9, 0..=9).await, Err(malformed.to_owned()));
}

#[tokio::test]
async fn what_comes_before_the_file_is_bounded() {
    let around = (field("key", "") + &file("")).len() - "\r\n".len();
    let fits = field("key", &"k".repeat(PRE_DATA_BYTES_MAX - around)) + &file("") + "--b--";
    assert!(read(&fits).await.is_ok());
    let code = "MaxPostPreDataLengthExceeded".to_owned();
    let over = field("key", &"k".repeat(PRE_DATA_BYTES_MAX - around + 1)) + &file("") + "--b--";
    assert_eq!(read(&over).await, Err(code.clone()));
    for endless in
        ["x".repeat(1 << 20), format!("--b{}", " ".repeat(1 << 20)), format!("--b\r\n{}", "x".repeat(1 << 20))]
    {
        assert_eq!(read_with(endless.as_bytes(), 4096, 0..=9).await, Err(code.clone()));
    }
    let many: String = (0..PRE_DATA_BYTES_MAX).map(|number| field(&format!("x-ignore-{number}"), "")).collect();
    assert_eq!(read_with(many.as_bytes(), 4096, 0..=9).await, Err(code));
}

#[tokio::test]
async fn the_file_is_held_to_the_size_that_is_allowed() {
    let of = async |content: &str| read_with((file(content) + "--b--").as_bytes(), 3, 2..=4).await;
    assert_eq!(of("1").await, Err("EntityTooSmall".to_owned()));
    assert_eq!(of("").await, Err("EntityTooSmall".to_owned()));
    assert!(of("12").await.is_ok() && of("1234").await.is_ok());
    assert_eq!(of("12345").await, Err("EntityTooLarge".to_owned()));
}

#[test]
fn only_a_form_has_a_boundary() {
    let of = |text: &str| boundary(text).map(|boundary| boundary.map_err(|failure| failure.code().to_owned()));
    assert_eq!(of("multipart/form-data; boundary=abc"), Some(Ok("abc".to_owned())));
    assert_eq!(of("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\""), Some(Ok("a b".to_owned())));
    for text in ["", "text/html", "multipart/mixed; boundary=a", "multipart/form-datax; boundary=a"] {
        assert_eq!(of(text), None, "{text}");
    }
    let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
    for text in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"a ", &long] {
        assert_eq!(of(text), Some(Err("MalformedPOSTRequest".to_owned())), "{text}");
    }
}
