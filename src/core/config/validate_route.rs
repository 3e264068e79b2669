//! What the types of aliases, breakers and retries cannot check.

use super::validate::{Invalid, MAX_LIST, invalid, range};
use super::{Alias, Config, HedgeAfter, MAX_ALIASES, MAX_ROUTE_RULES, MAX_TARGETS, PoolTarget, Strategy, split_target};
use crate::units::NanoUsd;

/// Most weight of a target.
const MAX_WEIGHT: u64 = 10_000;
/// Largest context window.
const MAX_CONTEXT: u64 = 100_000_000;

impl Config {
    pub(super) fn aliases(&self) -> Result<(), Invalid> {
        if self.models.len() > MAX_ALIASES {
            return invalid("models", format!("at most {MAX_ALIASES} aliases"));
        }
        for (name, alias) in &self.models {
            let at = format!("models.{name}");
            if name.is_empty() || name.len() > 128 || name.contains('/') || name.contains(char::is_control) {
                return invalid(at, "an alias has 1 to 128 characters and no slash");
            }
            if alias.targets.is_empty() || alias.targets.len() > MAX_TARGETS {
                return invalid(at, format!("an alias has 1 to {MAX_TARGETS} targets"));
            }
            if alias.context_fallbacks.len() > MAX_TARGETS || alias.policy_fallbacks.len() > MAX_TARGETS {
                return invalid(at, format!("an alias has at most {MAX_TARGETS} fallbacks of a kind"));
            }
            if alias.is_single() && alias.targets.iter().any(|t| split_target(&t.target).is_none()) {
                return invalid(format!("{at}.target"), "a target is written `provider/model`");
            }
            pool(&format!("{at}.targets"), &alias.targets)?;
            pool(&format!("{at}.context_fallbacks"), &alias.context_fallbacks)?;
            pool(&format!("{at}.policy_fallbacks"), &alias.policy_fallbacks)?;
            if alias.baseline.as_deref().is_some_and(|b| split_target(b).is_none()) {
                return invalid(format!("{at}.baseline"), "a target is written `provider/model`");
            }
            route(&at, alias)?;
        }
        Ok(())
    }

    pub(super) fn routing(&self) -> Result<(), Invalid> {
        let b = &self.breaker;
        for (field, n, low, high) in [
            ("breaker.consecutive_failures", b.consecutive_failures, 1, 100),
            ("breaker.error_percent", b.error_percent, 1, 100),
            ("breaker.min_requests", b.min_requests, 1, 10_000),
            ("breaker.window_s", b.window_s, 1, 3_600),
            ("breaker.cooldown_s", b.cooldown_s, 1, 3_600),
            ("breaker.max_cooldown_s", b.max_cooldown_s, b.cooldown_s, 3_600),
            ("breaker.max_retry_after_s", b.max_retry_after_s, 0, 3_600),
            ("retry.max_attempts", self.retry.max_attempts, 1, 16),
            ("retry.same_target", self.retry.same_target, 0, 5),
            ("retry.backoff_ms", self.retry.backoff_ms, 1, 10_000),
            ("retry.max_backoff_ms", self.retry.max_backoff_ms, 1, 60_000),
            ("retry.max_retry_after_ms", self.retry.max_retry_after_ms, 0, 60_000),
            ("retry.budget_percent", self.retry.budget_percent, 0, 100),
            ("decisions.sample_per_mille", self.decisions.sample_per_mille, 0, 1_000),
        ] {
            range(field, u64::from(n), u64::from(low), high)?;
        }
        if let Some(hedge) = self.retry.hedge {
            range("retry.hedge.max_percent", u64::from(hedge.max_percent), 1, 20)?;
            if let HedgeAfter::Ms(ms) = hedge.after {
                range("retry.hedge.after", u64::from(ms), 1, 60_000)?;
            }
        }
        if self.savings.baseline.as_deref().is_some_and(|b| split_target(b).is_none()) {
            return invalid("savings.baseline", "a target is written `provider/model`");
        }
        Ok(())
    }
}

fn pool(at: &str, targets: &[PoolTarget]) -> Result<(), Invalid> {
    for (i, target) in targets.iter().enumerate() {
        let at = format!("{at}[{i}]");
        if split_target(&target.target).is_none() {
            return invalid(at, "a target is written `provider/model`");
        }
        range(&format!("{at}.weight"), u64::from(target.weight), 0, MAX_WEIGHT)?;
        if let Some(tokens) = target.context_tokens {
            range(&format!("{at}.context_tokens"), tokens, 1, MAX_CONTEXT)?;
        }
        tags(&format!("{at}.tags"), &target.tags)?;
        if targets.iter().take(i).any(|t| t.target == target.target) {
            return invalid(at, format!("`{}` is there twice: give it more weight instead", target.target));
        }
    }
    Ok(())
}

fn route(at: &str, alias: &Alias) -> Result<(), Invalid> {
    let route = &alias.route;
    tags(&format!("{at}.require_tags"), &route.require_tags)?;
    if route.max_cost_usd == Some(NanoUsd::ZERO) {
        return invalid(format!("{at}.max_cost_usd"), "leave it out to have none");
    }
    if let Some(ms) = route.max_latency_ms {
        range(&format!("{at}.max_latency_ms"), u64::from(ms), 1, 3_600_000)?;
    }
    if route.strategy == Strategy::Weighted && alias.targets.iter().all(|t| t.weight == 0) {
        return invalid(at, "`weighted` needs a target with a weight");
    }
    if route.strategy == Strategy::Balanced && route.min_quality.is_none() {
        return invalid(format!("{at}.min_quality"), "`balanced` needs the least quality that is good enough");
    }
    if (route.strategy == Strategy::Conditional) == route.rules.is_empty() {
        return invalid(format!("{at}.rules"), "`conditional` has rules, and only it has");
    }
    if route.rules.len() > MAX_ROUTE_RULES {
        return invalid(format!("{at}.rules"), format!("at most {MAX_ROUTE_RULES} rules"));
    }
    for (i, rule) in route.rules.iter().enumerate() {
        let at = format!("{at}.rules[{i}]");
        tags(&format!("{at}.require_tags"), &rule.require_tags)?;
        let fits = |t: &PoolTarget| rule.require_tags.iter().all(|tag| t.tags.contains(tag));
        if !alias.targets.iter().any(fits) {
            return invalid(format!("{at}.require_tags"), "no target has all of these tags");
        }
        match rule.strategy {
            Strategy::Conditional => return invalid(format!("{at}.strategy"), "a rule is not `conditional` itself"),
            Strategy::Balanced if route.min_quality.is_none() => {
                return invalid(format!("{at}.strategy"), "`balanced` needs the alias' `min_quality`");
            }
            _ => {}
        }
        if rule.when.metadata.len() > MAX_LIST {
            return invalid(format!("{at}.when.metadata"), format!("at most {MAX_LIST}"));
        }
    }
    Ok(())
}

fn tags(at: &str, tags: &[String]) -> Result<(), Invalid> {
    if tags.len() > MAX_LIST || tags.iter().any(|t| t.is_empty() || t.len() > 64) {
        return invalid(at, format!("at most {MAX_LIST} tags of 1 to 64 characters"));
    }
    Ok(())
}
