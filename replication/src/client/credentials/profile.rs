//! The files that the `aws` command line shares with others: `~/.aws/credentials` and `~/.aws/config`.

use std::io;
use std::path::Path;

use configparser::ini::{Ini, IniDefault};

use super::CredentialsError;

/// One section of a file.
pub(super) struct Section {
    ini: Ini,
    name: String,
}

impl Section {
    /// Of no file.
    pub(super) fn empty() -> Self {
        Self { ini: Ini::new(), name: String::new() }
    }

    /// An absent file has no sections.
    pub(super) fn read(path: &Path, name: &str) -> Result<Self, CredentialsError> {
        let mut defaults = IniDefault::default();
        // A secret may contain what would otherwise begin a comment or end a name.
        defaults.inline_comment_symbols = Some(Vec::new());
        defaults.delimiters = vec!['='];
        defaults.case_sensitive = true;
        let mut ini = Ini::new_from_defaults(defaults);
        match std::fs::read_to_string(path) {
            Ok(text) => {
                // The parser's own message may quote a line, and with it a secret.
                let fault = "it is not made of [sections] with name = value lines".to_owned();
                ini.read(text).map_err(|_| CredentialsError::Malformed { path: path.to_owned(), fault })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(CredentialsError::Unreadable { path: path.to_owned(), source }),
        }
        Ok(Self { ini, name: name.to_owned() })
    }

    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.ini.get(&self.name, key).filter(|value| !value.is_empty())
    }
}
