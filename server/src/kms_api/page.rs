//! Lists in pages: `Limit` and `Marker` in, `Truncated` and `NextMarker` out (KMS API reference, ListKeys).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kms::{KmsError, KmsFault};

use super::ask::bounded;

/// What a call says about the page that it wants.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Paging {
    limit: Option<i64>,
    marker: Option<String>,
}

/// How long pages are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) default: i64,
    pub(super) max: i64,
}

impl Paging {
    /// The page of `all` that is wanted, as a list of this name; each item comes with what orders it, which no other has.
    ///
    /// # Errors
    /// `ValidationException` for a limit, `InvalidMarkerException` for a marker that is none.
    pub(super) fn page(
        &self,
        name: &str,
        lengths: Lengths,
        all: impl Iterator<Item = (String, Value)>,
    ) -> Result<Value, KmsError> {
        let limit = bounded("limit", self.limit.unwrap_or(lengths.default), (1, lengths.max))?;
        let after = self.marker.as_deref().map(read_marker).transpose()?;
        let mut rest = all.skip_while(|(order, _)| after.as_ref().is_some_and(|after| order <= after));
        let mut last = None;
        let mut items = Vec::new();
        for (order, item) in rest.by_ref().take(usize::try_from(limit).unwrap_or(1)) {
            items.push(item);
            last = Some(order);
        }
        let marker = last.filter(|_| rest.next().is_some()).map(|last| URL_SAFE_NO_PAD.encode(last));
        let mut page = json!({ name: items, "Truncated": marker.is_some() });
        if let Some(marker) = marker {
            page["NextMarker"] = marker.into();
        }
        Ok(page)
    }
}

fn read_marker(marker: &str) -> Result<String, KmsError> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok().filter(|bytes| !bytes.is_empty());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| KmsError::fault(KmsFault::InvalidMarker, "Could not deserialize marker"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LENGTHS: Lengths = Lengths { default: 2, max: 3 };

    fn page(limit: Option<i64>, marker: Option<&str>) -> Result<Value, KmsError> {
        let paging = Paging { limit, marker: marker.map(str::to_owned) };
        paging.page("Items", LENGTHS, (1..=5).map(|number| (format!("n{number}"), number.into())))
    }

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let first = page(None, None).unwrap();
        assert_eq!((&first["Items"], &first["Truncated"]), (&json!([1, 2]), &json!(true)));
        let second = page(Some(3), first["NextMarker"].as_str()).unwrap();
        assert_eq!(second, json!({ "Items": [3, 4, 5], "Truncated": false }));
    }

    #[test]
    fn a_limit_or_a_marker_that_is_none_is_refused() {
        for limit in [0, 4, -1] {
            assert_eq!(page(Some(limit), None).unwrap_err().kind(), Some(KmsFault::Validation));
        }
        for marker in ["", "%", "_w"] {
            assert_eq!(page(None, Some(marker)).unwrap_err().kind(), Some(KmsFault::InvalidMarker));
        }
    }
}
