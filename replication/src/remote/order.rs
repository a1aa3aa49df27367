//! The order of a key's versions at a server that gives ids of its own: what is put last is the newest there.

use cairn_storage::id::VersionId;

use crate::client::{Address, Answer, Method};
use crate::target::{Failure, Outgoing};

use super::Remote;
use super::failure::of_client;
use super::foreign::OF_VERSION;

/// After how many newer versions a server is asked that have been there, the newest ones, if what is on top is none that is known.
const ASKED_MAX: usize = 8;

impl Remote {
    /// Ok if the version may become the newest of its key there, whose newest is this now: no newer version of the source's is there.
    pub(super) async fn check_order(&self, to: &Address, outgoing: &Outgoing, newest: &Answer) -> Result<(), Failure> {
        let is_marker = newest.header("x-amz-delete-marker") == Some("true");
        let Some(newest_here) = outgoing.standing.newest else { return Ok(()) };
        if newest.status() == 404 && !is_marker {
            return Ok(());
        }
        let arrived = &outgoing.standing.arrived;
        let (source, own) = (newest.header(OF_VERSION), newest.header("x-amz-version-id"));
        // The answer may have been lost of one that is not known to be there.
        let source: Option<VersionId> = source.and_then(|source| source.parse().ok());
        let is_newer = source.is_some_and(|source| source > outgoing.version.id() && source <= newest_here);
        if is_newer || own.is_some() && arrived.iter().any(|newer| newer.foreign_version.as_deref() == own) {
            return Err(overtaken());
        }
        // An older one or somebody else's is on top, and a newer one may lie below it.
        for newer in arrived.iter().take(ASKED_MAX) {
            let Some(id) = &newer.foreign_version else { return Err(overtaken()) };
            if self.has(to, id).await? {
                return Err(overtaken());
            }
        }
        Ok(())
    }

    /// Whether a version, or a delete marker, of this id is there. If that cannot be told, it is.
    pub(super) async fn has(&self, to: &Address, id: &str) -> Result<bool, Failure> {
        let answer = self.client.probe(&to.request(Method::HEAD, Some(id))).await.map_err(of_client)?;
        match answer.status() {
            404 => Ok(answer.header("x-amz-delete-marker") == Some("true")),
            status if status >= 500 => {
                Err(Failure::Later { reason: format!("the server answers {status}"), after: None })
            }
            _ => Ok(true),
        }
    }
}

fn overtaken() -> Failure {
    let reason = "a newer version of the key is there already, and the server would take this one for the newest";
    Failure::Refused { reason: reason.to_owned() }
}
