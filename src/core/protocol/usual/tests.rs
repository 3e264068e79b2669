//! Both ways are compared with `serde`.

use super::*;
use crate::budget::{AccountKey, Measure};
use crate::ids::{PermitId, TenantId};
use crate::perf::{Seen, View};
use crate::price::{Tier, Usage};
use crate::protocol::{
    Admit, Attempt, Command, Denial, Hold, Idempotency, LimitState, Message, Outcome, Permit, Reply, Report, TokenBound, VERSION,
};
use crate::retry::Class;
use crate::savings::Saved;
use crate::tenant::{Charge, Fact, Line, LineKind, write_facts};
use crate::units::{Amount, NanoUsd, Timestamp};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

/// Names with everything that has to be escaped, now and then.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z0-9:/*-]{0,12}", 1 => "[\\x00-\\x7f\"\\\\é\u{2028}\u{1f600}]{0,6}"]
}

fn n() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 0..100_000_i64, -5..0_i64, Just(crate::units::MAX_NANO), Just(-crate::units::MAX_NANO)]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..100_000_u64, Just(u64::MAX), Just(999_999_999_999_999_999), Just(1_000_000_000_000_000_000)]
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(0), 1_700_000_000_000..1_900_000_000_000_i64, any::<i64>()].prop_map(Timestamp)
}

fn measure() -> impl Strategy<Value = Measure> {
    use Measure::*;
    prop::sample::select(vec![Budget, Rolling, Requests, InputTokens, OutputTokens, Tokens, Cost, Concurrency, Session])
}

fn id() -> impl Strategy<Value = PermitId> {
    (count(), count()).prop_map(|(epoch, seq)| PermitId { epoch, seq })
}

fn account() -> impl Strategy<Value = AccountKey> {
    let parts = (name(), name(), time(), measure(), any::<bool>());
    parts.prop_map(|(rule, subject, period, measure, by_provider)| AccountKey { rule, subject, period, measure, by_provider })
}

fn hold() -> impl Strategy<Value = Hold> {
    (account(), n()).prop_map(|(account, amount)| Hold { account, amount: Amount::new(amount) })
}

fn limit() -> impl Strategy<Value = LimitState> {
    (name(), name(), count(), any::<u32>(), count(), any::<i64>(), measure(), any::<bool>()).prop_map(
        |(id, subject, limit, window_s, remaining, reset, measure, shadow)| LimitState {
            id,
            subject,
            limit,
            window_s,
            remaining,
            reset,
            measure,
            shadow,
        },
    )
}

fn usage() -> impl Strategy<Value = Usage> {
    let tier = of(prop::sample::select(vec![Tier::Standard, Tier::Flex, Tier::Batch, Tier::Priority]));
    (count(), count(), count(), count(), count(), tier).prop_map(|(input, output, cached_input, cache_write, cache_write_1h, tier)| Usage {
        input,
        output,
        cached_input,
        cache_write,
        cache_write_1h,
        tier,
    })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    use Outcome::*;
    let outcome = prop::sample::select(vec![Ok, Error, Timeout, Cut, ClientGone, Aborted, Cached]);
    let class = of(prop::sample::select(vec![Class::Ok, Class::Connect, Class::RateLimit, Class::Quota]));
    let first = (name(), name(), outcome, any::<u16>(), usage(), any::<bool>());
    let second = (n(), name(), any::<u32>(), any::<u32>(), class, prop_oneof![Just(0), any::<u32>()], name());
    (first, second).prop_map(
        |(
            (provider, model, outcome, status, usage, estimated),
            (cost, price, latency_ms, first_byte_ms, class, retry_after_ms, region),
        )| {
            let cost = NanoUsd::new(cost);
            Attempt {
                provider,
                model,
                outcome,
                status,
                usage,
                estimated,
                cost,
                price,
                latency_ms,
                first_byte_ms,
                class,
                retry_after_ms,
                region,
            }
        },
    )
}

fn saved() -> impl Strategy<Value = Option<Box<Saved>>> {
    prop_oneof![4 => Just(None), 1 => Just(Some(Box::default()))]
}

fn report() -> impl Strategy<Value = Report> {
    (id(), name(), time(), vec(hold(), 0..3), vec(attempt(), 0..3), saved()).prop_map(
        |(permit, key, admitted_at, holds, attempts, saved)| Report { permit, key, admitted_at, holds, attempts, saved, record: None },
    )
}

fn admit() -> impl Strategy<Value = Admit> {
    let rare = (0..6_u8, name());
    let view = of((count(), name()).prop_map(|(version, region)| Seen { version, region }));
    (name(), count(), time(), name(), (n(), n()), (count(), count()), vec(name(), 0..3), view, rare).prop_map(
        |(key_hash, config, config_at, model, (worst, input), tokens, providers, view, (rare, word))| {
            let mut admit = Admit {
                key_hash,
                config,
                config_at,
                model,
                worst_case: NanoUsd::new(worst),
                input_cost: NanoUsd::new(input),
                tokens: TokenBound { input: tokens.0, output: tokens.1 },
                providers,
                view,
                ..Admit::default()
            };
            match rare {
                0 => _ = admit.metadata.insert("team".to_owned(), word),
                1 => admit.session = word,
                2 => admit.idempotency = Some(Idempotency { key_hash: word, body_hash: "b".to_owned() }),
                _ => {}
            }
            admit
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let command = prop_oneof![
        admit().prop_map(Command::Admit),
        vec(report(), 0..3).prop_map(|reports| Command::Report { reports }),
        Just(Command::Tick),
    ];
    command.prop_map(|command| Message { v: VERSION, tenant: TenantId::parse("acme-1").unwrap(), command })
}

fn permit() -> impl Strategy<Value = Permit> {
    let limits = (of(limit()), of(limit()));
    (id(), name(), time(), vec(hold(), 0..3), limits, any::<i64>(), any::<bool>(), (0..9_u8, name())).prop_map(
        |(id, key, at, holds, (limit, token_limit), report_within, critical, (rare, word))| Permit {
            id,
            key,
            at,
            holds,
            limit,
            report_within,
            token_limit,
            critical,
            shadow: if rare == 0 { vec![word.clone()] } else { Vec::new() },
            view: (rare == 1).then(Box::<View>::default),
            probe: (rare == 2).then_some(word),
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        8 => permit().prop_map(Reply::Permit),
        1 => Just(Reply::Done),
        1 => Just(Reply::Denied { why: Denial::Key, limit: None }),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    use LineKind::*;
    let charge =
        (account(), n(), n()).prop_map(|(account, hold, cost)| Charge { account, hold: Amount::new(hold), cost: Amount::new(cost) });
    let kind = prop::sample::select(vec![Settled, Released, Expired, Corrected]);
    (id(), any::<u16>(), (time(), time()), name(), kind, of(attempt()), vec(charge, 0..3), saved()).prop_map(
        |(permit, n, (at, admitted_at), key, kind, attempt, charges, saved)| Line {
            permit,
            n,
            at,
            admitted_at,
            key,
            kind,
            attempt,
            charges,
            saved,
        },
    )
}

/// What it reads is what `serde` reads.
fn agrees<T: DeserializeOwned + Serialize>(text: &str, read: fn(&str) -> Result<T, serde_json::Error>) {
    let written =
        |value: Result<T, serde_json::Error>| value.map(|value| serde_json::to_string(&value).unwrap()).map_err(|e| e.to_string());
    assert_eq!(written(read(text)), written(serde_json::from_str(text)), "{text}");
}

/// The same in other forms that JSON allows, and in broken ones.
fn otherwise(text: &str, at: usize, with: &str) -> [String; 4] {
    let at = text.floor_char_boundary(at % text.len().max(1));
    let (front, back) = text.split_at(at);
    let fewer = back.chars().next().map_or(0, char::len_utf8);
    [format!("{front}{with}{back}"), format!("{front}{with}{}", &back[fewer..]), front.to_owned(), text.replacen(':', ": ", 1)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn messages_are_written_as_by_serde_and_read_back(message in message(), at in any::<usize>(), with in "[0-9eE.+-\\{\\}\\[\\],\" a\\\\]{1,2}") {
        let text = write_message(&message.tenant, &message.command).unwrap();
        prop_assert_eq!(&text, &serde_json::to_string(&message).unwrap());
        prop_assert_eq!(&read_message(&text).unwrap(), &message);
        for other in otherwise(&text, at, &with) {
            agrees(&other, read_message);
        }
    }

    #[test]
    fn replies_are_written_as_by_serde_and_read_back(reply in reply(), at in any::<usize>(), with in "[0-9eE.+-\\{\\}\\[\\],\" a\\\\]{1,2}") {
        let text = write_reply(&reply).unwrap();
        prop_assert_eq!(&text, &serde_json::to_string(&reply).unwrap());
        prop_assert_eq!(&read_reply(&text).unwrap(), &reply);
        for other in otherwise(&text, at, &with) {
            agrees(&other, read_reply);
        }
    }

    #[test]
    fn facts_are_written_as_by_serde(lines in vec(line(), 0..3), at in time()) {
        let probe = Fact::Probe { at, target: "p/m".to_owned(), permit: PermitId { epoch: 1, seq: 2 } };
        let facts = [Fact::Lines { lines }, probe];
        for facts in [&facts[..], &facts[1..], &[]] {
            prop_assert_eq!(write_facts(facts).unwrap(), serde_json::to_string(facts).unwrap());
        }
    }
}

/// Forms that the quick way must leave to `serde`, one change at a time.
#[test]
fn other_forms_are_read_as_by_serde() {
    let message = r#"{"v":1,"tenant":"acme","command":{"admit":{"key_hash":"ab","config":3,"config_at":9,"model":"p/m","worst_case":12,"input_cost":2,"tokens":{"i":9,"o":8},"providers":["p"],"view":{"n":1,"r":"FRA"}}}}"#;
    let report = r#"{"v":1,"tenant":"acme","command":{"report":{"reports":[{"permit":{"e":1,"s":7},"key":"k","admitted_at":5,"holds":[{"a":{"b":"m","p":12,"m":"tokens","v":true},"n":9}],"attempts":[{"provider":"p","model":"m","outcome":"ok","status":200,"usage":{"i":1,"o":2,"c":1,"t":"flex"},"estimated":false,"cost":12,"price":"p/m","latency_ms":3,"first_byte_ms":1,"class":"quota","retry_after_ms":12}]}]}}}"#;
    let permit = r#"{"permit":{"id":{"e":1,"s":7},"key":"k","at":5,"holds":[{"a":{"b":"m","s":"k","p":0},"n":12}],"limit":{"id":"rpm","limit":9,"window_s":12,"remaining":8,"reset":60000,"shadow":true},"report_within":200,"critical":true}}"#;
    for (from, to) in [
        ("12", "012"),
        ("12", "-0"),
        ("12", "-"),
        ("12", "12.0"),
        ("12", "1e1"),
        ("12", "9007199254740993"),
        ("12", "-9007199254740993"),
        ("12", "4294967296"),
        ("12", "18446744073709551616"),
        ("12", "-9223372036854775809"),
        ("12", "null"),
        ("\"k\"", "\"\\u006b\\n\""),
        ("\"k\"", "\"a\tb\""),
        ("\"k\"", "\"\\ud800\""),
        ("\"k\"", "7"),
        ("\"acme\"", "\"Acme\""),
        ("\"v\":1", "\"v\":4294967296"),
        ("\"ok\"", "\"unheard of\""),
        ("\"quota\"", "\"unheard of\""),
        ("200", "65536"),
        ("true", "false"),
        ("true", "null"),
        ("{", "{ "),
        ("{", "{\"new\":[],"),
        ("\"key\":\"k\",", ""),
        ("\"config\":3,", "\"config\":3,\"config\":3,"),
        (",\"model\"", ",\"session\":\"s\",\"model\""),
        ("}", "}}"),
        ("}}}", "}} }"),
        ("]", ",]"),
        ("[", "[,"),
        ("[{", "[[{"),
    ] {
        agrees(&message.replacen(from, to, 1), read_message);
        agrees(&report.replacen(from, to, 1), read_message);
        agrees(&permit.replacen(from, to, 1), read_reply);
    }
    for end in ["x", "}", " ", "\n", "\0"] {
        agrees(&format!("{message}{end}"), read_message);
        agrees(&format!("{report}{end}"), read_message);
        agrees(&format!("{permit}{end}"), read_reply);
        agrees(&format!("\"done\"{end}"), read_reply);
    }
}

/// The quick way is the one that is taken: without it the tests above would pass as well.
#[test]
fn usual_messages_need_no_serde() {
    let admit = Admit {
        key_hash: "ab".to_owned(),
        config: 3,
        config_at: Timestamp(9),
        model: "p/m".to_owned(),
        worst_case: NanoUsd::new(12),
        tokens: TokenBound { input: 1, output: 2 },
        providers: vec!["p".to_owned()],
        view: Some(Seen { version: 1, region: "FRA".to_owned() }),
        ..Admit::default()
    };
    let attempts = vec![Attempt { provider: "p".to_owned(), class: Some(Class::Connect), region: "FRA".to_owned(), ..Attempt::default() }];
    let report = Report {
        attempts,
        holds: vec![Hold { account: AccountKey::budget("m", "k", Timestamp(5)), amount: Amount::ONE }],
        ..Report::default()
    };
    let tenant = TenantId::parse("acme").unwrap();
    for command in [Command::Admit(admit), Command::Report { reports: vec![report.clone(), report] }] {
        let message = Message { v: 1, tenant: tenant.clone(), command };
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(read::message(&mut crate::text::Scan::new(&text)).unwrap(), message);
    }
    let text = r#"{"permit":{"id":{"e":1,"s":7},"key":"k","at":5,"holds":[{"a":{"b":"m","s":"k","p":0},"n":9}],"limit":{"id":"rpm","limit":9,"window_s":60,"remaining":8,"reset":60000},"report_within":200}}"#;
    assert!(read::reply(&mut crate::text::Scan::new(text)).is_some());
}
