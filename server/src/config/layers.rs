//! The layers that settings come from, merged into one TOML document that remembers each value's origin.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use toml::{Table, Value};

use super::settings::{SETTINGS, Setting};
use super::{Config, ConfigError};

/// The largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

const CONFIG_FILE_VARIABLE: &str = "CAIRN_CONFIG";

/// The settings given on the command line, still as text.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    file: Option<PathBuf>,
    values: BTreeMap<&'static str, String>,
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("A TOML file with settings [env: {CONFIG_FILE_VARIABLE}]"));
        SETTINGS.iter().fold(command.arg(file), |command, setting| {
            let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
            command.arg(
                Arg::new(setting.name)
                    .long(setting.flag())
                    .value_name("VALUE")
                    .help_heading("Settings")
                    .hide(!setting.in_force)
                    .help(format!("{}{default} [env: {}]", setting.help, setting.variable())),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Setting| Some((setting.name, matches.get_one::<String>(setting.name)?.clone()));
        Ok(Self {
            file: matches.get_one::<PathBuf>("config").cloned(),
            values: SETTINGS.iter().filter_map(given).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Everything that settings are read from.
pub struct Sources<'s> {
    flags: &'s Flags,
    variable: &'s dyn Fn(&str) -> Option<std::ffi::OsString>,
}

impl<'s> Sources<'s> {
    /// The command line and the environment, which is passed in so that tests have their own. The file is named by either.
    pub fn new(flags: &'s Flags, variable: &'s dyn Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        Self { flags, variable }
    }

    /// A variable of the environment. An empty one counts as absent, as shells and service files cannot unset one.
    pub(super) fn environment(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match (self.variable)(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => match value.into_string() {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(ConfigError(format!("{name}: is not UTF-8"))),
            },
        }
    }

    fn file(&self) -> Option<PathBuf> {
        let from_environment = || (self.variable)(CONFIG_FILE_VARIABLE).filter(|value| !value.is_empty());
        self.flags.file.clone().or_else(|| from_environment().map(PathBuf::from))
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The TOML file.
    File,
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, without its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// All layers in one document.
#[derive(Debug)]
pub(super) struct Merged {
    document: Table,
    origins: BTreeMap<&'static str, Origin>,
    file: Option<PathBuf>,
}

impl Merged {
    pub(super) fn read(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let file = sources.file();
        let document = file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let mut merged = Self { document, origins: BTreeMap::new(), file };
        for setting in SETTINGS {
            merged.place(setting, sources)?;
        }
        Ok(merged)
    }

    /// Puts the value that wins into the document.
    fn place(&mut self, setting: &'static Setting, sources: &Sources<'_>) -> Result<(), ConfigError> {
        let in_file = value_at(&self.document, setting.name).is_some();
        let (origin, text) = if let Some(text) = sources.flags.values.get(setting.name) {
            (Origin::Flag(setting.flag()), text.clone())
        } else if let Some(text) = sources.environment(&setting.variable())? {
            (Origin::Environment(setting.variable()), text)
        } else {
            if in_file {
                self.origins.insert(setting.name, Origin::File);
            } else if let Some(default) = setting.default {
                put_value(&mut self.document, setting.name, default_value(setting.name, default)?);
            }
            return Ok(());
        };
        let value =
            typed_value(setting, &text).map_err(|why| ConfigError(format!("{}: {why} ({origin})", setting.name)))?;
        put_value(&mut self.document, setting.name, value);
        self.origins.insert(setting.name, origin);
        Ok(())
    }

    pub(super) fn parse(&self) -> Result<Config, ConfigError> {
        serde_path_to_error::deserialize(Value::Table(self.document.clone())).map_err(|error| {
            let path = error.path().to_string();
            // What serde says about a value of the wrong type quotes it, and these values hold secrets.
            let secret = ["root_key", "keys"].iter().any(|name| path.contains(name));
            let why = if secret && !path.ends_with("_key.access_key") && !path.ends_with("secret_key") {
                "expected { access_key = \"...\", secret_key = \"...\" }".to_owned()
            } else {
                error.inner().message().to_owned()
            };
            let origin = self.origin(&path);
            match &self.file {
                Some(file) if !matches!(origin, Origin::Environment(_) | Origin::Flag(_)) => {
                    ConfigError(format!("{}: {path}: {why}", file.display()))
                }
                _ => ConfigError(format!("{path}: {why} ({origin})")),
            }
        })
    }

    /// Where the setting of this name got its value.
    pub(super) fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        value_at(&self.document, name)
    }

    pub(super) fn document(&self) -> &Table {
        &self.document
    }

    pub(super) fn set_but_not_in_force(&self) -> impl Iterator<Item = &'static str> {
        SETTINGS.iter().filter(|setting| !setting.in_force && self.differs_from_default(setting)).map(|s| s.name)
    }

    fn differs_from_default(&self, setting: &Setting) -> bool {
        let default = setting.default.and_then(|default| default_value(setting.name, default).ok());
        self.value(setting.name) != default.as_ref()
    }
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let shown = path.display();
    let read = || -> std::io::Result<String> {
        if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        std::fs::read_to_string(path)
    };
    let text = read().map_err(|error| ConfigError(format!("{shown}: {error}")))?;
    text.parse::<Table>().map_err(|error| {
        // Only the line's number: the line itself may hold a secret.
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        ConfigError(format!("{shown}: line {line}: {}", error.message()))
    })
}

fn value_at<'t>(document: &'t Table, name: &str) -> Option<&'t Value> {
    match name.split_once('.') {
        None => document.get(name),
        Some((section, key)) => document.get(section)?.as_table()?.get(key),
    }
}

/// Sets a value. Where the file has something else than a section, it is left, and parsing the document will say so.
fn put_value(document: &mut Table, name: &str, value: Value) {
    let Some((section, key)) = name.split_once('.') else {
        document.insert(name.to_owned(), value);
        return;
    };
    let section = document.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key.to_owned(), value);
    }
}

fn default_value(name: &str, default: &str) -> Result<Value, ConfigError> {
    default.parse().map_err(|error| ConfigError(format!("{name}: its default is not TOML: {error}")))
}

/// Text from a flag or a variable as a value of the type that the setting's default has.
fn typed_value(setting: &Setting, text: &str) -> Result<Value, String> {
    let default = match setting.default {
        Some(default) => default_value(setting.name, default).map_err(|error| error.to_string())?,
        None => Value::String(String::new()),
    };
    match default {
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| "expected an integer".to_owned()),
        Value::Boolean(_) => text.parse().map(Value::Boolean).map_err(|_| "expected true or false".to_owned()),
        Value::Array(_) => {
            Ok(Value::Array(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()))
        }
        _ => Ok(Value::from(text)),
    }
}
