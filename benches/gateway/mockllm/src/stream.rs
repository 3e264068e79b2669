//! A streamed answer, paced by its plan.
//!
//! Every event carries `t`, the wall clock in nanoseconds when it was made, so a client on the same
//! host sees the delay that each event got on its way and not only the total.

use crate::plan::Plan;
use crate::{STREAMS_CUT, STREAMS_DONE};
use bytes::Bytes;
use hyper::body::Frame;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep_until, Instant, Sleep};

#[derive(PartialEq, Clone, Copy)]
enum Step {
    Role,
    Token(u32),
    Finish,
    Usage,
    Done,
    End,
}

pub struct TokenStream {
    plan: Plan,
    model: String,
    usage: bool,
    step: Step,
    due: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        if self.is_over() {
            &STREAMS_DONE
        } else {
            &STREAMS_CUT
        }
        .fetch_add(1, Relaxed);
    }
}

impl TokenStream {
    pub fn new(plan: Plan, model: String, usage: bool) -> Self {
        let due = Instant::now() + Duration::from_millis(plan.first_token);
        TokenStream {
            plan,
            model,
            usage,
            step: Step::Role,
            due,
            sleep: None,
        }
    }

    pub fn is_over(&self) -> bool {
        self.step == Step::End
    }

    fn event(&self, choices: &str, usage: &str) -> Bytes {
        let t = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        Bytes::from(format!(
            concat!(
                "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,",
                "\"model\":\"{}\",\"t\":{},\"choices\":[{}],\"usage\":{}}}\n\n"
            ),
            self.model, t, choices, usage
        ))
    }

    fn delta(&self, delta: &str, finish: &str) -> Bytes {
        let choice = format!(
            "{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}"
        );
        self.event(&choice, "null")
    }

    /// Delays stand only before tokens; the role goes out with the first one.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.step, Step::Role | Step::Token(_)) || Instant::now() >= self.due {
            return Poll::Ready(());
        }
        let due = self.due;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx)
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.wait(cx).is_pending() {
            return Poll::Pending;
        }
        let bytes = match self.step {
            Step::Role => {
                self.step = if self.plan.tokens == 0 {
                    Step::Finish
                } else {
                    Step::Token(0)
                };
                self.delta("{\"role\":\"assistant\",\"content\":\"\"}", "null")
            }
            Step::Token(i) => {
                if self.plan.cut_after != 0 && i >= self.plan.cut_after {
                    return Poll::Ready(Some(Err(io::Error::other("cut as asked"))));
                }
                self.due += Duration::from_millis(self.plan.between_tokens);
                self.step = if i + 1 >= self.plan.tokens {
                    Step::Finish
                } else {
                    Step::Token(i + 1)
                };
                self.delta(&format!("{{\"content\":\"tok{i} \"}}"), "null")
            }
            Step::Finish => {
                self.step = if self.usage { Step::Usage } else { Step::Done };
                self.delta("{}", "\"stop\"")
            }
            Step::Usage => {
                self.step = Step::Done;
                self.event("", &crate::usage(self.plan.tokens))
            }
            Step::Done => {
                self.step = Step::End;
                Bytes::from_static(b"data: [DONE]\n\n")
            }
            Step::End => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
