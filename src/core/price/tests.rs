use super::*;
use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;

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
    let usage = Usage { input: 1_000, output: 0, cached_input: 100, cache_write: 600, cache_write_1h: 200 };
    // 300 fresh, 100 read, 400 written for minutes, 200 for an hour.
    assert_eq!(claude().cost(usage).to_string(), "0.00363");
    let no_hour = Price { base: Rates { cache_write_1h: None, ..claude().base }, ..Price::default() };
    assert_eq!(no_hour.cost(usage).to_string(), "0.00318");
    assert_eq!(gpt().cost(usage).to_string(), "0.002375");
    assert_eq!(claude().worst_case(1_000, 0).to_string(), "0.006");
}

#[test]
fn parts_that_are_larger_than_their_whole_are_cut() {
    let usage = Usage { input: 10, output: 0, cached_input: 8, cache_write: 9, cache_write_1h: 9 };
    assert_eq!(usage.consistent(), Usage { input: 10, output: 0, cached_input: 8, cache_write: 2, cache_write_1h: 2 });
    assert_eq!(claude().cost(usage).get(), 8 * 300 + 2 * 6_000);
}

#[test]
fn a_request_may_cost_something_beside_its_tokens() {
    let sonar = spec(r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"1","per_request_usd":"0.012"}"#).price("p").unwrap();
    assert_eq!(sonar.cost(Usage { input: 1_000, output: 1_000, ..Usage::default() }).to_string(), "0.014");
    assert_eq!(sonar.worst_case(1_000, 1_000).to_string(), "0.014");
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
        (r#"{"i":9,"o":2,"c":1,"w":5,"h":3}"#, Usage { input: 9, output: 2, cached_input: 1, cache_write: 5, cache_write_1h: 3 }),
    ] {
        assert_eq!(serde_json::to_string(&usage).unwrap(), text);
        assert_eq!(serde_json::from_str::<Usage>(text).unwrap(), usage);
    }
}

/// A price in USD per million tokens with up to six decimals, as people write it.
fn price_text() -> impl Strategy<Value = String> {
    (0_u32..2_000, prop_oneof![Just(String::new()), "\\.[0-9]{1,6}"]).prop_map(|(whole, part)| format!("{whole}{part}"))
}

fn price_spec() -> impl Strategy<Value = PriceSpec> {
    let maybe = || prop::option::of(price_text());
    let per_request = prop::option::of("0\\.[0-9]{1,9}");
    (price_text(), price_text(), maybe(), maybe(), maybe(), per_request).prop_map(|(i, o, c, w, h, r)| PriceSpec {
        input_usd_per_mtok: i,
        output_usd_per_mtok: o,
        cached_input_usd_per_mtok: c,
        cache_write_usd_per_mtok: w,
        cache_write_1h_usd_per_mtok: h,
        per_request_usd: r,
    })
}

fn any_usage(most: u64) -> impl Strategy<Value = Usage> {
    let n = move || 0..=most;
    (n(), n(), n(), n(), n()).prop_map(|(input, output, cached_input, cache_write, cache_write_1h)| Usage {
        input,
        output,
        cached_input,
        cache_write,
        cache_write_1h,
    })
}

/// A decimal string as an exact fraction.
fn fraction(text: &str) -> BigRational {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    BigRational::new(format!("{whole}{part}").parse().unwrap(), BigInt::from(10).pow(part.len() as u32))
}

/// The cost in nano-dollars by the definition, in fractions without bound, rounded once.
fn by_definition(spec: &PriceSpec, usage: Usage) -> BigInt {
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
    let request = fraction(spec.per_request_usd.as_deref().unwrap_or("0")) * BigRational::from(BigInt::from(1_000_000_000));
    // Half up: the floor of the amount and a half.
    (nano + BigRational::new(1.into(), 2.into())).floor().to_integer() + request.to_integer()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_cost_is_the_one_by_definition(spec in price_spec(), usage in any_usage(1_000_000)) {
        let usage = usage.consistent();
        let cost = spec.price("p").unwrap().cost(usage);
        prop_assert_eq!(BigInt::from(cost.get()), by_definition(&spec, usage));
    }

    #[test]
    fn the_worst_case_is_never_below_the_cost(
        most in (0_u64..10_000_000, 0_u64..10_000_000),
        parts in (0.0..=1.0, 0.0..=1.0),
        cache in any_usage(20_000_000),
        rows in prop::collection::vec((0_u64..10_000_000, price_spec()), 1..4),
    ) {
        let mut steps: Vec<_> = rows.iter().map(|(over, spec)| (*over, spec.price("p").unwrap().base)).collect();
        steps.sort_by_key(|(over, _)| *over);
        let price = Price { steps, ..rows[0].1.price("p").unwrap() };
        let (input, output) = ((most.0 as f64 * parts.0) as u64, (most.1 as f64 * parts.1) as u64);
        let cost = price.cost(Usage { input, output, ..cache });
        prop_assert!(price.worst_case(most.0, most.1) >= cost);
    }
}
