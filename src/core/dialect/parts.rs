//! Parts for formats that do not number them: which is open, and when it closes.

use super::common::{Body, Delta, Opening, Piece, Signature, Stop, WireError};
use super::stream::MAX_PARTS;
use crate::map::Map;

/// Most choices of one answer; OpenAI's own bound.
const MAX_CHOICES: usize = 128;

/// Kinds of parts that are filled with text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Refusal,
    Thinking,
}

/// The parts of every choice of one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parts(Map<u64, Choice>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Choice {
    next: u64,
    open: Option<(u64, Open)>,
    /// Ids of calls by the provider's number.
    calls: Map<u64, String>,
    stopped: bool,
}

/// The open part: one at a time, as formats with numbered blocks want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Words(Kind),
    Call(u64),
}

impl Choice {
    fn number(&mut self) -> Result<u64, WireError> {
        if self.next >= MAX_PARTS {
            return Err(WireError::malformed(format!("it has more than {MAX_PARTS} parts")));
        }
        let at = self.next;
        self.next = self.next.saturating_add(1);
        Ok(at)
    }

    fn close(&mut self, choice: u64, out: &mut Vec<Delta>) {
        if let Some((at, _)) = self.open.take() {
            out.push(Delta::Close { choice, at });
        }
    }

    fn opened(&mut self, choice: u64, kind: Kind, out: &mut Vec<Delta>) -> Result<u64, WireError> {
        match self.open {
            Some((at, open)) if open == Open::Words(kind) => Ok(at),
            _ => {
                self.close(choice, out);
                let at = self.number()?;
                self.open = Some((at, Open::Words(kind)));
                let part = match kind {
                    Kind::Text => Opening::Text,
                    Kind::Refusal => Opening::Refusal,
                    Kind::Thinking => Opening::Thinking,
                };
                out.push(Delta::Open { choice, at, part });
                Ok(at)
            }
        }
    }
}

impl Parts {
    fn choice(&mut self, choice: u64) -> Result<&mut Choice, WireError> {
        if self.0.len() >= MAX_CHOICES && !self.0.contains_key(&choice) {
            return Err(WireError::malformed(format!("it has more than {MAX_CHOICES} choices")));
        }
        Ok(self.0.entry(choice).or_default())
    }

    /// A choice is there, though nothing of it yet.
    pub fn begin(&mut self, choice: u64) -> Result<(), WireError> {
        self.choice(choice).map(|_| ())
    }

    /// The choices that are not whole.
    pub fn unstopped(&self) -> Vec<u64> {
        self.0.iter().filter(|(_, c)| !c.stopped).map(|(n, _)| *n).collect()
    }

    /// More text of a kind. Empty text opens nothing.
    pub fn text(&mut self, choice: u64, kind: Kind, text: String, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let track = self.choice(choice)?;
        if text.is_empty() || track.stopped {
            return Ok(());
        }
        let at = track.opened(choice, kind, out)?;
        out.push(Delta::More { choice, at, piece: Piece::Text(text) });
        Ok(())
    }

    /// A signature of the open part of a kind, or of an empty one.
    pub fn signature(&mut self, choice: u64, kind: Kind, signature: Signature, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let track = self.choice(choice)?;
        if track.stopped {
            return Ok(());
        }
        let at = track.opened(choice, kind, out)?;
        out.push(Delta::More { choice, at, piece: Piece::Signature(signature) });
        track.close(choice, out);
        Ok(())
    }

    /// A part that comes whole.
    pub fn whole(&mut self, choice: u64, body: Body, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let track = self.choice(choice)?;
        track.close(choice, out);
        let at = track.number()?;
        out.push(Delta::Open { choice, at, part: Opening::Whole(body) });
        out.push(Delta::Close { choice, at });
        Ok(())
    }

    /// Whether the provider's number stands for another call already.
    pub fn is_other_call(&self, choice: u64, number: u64, id: &str) -> bool {
        self.0.get(&choice).and_then(|c| c.calls.get(&number)).is_some_and(|known| !id.is_empty() && known != id)
    }

    /// Whether the number stands for a call.
    pub fn is_call(&self, choice: u64, number: u64) -> bool {
        self.0.get(&choice).is_some_and(|c| c.calls.contains_key(&number))
    }

    /// A number that stands for no call yet.
    pub fn next_call(&self, choice: u64) -> u64 {
        self.0.get(&choice).and_then(|c| c.calls.keys().next_back()).map_or(0, |last| last.saturating_add(1))
    }

    /// The last call's number.
    pub fn last_call(&self, choice: u64) -> Option<u64> {
        self.0.get(&choice).and_then(|c| c.calls.keys().next_back()).copied()
    }

    /// A call begins; the one before it is whole.
    pub fn call(&mut self, choice: u64, number: u64, call: Opening, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let track = self.choice(choice)?;
        if track.stopped {
            return Ok(());
        }
        track.close(choice, out);
        let at = track.number()?;
        if let Opening::ToolCall { id, .. } = &call {
            track.calls.insert(number, id.clone());
        }
        track.open = Some((at, Open::Call(number)));
        out.push(Delta::Open { choice, at, part: call });
        Ok(())
    }

    /// More arguments of a call. They must come before the next part begins: nobody interleaves calls,
    /// and formats with numbered blocks could not tell it.
    pub fn arguments(&mut self, choice: u64, number: u64, text: String, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let track = self.choice(choice)?;
        match track.open {
            _ if text.is_empty() || track.stopped => Ok(()),
            Some((at, Open::Call(open))) if open == number => {
                out.push(Delta::More { choice, at, piece: Piece::Arguments(text) });
                Ok(())
            }
            _ => Err(WireError::malformed("arguments of a call came after the next part began")),
        }
    }

    /// Whether a choice has called a tool.
    pub fn has_calls(&self, choice: u64) -> bool {
        self.0.get(&choice).is_some_and(|c| !c.calls.is_empty())
    }

    /// A choice is whole: what is open closes. A second word on it counts for nothing.
    pub fn stop(&mut self, choice: u64, stop: Stop, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let track = self.choice(choice)?;
        if track.stopped {
            return Ok(());
        }
        track.stopped = true;
        track.close(choice, out);
        out.push(Delta::Stop { choice, stop });
        Ok(())
    }

    /// Whether every choice that began is whole, and at least one is.
    pub fn all_stopped(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|c| c.stopped)
    }
}
