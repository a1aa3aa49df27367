//! Login profiles, which are passwords for the console, and the account's password policy.

use cairn_iam::identity::{Directory, Fault, FaultKind, Login, PasswordPolicy, Settings};
use http::StatusCode;
use zeroize::Zeroizing;

use crate::identities::passwords::{self, DEFAULT_POLICY};
use crate::query_api::Reply;
use crate::query_api::faults::{fault, validation};
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "ChangePassword",
    "CreateLoginProfile",
    "DeleteAccountPasswordPolicy",
    "DeleteLoginProfile",
    "GetAccountPasswordPolicy",
    "GetLoginProfile",
    "UpdateAccountPasswordPolicy",
    "UpdateLoginProfile",
];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "ChangePassword" => change_password(ask).await,
        "CreateLoginProfile" => create(ask).await,
        "DeleteAccountPasswordPolicy" => delete_policy(ask).await,
        "DeleteLoginProfile" => delete(ask).await,
        "GetAccountPasswordPolicy" => get_policy(ask),
        "GetLoginProfile" => get(ask),
        "UpdateAccountPasswordPolicy" => update_policy(ask).await,
        "UpdateLoginProfile" => update(ask).await,
        _ => Err(ask.misrouted()),
    }
}

fn policy_of(directory: &Directory) -> PasswordPolicy {
    directory.settings().password_policy.unwrap_or(DEFAULT_POLICY)
}

/// The hash of a password of the call, if it is as the account's policy has it. Hashing takes long, so the caller must have
/// been allowed already; the change decides it once more.
async fn hash(ask: &Ask, directory: &Directory, password: &str) -> Result<String, Failure> {
    passwords::check(password, &policy_of(directory))?;
    ask.identities().hash_password(Zeroizing::new(password.to_owned())).await
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.user()?;
    let directory = ask.directory_of(account)?;
    ask.allow(directory, &Target::user(directory, &name))?;
    let user = directory.user(&name)?.name.clone();
    let reset_required = ask.params().parsed::<bool>("PasswordResetRequired")?.unwrap_or(false);
    let hash = hash(ask, directory, ask.params().required("Password")?).await?;
    let now_ms = ask.identities().now_ms();
    let login = Login { hash, created_ms: now_ms, changed_ms: now_ms, reset_required };
    let target = name.clone();
    ask.change(
        account,
        move |directory| Target::user(directory, &target),
        move |directory| directory.create_login(&name, login.clone()),
    )
    .await?;
    Ok(Reply::result(|document| write_profile(document, &user, now_ms, reset_required)))
}

fn write_profile(document: &mut Document, user: &str, created_ms: u64, reset_required: bool) {
    document.element("LoginProfile", |profile| {
        profile.text("UserName", user);
        write::time(profile, "CreateDate", created_ms);
        profile.value("PasswordResetRequired", reset_required);
    });
}

fn get(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.user()?;
    let directory = ask.directory_of(account)?;
    ask.allow(directory, &Target::user(directory, &name))?;
    let (user, login) = directory.login(&name)?;
    Ok(Reply::result(|document| write_profile(document, &user.name, login.created_ms, login.reset_required)))
}

async fn update(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.named_user()?;
    let directory = ask.directory_of(account)?;
    ask.allow(directory, &Target::user(directory, &name))?;
    directory.login(&name)?;
    let reset_required = ask.params().parsed::<bool>("PasswordResetRequired")?;
    let hash = match ask.params().get("Password") {
        Some(password) => Some(hash(ask, directory, password).await?),
        None => None,
    };
    let now_ms = ask.identities().now_ms();
    let target = name.clone();
    ask.change(
        account,
        move |directory| Target::user(directory, &target),
        move |directory| directory.update_login(&name, hash.clone(), reset_required, now_ms),
    )
    .await?;
    Ok(Reply::empty())
}

async fn delete(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.user()?;
    let target = name.clone();
    ask.change(
        account,
        move |directory| Target::user(directory, &target),
        move |directory| directory.delete_login(&name),
    )
    .await?;
    Ok(Reply::empty())
}

/// A user's own password, which takes the old one. A user may, if its policies or the account's password policy let it.
async fn change_password(ask: &Ask) -> Result<Reply, Failure> {
    let Some(name) = ask.caller().principal.user_name().map(str::to_owned) else {
        return Err(Fault::new(FaultKind::InvalidUserType, "Only IAM users can change their own passwords.").into());
    };
    let account = ask.account()?;
    let directory = ask.directory()?;
    let lets_itself = directory.settings().password_policy.is_some_and(|policy| policy.allow_users_to_change);
    if !lets_itself {
        ask.allow(directory, &Target::user(directory, &name))?;
    }
    let [old, new] = ["OldPassword", "NewPassword"].map(|parameter| ask.params().required(parameter));
    let (old, new) = (Zeroizing::new(old?.to_owned()), new?);
    let before = directory.login(&name)?.1.hash.clone();
    if !ask.identities().is_password(old, before.clone()).await? {
        return Err(fault("AccessDenied", StatusCode::FORBIDDEN, "The old password was entered incorrectly."));
    }
    let hash = hash(ask, directory, new).await?;
    let now_ms = ask.identities().now_ms();
    let change = move |directory: &mut Directory| {
        if directory.login(&name)?.1.hash != before {
            let message = "The password was changed meanwhile.";
            return Err(Fault::new(FaultKind::EntityTemporarilyUnmodifiable, message).into());
        }
        Ok::<(), Failure>(directory.update_login(&name, Some(hash.clone()), Some(false), now_ms)?)
    };
    ask.identities().change(account, change).await?;
    Ok(Reply::empty())
}

fn get_policy(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    let Some(policy) = directory.settings().password_policy else {
        let account = directory.account();
        let message = format!("The Password Policy with domain name {account} cannot be found.");
        return Err(Fault::new(FaultKind::NoSuchEntity, message).into());
    };
    Ok(Reply::result(|document| {
        document.element("PasswordPolicy", |element| {
            element.value("MinimumPasswordLength", policy.minimum_length);
            element.value("RequireSymbols", policy.require_symbols);
            element.value("RequireNumbers", policy.require_numbers);
            element.value("RequireUppercaseCharacters", policy.require_uppercase);
            element.value("RequireLowercaseCharacters", policy.require_lowercase);
            element.value("AllowUsersToChangePassword", policy.allow_users_to_change);
            element.value("ExpirePasswords", false);
        });
    }))
}

/// What is not given has IAM's default for the action. Passwords that expire, or may not be repeated, there are none.
async fn update_policy(ask: &Ask) -> Result<Reply, Failure> {
    let params = ask.params();
    for name in ["MaxPasswordAge", "PasswordReusePrevention", "HardExpiry"] {
        if params.get(name).is_some_and(|value| !["0", "false"].contains(&value)) {
            return Err(validation(format!("{name} is not implemented.")));
        }
    }
    let flag = |name: &str| params.parsed::<bool>(name).map(|flag| flag.unwrap_or(false));
    let policy = PasswordPolicy {
        minimum_length: match params.parsed::<u32>("MinimumPasswordLength")? {
            None => 6,
            Some(length @ 6..=128) => length,
            Some(_) => {
                return Err(validation(
                    "1 validation error detected: Value at 'minimumPasswordLength' failed to satisfy constraint: Member \
                     must have value between 6 and 128",
                ));
            }
        },
        require_symbols: flag("RequireSymbols")?,
        require_numbers: flag("RequireNumbers")?,
        require_uppercase: flag("RequireUppercaseCharacters")?,
        require_lowercase: flag("RequireLowercaseCharacters")?,
        allow_users_to_change: flag("AllowUsersToChangePassword")?,
    };
    set_policy(ask, Some(policy)).await
}

async fn delete_policy(ask: &Ask) -> Result<Reply, Failure> {
    set_policy(ask, None).await
}

async fn set_policy(ask: &Ask, policy: Option<PasswordPolicy>) -> Result<Reply, Failure> {
    let change = move |directory: &mut Directory| {
        let settings = directory.settings();
        if policy.is_none() && settings.password_policy.is_none() {
            let message = "The account policy with name PasswordPolicy cannot be found.";
            return Err(Fault::new(FaultKind::NoSuchEntity, message));
        }
        directory.set_settings(Settings { password_policy: policy, ..settings });
        Ok(())
    };
    ask.change(ask.account()?, |_| Target::everything(), change).await?;
    Ok(Reply::empty())
}
