//! A provider fails and recovers. Everything that decides is the real thing; only the provider is made up.

use super::*;
use crate::catalog::Catalog;
use crate::perf::{Seen, View};
use crate::plan::{Plan, plan};
use crate::protocol::TokenBound;
use crate::retry::{Attempts, Class, Left, RetryBudget, Step};
use crate::route::{Ask, Question, decide, mix};

const DOCUMENT: &str = r#"{"models":{"fast":{"targets":["p/m","q/n"]}},
    "unknown_price":{"default_price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}}}"#;

/// A worker in front of two providers, of which `p` works as told.
struct Storm {
    desk: Desk,
    plan: Plan,
    view: View,
    budget: RetryBudget,
    seed: u64,
    /// When each attempt at `p/m` was made, and whether it worked.
    at_p: Vec<(i64, bool)>,
    attempts: u64,
    served: u64,
    requests: u64,
}

impl Storm {
    fn new() -> Storm {
        let catalog =
            Catalog::new(Some(r#"{"p":{"base_url":"https://p/v1","api_key_env":"K"},"q":{"base_url":"https://q/v1","api_key_env":"K"}}"#));
        let plan = plan("fast", &config(DOCUMENT), &catalog.unwrap(), Timestamp(0)).unwrap();
        let (desk, view, budget) = (Desk::new(DOCUMENT), View::default(), RetryBudget::default());
        Storm { desk, plan, view, budget, seed: 0, at_p: Vec::new(), attempts: 0, served: 0, requests: 0 }
    }

    /// One request, while `p` fails so many of a hundred.
    fn request(&mut self, failing: u64) {
        self.seed += 1;
        self.requests += 1;
        let seen = Some(Seen { version: self.view.version, region: String::new() });
        let admit = Admit {
            key_hash: "hash-a".to_owned(),
            config: self.desk.version(),
            model: "fast".to_owned(),
            tokens: TokenBound { input: 1, output: 1 },
            view: seen,
            ..Admit::default()
        };
        let Reply::Permit(permit) = self.desk.ask(Command::Admit(admit)) else { panic!("no permit") };
        if let Some(view) = &permit.view {
            self.view = (**view).clone();
        }
        let (busy, blocked) = (Map::new(), Map::new());
        let question = Question {
            model: "fast",
            config: 1,
            plan: &self.plan,
            view: &self.view,
            probe: permit.probe.as_deref(),
            ask: &Ask::new(40, 40, None, 1),
            at: Timestamp(self.desk.now),
            seed: self.seed,
            busy: &busy,
            blocked: &blocked,
        };
        let order = decide(&question.inputs()).order;
        let retries = config(DOCUMENT).retry;
        self.budget.deposit(retries.budget_percent);
        let state = Attempts::new(retries, Timestamp(self.desk.now + 60_000));
        let mut state = if permit.probe.is_some() { state.probing() } else { state };
        let (mut made, mut next, mut draws) = (Vec::new(), 0, 0);
        while let Some(target) = order.get(next) {
            self.attempts += 1;
            draws += 1;
            let fails = target == "p/m" && mix(self.seed * 16 + draws, "fault") % 100 < failing;
            if target == "p/m" {
                self.at_p.push((self.desk.now, !fails));
            }
            let (provider, model) = target.split_once('/').unwrap();
            let (outcome, status) = if fails { (Ended::Error, 503) } else { (Ended::Ok, 200) };
            made.push(Attempt { provider: provider.to_owned(), model: model.to_owned(), outcome, status, ..attempt(0) });
            if !fails {
                self.served += 1;
                break;
            }
            let left = Left { targets: next + 1 < order.len(), ..Left::default() };
            self.desk.ask(Command::Failed { permit: permit.id, attempts: made.clone() });
            match state.next(Timestamp(self.desk.now), Class::Overloaded, None, self.seed, left, &mut self.budget) {
                Step::Same(ms) => self.desk.now += ms,
                Step::Target => next += 1,
                _ => break,
            }
        }
        self.desk.report(&[Report { attempts: made, ..report(&permit, &[]) }]);
        self.desk.now += 50;
    }

    fn run(&mut self, seconds: i64, failing: u64) {
        let end = self.desk.now + seconds * 1_000;
        while self.desk.now < end {
            self.request(failing);
            // The object dies now and then.
            if self.seed.is_multiple_of(97) {
                self.desk.crash();
            }
        }
    }
}

#[test]
fn a_storm_is_left_alone_and_its_end_is_noticed() {
    for failing in [100, 60] {
        let mut storm = Storm::new();
        storm.run(10, 0);
        assert_eq!((storm.attempts, storm.served), (storm.requests, storm.requests));
        let (before, began) = (storm.at_p.len(), storm.desk.now);
        storm.run(60, failing);
        let during = storm.at_p.split_off(before);
        assert!(during.iter().take_while(|(at, _)| at - began < 1_500).filter(|(_, ok)| !ok).count() <= 10, "{during:?}");
        // All were served, by the other one, with at most a fifth more attempts.
        assert_eq!(storm.served, storm.requests);
        assert!(storm.attempts * 5 <= storm.requests * 6, "{} attempts of {} requests", storm.attempts, storm.requests);
        if failing == 100 {
            // After it opened there are probes, each of one attempt: 2, 4, 6, 6 … seconds apart.
            let probes = during.iter().filter(|(at, _)| at - began >= 1_500).count();
            assert!((9..=11).contains(&probes), "{probes} in a minute");
        }
        let (end, after) = (storm.desk.now, storm.at_p.len());
        storm.run(15, 0);
        let back = storm.at_p[after..].first().map(|(at, _)| at - end).unwrap();
        assert!(back <= 6_100, "asked again after {back} ms");
        assert!(storm.at_p[after..].len() > 90, "and not by everybody");
    }
}
