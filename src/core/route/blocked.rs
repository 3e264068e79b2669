//! A rule of one provider need not stop a request that may go to others.

use crate::config::{Config, Scope};
use crate::protocol::Denial;

/// The provider whose limit or budget denied a request, and that rule's name. The worker asks again without
/// that provider ([`Question::blocked`](super::Question::blocked)), as long as others are left. `None` where
/// the rule is not one of a provider: then the denial stands.
pub fn blocked(config: &Config, why: &Denial) -> Option<(String, String)> {
    let (provider, rule, scope) = match why {
        Denial::Limit { limit, subject, .. } => {
            (subject, format!("limit:{limit}"), config.limits.iter().find(|l| l.id == *limit).map(|l| &l.scope))
        }
        Denial::Budget { budget, subject, .. } => {
            (subject, format!("budget:{budget}"), config.budgets.iter().find(|b| b.id == *budget).map(|b| &b.scope))
        }
        _ => return None,
    };
    (scope == Some(&Scope::Provider) && !provider.is_empty()).then(|| (provider.clone(), rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_of_a_provider_block_it() {
        let config: Config = serde_json::from_str(
            r#"{"limits":[{"id":"a","scope":"provider","requests":1,"window_s":1},{"id":"b","scope":"key","requests":1,"window_s":1}],
                "budgets":[{"id":"a","scope":"provider","limit_usd":"1","period":"day"}]}"#,
        )
        .unwrap();
        let denial = |text: &str| serde_json::from_str::<Denial>(text).unwrap();
        let limit = |id: &str, subject: &str| {
            denial(&format!(r#"{{"limit":{{"limit":"{id}","window_s":1,"retry_after":1,"subject":"{subject}"}}}}"#))
        };
        let of = |why: &Denial| blocked(&config, why).map(|(provider, rule)| format!("{provider} {rule}"));
        assert_eq!(of(&limit("a", "openai")).as_deref(), Some("openai limit:a"));
        assert_eq!(of(&limit("b", "key_1")), None);
        assert_eq!(of(&limit("gone", "openai")), None);
        let budget = r#"{"budget":{"budget":"a","limit":5,"spent":4,"held":1,"resets_at":null,"subject":"openai"}}"#;
        assert_eq!(of(&denial(budget)).as_deref(), Some("openai budget:a"));
        assert_eq!(of(&denial(r#"{"max_cost":{"cap":5}}"#)), None);
    }
}
