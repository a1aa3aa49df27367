//! The principals of policies that resources have: users and roles are kept by their unique ids, so that nobody inherits what
//! somebody of the same name was granted, and are shown by the ARNs that they have now. One who is gone is shown by the id.

use cairn_iam::identity::Directory;
use cairn_iam::policy::{PolicyError, PolicyKind, PrincipalEntry, with_principals};

use super::Snapshot;

impl Snapshot {
    /// The text of a policy as it is kept. `own` is the state of an account that is being changed, which counts for it.
    ///
    /// # Errors
    /// If a principal under `AWS` is none, or there is no such account, user or role.
    pub fn keep_principals(
        &self,
        text: &str,
        kind: PolicyKind,
        own: Option<&Directory>,
    ) -> Result<String, PolicyError> {
        let mut unknown = None;
        let kept = with_principals(text, |written| {
            let entry = PrincipalEntry::parse_aws(written);
            let kept = entry.and_then(|entry| self.kept(&entry, written, own));
            if kept.is_none() && unknown.is_none() {
                unknown = Some(PolicyError::of_principal(kind, written));
            }
            kept.filter(|kept| kept != written)
        });
        unknown.map_or(Ok(kept), Err)
    }

    /// The text of a kept policy as it is shown.
    pub fn show_principals(&self, text: &str) -> String {
        with_principals(text, |written| {
            let entry = PrincipalEntry::parse_aws(written)?;
            self.directories.values().find_map(|kept| kept.directory.shown_principal(&entry))
        })
    }

    /// A principal's ARN as a grant keeps it. None: there is no such principal.
    pub fn keep_principal(&self, arn: &str) -> Option<String> {
        let entry = PrincipalEntry::parse_aws(arn).filter(|_| arn.starts_with("arn:"))?;
        self.kept(&entry, arn, None)
    }

    /// What [`Self::keep_principal`] made, as it is shown.
    pub fn show_principal(&self, kept: &str) -> String {
        let entry = PrincipalEntry::parse_aws(kept);
        let shown =
            entry.and_then(|entry| self.directories.values().find_map(|kept| kept.directory.shown_principal(&entry)));
        shown.unwrap_or_else(|| kept.to_owned())
    }

    fn kept(&self, entry: &PrincipalEntry, written: &str, own: Option<&Directory>) -> Option<String> {
        let is_account = |number| self.accounts().by_number(number).is_some();
        match entry {
            PrincipalEntry::Anyone => Some(written.to_owned()),
            // Whom a user may ask a federation token for is nowhere written.
            PrincipalEntry::Account(number) | PrincipalEntry::FederatedUser(number, _) => {
                is_account(*number).then(|| written.to_owned())
            }
            _ => {
                let is_own = |directory: &Directory| own.is_some_and(|own| own.account() == directory.account());
                let all = self.directories.values().map(|kept| &*kept.directory);
                let mut all = own.into_iter().chain(all.filter(|directory| !is_own(directory)));
                all.find_map(|directory| directory.kept_principal(entry))
            }
        }
    }
}
