//! Virtual MFA devices. The seed is shown by the call that makes the device, and never again. The picture that AWS sends along
//! is left out: clients draw their own of the seed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_iam::identity::{Directory, MfaDevice, Record as _, Tagged};
use cairn_iam::principal::Principal;

use crate::query_api::Reply;
use crate::query_api::faults::validation;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "CreateVirtualMFADevice",
    "DeactivateMFADevice",
    "DeleteVirtualMFADevice",
    "EnableMFADevice",
    "GetMFADevice",
    "ListMFADevices",
    "ListVirtualMFADevices",
    "ResyncMFADevice",
];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "CreateVirtualMFADevice" => create(ask).await,
        "DeactivateMFADevice" => deactivate(ask).await,
        "DeleteVirtualMFADevice" => delete(ask).await,
        "EnableMFADevice" => enable(ask).await,
        "GetMFADevice" => get(ask),
        "ListMFADevices" => list(ask),
        "ListVirtualMFADevices" => list_all(ask),
        "ResyncMFADevice" => resync(ask).await,
        _ => Err(ask.misrouted()),
    }
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let account = ask.account()?;
    let name = ask.params().required("VirtualMFADeviceName")?.to_owned();
    let path = ask.params().get("Path").unwrap_or("/").to_owned();
    let tags = ask.tags()?;
    let seed = ask.identities().new_seed(account, &name)?;
    let now_ms = ask.identities().now_ms();
    let target = Target::new(account, "mfa", &path, &name).with_tags(&tags);
    let (sealed, shown_tags) = (seed.sealed.clone(), tags.clone());
    let made = ask.change(
        account,
        move |_| target.clone(),
        move |directory| {
            let device = directory.create_device(&name, &path, sealed.clone(), tags.clone(), now_ms)?.clone();
            Ok(directory.device_arn(&device))
        },
    );
    let serial = made.await?;
    Ok(Reply::result(|document| {
        document.element("VirtualMFADevice", |device| {
            device.text("SerialNumber", &serial);
            device.text("Base32StringSeed", &STANDARD.encode(seed.base32.as_bytes()));
            write::tags(device, &shown_tags);
        });
    }))
}

/// Whose device a call is about: a user, or, if a root names nobody, the root.
fn owner(ask: &Ask) -> Result<Option<String>, Failure> {
    match (&ask.caller().principal, ask.params().get("UserName")) {
        (Principal::Root(_), None) => Ok(None),
        _ => ask.user().map(|(_, name)| Some(name)),
    }
}

/// The user that is to have, or has, the device.
fn target_of(directory: &Directory, user: Option<&str>) -> Target {
    user.map_or_else(Target::everything, |user| Target::user(directory, user))
}

/// The serial number and the two codes that prove who has the device.
fn pair(ask: &Ask) -> Result<(String, String, String), Failure> {
    let [serial, first, second] =
        ["SerialNumber", "AuthenticationCode1", "AuthenticationCode2"].map(|name| ask.params().required(name));
    Ok((serial?.to_owned(), first?.to_owned(), second?.to_owned()))
}

async fn enable(ask: &Ask) -> Result<Reply, Failure> {
    let account = ask.account()?;
    let user = owner(ask)?;
    let (serial, first, second) = pair(ask)?;
    let (asked, now_ms) = (ask.clone(), ask.identities().now_ms());
    let change = move |directory: &mut Directory| {
        asked.allow(directory, &target_of(directory, user.as_deref()))?;
        let device = directory.device(&serial)?.clone();
        let found = asked.identities().verify_pair(account, &device, &first, &second)?;
        Ok::<(), Failure>(directory.enable_device(&serial, user.as_deref(), found, now_ms)?)
    };
    ask.identities().change(account, change).await?;
    Ok(Reply::empty())
}

async fn resync(ask: &Ask) -> Result<Reply, Failure> {
    let account = ask.account()?;
    let user = owner(ask)?;
    let (serial, first, second) = pair(ask)?;
    let asked = ask.clone();
    let change = move |directory: &mut Directory| {
        asked.allow(directory, &target_of(directory, user.as_deref()))?;
        let device = directory.owned_device(&serial, user.as_deref())?.clone();
        let (step, drift) = asked.identities().verify_pair(account, &device, &first, &second)?;
        Ok::<(), Failure>(directory.use_device(&serial, user.as_deref(), step, drift)?)
    };
    ask.identities().change(account, change).await?;
    Ok(Reply::empty())
}

async fn deactivate(ask: &Ask) -> Result<Reply, Failure> {
    let user = owner(ask)?;
    let serial = ask.params().required("SerialNumber")?.to_owned();
    let of_target = user.clone();
    ask.change(
        ask.account()?,
        move |directory| target_of(directory, of_target.as_deref()),
        move |directory| directory.deactivate_device(&serial, user.as_deref()),
    )
    .await?;
    Ok(Reply::empty())
}

async fn delete(ask: &Ask) -> Result<Reply, Failure> {
    let serial = ask.params().required("SerialNumber")?.to_owned();
    let target = serial.clone();
    ask.change(
        ask.account()?,
        move |directory| Target::named(directory, Tagged::Device(&target)),
        move |directory| directory.delete_device(&serial),
    )
    .await?;
    Ok(Reply::empty())
}

fn get(ask: &Ask) -> Result<Reply, Failure> {
    let serial = ask.params().required("SerialNumber")?;
    let directory = ask.directory()?;
    ask.allow(directory, &Target::named(directory, Tagged::Device(serial)))?;
    let device = match owner(ask)? {
        Some(user) if ask.params().get("UserName").is_some() => directory.owned_device(serial, Some(&user))?,
        _ => directory.device(serial)?,
    };
    Ok(Reply::result(|document| {
        if let Some(owner) = &device.owner {
            document.optional("UserName", owner.user.as_deref());
            document.text("SerialNumber", serial);
            write::time(document, "EnableDate", owner.enabled_ms);
        } else {
            document.text("SerialNumber", serial);
        }
    }))
}

fn list(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    let user = owner(ask)?;
    ask.allow(directory, &target_of(directory, user.as_deref()))?;
    let user = user.map(|user| directory.user(&user).map(|user| user.name.clone())).transpose()?;
    let owned = directory.devices.iter().filter_map(|device| {
        let owner = device.owner.as_ref().filter(|owner| owner.user == user)?;
        Some((device.row_name(), (device, owner)))
    });
    let page = Page::of(ask.params(), owned)?;
    let root = directory.account().to_string();
    Ok(Reply::result(|document| {
        page.write(document, "MFADevices", |member, (device, owner)| {
            member.text("UserName", user.as_deref().unwrap_or(&root));
            member.text("SerialNumber", &directory.device_arn(device));
            write::time(member, "EnableDate", owner.enabled_ms);
        });
    }))
}

fn list_all(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::all(directory.account(), "mfa", "/"))?;
    let wants: fn(&MfaDevice) -> bool = match ask.params().get("AssignmentStatus").unwrap_or("Any") {
        "Any" => |_| true,
        "Assigned" => |device| device.owner.is_some(),
        "Unassigned" => |device| device.owner.is_none(),
        _ => return Err(validation("The value of AssignmentStatus is Assigned, Unassigned or Any.")),
    };
    let devices = directory.devices.iter().filter(|device| wants(device));
    let page = Page::of(ask.params(), devices.map(|device| (device.row_name(), device)))?;
    Ok(Reply::result(|document| {
        page.write(document, "VirtualMFADevices", |member, device| write_device(member, directory, device));
    }))
}

fn write_device(member: &mut Document, directory: &Directory, device: &MfaDevice) {
    member.text("SerialNumber", &directory.device_arn(device));
    let Some(owner) = &device.owner else { return };
    write::time(member, "EnableDate", owner.enabled_ms);
    member.element("User", |element| match owner.user.as_deref().map(|name| directory.user(name)) {
        Some(Ok(user)) => write::user(element, directory, user),
        _ => {
            element.value("UserId", directory.account());
            element.text("Arn", &directory.root().arn().unwrap_or_default());
        }
    });
}
