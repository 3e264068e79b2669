//! What one worker isolate remembers between requests. All of it may vanish at any time.

mod keyring;
mod targets;

pub use targets::Busy;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tollgate_core::auth;
use tollgate_core::catalog::{Auth, Catalog, Provider};
use tollgate_core::config::Config;
use tollgate_core::dialect::Dialect;
use tollgate_core::egress::{BaseUrl, Why};
use tollgate_core::failure::Failure;
use tollgate_core::ids::TenantId;
use tollgate_core::map::{Map, Set};
use tollgate_core::plan::{Plan, plan};
use tollgate_core::price::PriceBook;
use tollgate_core::protocol::Report;
use tollgate_core::units::{Millis, Timestamp};

/// Most tenants whose configuration is remembered.
const MAX_CONFIGS: usize = 500;
/// Most plans that are remembered of one configuration.
const MAX_PLANS: usize = 500;
/// Most key hashes that are remembered.
const MAX_HASHES: usize = 2_000;
/// How long a key that passed is let pass while the ledger cannot be asked, in milliseconds.
const VOUCHED_FOR: Millis = 300_000;
/// Most models that are remembered of such a key.
const MAX_VOUCHED_MODELS: usize = 32;
/// How long an object that was overloaded is spared by keys that are not critical, in milliseconds.
const PRESSED_FOR: Millis = 1_000;
/// Most requests of an isolate that wait for a limit or budget at a time.
pub const MAX_SEATS: usize = 256;
/// Most reports that wait for a tenant's object. Beyond it the oldest is dropped: its permit expires.
pub const MAX_WAITING: usize = 5_000;

/// Addresses by provider and format.
type Bases = Map<String, Vec<(Dialect, Rc<BaseUrl>)>>;

/// A tenant's configuration as this isolate knows it.
#[derive(Clone, Debug)]
pub struct KnownConfig {
    /// Version.
    pub version: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// Document.
    pub config: Rc<Config>,
    /// The providers as this tenant sees them.
    pub catalog: Rc<Catalog>,
    /// Sealed texts by name.
    pub secrets: Rc<Map<String, String>>,
    /// What names came to under it: finding a price looks through the whole list.
    plans: Rc<RefCell<Map<String, Rc<Plan>>>>,
    /// Where its providers are, by name and format: reading an address takes longer than looking it up.
    bases: Rc<RefCell<Bases>>,
    rings: Rc<RefCell<keyring::Rings>>,
}

impl KnownConfig {
    /// Where a provider is for requests in a format, read by `read` the first time.
    ///
    /// # Errors
    /// Those of `read`; they are not remembered.
    pub fn base(&self, provider: &str, format: Dialect, read: impl FnOnce() -> Result<BaseUrl, Why>) -> Result<Rc<BaseUrl>, Why> {
        let known = |all: &Vec<(Dialect, Rc<BaseUrl>)>| all.iter().find(|(f, _)| *f == format).map(|(_, base)| Rc::clone(base));
        if let Some(base) = self.bases.borrow().get(provider).and_then(known) {
            return Ok(base);
        }
        let base = Rc::new(read()?);
        self.bases.borrow_mut().entry(provider.to_owned()).or_default().push((format, Rc::clone(&base)));
        Ok(base)
    }
}

/// What the isolate remembers.
pub struct Isolate {
    /// Text variables and secrets.
    vars: Map<String, String>,
    /// Providers and prices.
    pub catalog: Rc<Catalog>,
    /// What is wrong with the operator's variables: readiness tells it.
    pub misconfigured: Option<String>,
    /// The same with the operator's prices, as they were last told: most tenants share it.
    priced: RefCell<Option<(u64, Rc<Catalog>)>>,
    configs: RefCell<Map<TenantId, KnownConfig>>,
    hashes: RefCell<Map<String, Rc<str>>>,
    waiting: RefCell<Map<TenantId, Queue>>,
    vouched: RefCell<Map<Rc<str>, Vouched>>,
    /// Tenants whose object has too much to do, and until when that is believed.
    pressed: RefCell<Map<TenantId, Timestamp>>,
    seats: Rc<Cell<usize>>,
    /// Whether each request is logged, or only failures of ours.
    log_requests: bool,
    served: Cell<u64>,
    keys: keyring::Keys,
    targets: targets::Targets,
}

/// A key that the ledger let pass lately.
#[derive(Clone, Debug, Default)]
pub struct Vouched {
    until: Timestamp,
    /// Whether it is served first when there is too much to do.
    pub critical: bool,
    /// Models that it passed with, as it named them.
    pub models: Set<String>,
}

/// A place among those who wait for a limit or budget. It is free again when this is dropped.
#[must_use = "it is held while waiting"]
pub struct Seat(Rc<Cell<usize>>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[derive(Default)]
struct Queue {
    reports: VecDeque<Report>,
    /// Somebody will send them by then. Past it, that somebody is taken for dead.
    sender_until: Option<Timestamp>,
    dropped: u64,
}

impl Isolate {
    /// An isolate with these variables.
    pub fn new(vars: Map<String, String>) -> Isolate {
        let operator = vars.get("TOLLGATE_PROVIDERS").map(String::as_str).filter(|v| !v.trim().is_empty());
        let (catalog, misconfigured) = match Catalog::new(operator) {
            Ok(catalog) => (catalog, None),
            Err(why) => (Catalog::new(None).unwrap_or_default(), Some(why)),
        };
        let log_requests = vars.get("TOLLGATE_LOG").is_some_and(|v| v == "requests");
        Isolate {
            vars,
            catalog: Rc::new(catalog),
            misconfigured,
            priced: RefCell::default(),
            configs: RefCell::default(),
            hashes: RefCell::default(),
            waiting: RefCell::default(),
            vouched: RefCell::default(),
            pressed: RefCell::default(),
            seats: Rc::default(),
            log_requests,
            served: Cell::new(0),
            keys: keyring::Keys::default(),
            targets: targets::Targets::default(),
        }
    }

    /// The same where the worker has a binding `AI`, if `ai` says so. Workers AI is asked by it, unless the
    /// operator set a key or an address for it, or says how it is asked in `WORKERS_AI_VIA`.
    #[must_use]
    pub fn with_ai(mut self, ai: bool) -> Isolate {
        let other = || self.var("CLOUDFLARE_API_TOKEN").is_some() || self.own_base_url("workers-ai").is_some();
        let (bound, wrong) = match self.var("WORKERS_AI_VIA") {
            None => (ai && !other(), None),
            Some("binding") if ai => (true, None),
            Some("binding") => (false, Some("WORKERS_AI_VIA is `binding`, and the worker has no binding AI")),
            Some("rest") => (false, None),
            Some(_) => (false, Some("WORKERS_AI_VIA: `binding` or `rest`")),
        };
        if bound {
            Rc::make_mut(&mut self.catalog).bind();
        }
        self.misconfigured = self.misconfigured.or(wrong.map(str::to_owned));
        self
    }

    /// A variable or secret; `None` if it is unset or blank.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    /// Whether there is what a provider needs: its key, or for those that need none the operator's word
    /// where it is.
    pub fn configured(&self, name: &str, row: &Provider) -> bool {
        match row.auth() {
            _ if row.is_bound() => true,
            Auth::None => self.own_base_url(name).is_some() || BaseUrl::operator(&row.base_url, self.plain_http_hosts()).is_ok(),
            Auth::Aws => self.has_own_key(&row.api_key_env) || self.var("AWS_ACCESS_KEY_ID").is_some(),
            _ => self.has_own_key(&row.api_key_env),
        }
    }

    /// The operator's own address for a provider: `<PROVIDER>_BASE_URL`.
    pub fn own_base_url(&self, provider: &str) -> Option<&str> {
        self.var(&format!("{}_BASE_URL", provider.to_ascii_uppercase().replace('-', "_")))
    }

    /// Hosts and ports that may be called by plain http.
    pub fn plain_http_hosts(&self) -> &str {
        self.var("TOLLGATE_PLAIN_HTTP_HOSTS").unwrap_or_default()
    }

    /// Whether each request is logged.
    pub fn logs_requests(&self) -> bool {
        self.log_requests
    }

    /// Milliseconds of silence after which a stream's client is sent a comment.
    pub fn heartbeat(&self) -> i64 {
        let set = self.var("TOLLGATE_HEARTBEAT_MS").and_then(|v| v.parse().ok());
        set.filter(|ms| (100..=600_000).contains(ms)).unwrap_or(15_000)
    }

    /// Milliseconds that a stream is held back, after its headers, until its answer begins.
    pub fn hold(&self) -> i64 {
        let set = self.var("TOLLGATE_HOLD_MS").and_then(|v| v.parse().ok());
        set.filter(|ms| (0..=60_000).contains(ms)).unwrap_or(5_000)
    }

    /// Counts a request served by this isolate.
    pub fn count_served(&self) {
        self.served.set(self.served.get().saturating_add(1));
    }

    /// HMAC of a gateway key, remembered. `None` without a pepper: nothing opens then.
    pub fn hash(&self, key: &str) -> Option<Rc<str>> {
        let pepper = self.var("TOLLGATE_KEY_PEPPER")?;
        let mut hashes = self.hashes.borrow_mut();
        if let Some(hash) = hashes.get(key) {
            return Some(Rc::clone(hash));
        }
        if hashes.len() >= MAX_HASHES {
            hashes.clear();
        }
        let hash: Rc<str> = auth::hash(pepper, key).into();
        hashes.insert(key.to_owned(), Rc::clone(&hash));
        Some(hash)
    }

    /// The configuration of a tenant, if this isolate has seen it.
    pub fn config(&self, tenant: &TenantId) -> Option<KnownConfig> {
        self.configs.borrow().get(tenant).cloned()
    }

    /// The plan for a model's name, remembered as long as its prices hold.
    ///
    /// # Errors
    /// Those of [`plan`]; they are not remembered.
    pub fn plan(&self, known: &KnownConfig, name: &str, now: Timestamp) -> Result<Rc<Plan>, Failure> {
        if let Some(plan) = known.plans.borrow().get(name).filter(|plan| plan.is_valid(now)) {
            return Ok(Rc::clone(plan));
        }
        let plan = Rc::new(plan(name, &known.config, &known.catalog, now)?);
        let mut plans = known.plans.borrow_mut();
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        plans.insert(name.to_owned(), Rc::clone(&plan));
        Ok(plan)
    }

    /// The providers and prices as a tenant sees them.
    pub fn catalog_for(&self, config: &Config, prices: Option<Box<PriceBook>>) -> Rc<Catalog> {
        let own = !config.providers.is_empty();
        let Some(book) = prices else {
            return if own { Rc::new(self.catalog.for_tenant(config, None)) } else { Rc::clone(&self.catalog) };
        };
        if own {
            return Rc::new(self.catalog.for_tenant(config, Some(Arc::from(book))));
        }
        let mut priced = self.priced.borrow_mut();
        if let Some((_, catalog)) = priced.as_ref().filter(|(version, _)| *version == book.version) {
            return Rc::clone(catalog);
        }
        let (version, catalog) = (book.version, Rc::new(self.catalog.for_tenant(config, Some(Arc::from(book)))));
        // Tenants that have not been told of the latest yet do not take it from the others.
        if priced.as_ref().is_none_or(|(known, _)| *known < version) {
            *priced = Some((version, Rc::clone(&catalog)));
        }
        catalog
    }

    /// Remembers a configuration.
    pub fn learn(
        &self,
        tenant: &TenantId,
        (version, at): (u64, Timestamp),
        config: Config,
        secrets: Map<String, String>,
        prices: Option<Box<PriceBook>>,
    ) -> KnownConfig {
        let catalog = self.catalog_for(&config, prices);
        let (config, secrets) = (Rc::new(config), Rc::new(secrets));
        let known = KnownConfig { version, at, config, catalog, secrets, plans: Rc::default(), bases: Rc::default(), rings: Rc::default() };
        let mut configs = self.configs.borrow_mut();
        if configs.len() >= MAX_CONFIGS && !configs.contains_key(tenant) {
            configs.clear();
        }
        configs.insert(tenant.clone(), known.clone());
        known
    }

    /// The configuration of nobody: providers as the operator has them.
    pub fn operators(&self) -> KnownConfig {
        let catalog = Rc::clone(&self.catalog);
        KnownConfig {
            version: 0,
            at: Timestamp::default(),
            config: Rc::default(),
            catalog,
            secrets: Rc::default(),
            plans: Rc::default(),
            bases: Rc::default(),
            rings: Rc::default(),
        }
    }

    /// Forgets a tenant that is gone.
    pub fn forget(&self, tenant: &TenantId) {
        self.configs.borrow_mut().remove(tenant);
    }

    /// Remembers that the ledger let this key pass.
    pub fn vouch(&self, key_hash: &Rc<str>, model: &str, critical: bool, now: Timestamp) {
        let mut vouched = self.vouched.borrow_mut();
        if vouched.len() >= MAX_HASHES && !vouched.contains_key(key_hash) {
            vouched.clear();
        }
        let key = vouched.entry(Rc::clone(key_hash)).or_default();
        (key.until, key.critical) = (now.plus(VOUCHED_FOR), critical);
        if !key.models.contains(model) && key.models.len() < MAX_VOUCHED_MODELS {
            key.models.insert(model.to_owned());
        }
    }

    /// What is known of a key that passed lately.
    pub fn vouched(&self, key_hash: &str, now: Timestamp) -> Option<Vouched> {
        self.vouched.borrow().get(key_hash).filter(|key| now < key.until).cloned()
    }

    /// A tenant's object said that it has too much to do.
    pub fn pressed(&self, tenant: &TenantId, now: Timestamp) {
        let mut pressed = self.pressed.borrow_mut();
        if pressed.len() >= MAX_CONFIGS {
            pressed.retain(|_, until| now < *until);
        }
        pressed.insert(tenant.clone(), now.plus(PRESSED_FOR));
    }

    /// Whether it said so lately.
    pub fn under_pressure(&self, tenant: &TenantId, now: Timestamp) -> bool {
        self.pressed.borrow().get(tenant).is_some_and(|until| now < *until)
    }

    /// A place to wait in, unless too many wait.
    pub fn seat(&self) -> Option<Seat> {
        let taken = self.seats.get();
        (taken < MAX_SEATS).then(|| {
            self.seats.set(taken.saturating_add(1));
            Seat(Rc::clone(&self.seats))
        })
    }

    /// Queues a report. Whether the caller must send the queue: nobody else is about to.
    pub fn enqueue(&self, tenant: &TenantId, report: Report, now: Timestamp, sends_by: Timestamp) -> bool {
        self.leave(tenant, report);
        let mut waiting = self.waiting.borrow_mut();
        let queue = waiting.entry(tenant.clone()).or_default();
        let nobody = queue.sender_until.is_none_or(|until| until < now);
        if nobody {
            queue.sender_until = Some(sends_by);
        }
        nobody
    }

    /// Queues a report that whoever sends next takes along.
    pub fn leave(&self, tenant: &TenantId, report: Report) {
        let mut waiting = self.waiting.borrow_mut();
        let queue = waiting.entry(tenant.clone()).or_default();
        if queue.reports.len() >= MAX_WAITING {
            queue.reports.pop_front();
            queue.dropped = queue.dropped.saturating_add(1);
        }
        queue.reports.push_back(report);
    }

    /// Takes up to `most` reports to be sent, oldest first.
    pub fn dequeue(&self, tenant: &TenantId, most: usize) -> Vec<Report> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(queue) = waiting.get_mut(tenant) else { return Vec::new() };
        let n = queue.reports.len().min(most);
        queue.reports.drain(..n).collect()
    }

    /// Puts reports back that could not be sent.
    pub fn requeue(&self, tenant: &TenantId, reports: Vec<Report>) {
        let mut waiting = self.waiting.borrow_mut();
        let queue = waiting.entry(tenant.clone()).or_default();
        reports.into_iter().rev().for_each(|report| queue.reports.push_front(report));
    }

    /// The sender is done. Returns how many reports were dropped since the last time.
    pub fn sender_done(&self, tenant: &TenantId) -> u64 {
        let mut waiting = self.waiting.borrow_mut();
        let Some(queue) = waiting.get_mut(tenant) else { return 0 };
        let dropped = std::mem::take(&mut queue.dropped);
        queue.sender_until = None;
        if queue.reports.is_empty() {
            waiting.remove(tenant);
        }
        dropped
    }
}
