use super::*;
use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn spec(text: &str) -> PriceSpec {
    serde_json::from_str(text).unwrap()
}

fn gpt() -> Price {
    spec(r#"{"input_usd_per_mtok":"2.50","output_usd_per_mtok":"10","cached_input_usd_per_mtok":"1.25"}"#).price("p").unwrap()
}

fn claude() -> Price {
    let text = r#"{"input_usd_per_mtok":"3","output_usd_per_mtok":"15","cached_input_usd_per_mtok":"0.3",
        "cache_write_usd_per_mtok":"3.75","cache_write_1h_usd_per_mtok":"6"}"#;
    spec(text).price("p").unwrap()
}

#[test]
fn costs_are_exact_and_rounded_half_up() {
    assert_eq!(gpt().cost(Usage { input: 1_000, output: 100, cached_input: 400, ..Usage::default() }).to_string(), "0.003");
    let odd = Price { base: Rates { input: 499, output: 1, ..Rates::default() }, ..Price::default() };
    assert_eq!(odd.cost(Usage { input: 1, ..Usage::default() }).get(), 0);
    assert_eq!(odd.cost(Usage { input: 1, output: 1, ..Usage::default() }).get(), 1);
}

#[test]
fn cache_writes_have_their_own_price() {
    let usage = Usage { input: 1_000, output: 0, cached_input: 100, cache_write: 600, cache_write_1h: 200, tier: None };
    // 300 fresh, 100 read, 400 written for minutes, 200 for an hour.
    assert_eq!(claude().cost(usage).to_string(), "0.00363");
    let no_hour = Price { base: Rates { cache_write_1h: None, ..claude().base }, ..Price::default() };
    assert_eq!(no_hour.cost(usage).to_string(), "0.00318");
    assert_eq!(gpt().cost(usage).to_string(), "0.002375");
    assert_eq!(claude().worst_case(1_000, 0, TierAsked::Auto).to_string(), "0.006");
}

#[test]
fn parts_that_are_larger_than_their_whole_are_cut() {
    let usage = Usage { input: 10, output: 0, cached_input: 8, cache_write: 9, cache_write_1h: 9, tier: None };
    assert_eq!(usage.consistent(), Usage { input: 10, output: 0, cached_input: 8, cache_write: 2, cache_write_1h: 2, tier: None });
    assert_eq!(claude().cost(usage).get(), 8 * 300 + 2 * 6_000);
}

#[test]
fn a_request_may_cost_something_beside_its_tokens() {
    let sonar = spec(r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"1","per_request_usd":"0.012"}"#).price("p").unwrap();
    assert_eq!(sonar.cost(Usage { input: 1_000, output: 1_000, ..Usage::default() }).to_string(), "0.014");
    assert_eq!(sonar.worst_case(1_000, 1_000, TierAsked::Auto).to_string(), "0.014");
}

#[test]
fn a_price_is_a_decimal_string() {
    for bad in ["-1", "0.0000001", "1e3", "", "2000000"] {
        for field in [
            "input_usd_per_mtok",
            "output_usd_per_mtok",
            "cached_input_usd_per_mtok",
            "cache_write_usd_per_mtok",
            "cache_write_1h_usd_per_mtok",
        ] {
            let mut text = serde_json::json!({"input_usd_per_mtok": "1", "output_usd_per_mtok": "1"});
            text[field] = bad.into();
            assert_eq!(serde_json::from_value::<PriceSpec>(text).unwrap().price("p"), None, "{field} {bad}");
        }
    }
    for bad in ["-1", "0.0000000001", ""] {
        assert_eq!(
            PriceSpec { per_request_usd: Some(bad.into()), ..spec(r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}"#) }.price("p"),
            None
        );
    }
}

#[test]
fn a_long_prompt_pays_its_step_for_all_tokens() {
    let steps = vec![(1_000, Rates { input: 5_000_000, output: 20_000_000, ..Rates::default() })];
    let price = Price { steps, ..gpt() };
    assert_eq!(price.cost(Usage { input: 1_000, ..Usage::default() }).to_string(), "0.0025");
    assert_eq!(price.cost(Usage { input: 1_001, ..Usage::default() }).to_string(), "0.005005");
}

#[test]
fn a_price_is_valid_until_the_next_one() {
    let price = Price { valid_until: Some(Timestamp(5)), ..gpt() };
    assert!(price.is_valid(Timestamp(4)) && !price.is_valid(Timestamp(5)) && gpt().is_valid(Timestamp(i64::MAX)));
}

/// Rows and messages hold usage: what is stored stays readable, and zero parts take no room.
#[test]
fn usage_is_stored_like_this() {
    for (text, usage) in [
        (r#"{"i":1,"o":2}"#, Usage { input: 1, output: 2, ..Usage::default() }),
        (r#"{"i":1,"o":2,"c":1}"#, Usage { input: 1, output: 2, cached_input: 1, ..Usage::default() }),
        (
            r#"{"i":9,"o":2,"c":1,"w":5,"h":3}"#,
            Usage { input: 9, output: 2, cached_input: 1, cache_write: 5, cache_write_1h: 3, tier: None },
        ),
        (r#"{"i":1,"o":2,"t":"priority"}"#, Usage { input: 1, output: 2, tier: Some(Tier::Priority), ..Usage::default() }),
        (r#"{"i":1,"o":2,"t":"flex"}"#, Usage { input: 1, output: 2, tier: Some(Tier::Flex), ..Usage::default() }),
        (r#"{"i":1,"o":2,"t":"batch"}"#, Usage { input: 1, output: 2, tier: Some(Tier::Batch), ..Usage::default() }),
    ] {
        assert_eq!(serde_json::to_string(&usage).unwrap(), text);
        assert_eq!(serde_json::from_str::<Usage>(text).unwrap(), usage);
    }
}

const TIERED: &str = r#"{"input_usd_per_mtok":"2","output_usd_per_mtok":"8","cached_input_usd_per_mtok":"0.5","per_request_usd":"0.01",
    "flex":{"input_usd_per_mtok":"1","output_usd_per_mtok":"4"},
    "priority":{"input_usd_per_mtok":"4","output_usd_per_mtok":"16","cached_input_usd_per_mtok":"1"}}"#;

#[test]
fn a_tier_has_its_own_price_and_its_own_id() {
    let price = spec(TIERED).price("tenant:p/m").unwrap();
    let cost = |tier| {
        let usage = Usage { input: 1_000, output: 1_000, cached_input: 500, tier, ..Usage::default() };
        (price.cost(usage).to_string(), price.id_for(usage))
    };
    let told = |usd: &str, id: &str| (usd.to_owned(), id.to_owned());
    assert_eq!(cost(None), told("0.01925", "tenant:p/m"));
    assert_eq!(cost(Some(Tier::Standard)), told("0.01925", "tenant:p/m"));
    // What a tier leaves out costs as other input of the tier, and a request as ever.
    assert_eq!(cost(Some(Tier::Flex)), told("0.015", "tenant:p/m#flex"));
    assert_eq!(cost(Some(Tier::Priority)), told("0.0285", "tenant:p/m#priority"));
    // One that has no price of its own costs what is usual.
    assert_eq!(cost(Some(Tier::Batch)), told("0.01925", "tenant:p/m"));
}

#[test]
fn what_is_held_is_the_dearest_tier_that_is_asked_for() {
    let price = spec(TIERED).price("p").unwrap();
    let held = |asked| price.worst_case(1_000, 1_000, asked).to_string();
    for (asked, usd) in [(TierAsked::Standard, "0.02"), (TierAsked::Flex, "0.02"), (TierAsked::Priority, "0.03"), (TierAsked::Auto, "0.03")]
    {
        assert_eq!(held(asked), usd, "{asked:?}");
    }
    for (name, asked) in [
        ("default", TierAsked::Standard),
        ("standard_only", TierAsked::Standard),
        ("flex", TierAsked::Flex),
        ("priority", TierAsked::Priority),
        ("auto", TierAsked::Auto),
        ("scale", TierAsked::Auto),
        ("", TierAsked::Auto),
    ] {
        assert_eq!(TierAsked::named(name), asked, "{name}");
    }
}

#[test]
fn an_answer_that_names_no_tier_is_charged_the_dearer_that_was_asked_for() {
    let settled = |told, asked| Usage { tier: told, ..Usage::default() }.asked_in(asked).tier;
    assert_eq!(settled(None, TierAsked::Priority), Some(Tier::Priority));
    for asked in [TierAsked::Auto, TierAsked::Standard, TierAsked::Flex] {
        assert_eq!(settled(None, asked), None, "{asked:?}");
    }
    // What it names counts; the usual one is not written down.
    assert_eq!(settled(Some(Tier::Standard), TierAsked::Priority), None);
    assert_eq!(settled(Some(Tier::Flex), TierAsked::Priority), Some(Tier::Flex));
}

#[test]
fn a_price_with_tiers_is_stored_like_this() {
    let text = r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","flex":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"},"batch":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","cached_input_usd_per_mtok":"0.1"},"priority":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","cache_write_usd_per_mtok":"3","cache_write_1h_usd_per_mtok":"4"}}"#;
    assert_eq!(serde_json::to_string(&spec(text)).unwrap(), text);
    for bad in [
        r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","flex":{"input_usd_per_mtok":"x","output_usd_per_mtok":"2"}}"#,
        r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","priority":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","cached_input_usd_per_mtok":"-1"}}"#,
    ] {
        assert_eq!(spec(bad).price("p"), None, "{bad}");
    }
    for bad in [
        r#"{"per_request_usd":"1"}"#,
        r#"{"input_usd_per_mtok":"1"}"#,
        r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"1","flex":null}"#,
    ] {
        let text = format!(r#"{{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","batch":{bad}}}"#);
        assert!(serde_json::from_str::<PriceSpec>(&text).is_err(), "{bad}");
    }
}

/// A price in USD per million tokens with up to six decimals, as people write it.
fn price_text() -> impl Strategy<Value = String> {
    (prop_oneof![0_u32..3, 0_u32..2_000], prop_oneof![Just(String::new()), "\\.[0-9]{1,6}"])
        .prop_map(|(whole, part)| format!("{whole}{part}"))
}

/// Rates as people write them, without a request's price and tiers.
fn rate_texts() -> impl Strategy<Value = PriceSpec> {
    let maybe = || prop::option::of(price_text());
    (price_text(), price_text(), maybe(), maybe(), maybe()).prop_map(|(i, o, c, w, h)| PriceSpec {
        input_usd_per_mtok: i,
        output_usd_per_mtok: o,
        cached_input_usd_per_mtok: c,
        cache_write_usd_per_mtok: w,
        cache_write_1h_usd_per_mtok: h,
        ..PriceSpec::default()
    })
}

/// Rates, and those of longer prompts: ascending, each over another number of tokens.
#[derive(Clone, Debug)]
struct Sheet {
    base: PriceSpec,
    steps: BTreeMap<u64, PriceSpec>,
}

fn sheet() -> impl Strategy<Value = Sheet> {
    (rate_texts(), prop::collection::btree_map(0_u64..1_000_000, rate_texts(), 0..3)).prop_map(|(base, steps)| Sheet { base, steps })
}

impl Sheet {
    fn rates(&self) -> (Rates, Vec<(Tokens, Rates)>) {
        let rates = |spec: &PriceSpec| spec.price("").unwrap().base;
        (rates(&self.base), self.steps.iter().map(|(over, spec)| (*over, rates(spec))).collect())
    }

    /// What a prompt of so many tokens pays.
    fn at(&self, input: u64) -> &PriceSpec {
        self.steps.iter().filter(|(over, _)| input > **over).map(|(_, spec)| spec).next_back().unwrap_or(&self.base)
    }
}

/// Everything that a price may have.
#[derive(Clone, Debug)]
struct Whole {
    usual: Sheet,
    tiers: BTreeMap<Tier, Sheet>,
    per_request: Option<String>,
}

fn whole() -> impl Strategy<Value = Whole> {
    let tier = prop_oneof![Just(Tier::Flex), Just(Tier::Batch), Just(Tier::Priority)];
    let tiers = prop::collection::btree_map(tier, sheet(), 0..4);
    (sheet(), tiers, prop::option::of("[0-2]\\.[0-9]{1,9}")).prop_map(|(usual, tiers, per_request)| Whole { usual, tiers, per_request })
}

impl Whole {
    /// What a tier is charged by.
    fn sheet(&self, tier: Option<Tier>) -> &Sheet {
        tier.and_then(|tier| self.tiers.get(&tier)).unwrap_or(&self.usual)
    }

    fn price(&self) -> Price {
        let (base, steps) = self.usual.rates();
        let variant = |(tier, sheet): (&Tier, &Sheet)| {
            let (base, steps) = sheet.rates();
            Variant { tier: *tier, base, steps }
        };
        let per_request = self.per_request.as_deref().map_or(NanoUsd::ZERO, |text| NanoUsd::from_usd(text).unwrap());
        Price { base, steps, per_request, tiers: self.tiers.iter().map(variant).collect(), ..Price::default() }
    }
}

fn tier_told() -> impl Strategy<Value = Option<Tier>> {
    let told = prop_oneof![Just(Tier::Standard), Just(Tier::Flex), Just(Tier::Batch), Just(Tier::Priority)];
    prop::option::of(told)
}

fn any_usage(most: u64) -> impl Strategy<Value = Usage> {
    // Small figures too: rounding shows only there.
    let n = move || prop_oneof![0_u64..=30, 0_u64..=most];
    (n(), n(), n(), n(), n(), tier_told()).prop_map(|(input, output, cached_input, cache_write, cache_write_1h, tier)| Usage {
        input,
        output,
        cached_input,
        cache_write,
        cache_write_1h,
        tier,
    })
}

/// A decimal string as an exact fraction.
fn fraction(text: &str) -> BigRational {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    BigRational::new(format!("{whole}{part}").parse().unwrap(), BigInt::from(10).pow(part.len() as u32))
}

/// The cost in nano-dollars by the definition, in fractions without bound, rounded once.
fn by_definition(whole: &Whole, usage: Usage) -> BigInt {
    let spec = whole.sheet(usage.tier).at(usage.input);
    let rate = |text: &Option<String>, other: &BigRational| text.as_deref().map_or(other.clone(), fraction);
    let input = fraction(&spec.input_usd_per_mtok);
    let cached = rate(&spec.cached_input_usd_per_mtok, &input);
    let write = rate(&spec.cache_write_usd_per_mtok, &input);
    let hour = rate(&spec.cache_write_1h_usd_per_mtok, &write);
    let tokens = |n: u64| BigRational::from(BigInt::from(n));
    let per_million = input * tokens(usage.input - usage.cached_input - usage.cache_write)
        + cached * tokens(usage.cached_input)
        + write * tokens(usage.cache_write - usage.cache_write_1h)
        + hour * tokens(usage.cache_write_1h)
        + fraction(&spec.output_usd_per_mtok) * tokens(usage.output);
    let nano = per_million * BigRational::from(BigInt::from(1_000));
    let request = fraction(whole.per_request.as_deref().unwrap_or("0")) * BigRational::from(BigInt::from(1_000_000_000));
    // Half up: the floor of the amount and a half.
    (nano + BigRational::new(1.into(), 2.into())).floor().to_integer() + request.to_integer()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Over all parts: rates, steps, tiers, cache reads and writes, the request.
    #[test]
    fn the_cost_is_the_one_by_definition(
        whole in whole(),
        usage in any_usage(1_500_000),
        // At the seam of a step, where there is one: which, and how far beside it.
        seam in prop::option::of((0_usize..3, 0_u64..3)),
    ) {
        let overs: Vec<u64> = whole.sheet(usage.tier).steps.keys().copied().collect();
        let at = seam.and_then(|(n, beside)| Some((overs.get(n)? + beside).saturating_sub(1)));
        let usage = Usage { input: at.unwrap_or(usage.input), ..usage }.consistent();
        prop_assert_eq!(BigInt::from(whole.price().cost(usage).get()), by_definition(&whole, usage));
    }

    /// Whatever of what was asked for was used, in whatever tier that it allows.
    #[test]
    fn the_worst_case_is_never_below_the_cost(
        most in (0_u64..10_000_000, 0_u64..10_000_000),
        parts in (0.0..=1.0, 0.0..=1.0),
        cache in any_usage(20_000_000),
        whole in whole(),
        asked in prop_oneof![Just(TierAsked::Auto), Just(TierAsked::Standard), Just(TierAsked::Flex), Just(TierAsked::Priority)],
    ) {
        let price = whole.price();
        let (input, output) = ((most.0 as f64 * parts.0) as u64, (most.1 as f64 * parts.1) as u64);
        let usage = Usage { input, output, ..cache }.asked_in(asked);
        prop_assume!(usage.tier.is_none_or(|tier| asked.allows(tier)));
        prop_assert!(price.worst_case(most.0, most.1, asked) >= price.cost(usage));
    }
}
