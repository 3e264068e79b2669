//! What the outside world must be able to do. The adapters on Workers are in `edge`; tests bring fakes.
//!
//! Everything runs on one thread, so the futures need not be `Send`.
#![expect(async_fn_in_trait, reason = "single-threaded by design: no caller needs Send")]

use std::future::Future;
use tollgate_core::cache::{CacheKey, Kept};
use tollgate_core::dialect::tap::Tap;
use tollgate_core::ids::TenantId;
use tollgate_core::units::{Millis, Timestamp};

/// Time and chance.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;
    /// 32 random bytes of cryptographic quality.
    fn random(&self) -> [u8; 32];
    /// Waits.
    async fn sleep(&self, span: Millis);
}

/// An object did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// It has too much to do; asking again makes it worse.
    Overloaded,
    /// It may answer when asked again.
    Retryable,
    /// It failed.
    Failed,
}

/// The Durable Objects.
pub trait Objects {
    /// One turn of a tenant's object.
    async fn tenant(&self, tenant: &TenantId, message: &str) -> Result<String, Unavailable>;
    /// One turn of the directory.
    async fn directory(&self, message: &str) -> Result<String, Unavailable>;
}

/// What an [`Outgoing::url`] begins with that is asked by the binding of Workers AI; the model follows.
pub const BOUND: &str = "binding:AI/run/";

/// A request to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Checked against the egress rules already; or a binding ([`BOUND`]).
    pub url: String,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body; a page is asked for (GET) where there is none.
    pub body: Option<Vec<u8>>,
    /// Milliseconds until the answer's headers must be there.
    pub first_byte: Millis,
    /// Milliseconds that the rest of a whole answer may be silent.
    pub idle: Millis,
    /// Milliseconds for the whole answer, unless it is a stream.
    pub total: Millis,
    /// Largest answer that is read whole, in bytes.
    pub cap: usize,
}

/// A provider's answer.
#[derive(Debug)]
pub struct Incoming<A> {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: String,
    /// `retry-after`, as sent.
    pub retry_after: Option<String>,
    /// `retry-after-ms`, as sent.
    pub retry_after_ms: Option<String>,
    /// Tokens read, where a header tells them and the body does not: Bedrock, for Cohere's models.
    pub input_tokens: Option<u64>,
    /// Headers that may be handed on.
    pub headers: Vec<(&'static str, String)>,
    /// The whole body; `None` for a stream, which waits in `answer`.
    pub whole: Option<Vec<u8>>,
    /// The answer itself, wherever its bytes are.
    pub answer: A,
}

/// Why no usable answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Too slow.
    Timeout,
    /// The client went away, and the request was stopped.
    ClientGone,
    /// Refused, or reset before the answer began.
    Broken,
    /// The answer began and broke off.
    Cut,
    /// Longer than the cap.
    TooLarge,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The upstream closed it properly.
    Closed,
    /// It was silent, or went on, for too long.
    Timeout,
    /// The client went away.
    ClientGone,
    /// It broke off.
    Broken,
}

/// How far a stream came before anything of it went to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primed {
    /// It has begun, has failed, or has been held back for long enough.
    Ready,
    /// It was silent for too long.
    Silent,
    /// It is over.
    Ended,
    /// It broke off.
    Broken,
    /// The client went away.
    ClientGone,
}

/// Providers.
pub trait Upstream: Sized {
    /// An answer whose bytes are still outside.
    type Answer;
    /// Asks.
    async fn send(&self, request: Outgoing) -> Result<Incoming<Self::Answer>, NoAnswer>;
    /// Reads a stream until the tap says that it has begun or failed, for at most `hold`, and within bounds of
    /// bytes and chunks. It may be silent for `idle`, if that is less. What was read waits, as the tap gave it,
    /// for [`Upstream::relay`].
    async fn prime(&self, tap: Tap, hold: Millis, idle: Millis) -> (Tap, Primed);
    /// Lets go of the request under way, or of its stream, which will not be relayed.
    fn drop_stream(&self);
    /// The same event with an upstream of its own, for a second request at the same time.
    fn beside(&self) -> Self;
    /// Moves a stream to the client through the tap. It may be silent for `idle`, and last `total`,
    /// milliseconds; after `heartbeat` of silence, and again after each, the client is sent a comment.
    async fn relay(&self, tap: Tap, idle: Millis, total: Millis, heartbeat: Millis) -> (Tap, StreamEnd);
    /// Nothing moves for now, but the stream to the client goes on: until the next [`Upstream::relay`] or the end it
    /// is sent a comment every `heartbeat` milliseconds, and if it leaves, the request under way is stopped.
    fn keep_open(&self, heartbeat: Millis);
    /// Ends the stream to the client after these bytes.
    async fn close(&self, last: Vec<u8>);
}

/// Stored answers.
pub trait ResponseCache: Upstream {
    /// A stored answer and its bytes. Whatever goes wrong is a miss.
    async fn get(&self, key: &CacheKey) -> Option<(Kept, Vec<u8>, Self::Answer)>;
    /// Stores an answer for at least `ttl_s` seconds. Whether it worked.
    async fn put(&self, key: &CacheKey, kept: &Kept, bytes: &[u8], ttl_s: u32) -> bool;
    /// Whether the store answers.
    async fn probe(&self) -> bool;
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// Longer than the cap.
    TooLarge,
    /// The client broke off.
    Broken,
}

/// The event that is being served.
pub trait Event {
    /// The request's body, at most `cap` bytes.
    async fn body(&self, cap: usize) -> Result<Vec<u8>, NoBody>;
    /// Writes a line to the log.
    fn log(&self, line: &str);
    /// Goes on with this after the answer is out.
    fn later(&self, work: impl Future<Output = ()> + 'static);
}

/// Encryption and signatures. `None` where the runtime refuses: a key of the wrong form, or a sealed text
/// that does not open.
pub trait Vault {
    /// AES-256-GCM: ciphertext and tag.
    async fn seal(&self, key: &[u8; 32], nonce: &[u8; 12], bound_to: &str, plain: &[u8]) -> Option<Vec<u8>>;
    /// AES-256-GCM: what was sealed with the same key, nonce and `bound_to`.
    async fn open(&self, key: &[u8; 32], nonce: &[u8; 12], bound_to: &str, sealed: &[u8]) -> Option<Vec<u8>>;
    /// RSASSA-PKCS1-v1_5 with SHA-256, under a private key in PKCS #8.
    async fn sign_rs256(&self, pkcs8: &[u8], message: &[u8]) -> Option<Vec<u8>>;
}

/// All of it.
pub trait World: Clock + Objects + Upstream + ResponseCache + Event + Vault {}

impl<T: Clock + Objects + Upstream + ResponseCache + Event + Vault> World for T {}
