//! Who has signed lately, by access key: what a request needs to know of its caller is put together once in a state of the
//! identities. The next state begins with none, so what a change takes away is gone at once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::auth::Signer;

use super::Caller;

/// Callers that are remembered at most. Keys that last are bounded by IAM's quotas, but sessions are not.
const CALLERS_MAX: usize = 4_096;

/// Callers by the access keys that they sign with.
#[derive(Debug, Default)]
pub(super) struct Callers(RwLock<HashMap<String, Arc<Caller>>>);

/// Of another state there is nothing to be known.
impl Clone for Callers {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Callers {
    /// Who has signed, if that is remembered.
    pub(super) fn find(&self, signer: &Signer) -> Option<Arc<Caller>> {
        let callers = self.0.read();
        let caller = callers.get(&signer.access_key)?;
        // A temporary key has one token, so this holds unless something is very wrong.
        (caller.session == signer.session).then(|| Arc::clone(caller))
    }

    pub(super) fn keep(&self, access_key: &str, caller: &Arc<Caller>) {
        let mut callers = self.0.write();
        if callers.len() >= CALLERS_MAX {
            // Rare enough: whoever comes next is put together again.
            callers.clear();
        }
        callers.insert(access_key.to_owned(), Arc::clone(caller));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sts::session::{Session, Whose};

    fn signer(access_key: &str, session: Option<Session>) -> Signer {
        Signer { access_key: access_key.to_owned(), session: session.map(Arc::new) }
    }

    #[test]
    fn a_caller_is_found_by_its_key_and_its_session_and_in_its_state_only() {
        let callers = Callers::default();
        let session = Session::new(Whose::Root { account: 1 }, 0, 1);
        callers.keep("AKIA", &Arc::new(Caller::anonymous()));
        let in_session = Caller { session: Some(Arc::new(session.clone())), ..Caller::anonymous() };
        callers.keep("ASIA", &Arc::new(in_session));
        assert!(callers.find(&signer("AKIA", None)).is_some());
        assert!(callers.find(&signer("ASIA", Some(session.clone()))).is_some());
        assert!(callers.find(&signer("AKIB", None)).is_none());
        assert!(callers.find(&signer("ASIA", None)).is_none());
        assert!(callers.find(&signer("ASIA", Some(Session { issued_at_ms: 7, ..session }))).is_none());
        assert!(callers.clone().find(&signer("AKIA", None)).is_none());
    }

    #[test]
    fn callers_are_bounded() {
        let callers = Callers::default();
        for number in 0..=CALLERS_MAX {
            callers.keep(&number.to_string(), &Arc::new(Caller::anonymous()));
        }
        assert_eq!(callers.0.read().len(), 1);
    }
}
