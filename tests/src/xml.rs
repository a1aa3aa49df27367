//! Reading the flat XML of S3's answers: enough to find elements by name, which is all that the tests need.

/// The unescaped text of the first element called `name`.
pub fn text(xml: &str, name: &str) -> Option<String> {
    sections(xml, name).first().map(|inner| unescape(inner))
}

/// The unescaped texts of all elements called `name`.
pub fn texts(xml: &str, name: &str) -> Vec<String> {
    sections(xml, name).into_iter().map(unescape).collect()
}

/// The raw inner XML of all elements called `name`; elements of one name do not nest in S3's answers.
pub fn sections<'x>(xml: &'x str, name: &str) -> Vec<&'x str> {
    let close = format!("</{name}>");
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find(&format!("<{name}")) {
        rest = &rest[start + 1 + name.len()..];
        // `<KeyCount>` begins with `<Key`: only a whole name counts.
        if !rest.starts_with(['>', ' ', '/']) {
            continue;
        }
        let Some(end_of_tag) = rest.find('>') else {
            break;
        };
        if rest[..end_of_tag].ends_with('/') {
            found.push("");
            continue;
        }
        rest = &rest[end_of_tag + 1..];
        let Some(end) = rest.find(&close) else { break };
        found.push(&rest[..end]);
        rest = &rest[end + close.len()..];
    }
    found
}

/// Escapes text for an element of a request's body.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // A parser turns other control characters and line ends into something else, or refuses them.
            control if control < ' ' => escaped.push_str(&format!("&#{};", u32::from(control))),
            other => escaped.push(other),
        }
    }
    escaped
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let Some(end) = rest.find(';') else { break };
        match entity(&rest[1..end]) {
            Some(character) => plain.push(character),
            None => plain.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    plain
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_match() {
        let xml = "<R><KeyCount>2</KeyCount><Key>a&amp;b</Key><Key>&#x41;</Key><Prefix/></R>";
        assert_eq!(texts(xml, "Key"), ["a&b", "A"]);
        assert_eq!(text(xml, "Prefix").as_deref(), Some(""));
        assert_eq!(text(xml, "Marker"), None);
    }

    #[test]
    fn escaping_and_unescaping_are_inverse() {
        let text = "a<b>&\"'\n\u{1}é";
        assert_eq!(unescape(&escape(text)), text);
    }
}
