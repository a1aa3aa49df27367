//! What a decision costs: it allocates little, which is held, and takes microseconds, which `cargo test -p cairn-iam --test cost
//! -- --nocapture` shows (this crate is optimized in tests, too).

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Context, Policies, Request, Source, SourceKind, Values, evaluate};
use cairn_iam::managed::ManagedPolicy;
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_iam::principal::Principal;

const OWNER: AccountNumber = AccountNumber(111_122_223_333);
const ROUNDS: u32 = 20_000;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// Passes everything on, and counts what is asked for on this thread.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A request over TLS from one address, with a tag of its principal.
struct Here;

impl Context for Here {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        match key {
            "aws:sourceip" => Values::One("203.0.113.7".into()),
            "aws:securetransport" => Values::One("true".into()),
            "aws:principaltag/team" => Values::One("red".into()),
            _ => Values::Absent,
        }
    }
}

fn attached(kind: SourceKind, policy: Policy) -> Attached {
    Attached { source: Source { kind, holder: "holder".into(), name: "name".into() }, policy }
}

fn parsed(kind: SourceKind, statements: &str) -> Attached {
    let of = if kind == SourceKind::Resource { PolicyKind::Bucket } else { PolicyKind::Identity };
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    attached(kind, Policy::parse(&text, of).unwrap())
}

fn managed(name: &str) -> Attached {
    let arn = format!("arn:aws:iam::aws:policy/{name}");
    attached(SourceKind::AwsManaged, ManagedPolicy::by_arn(&arn).unwrap().policy())
}

fn user() -> Principal {
    Principal::User { account: OWNER, path: "/".to_owned(), name: "anna".to_owned(), id: "AIDAANNA".to_owned() }
}

/// Ten statements with conditions, as buckets that many share have them.
fn shared_bucket() -> Attached {
    let tls = r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#;
    let network = r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/*","Condition":{"NotIpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:db8::/32"]}}}"#;
    let others = (1..9).map(|number| {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::44445555666{number}:user/bob"}},"Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::b/team{number}/*"}}"#
        )
    });
    let statements: Vec<String> = [tls.to_owned(), network.to_owned()].into_iter().chain(others).collect();
    parsed(SourceKind::Resource, &statements.join(","))
}

/// Decides often, prints what that cost, and holds it to so many allocations a decision.
fn check(name: &str, principal: &Principal, policies: &Policies<'_>, allocations_max: u64) {
    let request = Request {
        principal,
        action: "s3:GetObject",
        resource: "arn:aws:s3:::b/anna/photos/2026/11/image.jpg",
        resource_account: Some(OWNER),
        context: &Here,
    };
    assert!(evaluate(&request, policies).is_allowed(), "{name}");
    let (before, started) = (ALLOCATIONS.with(Cell::get), Instant::now());
    for _ in 0..ROUNDS {
        black_box(evaluate(black_box(&request), black_box(policies)));
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    let allocations = (ALLOCATIONS.with(Cell::get) - before) / u64::from(ROUNDS);
    println!("{name:<55} {micros:>7.2} us {allocations:>3} allocations");
    assert!(allocations <= allocations_max, "{name}: {allocations} allocations");
}

#[test]
fn a_decision_allocates_little() {
    check("the root", &Principal::Root(OWNER), &Policies::default(), 0);
    let administrator = [managed("AdministratorAccess")];
    let of = |identity| Policies { identity, ..Policies::default() };
    check("a user with AdministratorAccess", &user(), &of(&administrator), 1);
    let own = parsed(
        SourceKind::User,
        r#"{"Effect":"Allow","Action":"s3:*Object","Resource":"arn:aws:s3:::b/${aws:username}/*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"red"}}}"#,
    );
    let several = [managed("AmazonS3ReadOnlyAccess"), managed("IAMReadOnlyAccess"), own];
    check("a user with three policies, one with variables", &user(), &of(&several), 4);
    let shared = shared_bucket();
    let in_shared = Policies { resource: Some(&shared), ..of(&several) };
    check("the same in a bucket with a policy of ten statements", &user(), &in_shared, 4);
    let session = Principal::RoleSession {
        account: OWNER,
        path: "/".to_owned(),
        role: "reader".to_owned(),
        role_id: "AROAREADER".to_owned(),
        session: "job".to_owned(),
    };
    let bound = [managed("AmazonS3FullAccess")];
    let bounded = Policies { boundary: Some(&administrator[0]), session: Some(&bound), ..of(&administrator) };
    check("a session within a boundary and a session policy", &session, &bounded, 3);
}
