//! Bytes on disk. A later version must read them, so these strings never change: a new field is optional,
//! and gets a line of its own here.

use super::*;
use crate::ids::PermitId;
use serde::de::DeserializeOwned;

/// Reads the text, and writes it as it was.
fn stays<T: Serialize + DeserializeOwned>(text: &str) -> T {
    let value: T = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap(), text);
    value
}

#[test]
fn facts() {
    stays::<Fact>(r#"{"started":{"epoch":1710028800000,"at":1710028800000,"lifetime":60000,"keys":["a","b"]}}"#);
    stays::<Fact>(r#"{"credit":{"at":1710028800000,"granted":256,"accounts":[{"a":{"b":"m","p":0},"n":200}]}}"#);
    stays::<Fact>(
        r#"{"lines":{"lines":[{"permit":{"e":1710028800000,"s":7},"n":1,"at":1710028803000,"admitted_at":1710028801000,"key":"a","kind":"settled","attempt":{"provider":"p","model":"m","outcome":"client_gone","status":200,"usage":{"i":10,"o":20},"estimated":true,"cost":8,"price":"p/*","latency_ms":2000,"first_byte_ms":300},"charges":[{"a":{"b":"m","s":"a","p":1709251200000},"h":9,"c":8}]}]}}"#,
    );
    let line = |kind: &str| {
        format!(
            r#"{{"lines":{{"lines":[{{"permit":{{"e":1,"s":7}},"n":0,"at":3,"admitted_at":2,"key":"","kind":"{kind}","charges":[{{"a":{{"b":"m","p":0}},"h":9,"c":-8}}]}}]}}}}"#
        )
    };
    for kind in ["settled", "released", "expired", "corrected"] {
        stays::<Fact>(&line(kind));
    }
}

#[test]
fn a_snapshot() {
    let text = r#"{"journal":12,"at":1710028805000,"epoch":1710028800000,"issued":9,"granted":12,"windows":[["rpm","",{"width":938,"newest":1823059489,"counts":[3,0,2],"total":5}]],"accounts":[[{"b":"m","p":0},{"s":40,"c":30,"o":20}]],"live":[[9,{"at":1710028804000,"until":1710028864000,"key":"a","holds":[{"a":{"b":"m","p":0},"n":15}],"input_cost":4}]],"orphans":[[{"e":1710028700000,"s":3},{"at":1710028800000,"until":1710028860000,"input_cost":0,"unknown":true}]],"lost":[[1710028700000,{"b":"m","p":0},{"h":20,"c":0}]],"expired":[[{"e":1710028700000,"s":2},{"until":1710028920000,"charges":[{"a":{"b":"m","p":0},"h":10,"c":10}]}],[{"e":1710028700000,"s":4},{"until":1710028920000,"charges":[],"unknown":true}]],"totals":{"requests":11,"denied":2,"cost":40,"cleaned_at":1710028800500}}"#;
    let snapshot = stays::<Snapshot>(text);
    // And it loads: what was under way is an orphan, what was granted besides may be.
    let mut desk = Desk::new("{}");
    desk.stored.snapshot = Some(snapshot);
    desk.stored.journal.clear();
    desk.crash();
    let live = desk.live();
    assert_eq!((live.permits, live.orphans), (0, 1 + 1 + 3));
    assert_eq!(desk.tenant.ledger.totals.requests, 11);
}

#[test]
fn a_key() {
    let key = stays::<Key>(
        r#"{"hash":"f00d","id":"key_1","name":"app","prefix":"tg_acme_","last4":"wxyz","models":["fast"],"created_at":1710028800000,"expires_at":null,"revoked_at":1710028900000}"#,
    );
    assert!(!key.works(Timestamp(START)));
}

#[test]
fn the_operators_prices() {
    stays::<PriceBook>(
        r#"{"version":3,"at":1710028800000,"prices":{"p/*":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"},"p/m":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","cached_input_usd_per_mtok":"0.1","cache_write_usd_per_mtok":"1.25","cache_write_1h_usd_per_mtok":"2","per_request_usd":"0.01"}}}"#,
    );
}

#[test]
fn a_secret() {
    stays::<StoredSecret>(
        r#"{"name":"openai","sealed":"v1.630dcd29.AAECAwQFBgcICQoL.-_8AAAAAAAAAAAAAAAAAAAAA","last4":"wxyz","updated_at":5}"#,
    );
    stays::<StoredSecret>(r#"{"name":"openai","sealed":"v1.630dcd29.AAECAwQFBgcICQoL.-_8AAAAAAAAAAAAAAAAAAAAA","updated_at":5}"#);
}

#[test]
fn a_configuration_with_providers() {
    let providers = r#""providers":{"mine":{"keys":["a","b"],"base_url":"https://llm.example.com/v1","format":"openai","auth":"api-key","default_price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"},"models":["m"],"max_output_tokens":5},"openai":{"keys":["a"]}}"#;
    let config: Config = serde_json::from_str(&format!("{{{providers}}}")).unwrap();
    assert_eq!(config.validate(), Ok(()));
    assert!(serde_json::to_string(&config).unwrap().contains(providers));
    for format in ["openai", "responses", "anthropic", "gemini", "bedrock"] {
        for auth in ["bearer", "x-api-key", "api-key", "x-goog-api-key", "aws", "google", "none"] {
            stays::<crate::config::TenantProvider>(&format!(r#"{{"format":"{format}","auth":"{auth}"}}"#));
        }
    }
}

#[test]
fn a_configuration() {
    let text = r#"{"version":3,"at":1710028800000,"config":{"models":{"fast":{"target":"p/m"},"safe":{"targets":["p/m","q/n"]}},"limits":[{"id":"rpm","scope":"key","requests":600,"window_s":60}],"budgets":[{"id":"m","scope":"tenant","limit_usd":"50","period":"month"}],"cache":{"enabled":true,"ttl_s":300},"prices":{"p/*":{"input_usd_per_mtok":"0.50","output_usd_per_mtok":"1.50"}},"unknown_price":"reject","permit":{"lifetime_s":660,"expiry_charge":"worst_case","default_output_tokens":16384},"timeouts":{"first_byte_ms":60000,"idle_ms":60000,"total_ms":600000}}}"#;
    let stored = stays::<StoredConfig>(text);
    assert_eq!(stored.config.validate(), Ok(()));
    // An older document lacks what was added since.
    let older = r#"{"version":1,"at":5,"config":{}}"#;
    assert_eq!(serde_json::from_str::<StoredConfig>(older).unwrap().config, Config::default());
}

#[test]
fn facts_about_other_rules_than_budgets() {
    stays::<Fact>(
        r#"{"credit":{"at":5,"granted":0,"accounts":[{"a":{"b":"tpm","s":"p","p":0,"m":"tokens","v":true},"n":200},{"a":{"b":"r","p":0,"m":"rolling"},"n":1}]}}"#,
    );
    stays::<Fact>(r#"{"crossed":{"at":5,"account":{"b":"m","p":0},"percent":80,"limit":1000,"spent":801}}"#);
    for measure in ["rolling", "requests", "input_tokens", "output_tokens", "tokens", "cost", "concurrency", "session"] {
        stays::<AccountKey>(&format!(r#"{{"b":"x","s":"k","p":0,"m":"{measure}"}}"#));
    }
}

#[test]
fn what_ages() {
    stays::<Account>(r#"{"s":0,"c":5,"o":2,"a":{"w":{"width":938,"newest":7,"counts":[3,0,2],"total":5}}}"#);
    stays::<Account>(r#"{"s":0,"c":5,"o":2,"a":{"b":{"amount":10,"window":1000,"level":3,"rest":500,"at":9,"since":4}}}"#);
    stays::<Account>(r#"{"s":9,"c":0,"o":0,"x":[{"percent":80,"at":7}]}"#);
    stays::<Lost>(r#"{"h":20,"c":0,"n":7,"t":1710028800000}"#);
    stays::<Open>(r#"{"at":1,"until":2,"key":"a","holds":[{"a":{"b":"tpm","p":0,"m":"tokens"},"n":15}],"input_cost":4,"input_tokens":60}"#);
}

#[test]
fn a_claim() {
    for state in ["running", "over", "done"] {
        stays::<Claim>(&format!(r#"{{"key":"a","hash":"ab","body":"cd","permit":{{"e":1,"s":7}},"at":5,"state":"{state}","bytes":12}}"#));
    }
    stays::<StoredAnswer>(r#"{"status":200,"headers":[["content-type","application/json"]],"body":"{}"}"#);
}

#[test]
fn a_key_with_all_that_was_added() {
    stays::<Key>(
        r#"{"hash":"f00d","id":"key_1","name":"app","prefix":"tg_acme_","last4":"wxyz","models":[],"created_at":5,"expires_at":null,"revoked_at":null,"critical":true,"metadata":{"team":"red"}}"#,
    );
}

#[test]
fn a_configuration_with_every_kind_of_rule() {
    let text = r#"{"version":3,"at":5,"config":{"models":{},"limits":[{"id":"a","scope":"metadata:team","only":["red"],"tokens":100,"window_s":60,"mode":"shadow"},{"id":"b","scope":"provider","cost_usd":"1.5","window_s":60,"algorithm":"token_bucket","burst":"2","when_exceeded":["cache",{"downgrade":"p/m"},{"wait_ms":500},"reject"],"when_unreachable":"open"},{"id":"c","scope":"model","concurrency":5},{"id":"d","scope":"key","input_tokens":7,"window_s":1},{"id":"e","scope":"key","output_tokens":7,"window_s":1},{"id":"f","scope":"tenant","requests":7,"window_s":1,"algorithm":"token_bucket","burst":9}],"budgets":[{"id":"a","scope":"tenant","limit_usd":"50","period":"month","time_zone":"Europe/Berlin","thresholds":[50,100],"top_ups":[{"amount_usd":"5","expires_at":"2026-01-31T12:00:00.000Z"}],"mode":"shadow","when_exceeded":["reject"],"clamp_max_tokens":true},{"id":"b","scope":"key","limit_usd":"1","rolling_s":3600}],"cache":{"enabled":false,"ttl_s":300},"prices":{},"unknown_price":"reject","permit":{"lifetime_s":660,"expiry_charge":"worst_case","default_output_tokens":16384,"max_cost_usd":"0.5","session":{"max_cost_usd":"2","window_s":3600}},"timeouts":{"first_byte_ms":60000,"idle_ms":60000,"total_ms":600000}}}"#;
    assert_eq!(stays::<StoredConfig>(text).config.validate(), Ok(()));
}

#[test]
fn facts_about_targets() {
    stays::<Fact>(r#"{"probe":{"at":5,"target":"p/m","permit":{"e":1,"s":7}}}"#);
    stays::<Fact>(
        r#"{"failed":{"at":5,"permit":{"e":1,"s":7},"attempts":[{"provider":"p","model":"m","outcome":"error","status":500,"usage":{"i":0,"o":0},"estimated":false,"cost":0,"price":"p/*","latency_ms":5,"first_byte_ms":0}]}}"#,
    );
    stays::<Fact>(r#"{"feedback":{"at":5,"target":"p/m","score":900,"request":4294967295}}"#);
    stays::<Fact>(
        r#"{"lines":{"lines":[{"permit":{"e":1,"s":7},"n":1,"at":3,"admitted_at":2,"key":"a","kind":"settled","attempt":{"provider":"p","model":"m","outcome":"error","status":429,"usage":{"i":0,"o":0},"estimated":false,"cost":0,"price":"p/*","latency_ms":5,"first_byte_ms":0,"class":"rate_limit","retry_after_ms":1500,"region":"FRA"},"charges":[],"saved":{"m":"fast","p":"p/*","d":{"failover":-6}}}]}}"#,
    );
}

#[test]
fn what_is_known_of_targets() {
    let text = r#"{"t":"p/m","b":{"s":{"open":{"until":9}},"o":1},"p":{"at":7,"since":5,"classes":{"ok":3,"server":2},"first":{"14":2},"total":{"20":3},"first_now":{"v":100000,"t":7},"total_now":{"v":300000,"t":7},"input":30,"cached":10,"output":60,"writing_ms":600,"cost":15,"price":"p/*"},"r":[["FRA",{"at":7,"since":5,"classes":{},"first":{},"total":{},"first_now":{"v":0,"t":0},"total_now":{"v":0,"t":0},"input":0,"cached":0,"output":0,"writing_ms":0,"cost":0}]],"v":{"s":500000,"n":1000,"t":5}}"#;
    let known = stays::<TargetHealth>(text);
    // And it loads.
    let told = vec![(PermitId { epoch: 1, seq: 7 }, 2)];
    let snapshot = Snapshot { targets: vec![known.clone()], judged: vec![7], told: told.clone(), ..Snapshot::default() };
    assert!(serde_json::to_string(&snapshot).unwrap().ends_with(r#""judged":[7],"told":[[{"e":1,"s":7},2]]}"#));
    let tenant = Tenant::load(Stored { snapshot: Some(snapshot), ..Stored::default() });
    let health = &tenant.ledger.health;
    assert_eq!((health.targets(), health.judged(), health.told()), (vec![known], vec![7], told));
}

#[test]
fn a_configuration_with_routes() {
    let text = r#"{"version":3,"at":5,"config":{"models":{"a":{"target":"p/m","baseline":"p/n"},"b":{"targets":["p/m",{"target":"q/n","weight":3,"quality":0.8,"tags":["eu"],"context_tokens":8000,"lacks":["vision"]}],"strategy":"balanced","affinity":false,"min_quality":0.7,"max_latency_ms":900,"max_cost_usd":"0.5","require_tags":["eu"],"context_fallbacks":["p/long"],"policy_fallbacks":["q/n"]},"c":{"targets":["p/m"],"strategy":"conditional","rules":[{"when":{"metadata":{"a":"b"},"input_tokens_over":1,"input_tokens_at_most":9,"needs":["tools"]},"strategy":"fastest"}]}},"limits":[],"budgets":[],"cache":{"enabled":false,"ttl_s":300},"prices":{},"unknown_price":"reject","permit":{"lifetime_s":660,"expiry_charge":"worst_case","default_output_tokens":16384},"timeouts":{"first_byte_ms":60000,"idle_ms":60000,"total_ms":600000},"breaker":{"enabled":true,"consecutive_failures":3,"error_percent":50,"min_requests":10,"window_s":30,"cooldown_s":5,"max_cooldown_s":120,"max_retry_after_s":60},"retry":{"max_attempts":6,"same_target":1,"backoff_ms":200,"max_backoff_ms":2000,"max_retry_after_ms":2000,"budget_percent":10},"savings":{"baseline":"p/big"},"decisions":{"sample_per_mille":1000,"failures":true}}}"#;
    assert_eq!(stays::<StoredConfig>(text).config.validate(), Ok(()));
}

#[test]
fn what_was_held_for_attempts_that_failed() {
    stays::<Fact>(r#"{"extended":{"at":5,"permit":{"e":1,"s":7},"holds":[{"a":{"b":"m","p":0},"n":9}]}}"#);
    stays::<Open>(
        r#"{"at":1,"until":2,"key":"a","holds":[{"a":{"b":"m","p":0},"n":24}],"input_cost":4,"worst_case":15,"failed":[{"a":{"b":"m","p":0},"n":9}]}"#,
    );
}
