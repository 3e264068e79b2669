//! The directory: which tenants exist, what they told at the last tick, and how the operator's providers are.
//! Never on a request's way.

use crate::checks::{Change, Checked, Checks, Claim};
use crate::ids::TenantId;
use crate::protocol::Totals;
use crate::units::{Millis, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};

/// Most tenants on one page.
pub const MAX_PAGE: usize = 100;

/// What is asked of the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryCommand {
    /// Remember a tenant. Again changes nothing.
    Add {
        /// The tenant.
        tenant: TenantId,
    },
    /// Forget a tenant.
    Remove {
        /// The tenant.
        tenant: TenantId,
    },
    /// Tenants in order of their names.
    List {
        /// Those after this one.
        after: Option<String>,
        /// How many, at most [`MAX_PAGE`].
        limit: usize,
    },
    /// What a tenant told at a tick.
    Told {
        /// The tenant.
        tenant: TenantId,
        /// Its totals.
        totals: Totals,
    },
    /// A cron run is over.
    CronRan {
        /// When it was due.
        scheduled_at: Timestamp,
        /// Tenants that were ticked.
        ticked: u64,
        /// Of these, tenants whose clean-up was due.
        cleaned: u64,
        /// Tenants that did not answer.
        failed: u64,
    },
    /// The last cron run.
    LastCron,
    /// Which health checks are due?
    BeginChecks {
        /// The least time between two of a provider.
        interval: Millis,
        /// What all of a day may cost.
        budget: NanoUsd,
        /// Random bits.
        seed: u64,
        /// The providers that can be checked, and what that costs at worst.
        wanted: Vec<(String, NanoUsd)>,
    },
    /// What came of health checks.
    EndChecks {
        /// Each is taken in once.
        results: Vec<Checked>,
    },
    /// What health checks have found.
    Checks,
}

/// What the directory answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryReply {
    /// Done.
    Done,
    /// Tenants.
    Tenants {
        /// The rows.
        tenants: Vec<TenantRow>,
        /// Whether there are more.
        more: bool,
    },
    /// The last cron run, if there was one.
    Cron {
        /// It.
        run: Option<CronRun>,
    },
    /// The health checks to make.
    Claimed {
        /// They.
        claims: Vec<Claim>,
    },
    /// What health checks have changed.
    Changed {
        /// One entry for each provider whose state is another.
        changes: Vec<Change>,
    },
    /// What health checks have found.
    Checks {
        /// All of it.
        checks: Box<Checks>,
    },
    /// The message could not be read.
    Failed {
        /// For the log.
        why: String,
    },
}

/// A tenant as the directory knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantRow {
    /// The tenant.
    pub tenant: TenantId,
    /// When it was added.
    pub created_at: Timestamp,
    /// What it told last.
    pub totals: Totals,
    /// When it told that.
    pub told_at: Option<Timestamp>,
}

/// A cron run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronRun {
    /// When it was due.
    pub scheduled_at: Timestamp,
    /// When it was over.
    pub finished_at: Timestamp,
    /// Tenants that were ticked.
    pub ticked: u64,
    /// Of these, tenants whose clean-up was due.
    pub cleaned: u64,
    /// Tenants that did not answer.
    pub failed: u64,
}
