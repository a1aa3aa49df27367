//! The parameters of a call: a form, flattened as the Query protocol does it. The members of a list are `Name.member.1`,
//! `Name.member.2` and so on; the fields of a structure follow a full stop: `Tags.member.1.Key`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeFrom;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::percent_decode;

use crate::s3::error::Failure;

use super::faults;

/// The largest form: policies of 128 KiB, several of them percent-encoded, which only the simulator's calls have.
pub const FORM_BYTES_MAX: usize = 1 << 20;

/// The most parameters in a form. The most that a call of IAM or STS needs is a few hundred, of tags and context entries.
const PARAMETERS_MAX: usize = 2_000;

/// Parameters, or the fields of one structure among them. Cheap to clone.
#[derive(Clone)]
pub struct Params {
    all: Arc<BTreeMap<String, String>>,
    prefix: String,
}

/// Without values: some are secret.
impl std::fmt::Debug for Params {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Params({} values)", self.all.len())
    }
}

impl Params {
    /// Decodes a form.
    ///
    /// # Errors
    /// `MalformedQueryString` if it is not UTF-8, repeats a parameter, or has too many.
    pub fn parse(form: &[u8]) -> Result<Self, Failure> {
        let mut all = BTreeMap::new();
        for pair in form.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            if all.len() == PARAMETERS_MAX {
                return Err(faults::malformed_query("The form has too many parameters."));
            }
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let mut decoded = || decode(halves.next().unwrap_or_default());
            let (name, value) = (decoded()?, decoded()?);
            if all.insert(name, value).is_some() {
                return Err(faults::malformed_query("A parameter is repeated."));
            }
        }
        Ok(Self { all: Arc::new(all), prefix: String::new() })
    }

    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all.get(&self.full_name(name)).map(String::as_str)
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| faults::missing(&self.full_name(name)))
    }

    /// A number or flag.
    ///
    /// # Errors
    /// `MalformedInput` for what is none.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let parse = |text: &str| text.parse().map_err(|_| faults::malformed_input(&self.full_name(name)));
        self.get(name).map(parse).transpose()
    }

    /// The values of a list, in the order of their numbers.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let prefix = self.member_prefix(name);
        self.numbers(&prefix)
            .iter()
            .filter_map(|number| Some(self.all.get(&format!("{prefix}{number}"))?.as_str()))
            .collect()
    }

    /// The structures of a list, in the order of their numbers.
    pub fn members(&self, name: &str) -> Vec<Self> {
        let prefix = self.member_prefix(name);
        let member = |number: &u32| Self { all: Arc::clone(&self.all), prefix: format!("{prefix}{number}.") };
        self.numbers(&prefix).iter().map(member).collect()
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn member_prefix(&self, name: &str) -> String {
        format!("{}{name}.member.", self.prefix)
    }

    /// The numbers of the members whose names begin so.
    fn numbers(&self, prefix: &str) -> BTreeSet<u32> {
        let from: RangeFrom<String> = prefix.to_owned()..;
        let names = self.all.range(from).map_while(|(name, _)| name.strip_prefix(prefix));
        let number = |rest: &str| {
            let digits = rest.split('.').next().unwrap_or(rest);
            // As it is written by every client: a second spelling would be a second member of the same number.
            digits.parse::<u32>().ok().filter(|number| number.to_string() == digits)
        };
        names.filter_map(number).collect()
    }
}

fn decode(text: &[u8]) -> Result<String, Failure> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    String::from_utf8(percent_decode(&spaced).collect())
        .map_err(|_| faults::malformed_query("The form is not in UTF-8."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn params(form: &str) -> Params {
        Params::parse(form.as_bytes()).unwrap()
    }

    fn code(form: &[u8]) -> String {
        Params::parse(form).unwrap_err().code().to_owned()
    }

    #[test]
    fn values_are_decoded() {
        let params = params("Action=GetUser&UserName=a%2Bb+c%C3%A9&Empty=&Flag&Count=7&Bad=x");
        assert_eq!(params.get("UserName"), Some("a+b cé"));
        assert_eq!((params.get("Empty"), params.get("Flag"), params.get("Absent")), (Some(""), Some(""), None));
        assert_eq!(params.parsed::<u32>("Count").unwrap(), Some(7));
        assert_eq!(params.parsed::<u32>("Absent").unwrap(), None);
        assert_eq!(params.parsed::<u32>("Bad").unwrap_err().code(), "MalformedInput");
        assert_eq!(params.required("Absent").unwrap_err().code(), "ValidationError");
    }

    #[test]
    fn lists_are_in_the_order_of_their_numbers() {
        let form: Vec<String> = [10, 2, 1].iter().map(|number| format!("Names.member.{number}=n{number}")).collect();
        assert_eq!(params(&form.join("&")).list("Names"), ["n1", "n2", "n10"]);
        assert!(params("Names=").list("Names").is_empty());
        let odd = params("Names.member.01=a&Names.member.x=b&Names.member.=c&NamesX.member.1=d&Names.1=e");
        assert!(odd.list("Names").is_empty());
    }

    #[test]
    fn structures_nest() {
        let params = params(
            "Tags.member.1.Key=team&Tags.member.1.Value=red&Tags.member.2.Key=empty&Tags.member.2.Value=\
             &Context.member.1.Values.member.1=a&Context.member.1.Values.member.2=b",
        );
        let tags = params.members("Tags");
        let pairs: Vec<_> = tags.iter().map(|tag| (tag.get("Key"), tag.get("Value"))).collect();
        assert_eq!(pairs, [(Some("team"), Some("red")), (Some("empty"), Some(""))]);
        assert_eq!(params.members("Context")[0].list("Values"), ["a", "b"]);
        let missing = tags[0].required("Colour").unwrap_err();
        assert!(missing.message().contains("Tags.member.1.Colour"), "{}", missing.message());
    }

    #[test]
    fn a_form_that_cannot_be_understood_in_one_way_is_refused() {
        assert_eq!(code(b"a=%ff"), "MalformedQueryString");
        assert_eq!(code(b"a=1&a=2"), "MalformedQueryString");
        let many: Vec<String> = (0..=PARAMETERS_MAX).map(|number| format!("p{number}=")).collect();
        assert_eq!(code(many.join("&").as_bytes()), "MalformedQueryString");
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", params("Password=hunter2")), "Params(1 values)");
    }
}
