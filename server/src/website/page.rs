//! The page that a website shows for a failure, in the shape of S3's. Nothing of a request or a configuration is written unescaped.

use std::fmt::Write as _;

use crate::gate::ids::RequestId;
use crate::s3::error::Failure;

/// What went wrong, and what went wrong with the document that should have said so.
pub(super) fn of_failure(
    failure: &Failure,
    key: Option<&str>,
    of_error_document: Option<(&str, &Failure)>,
    id: RequestId,
) -> String {
    let status = failure.status_code();
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut page = format!("<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n");
    items(failure, key, &mut page);
    item("RequestId", &id.request_id(), &mut page);
    item("HostId", &id.host_id(), &mut page);
    page.push_str("</ul>\n");
    if let Some((key, failure)) = of_error_document {
        page.push_str("<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n<ul>\n");
        items(failure, Some(key), &mut page);
        page.push_str("</ul>\n");
    }
    page.push_str("<hr/>\n</body>\n</html>\n");
    page
}

fn items(failure: &Failure, key: Option<&str>, page: &mut String) {
    item("Code", failure.code(), page);
    item("Message", failure.message(), page);
    failure.fields().iter().for_each(|(name, value)| item(name, value, page));
    if let Some(key) = key.filter(|_| failure.code() == "NoSuchKey") {
        item("Key", key, page);
    }
}

fn item(name: &str, value: &str, page: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(page, "<li>{name}: ");
    for character in value.chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            character if character.is_control() => page.push('\u{fffd}'),
            character => page.push(character),
        }
    }
    page.push_str("</li>\n");
}
