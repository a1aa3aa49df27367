//! S3's header names, and the values that several operations write in the same way.

use std::fmt::Write as _;

use cairn_storage::clock::Timestamp;
use cairn_storage::object::Etag;
use http::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use time::macros::{datetime, format_description};

/// What S3 says of an object stored without a `Content-Type`.
pub const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// The longest: 32 digits, a dash, the number of parts, and the quotation marks.
const QUOTED_ETAG_BYTES: usize = 40;

/// What the headers of a request about a replica begin with.
pub const REPLICA_PREFIX: &str = "x-amz-cairn-replica-";

macro_rules! names {
    ($($name:ident = $text:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub const $name: HeaderName = HeaderName::from_static($text);
        )*
    };
}

names! {
    ABORT_DATE = "x-amz-abort-date";
    ABORT_RULE_ID = "x-amz-abort-rule-id";
    ACCOUNT_ID = "x-amz-account-id";
    ACL = "x-amz-acl";
    BUCKET_REGION = "x-amz-bucket-region";
    BUCKET_OBJECT_LOCK_ENABLED = "x-amz-bucket-object-lock-enabled";
    BYPASS_GOVERNANCE_RETENTION = "x-amz-bypass-governance-retention";
    CHECKSUM_ALGORITHM = "x-amz-checksum-algorithm";
    CHECKSUM_MODE = "x-amz-checksum-mode";
    CHECKSUM_TYPE = "x-amz-checksum-type";
    CONTENT_MD5 = "content-md5";
    CONTENT_SHA256 = "x-amz-content-sha256";
    COPY_SOURCE = "x-amz-copy-source";
    COPY_SOURCE_RANGE = "x-amz-copy-source-range";
    COPY_SOURCE_SSE_CUSTOMER_ALGORITHM = "x-amz-copy-source-server-side-encryption-customer-algorithm";
    COPY_SOURCE_SSE_CUSTOMER_KEY = "x-amz-copy-source-server-side-encryption-customer-key";
    COPY_SOURCE_SSE_CUSTOMER_KEY_MD5 = "x-amz-copy-source-server-side-encryption-customer-key-md5";
    COPY_SOURCE_VERSION_ID = "x-amz-copy-source-version-id";
    DATE = "x-amz-date";
    DECODED_CONTENT_LENGTH = "x-amz-decoded-content-length";
    DELETE_MARKER = "x-amz-delete-marker";
    EXPIRATION = "x-amz-expiration";
    EXPECTED_BUCKET_OWNER = "x-amz-expected-bucket-owner";
    MFA = "x-amz-mfa";
    GRANT_FULL_CONTROL = "x-amz-grant-full-control";
    GRANT_READ = "x-amz-grant-read";
    GRANT_READ_ACP = "x-amz-grant-read-acp";
    GRANT_WRITE = "x-amz-grant-write";
    GRANT_WRITE_ACP = "x-amz-grant-write-acp";
    IF_MATCH_LAST_MODIFIED_TIME = "x-amz-if-match-last-modified-time";
    IF_MATCH_SIZE = "x-amz-if-match-size";
    MAX_PARTS = "x-amz-max-parts";
    METADATA_DIRECTIVE = "x-amz-metadata-directive";
    MP_OBJECT_SIZE = "x-amz-mp-object-size";
    MP_PARTS_COUNT = "x-amz-mp-parts-count";
    TAGGING = "x-amz-tagging";
    TAGGING_DIRECTIVE = "x-amz-tagging-directive";
    TAGGING_COUNT = "x-amz-tagging-count";
    OBJECT_ATTRIBUTES = "x-amz-object-attributes";
    OBJECT_LOCK_LEGAL_HOLD = "x-amz-object-lock-legal-hold";
    OBJECT_LOCK_MODE = "x-amz-object-lock-mode";
    OBJECT_LOCK_RETAIN_UNTIL_DATE = "x-amz-object-lock-retain-until-date";
    OBJECT_OWNERSHIP = "x-amz-object-ownership";
    OPTIONAL_OBJECT_ATTRIBUTES = "x-amz-optional-object-attributes";
    PART_NUMBER_MARKER = "x-amz-part-number-marker";
    REPLICA_ATTRIBUTES = "x-amz-cairn-replica-attributes";
    REPLICA_CHANGED = "x-amz-cairn-replica-changed";
    REPLICA_CREATED = "x-amz-cairn-replica-created";
    REPLICA_ENVELOPE = "x-amz-cairn-replica-envelope";
    REPLICA_ETAG = "x-amz-cairn-replica-etag";
    REPLICA_LEFT = "x-amz-cairn-replica-left";
    REPLICA_OWNER = "x-amz-cairn-replica-owner";
    REPLICA_SEALED = "x-amz-cairn-replica-sealed";
    REPLICA_SETTINGS = "x-amz-cairn-replica-settings";
    REPLICA_VERSION_ID = "x-amz-cairn-replica-version-id";
    REPLICAS = "x-amz-cairn-replicas";
    REPLICATION_STATUS = "x-amz-replication-status";
    REQUEST_CHARGED = "x-amz-request-charged";
    REQUEST_PAYER = "x-amz-request-payer";
    ARCHIVE_STATUS = "x-amz-archive-status";
    RESTORE = "x-amz-restore";
    SDK_CHECKSUM_ALGORITHM = "x-amz-sdk-checksum-algorithm";
    SERVER_SIDE_ENCRYPTION = "x-amz-server-side-encryption";
    SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED = "x-amz-server-side-encryption-bucket-key-enabled";
    SERVER_SIDE_ENCRYPTION_CONTEXT = "x-amz-server-side-encryption-context";
    SERVER_SIDE_ENCRYPTION_KMS_KEY_ID = "x-amz-server-side-encryption-aws-kms-key-id";
    SOURCE_EXPECTED_BUCKET_OWNER = "x-amz-source-expected-bucket-owner";
    SSE_CUSTOMER_ALGORITHM = "x-amz-server-side-encryption-customer-algorithm";
    SSE_CUSTOMER_KEY = "x-amz-server-side-encryption-customer-key";
    SSE_CUSTOMER_KEY_MD5 = "x-amz-server-side-encryption-customer-key-md5";
    STORAGE_CLASS = "x-amz-storage-class";
    TRAILER = "x-amz-trailer";
    TRANSITION_DEFAULT_MINIMUM_OBJECT_SIZE = "x-amz-transition-default-minimum-object-size";
    VERSION_ID = "x-amz-version-id";
    WEBSITE_REDIRECT_LOCATION = "x-amz-website-redirect-location";
}

/// A header's text: UTF-8, or Latin-1 where it is not that, as HTTP libraries send either. None if absent or empty.
pub fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    (!value.is_empty()).then(|| text_of(value))
}

/// The text of one value.
pub fn text_of(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// An ETag as headers and documents carry it.
pub fn quoted_text(etag: &Etag) -> String {
    let mut text = String::with_capacity(QUOTED_ETAG_BYTES);
    text.push('"');
    // Writing to a String cannot fail.
    let _ = write!(text, "{etag}");
    text.push('"');
    text
}

/// An ETag as a header's value.
pub fn quoted(etag: &Etag) -> HeaderValue {
    value(&quoted_text(etag))
}

/// A text of ours as a header's value. Stored texts came from headers, so none of them can fail; one that does is left
/// out of the answer rather than failing it.
pub fn value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}

/// A time as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(time: Timestamp) -> HeaderValue {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    value(&date_time(time).format(format).unwrap_or_default())
}

/// A time as S3's documents write it: `1994-11-06T08:49:37.000Z`. Whole seconds, as in `Last-Modified`: a client that
/// compares the two finds them equal.
pub fn document_time(time: Timestamp) -> String {
    // A listing has a thousand of them, and the ways to format numbers in general cost it a tenth of its time.
    let time = date_time(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let mut text = String::with_capacity("1994-11-06T08:49:37.000Z".len());
    push_two_digits(u8::try_from(year / 100).unwrap_or_default(), &mut text);
    push_two_digits(u8::try_from(year % 100).unwrap_or_default(), &mut text);
    for (separator, number) in [('-', month.into()), ('-', day), ('T', hour), (':', minute), (':', second)] {
        text.push(separator);
        push_two_digits(number, &mut text);
    }
    text.push_str(".000Z");
    text
}

fn push_two_digits(number: u8, into: &mut String) {
    into.push(char::from(b'0' + number / 10 % 10));
    into.push(char::from(b'0' + number % 10));
}

/// A date; those that have no year of four digits become the first or the last one that has.
fn date_time(time: Timestamp) -> OffsetDateTime {
    const FIRST: OffsetDateTime = datetime!(0000-01-01 0:00 UTC);
    const LAST: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);
    let seconds = time.0.div_euclid(1_000).clamp(FIRST.unix_timestamp(), LAST.unix_timestamp());
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(LAST)
}

/// Reads an HTTP date in any of the three formats of RFC 9110, 5.6.7. None if it is none, which S3 treats as if the header
/// were absent.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let date = OffsetDateTime::parse(text, &Rfc2822).ok().or_else(|| parse_obsolete_date(text))?;
    date.unix_timestamp().checked_mul(1_000).map(Timestamp)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`, and `Sun Nov  6 08:49:37 1994`, which is in GMT as well.
fn parse_obsolete_date(text: &str) -> Option<OffsetDateTime> {
    let fields: Vec<&str> = text.split([' ', '-']).filter(|field| !field.is_empty()).collect();
    let (day, month, year, time) = match fields[..] {
        [_, day, month, year, time, "GMT"] if year.len() == 2 => {
            // No date of ours is before 1970.
            let century = if year < "70" { "20" } else { "19" };
            (day, month, format!("{century}{year}"), time)
        }
        [_, month, day, time, year] if year.len() == 4 => (day, month, year.to_owned(), time),
        _ => return None,
    };
    OffsetDateTime::parse(&format!("{day:0>2} {month} {year} {time} GMT"), &Rfc2822).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_are_written_as_s3_writes_them() {
        let time = Timestamp(784_111_777_999);
        assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(document_time(time), "1994-11-06T08:49:37.000Z");
        assert_eq!(document_time(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(document_time(Timestamp(i64::MAX)), "9999-12-31T23:59:59.000Z");
        assert_eq!(http_date(Timestamp(i64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn dates_are_read_with_any_zone_that_means_gmt() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 -0000", "Sun, 06 Nov 1994 09:49:37 +0100"]
        {
            assert_eq!(parse_http_date(text), Some(Timestamp(784_111_777_000)), "{text}");
        }
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn dates_are_read_in_the_obsolete_formats() {
        for text in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun Nov 6 08:49:37 1994"] {
            assert_eq!(parse_http_date(text), Some(Timestamp(784_111_777_000)), "{text}");
        }
        assert_eq!(
            document_time(parse_http_date("Tuesday, 31-Dec-69 00:00:00 GMT").unwrap()),
            "2069-12-31T00:00:00.000Z"
        );
        for text in ["Sun Nov 31 08:49:37 1994", "Sun Nox  6 08:49:37 1994", "6 Nov", "Sunday, 06-Nov-94 08:49:37 CET"]
        {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_read_as_latin_1() {
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert_eq!(text(&headers, &HeaderName::from_static("x")).unwrap(), "caf\u{e9}");
    }
}
