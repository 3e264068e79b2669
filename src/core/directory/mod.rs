//! The directory: which tenants exist, what they told at the last tick, and how the operator's providers are.
//! Never on a request's way.

use crate::checks::{Change, Checked, Checks, Claim};
use crate::ids::TenantId;
use crate::map::Map;
use crate::price::{PriceBook, PriceSpec};
use crate::protocol::Totals;
use crate::units::{Millis, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};

/// Most tenants on one page.
pub const MAX_PAGE: usize = 100;
/// Versions of the operator's prices that are kept, so that the price of an older charge can be looked up.
pub const MAX_BOOKS: u64 = 100;

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
    /// The operator's prices.
    Prices {
        /// This version of them; the latest if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
    },
    /// Store the operator's prices, validated, as the next version.
    PutPrices {
        /// All of them.
        prices: Map<String, PriceSpec>,
        /// Only if this version is current.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_match: Option<u64>,
    },
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
    /// The operator's prices. Version 0 where there were never any; nothing where the version asked for is
    /// not kept.
    Prices {
        /// They.
        book: Option<Box<PriceBook>>,
    },
    /// The prices are not at the expected version.
    Conflict {
        /// The version that they are at.
        current: u64,
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
