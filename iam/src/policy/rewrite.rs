//! Other names for the principals of a document, in its text.
//!
//! A policy that is kept names users and roles by their unique ids, and is shown with the ARNs that they have then (IAM user
//! guide, "AWS JSON policy elements: Principal": the ARN "transforms to the role's unique principal ID when you save the
//! policy"). Everything else in the text stays as it was written.

use std::ops::Range;

use super::outline;

/// The text with other principals. `other` is asked for each one that stands under `AWS` in a Principal or a NotPrincipal, and
/// answers what is to stand there instead; None: it stays. A text that is no policy stays as it is.
#[must_use]
pub fn with_principals(text: &str, mut other: impl FnMut(&str) -> Option<String>) -> String {
    let (mut rewritten, mut copied) = (String::with_capacity(text.len()), 0);
    for place in principals(text).unwrap_or_default() {
        let written = serde_json::from_str::<String>(&text[place.clone()]).ok();
        let Some(other) = written.and_then(|written| other(&written)) else { continue };
        rewritten.push_str(&text[copied..place.start]);
        rewritten.push_str(&serde_json::Value::String(other).to_string());
        copied = place.end;
    }
    rewritten.push_str(&text[copied..]);
    rewritten
}

/// The bytes of each text under `AWS`, in their order.
fn principals(text: &str) -> Option<Vec<Range<usize>>> {
    let begins_with = |place: &Range<usize>, byte: u8| text.as_bytes().get(place.start) == Some(&byte);
    let list = |place: Range<usize>| match begins_with(&place, b'[') {
        true => outline::items(text, place.start).unwrap_or_default(),
        false => vec![place],
    };
    let statements = list(outline::element(text, outline::object(text)?, "Statement")?);
    let mut found = Vec::new();
    for statement in statements.into_iter().filter(|place| begins_with(place, b'{')) {
        let elements = outline::elements(text, statement.start)?.into_iter();
        let principals = elements
            .filter(|(name, place)| ["Principal", "NotPrincipal"].contains(&name.as_str()) && begins_with(place, b'{'));
        for (_, types) in principals {
            let of_aws = outline::element(text, types.start, "AWS").map(list).unwrap_or_default();
            found.extend(of_aws.into_iter().filter(|place| begins_with(place, b'"')));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shouted(text: &str) -> String {
        with_principals(text, |written| (written != "*").then(|| format!("{}\"", written.to_uppercase())))
    }

    #[test]
    fn only_principals_are_rewritten_and_the_rest_stays_as_it_is() {
        let text = r#"{ "Statement" : [ {"Principal" : { "AWS":["arn:a", "*","\u0062"], "Service":"arn:a"},
            "Condition":{"StringEquals":{"Principal":{"AWS":"arn:a"}}}},{"NotPrincipal":{"AWS":"c"}},{"Principal":"*"}] }"#;
        let expected = r#"{ "Statement" : [ {"Principal" : { "AWS":["ARN:A\"", "*","B\""], "Service":"arn:a"},
            "Condition":{"StringEquals":{"Principal":{"AWS":"arn:a"}}}},{"NotPrincipal":{"AWS":"C\""}},{"Principal":"*"}] }"#;
        assert_eq!(shouted(text), expected);
        let alone = r#"{"Statement":{"Princip\u0061l":{"AWS":"a"}}}"#;
        assert_eq!(shouted(alone), r#"{"Statement":{"Princip\u0061l":{"AWS":"A\""}}}"#);
    }

    #[test]
    fn what_is_no_policy_stays_as_it_is() {
        for text in ["", "[]", "{", r#"{"Statement":[{"Principal":{"AWS":"a""#, r#"{"Statement":"x"}"#] {
            assert_eq!(shouted(text), text);
        }
    }
}
