//! Which accounts count a request, and with how much.

use super::ledger::Ledger;
use crate::budget::{AccountKey, Measure};
use crate::config::{Algorithm, Budget, Config, Limit, Mode, Scope, SessionCap};
use crate::limit::Shape;
use crate::map::Map;
use crate::protocol::Admit;
use crate::units::{Amount, Timestamp};
use std::borrow::Cow;

/// Most subjects of one rule that have accounts of their own. Who comes after shares one account with
/// the others until that is empty: callers choose metadata, and it must not fill the memory.
pub const MAX_SUBJECTS: usize = 10_000;
/// The subject that the others share.
const OTHERS: &str = "*";
/// Longest subject in bytes; longer ones share an account with all that begin alike.
const MAX_SUBJECT: usize = 256;

/// A request as the rules see it.
pub(super) struct Asked<'a> {
    pub now: Timestamp,
    pub key: &'a str,
    pub admit: &'a Admit,
    /// What the operator says about the key.
    pub of_key: &'a Map<String, String>,
}

/// A rule that a request is checked against.
#[derive(Clone, Copy)]
pub(super) enum Rule<'a> {
    Limit(&'a Limit),
    Budget(&'a Budget),
    Session(SessionCap),
}

/// What a rule wants to see free before a request may pass.
pub(super) struct Demand<'a> {
    pub rule: Rule<'a>,
    pub account: AccountKey,
    /// How much of it this request may use at worst.
    pub amount: Amount,
    /// The most that may be committed.
    pub cap: Amount,
}

impl Rule<'_> {
    /// How it is named in statistics.
    pub fn name(self) -> String {
        match self {
            Rule::Limit(limit) => format!("limit:{}", limit.id),
            Rule::Budget(budget) => format!("budget:{}", budget.id),
            Rule::Session(_) => "session".to_owned(),
        }
    }

    pub fn enforced(self) -> bool {
        match self {
            Rule::Limit(limit) => limit.mode == Mode::Enforce,
            Rule::Budget(budget) => budget.mode == Mode::Enforce,
            Rule::Session(_) => true,
        }
    }
}

/// Whether a limit is counted in a window of requests: the commonest kind, of which a permit says
/// nothing, since its key and its time already do.
pub(super) fn plain(limit: &Limit) -> bool {
    limit.measure == Measure::Requests
        && limit.algorithm == Algorithm::SlidingWindow
        && limit.mode == Mode::Enforce
        && limit.only.is_empty()
        && matches!(limit.scope, Scope::Tenant | Scope::Key)
}

impl<'a> Asked<'a> {
    /// Whose shares of a rule this request is counted in.
    fn subjects(&self, scope: &Scope, only: &[String]) -> Vec<Cow<'a, str>> {
        let (key, admit): (&'a str, &'a Admit) = (self.key, self.admit);
        let subjects: Vec<&'a str> = match scope {
            Scope::Tenant => vec![""],
            Scope::Key => vec![key],
            Scope::Model => vec![admit.model.as_str()],
            Scope::Provider => admit.providers.iter().map(String::as_str).collect(),
            Scope::Metadata(name) => {
                let value = self.of_key.get(name).or_else(|| admit.metadata.get(name));
                value.map(String::as_str).filter(|value| !value.is_empty()).into_iter().collect()
            }
        };
        let bound = subjects.into_iter().filter(|s| only.is_empty() || only.iter().any(|o| o == s));
        bound.map(|s| Cow::Borrowed(s.get(..s.floor_char_boundary(MAX_SUBJECT)).unwrap_or(s))).collect()
    }

    /// The most that the request uses of a measure.
    fn worst(&self, measure: Measure) -> Amount {
        let tokens = self.admit.tokens;
        match measure {
            Measure::Requests | Measure::Concurrency => Amount::ONE,
            Measure::InputTokens => Amount::count(tokens.input),
            Measure::OutputTokens => Amount::count(tokens.output),
            Measure::Tokens => Amount::count(tokens.input.saturating_add(tokens.output)),
            Measure::Budget | Measure::Rolling | Measure::Cost | Measure::Session => self.admit.worst_case.at_least_zero().into(),
        }
    }

    /// All that it needs: limits, then its session, then budgets, in the document's order.
    pub fn demands<'c>(&self, config: &'c Config, ledger: &Ledger) -> Vec<Demand<'c>> {
        let mut demands = Vec::new();
        for limit in config.limits.iter().filter(|l| !plain(l)) {
            for subject in self.subjects(&limit.scope, &limit.only) {
                let mut account = AccountKey::timeless(&limit.id, &subject, limit.measure);
                account.by_provider = limit.scope == Scope::Provider;
                ledger.share(&mut account, &limit.scope);
                demands.push(Demand { rule: Rule::Limit(limit), account, amount: self.worst(limit.measure), cap: limit.cap() });
            }
        }
        if let Some(session) = config.permit.session.filter(|_| !self.admit.session.is_empty()) {
            let name = self.admit.session.get(..self.admit.session.floor_char_boundary(MAX_SUBJECT)).unwrap_or_default();
            let account = AccountKey::timeless("session", &format!("{}/{name}", self.key), Measure::Session);
            let cap = Amount::from(session.max_cost_usd);
            demands.push(Demand { rule: Rule::Session(session), account, amount: self.worst(Measure::Session), cap });
        }
        for budget in &config.budgets {
            for subject in self.subjects(&budget.scope, &budget.only) {
                let period = budget.span.start(self.now);
                let (measure, by_provider) = (budget.span.measure(), budget.scope == Scope::Provider);
                let mut account = AccountKey { rule: budget.id.clone(), subject: subject.into_owned(), period, measure, by_provider };
                ledger.share(&mut account, &budget.scope);
                demands.push(Demand { rule: Rule::Budget(budget), account, amount: self.worst(measure), cap: budget.limit(self.now) });
            }
        }
        demands
    }
}

impl Ledger {
    /// Lets a subject share an account with others if its rule has too many.
    fn share(&self, account: &mut AccountKey, scope: &Scope) {
        if !matches!(scope, Scope::Model | Scope::Metadata(_)) || self.accounts.contains_key(account) {
            return;
        }
        let others = AccountKey { subject: OTHERS.to_owned(), ..account.clone() };
        let many = self.subjects.get(&of_rule(account)).is_some_and(|n| *n >= MAX_SUBJECTS);
        if many || self.accounts.contains_key(&others) {
            *account = others;
        }
    }
}

/// A rule in a period, whosever share: what subjects are counted under.
pub(super) fn of_rule(account: &AccountKey) -> AccountKey {
    AccountKey { subject: String::new(), ..account.clone() }
}

/// How a rule's account forgets; `None` where it does not.
pub(super) fn shape(config: &Config, account: &AccountKey) -> Option<Shape> {
    let limit = || config.limits.iter().find(|l| l.id == account.rule && l.measure == account.measure);
    // The rule may be gone by the time a permit ends. Nobody will ask for its account.
    let gone = Some(Shape::Window(1));
    match account.measure {
        Measure::Budget | Measure::Concurrency => None,
        Measure::Rolling => {
            let rolling = config.budgets.iter().filter(|b| b.id == account.rule).find_map(|b| b.span.rolling());
            rolling.map(Shape::Window).or(gone)
        }
        Measure::Session => config.permit.session.map(|s| Shape::Window(s.window())).or(gone),
        _ => limit().map(of_limit).or(gone),
    }
}

/// How a limit forgets.
fn of_limit(limit: &Limit) -> Shape {
    match limit.algorithm {
        Algorithm::SlidingWindow => Shape::Window(limit.window()),
        Algorithm::TokenBucket => Shape::Bucket(limit.amount, limit.window()),
    }
}

/// The most that admissions were ever checked against, while there is a rule that uses the account.
pub(super) fn cap(config: &Config, account: &AccountKey) -> Option<Amount> {
    let same =
        |scope: &Scope| (*scope == Scope::Tenant) == account.subject.is_empty() && (*scope == Scope::Provider) == account.by_provider;
    // A rule that does not deny has no bound.
    let of = |mode: Mode, cap: Amount| if mode == Mode::Enforce { cap } else { Amount::MAX };
    match account.measure {
        Measure::Budget | Measure::Rolling => {
            let uses = |b: &&Budget| b.id == account.rule && b.span.measure() == account.measure && same(&b.scope);
            config.budgets.iter().find(uses).map(|b| of(b.mode, b.highest_limit()))
        }
        Measure::Session => config.permit.session.map(|s| s.max_cost_usd.into()),
        _ => {
            let uses = |l: &&Limit| l.id == account.rule && l.measure == account.measure && same(&l.scope);
            config.limits.iter().find(uses).map(|l| of(l.mode, l.cap()))
        }
    }
}
