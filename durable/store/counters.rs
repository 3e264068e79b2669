//! Rows that are added up (usage, denials, savings) and records of decisions.

use super::{Failed, MAX_ROWS, Row, Store, Value, count, int, parse, text};
use tollgate_core::protocol::{Counts, Reply, UsageRow, ViolationRow};
use tollgate_core::savings::SavingsRow;
use tollgate_core::units::{NanoUsd, Timestamp};

impl Store {
    pub(super) fn add_usage(&self, row: &UsageRow) -> Result<(), Failed> {
        let c = row.counts;
        let values = vec![
            int(row.minute.0)?,
            text(row.key.as_str()),
            text(row.provider.as_str()),
            text(row.model.as_str()),
            int(i64::from(row.status))?,
            text(row.outcome.as_str()),
            count(c.requests)?,
            count(c.input_tokens)?,
            count(c.output_tokens)?,
            int(c.cost.get())?,
            count(c.latency_ms)?,
        ];
        self.exec(
            "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, input_tokens = input_tokens + excluded.input_tokens,
             output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost, latency_ms = latency_ms + excluded.latency_ms",
            values,
        )?;
        Ok(())
    }

    pub(super) fn add_violation(&self, row: &ViolationRow) -> Result<(), Failed> {
        let values =
            vec![int(row.minute.0)?, text(row.key.as_str()), text(row.rule.as_str()), int(i64::from(row.shadow))?, count(row.count)?];
        self.exec("INSERT INTO violations VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count", values)?;
        Ok(())
    }

    pub(super) fn add_savings(&self, row: &SavingsRow) -> Result<(), Failed> {
        let values = vec![
            int(row.day.0)?,
            text(row.model.as_str()),
            text(row.cause.as_str()),
            int(row.amount.get())?,
            count(row.requests)?,
            count(row.input)?,
            count(row.cached)?,
            count(row.output)?,
        ];
        self.exec(
            "INSERT INTO savings VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET amount = amount + excluded.amount, requests = requests + excluded.requests,
             input = input + excluded.input, cached = cached + excluded.cached, output = output + excluded.output",
            values,
        )?;
        Ok(())
    }

    pub(super) fn savings(&self, from: Timestamp, to: Timestamp) -> Result<Vec<SavingsRow>, Failed> {
        let rows = self.rows(
            "SELECT day, model, cause, amount, requests, input, cached, output FROM savings WHERE day >= ? AND day < ?
             ORDER BY day, model, cause LIMIT ?",
            vec![int(from.0)?, int(to.0)?, int(MAX_ROWS)?],
        )?;
        let row = |mut r: Row| SavingsRow {
            day: Timestamp(r.int()),
            model: r.text(),
            cause: r.text(),
            amount: NanoUsd::new(r.int()),
            requests: r.count(),
            input: r.count(),
            cached: r.count(),
            output: r.count(),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    pub(super) fn records(&self, statement: &str, values: Vec<Value>) -> Result<Reply, Failed> {
        let mut rows = self.rows(statement, values)?;
        let records = rows.iter_mut().map(|r| parse(&r.text())).collect::<Result<Vec<_>, _>>()?;
        Ok(Reply::Decisions { records })
    }

    pub(super) fn violations(&self, from: Timestamp, to: Timestamp) -> Result<Vec<ViolationRow>, Failed> {
        let rows = self.rows(
            "SELECT minute, key, rule, shadow, count FROM violations WHERE minute >= ? AND minute < ?
             ORDER BY minute, key, rule, shadow LIMIT ?",
            vec![int(from.0)?, int(to.0)?, int(MAX_ROWS)?],
        )?;
        let violation =
            |mut r: Row| ViolationRow { minute: Timestamp(r.int()), key: r.text(), rule: r.text(), shadow: r.int() != 0, count: r.count() };
        Ok(rows.into_iter().map(violation).collect())
    }

    pub(super) fn usage(&self, from: Timestamp, to: Timestamp) -> Result<Vec<UsageRow>, Failed> {
        let rows = self.rows(
            "SELECT minute, key, provider, model, status, outcome, requests, input_tokens, output_tokens, cost, latency_ms
             FROM usage WHERE minute >= ? AND minute < ? ORDER BY minute, key, provider, model, status, outcome LIMIT ?",
            vec![int(from.0)?, int(to.0)?, int(MAX_ROWS)?],
        )?;
        Ok(rows.into_iter().map(usage_row).collect())
    }

    /// The counters of these minutes together, by target and outcome: without minute, key and status.
    pub(super) fn targets(&self, from: Timestamp, to: Timestamp) -> Result<Vec<UsageRow>, Failed> {
        let rows = self.rows(
            "SELECT 0, '', provider, model, 0, outcome, sum(requests), sum(input_tokens), sum(output_tokens), sum(cost), sum(latency_ms)
             FROM usage WHERE minute >= ? AND minute < ? AND provider <> '' GROUP BY provider, model, outcome
             ORDER BY provider, model, outcome LIMIT ?",
            vec![int(from.0)?, int(to.0)?, int(MAX_ROWS)?],
        )?;
        Ok(rows.into_iter().map(usage_row).collect())
    }
}

fn usage_row(mut r: Row) -> UsageRow {
    UsageRow {
        minute: Timestamp(r.int()),
        key: r.text(),
        provider: r.text(),
        model: r.text(),
        status: u16::try_from(r.int()).unwrap_or(0),
        outcome: r.text(),
        counts: Counts {
            requests: r.count(),
            input_tokens: r.count(),
            output_tokens: r.count(),
            cost: NanoUsd::new(r.int()),
            latency_ms: r.count(),
        },
    }
}
