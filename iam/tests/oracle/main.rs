//! The engine against a second evaluator, on policies and requests drawn at random: they have to decide alike.

#![allow(clippy::unwrap_used)]

mod generate;
mod naive;
mod naive_conditions;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Context, Grant, Outcome, Policies, Request, Source, SourceKind, Values, evaluate};
use cairn_iam::granted::is_granted;
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_iam::principal::Principal;
use generate::Dice;
use naive::{Ask, Verdict, World};
use serde_json::Value;

/// Pairs of policies and requests in each test.
const PAIRS: u64 = 45_000;

struct Given<'a>(&'a BTreeMap<String, Vec<String>>);

impl Context for Given<'_> {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        match self.0.get(key).map(Vec::as_slice) {
            None => Values::Absent,
            Some([one]) if !["aws:tagkeys", "s3:requestobjecttagkeys"].contains(&key) => Values::One(one.into()),
            Some(many) => Values::Many(many.iter().map(Into::into).collect()),
        }
    }
}

fn attached(kind: SourceKind, document: &Value, as_kind: PolicyKind) -> Attached {
    let policy = Policy::parse(&document.to_string(), as_kind).unwrap_or_else(|error| panic!("{error}: {document}"));
    Attached { source: Source { kind, holder: "holder".into(), name: "name".into() }, policy }
}

fn engine(principal: &Principal, ask: &Ask, given: &BTreeMap<String, Vec<String>>, world: &World) -> Verdict {
    let all = |kind, documents: &[Value]| -> Vec<Attached> {
        documents.iter().map(|document| attached(kind, document, PolicyKind::Identity)).collect()
    };
    let identity = all(SourceKind::User, &world.identity);
    let boundary = world.boundary.as_ref().map(|one| attached(SourceKind::Boundary, one, PolicyKind::Identity));
    let session = world.session.as_deref().map(|documents| all(SourceKind::Session, documents));
    let kind = if world.resource_is_trust_policy { PolicyKind::Trust } else { PolicyKind::Bucket };
    let resource = world.resource.as_ref().map(|one| attached(SourceKind::Resource, one, kind));
    let request = Request {
        principal,
        action: &ask.action,
        resource: &ask.resource,
        resource_account: ask.owner.as_ref().map(|owner| AccountNumber(owner.parse().unwrap())),
        context: &Given(given),
    };
    let policies = Policies {
        identity: &identity,
        boundary: boundary.as_ref(),
        session: session.as_deref(),
        resource: resource.as_ref(),
        resource_grants: world.acl_grants,
    };
    match evaluate(&request, &policies).outcome {
        Outcome::Allowed(_) => Verdict::Allow,
        Outcome::ExplicitDeny => Verdict::ExplicitDeny,
        Outcome::NotAllowed(_) => Verdict::ImplicitDeny,
    }
}

/// Lets both decide about pairs from these seeds. Every verdict must be so common that agreeing means something.
fn compare(first_seed: u64, trust: bool) {
    let mut verdicts: BTreeMap<Verdict, u64> = BTreeMap::new();
    for seed in first_seed..first_seed + PAIRS {
        let mut dice = Dice::new(seed);
        let world = generate::world(&mut dice, trust);
        let (principal, ask, given) = generate::ask(&mut dice, trust);
        let expected = naive::decide(&ask, &world);
        let found = engine(&principal, &ask, &given, &world);
        assert_eq!(found, expected, "seed {seed}: {ask:#?}\n{}", describe(&world));
        *verdicts.entry(found).or_default() += 1;
    }
    for verdict in [Verdict::Allow, Verdict::ExplicitDeny, Verdict::ImplicitDeny] {
        let count = verdicts.get(&verdict).copied().unwrap_or(0);
        assert!(count > PAIRS / 20, "{verdicts:?}");
    }
}

fn describe(world: &World) -> String {
    let parts = [
        ("identity", Some(Value::Array(world.identity.clone()))),
        ("boundary", world.boundary.clone()),
        ("session", world.session.clone().map(Value::Array)),
        ("resource", world.resource.clone()),
    ];
    let text = |(name, document): (&str, Option<Value>)| document.map(|document| format!("{name}: {document:#}\n"));
    let documents: String = parts.into_iter().filter_map(text).collect();
    format!("{documents}acl grants: {}", world.acl_grants)
}

#[test]
fn both_decide_alike_about_resources_of_buckets() {
    compare(0, false);
}

#[test]
fn both_decide_alike_about_other_resources_of_buckets() {
    compare(1 << 40, false);
}

#[test]
fn both_decide_alike_about_assuming_roles() {
    compare(1 << 41, true);
}

/// A world without what the resource's side grants.
fn identities_only(dice: &mut Dice) -> World {
    World { resource: None, acl_grants: false, ..generate::world(dice, false) }
}

#[test]
fn nobody_exceeds_a_boundary_or_a_session_policy() {
    let mut bounded = 0;
    for seed in 0..20_000 {
        let mut dice = Dice::new(seed);
        let world = identities_only(&mut dice);
        let (principal, mut ask, given) = generate::ask(&mut dice, false);
        ask.owner = ask.who.account.clone();
        let is_root = matches!(principal, Principal::Root(_));
        if is_root || engine(&principal, &ask, &given, &world) != Verdict::Allow {
            continue;
        }
        let allows_alone = |documents: &[Value]| {
            let alone = World { identity: documents.to_vec(), ..World::default() };
            engine(&principal, &ask, &given, &alone) == Verdict::Allow
        };
        if let Some(boundary) = &world.boundary {
            assert!(allows_alone(std::slice::from_ref(boundary)), "seed {seed}: {ask:#?}\n{}", describe(&world));
            bounded += 1;
        }
        if let Some(session) = &world.session {
            assert!(allows_alone(session), "seed {seed}: {ask:#?}\n{}", describe(&world));
            bounded += 1;
        }
    }
    assert!(bounded > 100, "{bounded}");
}

#[test]
fn bounding_more_never_allows_more() {
    for seed in 0..10_000 {
        let mut dice = Dice::new(seed);
        let mut world = generate::world(&mut dice, false);
        let other = identities_only(&mut dice);
        let (principal, ask, given) = generate::ask(&mut dice, false);
        let before = engine(&principal, &ask, &given, &world);
        world.boundary = world.boundary.or(other.boundary);
        world.session = world.session.or(other.session);
        let after = engine(&principal, &ask, &given, &world);
        assert!(before == Verdict::Allow || after != Verdict::Allow, "seed {seed}: {ask:#?}\n{}", describe(&world));
    }
}

/// Remembers which keys were asked for.
struct Watched<'a>(Given<'a>, RefCell<BTreeSet<String>>);

impl Context for Watched<'_> {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        self.1.borrow_mut().insert(key.to_owned());
        self.0.values(key)
    }
}

/// What is costly to find out is found out only if a policy says that it asks for it.
#[test]
fn no_key_is_asked_for_that_the_policies_do_not_name() {
    let mut asked = 0;
    for seed in 0..10_000 {
        let mut dice = Dice::new(seed);
        let world = generate::world(&mut dice, false);
        let (principal, ask, given) = generate::ask(&mut dice, false);
        let context = Watched(Given(&given), RefCell::default());
        let identity: Vec<Attached> =
            world.identity.iter().map(|document| attached(SourceKind::User, document, PolicyKind::Identity)).collect();
        let request = Request {
            principal: &principal,
            action: &ask.action,
            resource: &ask.resource,
            resource_account: None,
            context: &context,
        };
        let decision = evaluate(&request, &Policies { identity: &identity, ..Policies::default() });
        for key in context.1.into_inner() {
            assert!(identity.iter().any(|one| one.policy.asks_for(&key)), "seed {seed}: {key}\n{}", describe(&world));
            asked += 1;
        }
        let by_policies = decision.outcome == Outcome::Allowed(Grant::Policies);
        assert!(
            !by_policies || is_granted(&identity, None, &ask.action),
            "seed {seed}: {ask:#?}\n{}",
            describe(&world)
        );
    }
    assert!(asked > 1_000, "{asked}");
}
