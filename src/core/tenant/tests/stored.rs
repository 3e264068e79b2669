//! Bytes on disk. A later version must read them, so these strings never change: a new field is optional,
//! and gets a line of its own here.

use super::*;
use serde::de::DeserializeOwned;

/// Reads the text, and writes it as it was.
fn stays<T: Serialize + DeserializeOwned>(text: &str) -> T {
    let value: T = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap(), text);
    value
}

#[test]
fn facts() {
    stays::<Fact>(r#"{"f":"started","epoch":1710028800000,"at":1710028800000,"lifetime":60000,"keys":["a","b"]}"#);
    stays::<Fact>(r#"{"f":"credit","at":1710028800000,"granted":256,"accounts":[{"a":{"b":"m","p":0},"n":200}]}"#);
    stays::<Fact>(
        r#"{"f":"lines","lines":[{"permit":{"e":1710028800000,"s":7},"n":1,"at":1710028803000,"admitted_at":1710028801000,"key":"a","kind":"settled","attempt":{"provider":"p","model":"m","outcome":"client_gone","status":200,"usage":{"i":10,"o":20},"estimated":true,"cost":8,"price":"p/*","latency_ms":2000,"first_byte_ms":300},"charges":[{"a":{"b":"m","s":"a","p":1709251200000},"h":9,"c":8}]}]}"#,
    );
    let line = |kind: &str| {
        format!(
            r#"{{"f":"lines","lines":[{{"permit":{{"e":1,"s":7}},"n":0,"at":3,"admitted_at":2,"key":"","kind":"{kind}","charges":[{{"a":{{"b":"m","p":0}},"h":9,"c":-8}}]}}]}}"#
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
fn a_configuration() {
    let text = r#"{"version":3,"at":1710028800000,"config":{"models":{"fast":{"target":"p/m"},"safe":{"targets":["p/m","q/n"]}},"limits":[{"id":"rpm","scope":"key","requests":600,"window_s":60}],"budgets":[{"id":"m","scope":"tenant","limit_usd":"50","period":"month"}],"cache":{"enabled":true,"ttl_s":300},"prices":{"p/*":{"input_usd_per_mtok":"0.50","output_usd_per_mtok":"1.50"}},"unknown_price":"reject","permit":{"lifetime_s":660,"expiry_charge":"worst_case","default_output_tokens":16384},"timeouts":{"first_byte_ms":60000,"idle_ms":60000,"total_ms":600000}}}"#;
    let stored = stays::<StoredConfig>(text);
    assert_eq!(stored.config.validate(), Ok(()));
    // An older document lacks what was added since.
    let older = r#"{"version":1,"at":5,"config":{}}"#;
    assert_eq!(serde_json::from_str::<StoredConfig>(older).unwrap().config, Config::default());
}
