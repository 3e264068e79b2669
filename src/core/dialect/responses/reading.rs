//! Reading streamed responses.

use super::super::common::{Body, Delta, Opening, Piece, Stop, StopReason, Usage, WireError};
use super::super::json::Fields;
use super::super::openai::tier;
use super::super::stream::MAX_PARTS;
use super::super::{chat, logprobs};
use super::answer::{item, stop};
use super::{reasoning, usage};
use crate::map::Map;

/// An open part.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    at: u64,
    /// Whether anything came.
    filled: bool,
    /// The part of a summary that came last.
    summary: u64,
}

/// Reads events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// By the item's number and the part's in it.
    open: Map<(u64, u64), Open>,
    next: u64,
    calls: bool,
}

impl Reading {
    /// One event. Kinds that nobody knows yet are passed over.
    pub fn event(&mut self, mut event: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let kind = event.take_text("type").unwrap_or_default();
        let place = (event.take_u64("output_index").unwrap_or(0), event.take_u64("content_index").unwrap_or(0));
        let delta = event.take_text("delta").unwrap_or_default();
        match kind.as_str() {
            "response.created" => {
                let mut response = event.take_object("response").unwrap_or_default();
                let (id, model) = (response.take_text("id").unwrap_or_default(), response.take_text("model").unwrap_or_default());
                out.push(Delta::Begin { id, model, usage: None });
            }
            "response.output_item.added" => self.added(place, event.take_object("item").unwrap_or_default(), out)?,
            "response.output_text.delta" => {
                self.more(place, Opening::Text, Piece::Text(delta), out)?;
                let tokens = logprobs::read(event.take_list("logprobs").unwrap_or_default());
                if !tokens.is_empty() {
                    out.push(Delta::Logprobs { choice: 0, tokens });
                }
            }
            "response.refusal.delta" => self.more(place, Opening::Refusal, Piece::Text(delta), out)?,
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                let summary = event.take_u64("summary_index").unwrap_or(0);
                let place = (place.0, 0);
                let begun = self.open.get_mut(&place).is_some_and(|open| std::mem::replace(&mut open.summary, summary) != summary);
                let delta = if begun { format!("\n\n{delta}") } else { delta };
                self.more(place, Opening::Thinking, Piece::Text(delta), out)?;
                if let Some(open) = self.open.get_mut(&place) {
                    open.summary = summary;
                }
            }
            "response.function_call_arguments.delta" => self.fill(place, Piece::Arguments(delta), out),
            "response.function_call_arguments.done" if self.open.get(&place).is_some_and(|open| !open.filled) => {
                self.fill(place, Piece::Arguments(event.take_text("arguments").unwrap_or_default()), out);
            }
            "response.content_part.done" => self.close(place, out),
            "response.output_item.done" => self.done(place, event.take_object("item").unwrap_or_default(), out)?,
            "response.completed" | "response.incomplete" => {
                let mut response = event.take_object("response").unwrap_or_default();
                self.close_all(out);
                let told = stop(&mut response, self.calls);
                let stop =
                    told.unwrap_or_else(|| Stop::new(if kind == "response.completed" { StopReason::End } else { StopReason::Other }, ""));
                out.push(Delta::Stop { choice: 0, stop });
                let tier = tier(response.get("service_tier"));
                let told = response.take_object("usage").and_then(|mut told| usage::take(&mut told));
                out.extend(told.map(|usage| Delta::Usage(Usage { tier, ..usage })));
                out.push(Delta::End);
            }
            "response.failed" => {
                let error = event.take_object("response").and_then(|mut r| r.take("error")).and_then(chat::error_in);
                return Err(error.unwrap_or_default());
            }
            "error" => {
                let nested = event.take("error").and_then(chat::error_in);
                return Err(nested.or_else(|| chat::error_in(event.into())).unwrap_or_default());
            }
            _ => {}
        }
        Ok(())
    }

    fn added(&mut self, place: (u64, u64), mut item: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if item.text("type") != Some("function_call") {
            return Ok(());
        }
        self.calls = true;
        let (id, name) = (item.take_text("call_id").unwrap_or_default(), item.take_text("name").unwrap_or_default());
        self.begin(place, Opening::ToolCall { id, name, signature: None }, out)?;
        self.fill(place, Piece::Arguments(item.take_text("arguments").unwrap_or_default()), out);
        Ok(())
    }

    fn done(&mut self, place: (u64, u64), fields: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        match fields.text("type") {
            Some("message") => self.close_item(place.0, out),
            Some("function_call") => self.close(place, out),
            Some("reasoning") => {
                let part = reasoning::read(fields);
                match part.body {
                    Body::Redacted(data) => self.whole(place, Body::Redacted(data), out)?,
                    Body::Thinking { signature: Some(signature), .. } => {
                        self.more((place.0, 0), Opening::Thinking, Piece::Signature(signature), out)?;
                    }
                    _ => {}
                }
                self.close_item(place.0, out);
            }
            _ => {
                for part in item(fields) {
                    self.whole(place, part.body, out)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, place: (u64, u64), part: Opening, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.next >= MAX_PARTS {
            return Err(WireError::malformed(format!("it has more than {MAX_PARTS} parts")));
        }
        let at = self.next;
        self.next = self.next.saturating_add(1);
        self.open.insert(place, Open { at, filled: false, summary: 0 });
        out.push(Delta::Open { choice: 0, at, part });
        Ok(())
    }

    fn whole(&mut self, place: (u64, u64), body: Body, out: &mut Vec<Delta>) -> Result<(), WireError> {
        self.begin(place, Opening::Whole(body), out)?;
        self.close(place, out);
        Ok(())
    }

    /// More of a part, which begins with it.
    fn more(&mut self, place: (u64, u64), part: Opening, piece: Piece, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if !self.open.contains_key(&place) && !matches!(&piece, Piece::Text(text) if text.is_empty()) {
            self.begin(place, part, out)?;
        }
        self.fill(place, piece, out);
        Ok(())
    }

    fn fill(&mut self, place: (u64, u64), piece: Piece, out: &mut Vec<Delta>) {
        if matches!(&piece, Piece::Text(text) | Piece::Arguments(text) if text.is_empty()) {
            return;
        }
        if let Some(open) = self.open.get_mut(&place) {
            open.filled = true;
            out.push(Delta::More { choice: 0, at: open.at, piece });
        }
    }

    fn close(&mut self, place: (u64, u64), out: &mut Vec<Delta>) {
        out.extend(self.open.remove(&place).map(|open| Delta::Close { choice: 0, at: open.at }));
    }

    fn close_item(&mut self, item: u64, out: &mut Vec<Delta>) {
        let places: Vec<_> = self.open.keys().filter(|(of, _)| *of == item).copied().collect();
        places.into_iter().for_each(|place| self.close(place, out));
    }

    fn close_all(&mut self, out: &mut Vec<Delta>) {
        out.extend(std::mem::take(&mut self.open).into_values().map(|open| Delta::Close { choice: 0, at: open.at }));
    }

    /// The end without `response.completed` is none.
    pub fn finish(&self) -> Result<(), WireError> {
        Err(WireError::truncated())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::json::Json;

    #[test]
    fn errors_in_a_stream_are_read_in_each_shape() {
        for text in [
            r#"{"type":"error","code":"x","message":"m","param":null}"#,
            r#"{"type":"error","error":{"code":"x","message":"m"}}"#,
            r#"{"type":"response.failed","response":{"error":{"code":"x","message":"m"}}}"#,
        ] {
            let fields = Json::read(text.as_bytes()).unwrap().into_fields().unwrap();
            let error = Reading::default().event(fields, &mut Vec::new()).unwrap_err();
            assert_eq!((error.code.as_deref(), error.message.as_str()), (Some("x"), "m"), "{text}");
        }
    }
}
