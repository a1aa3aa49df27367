//! One call: who makes it, what it names, and whether that is allowed.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{Directory, Fault, Tag, folded};
use cairn_iam::principal::Principal;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::AccountId;

use crate::identities::{Caller, Identities, Snapshot};
use crate::query_api::faults::{invalid_client_token, missing_signature, validation};
use crate::query_api::permission::{self, Circumstances, Deed};
use crate::query_api::{Call, Params};
use crate::s3::error::Failure;

use super::IamApi;
use super::target::Target;

/// A call. Cheap to clone, so that a change can take it along.
#[derive(Clone, Debug)]
pub(super) struct Ask(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    action: &'static str,
    call: Call,
    now: Timestamp,
    caller: Arc<Caller>,
    snapshot: Arc<Snapshot>,
    identities: Arc<Identities>,
    region: String,
    reports: super::reports::Reports,
    jobs: super::last_accessed::Jobs,
}

impl Ask {
    pub(super) fn new(api: &IamApi, action: &'static str, call: Call) -> Result<Self, Failure> {
        let snapshot = api.identities.snapshot();
        let signer = call.signer.as_ref().ok_or_else(missing_signature)?;
        let caller = snapshot.signed_by(signer).ok_or_else(invalid_client_token)?;
        let now = api.identities.now();
        call.made_by(&caller);
        Ok(Self(Arc::new(Inner {
            action,
            call,
            now,
            caller,
            snapshot,
            identities: Arc::clone(&api.identities),
            region: api.region.clone(),
            reports: api.reports.clone(),
            jobs: api.jobs.clone(),
        })))
    }

    /// The action that is asked for.
    pub(super) fn action(&self) -> &'static str {
        self.0.action
    }

    pub(super) fn params(&self) -> &Params {
        &self.0.call.params
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.0.caller
    }

    pub(super) fn identities(&self) -> &Arc<Identities> {
        &self.0.identities
    }

    pub(super) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.0.snapshot
    }

    pub(super) fn region(&self) -> &str {
        &self.0.region
    }

    pub(super) fn reports(&self) -> &super::reports::Reports {
        &self.0.reports
    }

    pub(super) fn jobs(&self) -> &super::last_accessed::Jobs {
        &self.0.jobs
    }

    /// The action is one of the resource's that has nothing for it.
    pub(super) fn misrouted(&self) -> Failure {
        Failure::internal(format!("{} was routed to the wrong resource", self.action()))
    }

    /// The caller's account.
    pub(super) fn account(&self) -> Result<AccountNumber, Failure> {
        self.caller().principal.account().ok_or_else(invalid_client_token)
    }

    /// The identities of the caller's account.
    pub(super) fn directory(&self) -> Result<&Arc<Directory>, Failure> {
        self.directory_of(self.account()?)
    }

    /// The identities of an account.
    pub(super) fn directory_of(&self, account: AccountNumber) -> Result<&Arc<Directory>, Failure> {
        self.snapshot().directory(account).ok_or_else(|| Failure::internal("an account without identities"))
    }

    /// The user that the call names, and whose account: the caller's own, or one that it administers. Without a name it is the
    /// caller itself.
    pub(super) fn user(&self) -> Result<(AccountNumber, String), Failure> {
        let own = self.account()?;
        if let Some(name) = self.params().get("UserName") {
            return Ok((self.account_of_user(own, name)?, name.to_owned()));
        }
        match self.caller().principal.user_name() {
            Some(name) => Ok((own, name.to_owned())),
            None => Err(validation("Must specify userName when calling with non-User credentials")),
        }
    }

    /// As [`Ask::user`] of a parameter that must be there.
    pub(super) fn named_user(&self) -> Result<(AccountNumber, String), Failure> {
        self.params().required("UserName")?;
        self.user()
    }

    /// Where a user of this name is: in the own account, or, if not there, in one that is administered.
    fn account_of_user(&self, own: AccountNumber, name: &str) -> Result<AccountNumber, Failure> {
        let row = folded(name);
        let has = |account: AccountNumber| {
            self.snapshot().directory(account).is_some_and(|directory| directory.users.get(&row).is_some())
        };
        let (Principal::Root(_), Some(account)) = (&self.caller().principal, &self.caller().account) else {
            return Ok(own);
        };
        if has(own) {
            return Ok(own);
        }
        let administered = account.administers.iter().map(|id| AccountNumber(id.number())).find(|number| has(*number));
        let Some(number) = administered else { return Ok(own) };
        // Without what else the call says, which may be secret.
        self.0.call.trail.owner(AccountId::from_number(number.0).unwrap_or(account.id));
        tracing::info!(by = %own, account = %number, user = name, action = self.action(), "administered another account");
        Ok(number)
    }

    /// Lets the call go on if the caller may do what it says to the target.
    ///
    /// # Errors
    /// `AccessDenied`; `InvalidClientTokenId` if the caller is there no more.
    pub(super) fn allow(&self, directory: &Directory, target: &Target) -> Result<(), Failure> {
        let caller = self.caller();
        let of_account = match caller.principal {
            // Only the configuration makes a root another account's administrator, and `account_of_user` found it so.
            Principal::Root(_) => Caller { principal: directory.root(), ..Caller::clone(caller) },
            _ => {
                let policies = caller.policies_in(directory).ok_or_else(invalid_client_token)?;
                Caller { policies, ..Caller::clone(caller) }
            }
        };
        let Inner { call, now, region, .. } = &*self.0;
        let circumstances = Circumstances { call, caller: &of_account, now: *now, region };
        let action = format!("iam:{}", self.action());
        let deed = Deed { action: &action, resource: target.arn(), account: directory.account(), policy: None };
        permission::check(circumstances, deed, &target.keys())
    }

    /// Changes an account's identities if the caller may. `target` says what the change is done to, in the state that is
    /// changed.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        account: AccountNumber,
        target: impl Fn(&Directory) -> Target + Send + Sync + 'static,
        change: impl Fn(&mut Directory) -> Result<T, Fault> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let ask = self.clone();
        let decide = move |directory: &mut Directory| {
            ask.allow(directory, &target(directory))?;
            Ok::<T, Failure>(change(directory)?)
        };
        self.identities().change(account, decide).await
    }

    /// The tags that the call gives.
    pub(super) fn tags(&self) -> Result<Vec<Tag>, Failure> {
        let tag = |params: &Params| {
            let (key, value) = (params.required("Key")?.to_owned(), params.required("Value")?.to_owned());
            Ok(Tag { key, value })
        };
        self.params().members("Tags").iter().map(tag).collect()
    }
}
