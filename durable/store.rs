//! The only SQL. Statements are literals, values are bound, rows are read without
//! `SqlCursor::one` (which never answers on zero rows).

use tollgate_core::checks::Checks;
use tollgate_core::directory::MAX_BOOKS;
use tollgate_core::ids::{TenantId, ulid};
use tollgate_core::price::PriceBook;
use tollgate_core::protocol::{Reply, Totals};
use tollgate_core::tenant::{Query, Snapshot, Stored, Write, top, write_facts};
use tollgate_core::text::to_json;
use tollgate_core::units::Timestamp;
use worker::{SqlCursor, SqlStorage, SqlStorageValue as Value};

mod counters;

/// Largest piece of a snapshot in bytes; a row may have 2 MB.
const PART: usize = 1_000_000;
/// Most rows of an answer.
const MAX_ROWS: i64 = 100_000;

/// Numbered steps: a new one is appended, none is ever changed.
const TENANT_STEPS: &[&str] = &[
    "CREATE TABLE journal (n INTEGER PRIMARY KEY, at INTEGER NOT NULL, facts TEXT NOT NULL)",
    "CREATE TABLE snapshot (part INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE config (version INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE keys (hash TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE usage (minute INTEGER NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
       status INTEGER NOT NULL, outcome TEXT NOT NULL, requests INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
       output_tokens INTEGER NOT NULL, cost INTEGER NOT NULL, latency_ms INTEGER NOT NULL,
       PRIMARY KEY (minute, key, provider, model, status, outcome)) WITHOUT ROWID",
    "CREATE TABLE violations (minute INTEGER NOT NULL, key TEXT NOT NULL, rule TEXT NOT NULL, shadow INTEGER NOT NULL,
       count INTEGER NOT NULL, PRIMARY KEY (minute, key, rule, shadow)) WITHOUT ROWID",
    "CREATE TABLE claims (key TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (key, hash)) WITHOUT ROWID",
    "CREATE TABLE answers (key TEXT NOT NULL, hash TEXT NOT NULL, part INTEGER NOT NULL, body TEXT NOT NULL,
       PRIMARY KEY (key, hash, part))",
    "CREATE TABLE secrets (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE savings (day INTEGER NOT NULL, model TEXT NOT NULL, cause TEXT NOT NULL, amount INTEGER NOT NULL, requests INTEGER NOT NULL,
       input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL, PRIMARY KEY (day, model, cause)) WITHOUT ROWID",
    "CREATE TABLE decisions (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    // Facts name their kind outside: {"f":"lines",…} becomes {"lines":{…}}.
    "UPDATE journal SET facts = (SELECT json_group_array(json_object(json_extract(value, '$.f'), json_remove(value, '$.f')))
       FROM json_each(journal.facts))",
    "CREATE TABLE prices (id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
];

const DIRECTORY_STEPS: &[&str] = &[
    "CREATE TABLE tenants (tenant TEXT PRIMARY KEY, created_at INTEGER NOT NULL, told_at INTEGER, totals TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE cron (id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE checks (id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE prices (version INTEGER PRIMARY KEY, body TEXT NOT NULL)",
];

/// What went wrong, for the log.
pub type Failed = String;

/// One object's database.
pub struct Store {
    sql: SqlStorage,
    /// Whether the tables are there. An object that was only asked writes nothing.
    ready: std::cell::Cell<bool>,
    steps: &'static [&'static str],
}

fn int(n: i64) -> Result<Value, Failed> {
    Value::try_from_i64(n).map_err(|e| e.to_string())
}

fn count(n: u64) -> Result<Value, Failed> {
    int(i64::try_from(n).map_err(|e| e.to_string())?)
}

fn text(s: impl Into<String>) -> Value {
    Value::String(s.into())
}

fn written(json: Result<String, serde_json::Error>) -> Result<Value, Failed> {
    json.map(Value::String).map_err(|e| e.to_string())
}

fn json<T: serde::Serialize>(value: &T) -> Result<Value, Failed> {
    written(to_json(value))
}

fn parse<T: serde::de::DeserializeOwned>(body: &str) -> Result<T, Failed> {
    serde_json::from_str(body).map_err(|e| format!("a stored row cannot be read: {e}"))
}

/// A long text in pieces that a row can hold.
fn pieces(body: &str) -> impl Iterator<Item = &str> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (head, tail) = rest.split_at(rest.floor_char_boundary(PART));
        rest = tail;
        (!head.is_empty()).then_some(head)
    })
}

/// A row's columns.
struct Row(std::vec::IntoIter<Value>);

impl Row {
    fn int(&mut self) -> i64 {
        match self.0.next() {
            Some(Value::Integer(n)) => n,
            #[expect(clippy::cast_possible_truncation, reason = "integers arrive as doubles; every stored one is within 2^53")]
            Some(Value::Float(n)) => n as i64,
            _ => 0,
        }
    }

    fn maybe_int(&mut self) -> Option<i64> {
        match self.0.next() {
            Some(Value::Integer(n)) => Some(n),
            #[expect(clippy::cast_possible_truncation, reason = "integers arrive as doubles; every stored one is within 2^53")]
            Some(Value::Float(n)) => Some(n as i64),
            _ => None,
        }
    }

    fn count(&mut self) -> u64 {
        u64::try_from(self.int()).unwrap_or(0)
    }

    fn text(&mut self) -> String {
        match self.0.next() {
            Some(Value::String(s)) => s,
            _ => String::new(),
        }
    }
}

impl Store {
    /// A tenant's database.
    pub fn tenant(sql: SqlStorage) -> Store {
        Store { sql, ready: std::cell::Cell::new(false), steps: TENANT_STEPS }
    }

    /// The directory's database.
    pub fn directory(sql: SqlStorage) -> Store {
        Store { sql, ready: std::cell::Cell::new(false), steps: DIRECTORY_STEPS }
    }

    fn exec(&self, statement: &str, values: Vec<Value>) -> Result<SqlCursor, Failed> {
        self.sql.exec(statement, values).map_err(|e| format!("SQL failed: {e}"))
    }

    fn rows(&self, statement: &str, values: Vec<Value>) -> Result<Vec<Row>, Failed> {
        let cursor = self.exec(statement, values)?;
        let mut rows = Vec::new();
        for row in cursor.raw() {
            rows.push(Row(row.map_err(|e| format!("SQL failed: {e}"))?.into_iter()));
        }
        Ok(rows)
    }

    /// How many schema steps were taken; none if nothing was ever stored.
    fn steps_taken(&self) -> Result<usize, Failed> {
        if self.rows("SELECT name FROM sqlite_master WHERE name = 'schema_steps'", Vec::new())?.is_empty() {
            return Ok(0);
        }
        let mut rows = self.rows("SELECT count(*) FROM schema_steps", Vec::new())?;
        Ok(rows.first_mut().map_or(0, |r| usize::try_from(r.int()).unwrap_or(0)))
    }

    /// Takes the schema steps that are missing.
    fn prepare(&self) -> Result<(), Failed> {
        if self.ready.get() {
            return Ok(());
        }
        let taken = self.steps_taken()?;
        if taken == 0 {
            self.exec("CREATE TABLE IF NOT EXISTS schema_steps (step INTEGER PRIMARY KEY)", Vec::new())?;
        }
        for (step, statement) in (1_i64..).zip(self.steps).skip(taken) {
            self.exec(statement, Vec::new())?;
            self.exec("INSERT INTO schema_steps (step) VALUES (?)", vec![int(step)?])?;
        }
        self.ready.set(true);
        Ok(())
    }

    /// Everything a tenant needs to start. Reads only, unless an older schema has to be brought forward.
    pub fn load(&self) -> Result<Stored, Failed> {
        if self.steps_taken()? == 0 {
            return Ok(Stored::default());
        }
        self.prepare()?;
        let mut stored = Stored::default();
        if let Some(row) = self.rows("SELECT body FROM config ORDER BY version DESC LIMIT 1", Vec::new())?.first_mut() {
            stored.config = Some(parse(&row.text())?);
        }
        for mut row in self.rows("SELECT body FROM keys ORDER BY hash", Vec::new())? {
            stored.keys.push(parse(&row.text())?);
        }
        for mut row in self.rows("SELECT body FROM secrets ORDER BY name", Vec::new())? {
            stored.secrets.push(parse(&row.text())?);
        }
        if let Some(row) = self.rows("SELECT body FROM prices", Vec::new())?.first_mut() {
            stored.prices = Some(parse(&row.text())?);
        }
        for mut row in self.rows("SELECT body FROM claims ORDER BY key, hash", Vec::new())? {
            stored.claims.push(parse(&row.text())?);
        }
        let parts: String = self.rows("SELECT body FROM snapshot ORDER BY part", Vec::new())?.iter_mut().map(Row::text).collect();
        let mut after = 0;
        if !parts.is_empty() {
            let snapshot: Snapshot = parse(&parts)?;
            after = snapshot.journal;
            stored.snapshot = Some(snapshot);
        }
        for mut row in self.rows("SELECT n, facts FROM journal WHERE n > ? ORDER BY n", vec![count(after)?])? {
            let n = row.count();
            stored.journal.push((n, parse(&row.text())?));
        }
        Ok(stored)
    }

    /// Applies the writes of a turn.
    pub fn run(&self, writes: &[Write]) -> Result<(), Failed> {
        if writes.is_empty() {
            return Ok(());
        }
        self.prepare()?;
        writes.iter().try_for_each(|write| self.write(write))
    }

    fn write(&self, write: &Write) -> Result<(), Failed> {
        match write {
            Write::Append { n, at, facts } => {
                self.exec(
                    "INSERT INTO journal (n, at, facts) VALUES (?, ?, ?)",
                    vec![count(*n)?, int(at.0)?, written(write_facts(facts))?],
                )?;
            }
            Write::Snapshot(snapshot) => self.write_snapshot(snapshot)?,
            Write::Usage(rows) => {
                for row in rows {
                    self.add_usage(row)?;
                }
            }
            Write::Violations(rows) => {
                for row in rows {
                    self.add_violation(row)?;
                }
            }
            Write::Savings(rows) => {
                for row in rows {
                    self.add_savings(row)?;
                }
            }
            Write::Decision(record) => {
                self.exec("INSERT OR REPLACE INTO decisions (id, body) VALUES (?, ?)", vec![text(record.id.as_str()), json(record)?])?;
            }
            Write::TrimDecisions { keep } => {
                // Ids are ULIDs: their order is that of time.
                self.exec(
                    "DELETE FROM decisions WHERE id <= (SELECT id FROM decisions ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    vec![count(*keep)?],
                )?;
            }
            Write::Config(config) => {
                self.exec(
                    "INSERT INTO config (version, at, body) VALUES (?, ?, ?)",
                    vec![count(config.version)?, int(config.at.0)?, json(config)?],
                )?;
            }
            Write::Key(key) => {
                self.exec("INSERT OR REPLACE INTO keys (hash, body) VALUES (?, ?)", vec![text(key.hash.as_str()), json(key)?])?;
            }
            Write::Secret(secret) => {
                let name = text(secret.given.name.as_str());
                self.exec("INSERT OR REPLACE INTO secrets (name, body) VALUES (?, ?)", vec![name, json(secret)?])?;
            }
            Write::Prices(book) => {
                self.exec("INSERT OR REPLACE INTO prices (id, body) VALUES (1, ?)", vec![json(book)?])?;
            }
            Write::Unsecret { name } => {
                self.exec("DELETE FROM secrets WHERE name = ?", vec![text(name.as_str())])?;
            }
            Write::Claim(claim) => {
                self.exec(
                    "INSERT OR REPLACE INTO claims (key, hash, body) VALUES (?, ?, ?)",
                    vec![text(claim.key.as_str()), text(claim.hash.as_str()), json(claim)?],
                )?;
            }
            Write::Answer { key, hash, answer } => {
                let body = to_json(answer).map_err(|e| e.to_string())?;
                for (part, piece) in (0_i64..).zip(pieces(&body)) {
                    self.exec(
                        "INSERT OR REPLACE INTO answers (key, hash, part, body) VALUES (?, ?, ?, ?)",
                        vec![text(key.as_str()), text(hash.as_str()), int(part)?, text(piece)],
                    )?;
                }
            }
            Write::Unclaim { key, hash } => {
                self.exec("DELETE FROM claims WHERE key = ? AND hash = ?", vec![text(key.as_str()), text(hash.as_str())])?;
                self.exec("DELETE FROM answers WHERE key = ? AND hash = ?", vec![text(key.as_str()), text(hash.as_str())])?;
            }
            Write::Trim { before, up_to } => {
                self.exec("DELETE FROM journal WHERE at < ? AND n <= ?", vec![int(before.0)?, count(*up_to)?])?;
                self.exec("DELETE FROM usage WHERE minute < ?", vec![int(before.0)?])?;
                self.exec("DELETE FROM violations WHERE minute < ?", vec![int(before.0)?])?;
                self.exec("DELETE FROM savings WHERE day < ?", vec![int(before.0)?])?;
                self.exec("DELETE FROM decisions WHERE id < ?", vec![text(ulid(*before, 0))])?;
                self.exec("DELETE FROM config WHERE at < ? AND version < (SELECT max(version) FROM config)", vec![int(before.0)?])?;
            }
            Write::DeleteAll => {
                for statement in [
                    "DELETE FROM journal",
                    "DELETE FROM snapshot",
                    "DELETE FROM config",
                    "DELETE FROM keys",
                    "DELETE FROM usage",
                    "DELETE FROM violations",
                    "DELETE FROM claims",
                    "DELETE FROM answers",
                    "DELETE FROM secrets",
                    "DELETE FROM savings",
                    "DELETE FROM decisions",
                    "DELETE FROM prices",
                ] {
                    self.exec(statement, Vec::new())?;
                }
            }
        }
        Ok(())
    }

    fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), Failed> {
        let body = to_json(snapshot).map_err(|e| e.to_string())?;
        let mut part = 0_i64;
        for piece in pieces(&body) {
            self.exec("INSERT OR REPLACE INTO snapshot (part, body) VALUES (?, ?)", vec![int(part)?, text(piece)])?;
            part = part.saturating_add(1);
        }
        self.exec("DELETE FROM snapshot WHERE part >= ?", vec![int(part)?])?;
        Ok(())
    }

    /// Answers a question.
    pub fn read(&self, query: &Query) -> Result<Reply, Failed> {
        if self.steps_taken()? == 0 {
            return Ok(match query {
                Query::Usage { .. } | Query::Targets { .. } => Reply::Usage { rows: Vec::new() },
                Query::Violations { .. } => Reply::Violations { rows: Vec::new(), top: Vec::new() },
                Query::Answer { .. } => Reply::Replay { stored: None },
                Query::Savings { .. } => Reply::Savings { rows: Vec::new() },
                Query::Decision { .. } | Query::Decisions { .. } => Reply::Decisions { records: Vec::new() },
            });
        }
        // An object that has not written since it was updated lacks the newer tables.
        self.prepare()?;
        match query {
            Query::Usage { from, to } => self.usage(*from, *to).map(|rows| Reply::Usage { rows }),
            Query::Targets { from, to } => self.targets(*from, *to).map(|rows| Reply::Usage { rows }),
            Query::Violations { from, to } => {
                let rows = self.violations(*from, *to)?;
                Ok(Reply::Violations { top: top(&rows), rows })
            }
            Query::Savings { from, to } => self.savings(*from, *to).map(|rows| Reply::Savings { rows }),
            Query::Decision { id } => self.records("SELECT body FROM decisions WHERE id = ?", vec![text(id.as_str())]),
            Query::Decisions { after, limit } => self.records(
                "SELECT body FROM decisions WHERE id > ? ORDER BY id LIMIT ?",
                vec![text(after.as_str()), int(i64::from(*limit))?],
            ),
            Query::Answer { key, hash } => {
                let mut rows = self.rows(
                    "SELECT body FROM answers WHERE key = ? AND hash = ? ORDER BY part",
                    vec![text(key.as_str()), text(hash.as_str())],
                )?;
                let body: String = rows.iter_mut().map(Row::text).collect();
                Ok(Reply::Replay { stored: if body.is_empty() { None } else { Some(parse(&body)?) } })
            }
        }
    }

    /// Remembers a tenant.
    pub fn add_tenant(&self, tenant: &TenantId, now: Timestamp) -> Result<(), Failed> {
        self.prepare()?;
        let values = vec![text(tenant.as_str()), int(now.0)?, json(&Totals::default())?];
        self.exec("INSERT OR IGNORE INTO tenants (tenant, created_at, totals) VALUES (?, ?, ?)", values)?;
        Ok(())
    }

    /// Forgets a tenant.
    pub fn remove_tenant(&self, tenant: &TenantId) -> Result<(), Failed> {
        self.prepare()?;
        self.exec("DELETE FROM tenants WHERE tenant = ?", vec![text(tenant.as_str())])?;
        Ok(())
    }

    /// Tenants after a name, one more than `limit` to tell whether there are more.
    pub fn tenants(&self, after: &str, limit: usize) -> Result<Vec<tollgate_core::directory::TenantRow>, Failed> {
        if self.steps_taken()? == 0 {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let rows = self.rows(
            "SELECT tenant, created_at, told_at, totals FROM tenants WHERE tenant > ? ORDER BY tenant LIMIT ?",
            vec![text(after), int(limit)?],
        )?;
        let mut out = Vec::with_capacity(rows.len());
        for mut r in rows {
            out.push(tollgate_core::directory::TenantRow {
                tenant: TenantId::try_from(r.text())?,
                created_at: Timestamp(r.int()),
                told_at: r.maybe_int().map(Timestamp),
                totals: parse(&r.text())?,
            });
        }
        Ok(out)
    }

    /// What a tenant told.
    pub fn told(&self, tenant: &TenantId, totals: &Totals, now: Timestamp) -> Result<(), Failed> {
        self.prepare()?;
        let values = vec![int(now.0)?, json(totals)?, text(tenant.as_str())];
        self.exec("UPDATE tenants SET told_at = ?, totals = ? WHERE tenant = ?", values)?;
        Ok(())
    }

    /// Remembers the last cron run.
    pub fn cron_ran(&self, run: &tollgate_core::directory::CronRun) -> Result<(), Failed> {
        self.prepare()?;
        self.exec("INSERT OR REPLACE INTO cron (id, body) VALUES (1, ?)", vec![json(run)?])?;
        Ok(())
    }

    /// The operator's prices: of this version, or the latest.
    pub fn book(&self, version: Option<u64>) -> Result<Option<PriceBook>, Failed> {
        if self.steps_taken()? == 0 {
            return Ok(None);
        }
        self.prepare()?;
        let mut rows = match version {
            None => self.rows("SELECT body FROM prices ORDER BY version DESC LIMIT 1", Vec::new())?,
            Some(version) => self.rows("SELECT body FROM prices WHERE version = ?", vec![count(version)?])?,
        };
        rows.first_mut().map(|r| parse(&r.text())).transpose()
    }

    /// Stores the operator's prices, and forgets the oldest.
    pub fn add_book(&self, book: &PriceBook) -> Result<(), Failed> {
        self.prepare()?;
        self.exec("INSERT INTO prices (version, body) VALUES (?, ?)", vec![count(book.version)?, json(book)?])?;
        self.exec("DELETE FROM prices WHERE version <= ?", vec![count(book.version.saturating_sub(MAX_BOOKS))?])?;
        Ok(())
    }

    /// The last cron run.
    pub fn last_cron(&self) -> Result<Option<tollgate_core::directory::CronRun>, Failed> {
        if self.steps_taken()? == 0 {
            return Ok(None);
        }
        let mut rows = self.rows("SELECT body FROM cron WHERE id = 1", Vec::new())?;
        rows.first_mut().map(|r| parse(&r.text())).transpose()
    }

    /// What health checks have found.
    pub fn checks(&self) -> Result<Checks, Failed> {
        if self.steps_taken()? == 0 {
            return Ok(Checks::default());
        }
        // A directory that has not written since it was updated lacks the table.
        self.prepare()?;
        let mut rows = self.rows("SELECT body FROM checks WHERE id = 1", Vec::new())?;
        rows.first_mut().map_or_else(|| Ok(Checks::default()), |r| parse(&r.text()))
    }

    /// Remembers what health checks have found.
    pub fn put_checks(&self, checks: &Checks) -> Result<(), Failed> {
        self.prepare()?;
        self.exec("INSERT OR REPLACE INTO checks (id, body) VALUES (1, ?)", vec![json(checks)?])?;
        Ok(())
    }
}
