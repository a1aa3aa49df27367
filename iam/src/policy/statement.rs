//! One statement, compiled, and whether it is about a request.

use super::Facts;
use super::arn::ArnPattern;
use super::condition::Condition;
use super::pattern::Pattern;
use super::principals::{Named, Principals};

/// What a statement does with the requests that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows them, if nothing denies them.
    Allow,
    /// It denies them.
    Deny,
}

/// An Action or NotAction element.
#[derive(Clone, Debug)]
pub(super) struct Actions {
    /// It is a NotAction.
    pub(super) except: bool,
    pub(super) patterns: Vec<Pattern>,
    /// As the document writes them.
    pub(super) written: Vec<String>,
}

/// A Resource or NotResource element.
#[derive(Clone, Debug)]
pub(super) struct Resources {
    /// It is a NotResource.
    pub(super) except: bool,
    pub(super) patterns: Vec<ArnPattern>,
    /// As the document writes them.
    pub(super) written: Vec<String>,
}

/// A statement of a policy.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    /// None: in an identity's policy, which is about whom it is attached to.
    pub(super) principals: Option<Principals>,
    pub(super) actions: Actions,
    /// None: in a trust policy, which is about its role.
    pub(super) resources: Option<Resources>,
    pub(super) conditions: Vec<Condition>,
}

impl Statement {
    /// As what the statement is about who makes the request. None: it is not about the request.
    pub(super) fn covers(&self, facts: &Facts<'_>, has_boundary: bool) -> Option<Named> {
        let request = facts.request;
        if !self.actions.cover(request.action) {
            return None;
        }
        if let Some(resources) = &self.resources
            && !resources.cover(facts)
        {
            return None;
        }
        let named = match &self.principals {
            None => Named::Directly,
            Some(principals) => principals.mean(request.principal, self.effect, has_boundary)?,
        };
        self.conditions.iter().all(|condition| condition.holds(facts)).then_some(named)
    }

    /// It is about all resources, under all circumstances.
    pub(super) fn is_of_everything(&self) -> bool {
        let every_resource = self.resources.as_ref().is_none_or(|resources| {
            !resources.except && resources.patterns.iter().any(|pattern| matches!(pattern, ArnPattern::All))
        });
        every_resource && self.conditions.is_empty()
    }

    /// The condition keys that it asks for.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let in_resources =
            self.resources.iter().flat_map(|resources| &resources.patterns).flat_map(ArnPattern::variables);
        let in_conditions = self
            .conditions
            .iter()
            .flat_map(|condition| std::iter::once(&*condition.key.written).chain(condition.variables()));
        in_resources.chain(in_conditions)
    }
}

impl Actions {
    pub(super) fn cover(&self, action: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches_ascii_ignoring_case(action)) != self.except
    }
}

impl Resources {
    fn cover(&self, facts: &Facts<'_>) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(facts.resource.as_ref(), facts)) != self.except
    }
}
