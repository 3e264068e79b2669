//! What this isolate knows of a tenant's targets: what the tenant's object told of them, how many retries are
//! left, and how many requests are under way where.

use super::Isolate;
use std::cell::RefCell;
use std::rc::Rc;
use tollgate_core::ids::TenantId;
use tollgate_core::map::Map;
use tollgate_core::perf::View;
use tollgate_core::retry::RetryBudget;

/// Most tenants of which this is remembered.
const MAX_TENANTS: usize = 500;

#[derive(Default)]
pub(super) struct Targets {
    tenants: RefCell<Map<TenantId, Known>>,
    busy: Rc<RefCell<Map<String, u32>>>,
}

#[derive(Clone, Default)]
struct Known {
    view: Rc<View>,
    retries: RetryBudget,
    hedges: RetryBudget,
}

/// A request under way at a target. It is over when this is dropped.
#[derive(Debug)]
#[must_use = "it is held while the target answers"]
pub struct Busy {
    all: Rc<RefCell<Map<String, u32>>>,
    target: String,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut all = self.all.borrow_mut();
        let left = all.get(&self.target).map_or(0, |n| n.saturating_sub(1));
        if left == 0 {
            all.remove(&self.target);
        } else {
            all.insert(std::mem::take(&mut self.target), left);
        }
    }
}

impl Targets {
    fn with<R>(&self, tenant: &TenantId, work: impl FnOnce(&mut Known) -> R) -> R {
        let mut tenants = self.tenants.borrow_mut();
        if let Some(known) = tenants.get_mut(tenant) {
            return work(known);
        }
        if tenants.len() >= MAX_TENANTS {
            tenants.clear();
        }
        work(tenants.entry(tenant.clone()).or_default())
    }
}

impl Isolate {
    /// What the tenant's object last told of its targets.
    pub fn view(&self, tenant: &TenantId) -> Rc<View> {
        self.targets.with(tenant, |known| Rc::clone(&known.view))
    }

    /// Remembers what it told. What is older than what is known is not believed: replies may overtake each
    /// other.
    pub fn learn_view(&self, tenant: &TenantId, view: View) {
        self.targets.with(tenant, |known| {
            if view.version > known.view.version {
                known.view = Rc::new(view);
            }
        });
    }

    /// The retries that a tenant has left here.
    pub fn retries<R>(&self, tenant: &TenantId, work: impl FnOnce(&mut RetryBudget) -> R) -> R {
        self.targets.with(tenant, |known| work(&mut known.retries))
    }

    /// A request came whose slow first target may get company; such may be so many percent of the requests.
    pub fn may_hedge(&self, tenant: &TenantId, percent: u32) {
        self.targets.with(tenant, |known| known.hedges.deposit(percent));
    }

    /// Takes what a second request at the same time costs: it is a retry, too.
    pub fn hedge(&self, tenant: &TenantId) -> bool {
        self.targets.with(tenant, |known| known.retries.has() && known.hedges.take() && known.retries.take())
    }

    /// A request goes to this target (`provider/model`).
    pub fn busy(&self, target: String) -> Busy {
        let mut all = self.targets.busy.borrow_mut();
        match all.get_mut(&target) {
            Some(n) => *n = n.saturating_add(1),
            None => {
                all.insert(target.clone(), 1);
            }
        }
        Busy { all: Rc::clone(&self.targets.busy), target }
    }

    /// Requests under way, by `provider/model`.
    pub fn under_way(&self) -> Map<String, u32> {
        self.targets.busy.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolate() -> Isolate {
        Isolate::new(Map::new())
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_is_over() {
        let isolate = isolate();
        let first = isolate.busy("p/m".to_owned());
        let second = isolate.busy("p/m".to_owned());
        assert_eq!(isolate.under_way().get("p/m"), Some(&2));
        drop(first);
        assert_eq!(isolate.under_way().get("p/m"), Some(&1));
        drop(second);
        assert!(isolate.under_way().is_empty());
    }

    #[test]
    fn second_requests_are_a_share_and_count_as_retries() {
        let (isolate, acme) = (isolate(), TenantId::parse("acme").unwrap());
        let count = |n: usize| (0..n).filter(|_| isolate.hedge(&acme)).count();
        // A new tenant has some of both saved up.
        assert_eq!(count(50), 10);
        assert_eq!(isolate.retries(&acme, |retries| (0..50).filter(|_| retries.take()).count()), 0);
        // Ten of a hundred, while there are retries.
        for _ in 0..100 {
            isolate.retries(&acme, |retries| retries.deposit(20));
            isolate.may_hedge(&acme, 10);
        }
        assert_eq!(count(50), 10);
        (0..100).for_each(|_| isolate.may_hedge(&acme, 10));
        isolate.retries(&acme, |retries| retries.deposit(100));
        assert_eq!(count(50), 1);
        // What was not taken for want of a retry is still there.
        isolate.retries(&acme, |retries| (0..10).for_each(|_| retries.deposit(100)));
        assert_eq!(count(50), 9);
    }

    #[test]
    fn an_older_view_is_not_believed() {
        let (isolate, acme) = (isolate(), TenantId::parse("acme").unwrap());
        let view = |version| View { version, ..View::default() };
        isolate.learn_view(&acme, view(5));
        isolate.learn_view(&acme, view(4));
        assert_eq!(isolate.view(&acme).version, 5);
        assert_eq!(isolate.view(&TenantId::parse("rival").unwrap()).version, 0);
    }
}
