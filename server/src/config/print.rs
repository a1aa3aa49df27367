//! The settings as TOML for people: every value with its origin, no secret.
//!
//! What is printed is itself a configuration file, but for the secrets.

use std::fmt::Write;

use toml::Value;

use super::layers::Merged;
use super::settings::SETTINGS;
use super::values::KeyPair;

const HIDDEN: &str = "(hidden)";

pub(super) fn print(merged: &Merged, root_key: Option<&KeyPair>) -> String {
    let mut text = String::new();
    let mut section_before = "";
    for setting in SETTINGS {
        let (section, key) = setting.name.split_once('.').unwrap_or(("", setting.name));
        if section != section_before {
            section_before = section;
            line(&mut text, format_args!("\n[{section}]"));
        }
        let not_in_force = if setting.in_force { "" } else { ", not yet in force" };
        let origin = merged.origin(setting.name);
        match merged.value(setting.name) {
            Some(value) => line(&mut text, format_args!("{key} = {value}  # {origin}{not_in_force}")),
            None => line(&mut text, format_args!("# {key}: {}  # {origin}{not_in_force}", setting.help)),
        }
    }
    if let Some(root_key) = root_key {
        line(&mut text, format_args!("\n# root access key: {}  # env CAIRN_ROOT_ACCESS_KEY", root_key.access_key));
        line(&mut text, format_args!("# root secret key: {HIDDEN}  # env CAIRN_ROOT_SECRET_KEY"));
    }
    for list in ["account", "remote", "tier", "kms_key"] {
        for entry in merged.document().get(list).and_then(Value::as_array).into_iter().flatten() {
            line(&mut text, format_args!("\n[[{list}]]  # file"));
            for (key, value) in entry.as_table().into_iter().flatten() {
                line(&mut text, format_args!("{key} = {}", without_secrets(value)));
            }
        }
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}

fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Table(table) => Value::Table(
            table
                .iter()
                .map(|(key, value)| {
                    let shown = if key == "secret_key" { Value::from(HIDDEN) } else { without_secrets(value) };
                    (key.clone(), shown)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_secrets).collect()),
        other => other.clone(),
    }
}
