//! An outside world for unit tests: what is sent is kept, what comes back was put there before.

use crate::ports::{Clock, Event, Incoming, NoAnswer, NoBody, Outgoing, Primed, StreamEnd, Upstream, Vault};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tollgate_core::auth::digest;
use tollgate_core::dialect::tap::Tap;
use tollgate_core::units::{Millis, Timestamp};

/// The world.
pub struct Fake {
    /// What the clock shows.
    pub now: Cell<Timestamp>,
    /// Answers to come: status and body.
    pub answers: RefCell<VecDeque<(u16, &'static str)>>,
    /// What was sent.
    pub sent: RefCell<Vec<Outgoing>>,
    /// What was logged.
    pub lines: RefCell<Vec<String>>,
    /// How often something was opened.
    pub opened: Cell<usize>,
}

impl Fake {
    /// A world at the beginning of 2024-03-10.
    pub fn new() -> Fake {
        let now = Cell::new(Timestamp(1_710_028_800_000));
        Fake { now, answers: RefCell::default(), sent: RefCell::default(), lines: RefCell::default(), opened: Cell::default() }
    }

    /// Lets time pass.
    pub fn pass(&self, span: Millis) {
        self.now.set(self.now.get().plus(span));
    }
}

/// Runs what never has to wait.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

impl Clock for Fake {
    fn now(&self) -> Timestamp {
        self.now.get()
    }
    fn random(&self) -> [u8; 32] {
        [7; 32]
    }
    async fn sleep(&self, span: Millis) {
        self.pass(span);
    }
}

impl Event for Fake {
    async fn body(&self, _: usize) -> Result<Vec<u8>, NoBody> {
        Err(NoBody::Broken)
    }
    fn log(&self, line: &str) {
        self.lines.borrow_mut().push(line.to_owned());
    }
    fn later(&self, work: impl Future<Output = ()> + 'static) {
        run(work);
    }
}

impl Upstream for Fake {
    type Answer = ();
    async fn send(&self, request: Outgoing) -> Result<Incoming<()>, NoAnswer> {
        self.sent.borrow_mut().push(request);
        let (status, body) = self.answers.borrow_mut().pop_front().ok_or(NoAnswer::Broken)?;
        let whole = Some(body.as_bytes().to_vec());
        Ok(Incoming {
            status,
            content_type: "application/json".to_owned(),
            retry_after: None,
            retry_after_ms: None,
            input_tokens: None,
            headers: Vec::new(),
            whole,
            answer: (),
        })
    }
    async fn prime(&self, tap: Tap, _: Millis, _: Millis) -> (Tap, Primed) {
        (tap, Primed::Broken)
    }
    fn drop_stream(&self) {}
    fn beside(&self) -> Fake {
        Fake::new()
    }
    async fn relay(&self, tap: Tap, _: Millis, _: Millis, _: Millis) -> (Tap, StreamEnd) {
        (tap, StreamEnd::Broken)
    }
    fn keep_open(&self, _: Millis) {}
    async fn close(&self, _: Vec<u8>) {}
}

/// No cipher, but bound to the same things as one.
fn tag(key: &[u8; 32], nonce: &[u8; 12], bound_to: &str, plain: &[u8]) -> Vec<u8> {
    digest(&[key, nonce, bound_to.as_bytes(), plain]).into_bytes().into_iter().take(16).collect()
}

impl Vault for Fake {
    async fn seal(&self, key: &[u8; 32], nonce: &[u8; 12], bound_to: &str, plain: &[u8]) -> Option<Vec<u8>> {
        Some(plain.iter().map(|b| !b).chain(tag(key, nonce, bound_to, plain)).collect())
    }
    async fn open(&self, key: &[u8; 32], nonce: &[u8; 12], bound_to: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        self.opened.set(self.opened.get().saturating_add(1));
        let (body, end) = sealed.split_at_checked(sealed.len().checked_sub(16)?)?;
        let plain: Vec<u8> = body.iter().map(|b| !b).collect();
        (tag(key, nonce, bound_to, &plain) == end).then_some(plain)
    }
    async fn sign_rs256(&self, pkcs8: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        (pkcs8 != b"no key").then(|| digest(&[pkcs8, message]).into_bytes())
    }
}
