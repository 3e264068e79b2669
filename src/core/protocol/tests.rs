//! Bytes that neighbouring versions send each other.

use super::*;

/// Bytes that a neighbouring version sends. They must stay readable.
#[test]
fn messages_of_version_1_stay_readable() {
    let admit = r#"{"v":1,"tenant":"acme","command":{"admit":{"key_hash":"ab","config":3,"model":"fast","worst_case":12,"input_cost":2}}}"#;
    let message: Message = serde_json::from_str(admit).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), admit);

    let degraded = r#"{"v":1,"tenant":"acme","command":{"degraded":{"key_hash":"ab","steps":[["limit:rpm","downgrade"]]}}}"#;
    let message: Message = serde_json::from_str(degraded).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), degraded);

    let report = r#"{"v":1,"tenant":"acme","command":{"report":{"reports":[{"permit":{"e":1,"s":7},"key":"k","admitted_at":5,"holds":[{"a":{"b":"m","p":0},"n":9}],"attempts":[{"provider":"p","model":"m","outcome":"ok","status":200,"usage":{"i":1,"o":2},"estimated":false,"cost":8,"price":"p/m","latency_ms":3,"first_byte_ms":1}]}]}}}"#;
    let message: Message = serde_json::from_str(report).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), report);

    let permit = r#"{"permit":{"id":{"e":1,"s":7},"key":"k","at":5,"holds":[{"a":{"b":"m","s":"k","p":0},"n":9}],"limit":{"id":"rpm","limit":9,"window_s":60,"remaining":8,"reset":60000},"report_within":200}}"#;
    let reply: Reply = serde_json::from_str(permit).unwrap();
    assert_eq!(serde_json::to_string(&reply).unwrap(), permit);

    let denied = r#"{"denied":{"why":{"budget":{"budget":"m","limit":5,"spent":4,"held":1,"resets_at":null}},"limit":null}}"#;
    let reply: Reply = serde_json::from_str(denied).unwrap();
    assert_eq!(serde_json::to_string(&reply).unwrap(), denied);
}

/// What was added to them since.
#[test]
fn additions_to_version_1_stay_readable() {
    fn stays<T: Serialize + serde::de::DeserializeOwned>(text: &str) {
        let value: T = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
    }
    stays::<Command>(
        r#"{"admit":{"key_hash":"ab","config":3,"model":"fast","worst_case":12,"input_cost":2,"tokens":{"i":9,"o":8},"providers":["p"],"metadata":{"team":"red"},"session":"s","idempotency":{"key_hash":"aa","body_hash":"bb"}}}"#,
    );
    stays::<Command>(r#"{"complete":{"permit":{"e":1,"s":7},"answer":{"status":200,"headers":[["a","b"]],"body":"{}"}}}"#);
    stays::<Command>(r#"{"violations":{"from":1,"to":2}}"#);
    stays::<Command>(
        r#"{"failed":{"permit":{"e":1,"s":7},"attempts":[{"provider":"p","model":"m","outcome":"error","status":500,"usage":{"i":0,"o":0},"estimated":false,"cost":0,"price":"p/m","latency_ms":3,"first_byte_ms":0}]}}"#,
    );
    stays::<Command>(
        r#"{"update_key":{"id":"k","name":"n","models":["m"],"expires_at":5,"never_expires":false,"critical":true,"metadata":{"a":"b"}}}"#,
    );
    let sparse: Command = serde_json::from_str(r#"{"update_key":{"id":"k"}}"#).unwrap();
    assert_eq!(sparse, Command::UpdateKey(KeyChange { id: "k".to_owned(), ..KeyChange::default() }));
    stays::<Reply>(
        r#"{"permit":{"id":{"e":1,"s":7},"key":"k","at":5,"holds":[{"a":{"b":"tpm","p":0,"m":"tokens"},"n":9}],"limit":null,"report_within":200,"token_limit":{"id":"tpm","limit":9,"window_s":60,"remaining":8,"reset":60000,"measure":"tokens","shadow":true},"shadow":["limit:x"],"critical":true}}"#,
    );
    for why in [
        r#"{"limit":{"limit":"tpm","window_s":60,"retry_after":5,"subject":"k","measure":"tokens","remaining":3,"never":true,"steps":["cache",{"wait_ms":5}]}}"#,
        r#"{"budget":{"budget":"m","limit":5,"spent":4,"held":1,"resets_at":null,"subject":"k","remaining":2,"affordable":1,"steps":[{"downgrade":"p/m"},"reject"]}}"#,
        r#"{"max_cost":{"cap":5}}"#,
        r#"{"session_cap":{"cap":5,"used":4,"window_s":60,"retry_after":1}}"#,
        r#"{"idempotency":{"state":"conflict","retry_after":0}}"#,
        r#"{"idempotency":{"state":"in_progress","retry_after":0}}"#,
        r#"{"idempotency":{"state":"full","retry_after":0}}"#,
    ] {
        stays::<Denial>(why);
    }
    for command in [
        r#""providers""#,
        r#""tick""#,
        r#"{"tick_beside":{"unreachable":[{"p":"openai","u":9}]}}"#,
        r#"{"savings":{"from":1,"to":2}}"#,
        r#"{"targets":{"from":1,"to":2}}"#,
        r#"{"decision":{"id":"01"}}"#,
        r#"{"decisions":{"after":"","limit":5}}"#,
        r#"{"feedback":{"request":"01","target":"p/m","score":900}}"#,
        r#"{"admit":{"key_hash":"ab","config":3,"model":"fast","worst_case":12,"input_cost":2,"view":{"n":7,"r":"FRA"}}}"#,
        r#"{"extend":{"permit":{"e":1,"s":7},"attempts":[{"provider":"p","model":"m","outcome":"timeout","status":504,"usage":{"i":1,"o":0},"estimated":true,"cost":8,"price":"p/m","latency_ms":3,"first_byte_ms":0}]}}"#,
    ] {
        stays::<Command>(command);
    }
    stays::<Report>(
        r#"{"permit":{"e":1,"s":7},"key":"k","admitted_at":5,"holds":[],"attempts":[{"provider":"p","model":"m","outcome":"error","status":429,"usage":{"i":1,"o":2},"estimated":false,"cost":8,"price":"p/m","latency_ms":3,"first_byte_ms":1,"class":"rate_limit","retry_after_ms":1500,"region":"FRA"}],"saved":{"m":"fast","p":"x","d":{"route":5}}}"#,
    );
    stays::<Reply>(
        r#"{"permit":{"id":{"e":1,"s":7},"key":"k","at":5,"holds":[],"limit":null,"report_within":200,"view":{"n":7,"r":[{"t":"p/m","g":9}]},"probe":"p/m"}}"#,
    );
    stays::<Reply>(r#"{"extended":{"holds":[{"a":{"b":"m","p":0},"n":9}]}}"#);
    stays::<Reply>(
        r#"{"providers":{"rows":[{"target":"p/m","region":"FRA","state":"open","until":9,"opens":1,"attempts":5,"failed":2,"classes":{"ok":3,"server":2},"first_ms":[1,2,3],"total_ms":[4,5,6],"first_now_ms":7,"total_now_ms":8,"tokens_per_second":9,"cached":10,"cost_per_mtok":11,"price":"p/m","feedback":-12,"at":13}]}}"#,
    );
    stays::<Reply>(
        r#"{"savings":{"rows":[{"day":0,"model":"fast","cause":"cache","amount":-5,"requests":1,"input":2,"cached":3,"output":4}]}}"#,
    );
    stays::<Attempt>(
        r#"{"provider":"p","model":"m","outcome":"aborted","status":499,"usage":{"i":1,"o":0},"estimated":true,"cost":8,"price":"p/m","latency_ms":3,"first_byte_ms":0,"class":"aborted"}"#,
    );
    stays::<Command>(r#"{"put_secret":{"name":"openai","sealed":"v1.a.b.c","last4":"wxyz"}}"#);
    stays::<Command>(r#"{"put_secret":{"name":"openai","sealed":"v1.a.b.c"}}"#);
    stays::<Command>(r#""list_secrets""#);
    stays::<Command>(r#"{"delete_secret":{"name":"openai"}}"#);
    stays::<Reply>(r#"{"secret":{"name":"openai","key_id":"a","last4":"wxyz","updated_at":5}}"#);
    stays::<Reply>(r#"{"secrets":{"secrets":[{"name":"openai","key_id":"a","updated_at":5}]}}"#);
    stays::<Reply>(r#"{"in_use":{"place":"providers.openai.keys[0]"}}"#);
    // Without secrets the configuration travels as before.
    let config = serde_json::to_string(&Config::default()).unwrap();
    stays::<Reply>(&format!(r#"{{"configuration":{{"version":3,"config":{config},"updated_at":5}}}}"#));
    stays::<Reply>(&format!(r#"{{"configuration":{{"version":3,"config":{config},"updated_at":5,"secrets":{{"openai":"v1.a.b.c"}}}}}}"#));
    stays::<Reply>(&format!(
        r#"{{"configuration":{{"version":3,"config":{config},"updated_at":5,"prices":{{"version":2,"at":4,"prices":{{"p/m":{{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}}}}}}}}}}"#
    ));
    stays::<Command>(r#"{"prices":{"version":2,"at":4,"prices":{"p/m":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}}}}"#);
    stays::<Command>(&format!(r#"{{"put_config":{{"config":{config},"if_match":3}}}}"#));
    stays::<Command>(&format!(r#"{{"put_config":{{"config":{config},"if_match":null,"prices":{{"version":2,"at":4,"prices":{{}}}}}}}}"#));
    stays::<Reply>(r#"{"ticked":{"cleaned":true,"totals":{"requests":1,"denied":2,"cost":3,"cleaned_at":null}}}"#);
    stays::<Reply>(r#"{"ticked":{"cleaned":true,"totals":{"requests":1,"denied":2,"cost":3,"cleaned_at":null},"prices":4}}"#);
    // What version 1 knew of a denial is still read.
    let old: Denial = serde_json::from_str(r#"{"limit":{"limit":"rpm","window_s":60,"retry_after":5}}"#).unwrap();
    assert!(matches!(old, Denial::Limit { measure: None, remaining: 0, never: false, .. }));
    let live: Reply = serde_json::from_str(r#"{"live":{"key":null,"limits":[],"budgets":[],"permits":1}}"#).unwrap();
    assert_eq!(live, Reply::Live(Live { permits: 1, ..Live::default() }));
    stays::<Reply>(r#"{"live":{"key":null,"models":[],"limits":[],"budgets":[],"permits":1,"orphans":0,"version":3}}"#);
    stays::<Reply>(r#"{"replay":{"stored":{"status":200,"headers":[],"body":"{}"}}}"#);
    stays::<Reply>(
        r#"{"violations":{"rows":[{"minute":0,"key":"k","rule":"limit:rpm","shadow":false,"count":3}],"top":[{"key":"k","count":3}]}}"#,
    );
}
