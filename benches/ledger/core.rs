//! How fast the ledger decides, without any runtime around it: admissions and settlements per second on
//! one core. Prints one JSON object per case. `scripts/bench ledger` runs it and makes a table.
//!
//! What a case admits it settles again, 64 at a time, so the number of open permits stays what the case
//! says. Only the machine's own work is on the clock: commands are made before, replies read afterwards,
//! and writes are dropped as a disk would drop them that takes no time.
#![expect(clippy::arithmetic_side_effects, reason = "where a benchmark overflows, it fails")]

use serde_json::{Value, json};
use std::error::Error;
use std::time::{Duration, Instant};
use tollgate_core::ids::TenantId;
use tollgate_core::protocol::{Command, Message, Reply, read_message, write_message, write_reply};
use tollgate_core::tenant::{Answer, Stored, Tenant};
use tollgate_core::units::Timestamp;

/// Requests that are admitted, and then settled, in one go.
const BATCH: u64 = 64;
/// Samples of a case; the first one warms up and is dropped.
const SAMPLES: usize = 8;
/// 2024-03-10T00:00:00Z.
const START: i64 = 1_710_028_800_000;
/// Requests that arrive in one millisecond.
const PER_MS: u64 = 4;

type Failed = Box<dyn Error>;

/// What is measured.
struct Case {
    name: &'static str,
    /// Limits, and as many budgets.
    rules: usize,
    /// Permits that are open all the time.
    open: u64,
    /// Whether the limit is used up already.
    denied: bool,
    /// Whether messages come and go as JSON, as they do at the object's door.
    json: Option<Form>,
}

/// How messages are read and replies written.
#[derive(Clone, Copy)]
struct Form {
    read: fn(&str) -> Result<Message, serde_json::Error>,
    write: fn(&Reply) -> Result<String, serde_json::Error>,
}

/// As at the object's door.
const DOOR: Form = Form { read: read_message, write: write_reply };
/// By the general machinery alone: what [`DOOR`] is compared with.
const SERDE: Form = Form { read: |text| serde_json::from_str(text), write: |reply| serde_json::to_string(reply) };

const CASES: [Case; 7] = [
    Case { name: "1 limit, 1 budget", rules: 1, open: 0, denied: false, json: None },
    Case { name: "the same, as JSON in and out", rules: 1, open: 0, denied: false, json: Some(DOOR) },
    Case { name: "the same, as JSON by serde alone", rules: 1, open: 0, denied: false, json: Some(SERDE) },
    Case { name: "8 limits, 8 budgets", rules: 8, open: 0, denied: false, json: None },
    Case { name: "64 limits, 64 budgets", rules: 64, open: 0, denied: false, json: None },
    Case { name: "1 limit, 1 budget, 10,000 permits open", rules: 1, open: 10_000, denied: false, json: None },
    Case { name: "1 limit, 1 budget, all denied", rules: 1, open: 0, denied: true, json: None },
];

/// A tenant, its clock, and how much time its turns have taken.
struct Desk {
    tenant: Tenant,
    asked: u64,
    json: Option<Form>,
    spent: Duration,
}

impl Desk {
    fn new(case: &Case) -> Result<Desk, Failed> {
        let mut desk = Desk { tenant: Tenant::load(Stored::default()), asked: 0, json: case.json, spent: Duration::ZERO };
        let requests: u64 = if case.denied { 1 } else { 1_000_000_000 };
        let ids = 0..case.rules;
        let limits: Vec<Value> = ids.clone().map(|i| json!({"id": format!("l{i}"), "requests": requests, "window_s": 3600})).collect();
        let budgets: Vec<Value> = ids.map(|i| json!({"id": format!("b{i}"), "limit_usd": "1000000", "period": "month"})).collect();
        desk.setup(json!({"put_config": {"config": {"limits": limits, "budgets": budgets}, "if_match": null}}))?;
        let key = json!({"create_key": {"id": "k1", "hash": "hash", "name": "bench", "prefix": "tg_acme_", "last4": "wxyz", "models": [], "expires_at": null}});
        desk.setup(key)?;
        if case.denied {
            desk.setup(admission())?;
        }
        for _ in 0..case.open {
            desk.setup(admission())?;
        }
        desk.spent = Duration::ZERO;
        Ok(desk)
    }

    /// A command whose reply does not matter.
    fn setup(&mut self, command: Value) -> Result<(), Failed> {
        self.turns(vec![command]).map(|_| ())
    }

    /// Turns, one for each command, with the clock running.
    fn turns(&mut self, commands: Vec<Value>) -> Result<Vec<Reply>, Failed> {
        if let Some(Form { read, write }) = self.json {
            let tenant = TenantId::parse("acme").ok_or("no tenant id")?;
            let text = |command| -> Result<String, Failed> { Ok(write_message(&tenant, &serde_json::from_value(command)?)?) };
            let texts = commands.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
            let mut replies = Vec::with_capacity(texts.len());
            let begun = clock();
            for text in &texts {
                let message = read(text)?;
                replies.push(write(&self.turn(message.command)?)?);
            }
            self.spent += begun.elapsed();
            return replies.iter().map(|reply| Ok(serde_json::from_str(reply)?)).collect();
        }
        let commands: Vec<Command> = commands.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        let mut replies = Vec::with_capacity(commands.len());
        let begun = clock();
        for command in commands {
            replies.push(self.turn(command)?);
        }
        self.spent += begun.elapsed();
        Ok(replies)
    }

    fn turn(&mut self, command: Command) -> Result<Reply, Failed> {
        self.asked += 1;
        let now = Timestamp(START + i64::try_from(self.asked / PER_MS)?);
        match self.tenant.handle(now, command).answer {
            Answer::Reply(reply) => Ok(reply),
            Answer::Read(query) => Err(format!("no disk to read {query:?} from").into()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock; the ledger is handed its time")]
fn clock() -> Instant {
    Instant::now()
}

fn admission() -> Value {
    json!({"admit": {"key_hash": "hash", "config": 1, "model": "mock/model", "worst_case": 400_000, "input_cost": 100_000}})
}

/// The report of a permit: one attempt that cost less than it held.
fn report(reply: &Reply) -> Result<Value, Failed> {
    let Reply::Permit(permit) = reply else { return Err(format!("not admitted: {reply:?}").into()) };
    let attempt = json!({
        "provider": "mock", "model": "model", "outcome": "ok", "status": 200, "usage": {"i": 100, "o": 50},
        "cost": 125_000, "price": "mock/model", "latency_ms": 800,
    });
    Ok(json!({"permit": permit.id, "key": permit.key, "admitted_at": permit.at, "holds": permit.holds, "attempts": [attempt]}))
}

/// One sample: how long an admission took, and a settlement where there is any. In nanoseconds.
fn sample(desk: &mut Desk, case: &Case, least: Duration) -> Result<(f64, Option<f64>), Failed> {
    let (mut admitting, mut settling) = (Duration::ZERO, Duration::ZERO);
    let mut admitted: u32 = 0;
    while admitting < least {
        desk.spent = Duration::ZERO;
        let replies = desk.turns((0..BATCH).map(|_| admission()).collect())?;
        admitting += std::mem::take(&mut desk.spent);
        admitted += u32::try_from(BATCH)?;
        if case.denied {
            if let Some(other) = replies.iter().find(|reply| !matches!(reply, Reply::Denied { .. })) {
                return Err(format!("not denied: {other:?}").into());
            }
            continue;
        }
        let reports: Vec<Value> = replies.iter().map(report).collect::<Result<_, _>>()?;
        desk.turns(vec![json!({"report": {"reports": reports}})])?;
        settling += std::mem::take(&mut desk.spent);
    }
    let each = |span: Duration| span.as_secs_f64() * 1e9 / f64::from(admitted);
    Ok((each(admitting), (!case.denied).then(|| each(settling))))
}

/// The middle, the least and the most.
fn spread(mut values: Vec<f64>) -> Option<Value> {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2)?;
    Some(json!({"ns": middle, "least": values.first()?, "most": values.last()?, "per_second": (1e9 / middle).round()}))
}

#[expect(clippy::print_stdout, reason = "its result")]
fn main() -> Result<(), Failed> {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let least = Duration::from_millis(if quick { 10 } else { 100 });
    for case in &CASES {
        let mut desk = Desk::new(case)?;
        let samples: Vec<(f64, Option<f64>)> = (0..SAMPLES).map(|_| sample(&mut desk, case, least)).collect::<Result<_, _>>()?;
        let used = samples.get(1..).unwrap_or_default();
        let admit = spread(used.iter().map(|(admit, _)| *admit).collect());
        let settle = spread(used.iter().filter_map(|(_, settle)| *settle).collect());
        println!("{}", json!({"case": case.name, "admit": admit, "settle": settle}));
    }
    Ok(())
}
