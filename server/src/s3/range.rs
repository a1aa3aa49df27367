//! `Range` and `x-amz-copy-source-range`.

use std::ops;

use cairn_storage::ops::RangeRequest;

use super::error::Failure;

/// Reads a `Range` header. None for what S3 answers with the whole object: several ranges, other units, anything that is
/// not a range.
pub fn parse(text: &str) -> Option<RangeRequest> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", length) => Some(RangeRequest::Suffix(number(length)?)),
        (first, "") => Some(RangeRequest::From { first: number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(RangeRequest::From { first, last: Some(last) })
        }
    }
}

/// Reads the range of an UploadPartCopy, which must be `bytes=first-last`.
///
/// # Errors
/// `InvalidArgument` for anything else.
pub fn parse_copy_source(text: &str) -> Result<ops::Range<u64>, Failure> {
    match parse(text) {
        Some(RangeRequest::From { first, last: Some(last) }) if last < u64::MAX => Ok(first..last + 1),
        _ => Err(Failure::invalid_argument(
            "x-amz-copy-source-range",
            text,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy",
        )),
    }
}

/// Digits only: `u64::from_str` would take a plus sign. A number beyond `u64` is a position beyond any object.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(parse("bytes=0-4"), Some(RangeRequest::From { first: 0, last: Some(4) }));
        assert_eq!(parse("bytes=5-"), Some(RangeRequest::From { first: 5, last: None }));
        assert_eq!(parse("bytes=-7"), Some(RangeRequest::Suffix(7)));
        assert_eq!(parse("bytes=-0"), Some(RangeRequest::Suffix(0)));
    }

    #[test]
    fn anything_else_is_no_range() {
        for text in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes=0-1,3-4", "bytes=+1-2", "lines=1-2"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn positions_beyond_any_number_are_beyond_any_object() {
        let huge = "99999999999999999999999";
        assert_eq!(parse(&format!("bytes=0-{huge}")), Some(RangeRequest::From { first: 0, last: Some(u64::MAX) }));
    }

    #[test]
    fn a_copy_needs_both_ends() {
        assert_eq!(parse_copy_source("bytes=2-5").unwrap(), 2..6);
        for text in ["bytes=2-", "bytes=-2", "bytes=5-2", "2-5", "bytes=0-99999999999999999999999"] {
            assert_eq!(parse_copy_source(text).unwrap_err().code(), "InvalidArgument", "{text}");
        }
    }
}
