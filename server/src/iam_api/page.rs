//! Lists in pages: `MaxItems` and `Marker` in, `IsTruncated` and `Marker` out (IAM API reference, ListUsers).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::query_api::Params;
use crate::query_api::faults::validation;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

const ITEMS_DEFAULT: usize = 100;
const ITEMS_MAX: usize = 1_000;

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    items: Vec<T>,
    marker: Option<String>,
}

impl<T> Page<T> {
    /// The page of `all` that is asked for; each item comes with what orders it, which no other has.
    ///
    /// # Errors
    /// `ValidationError` for a page size or a marker that is none.
    pub(super) fn of(params: &Params, all: impl Iterator<Item = (String, T)>) -> Result<Self, Failure> {
        let items_max = match params.parsed::<usize>("MaxItems")? {
            None => ITEMS_DEFAULT,
            Some(items @ 1..=ITEMS_MAX) => items,
            Some(items) => {
                return Err(validation(format!(
                    "1 validation error detected: Value '{items}' at 'maxItems' failed to satisfy constraint: Member must \
                     have value between 1 and {ITEMS_MAX}"
                )));
            }
        };
        let after = params.get("Marker").filter(|marker| !marker.is_empty()).map(read_marker).transpose()?;
        let mut rest = all.skip_while(|(order, _)| after.as_ref().is_some_and(|after| order <= after));
        let mut items = Vec::new();
        let mut last = None;
        for (order, item) in rest.by_ref().take(items_max) {
            items.push(item);
            last = Some(order);
        }
        let marker = last.filter(|_| rest.next().is_some()).map(|last| URL_SAFE_NO_PAD.encode(last));
        Ok(Self { items, marker })
    }

    /// Writes the list and, after it, whether there is more.
    pub(super) fn write(self, document: &mut Document, name: &str, mut item: impl FnMut(&mut Document, T)) {
        document.element(name, |list| {
            for one in self.items {
                list.element("member", |member| item(member, one));
            }
        });
        write_end(document, self.marker.as_deref());
    }

    /// As [`Page::write`], for a list of texts.
    pub(super) fn write_texts(self, document: &mut Document, name: &str)
    where
        T: AsRef<str>,
    {
        document.element(name, |list| {
            for one in &self.items {
                list.text("member", one.as_ref());
            }
        });
        write_end(document, self.marker.as_deref());
    }

    /// The items, and where the next page begins.
    pub(super) fn into_parts(self) -> (Vec<T>, Option<String>) {
        (self.items, self.marker)
    }
}

/// Whether there is more, and where.
pub(super) fn write_end(document: &mut Document, marker: Option<&str>) {
    document.value("IsTruncated", marker.is_some());
    document.optional("Marker", marker);
}

fn read_marker(marker: &str) -> Result<String, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| validation("Invalid Marker."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn page(form: &str) -> Result<(Vec<u32>, Option<String>), Failure> {
        let params = Params::parse(form.as_bytes()).unwrap();
        Page::of(&params, (1..=5).map(|n| (format!("n{n}"), n))).map(Page::into_parts)
    }

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let (first, marker) = page("MaxItems=2").unwrap();
        let (second, marker_2) = page(&format!("MaxItems=2&Marker={}", marker.unwrap())).unwrap();
        let (third, end) = page(&format!("MaxItems=2&Marker={}", marker_2.unwrap())).unwrap();
        assert_eq!((first, second, third, end), (vec![1, 2], vec![3, 4], vec![5], None));
        assert_eq!(page("MaxItems=5").unwrap(), (vec![1, 2, 3, 4, 5], None));
    }

    #[test]
    fn a_size_or_a_marker_that_is_none_is_refused() {
        for form in ["MaxItems=0", "MaxItems=1001", "Marker=%00", "Marker=_w"] {
            assert_eq!(page(form).unwrap_err().code(), "ValidationError", "{form}");
        }
    }
}
