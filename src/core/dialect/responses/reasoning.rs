//! Reasoning items.

use super::super::common::{Body, Maker, Part, Signature};
use super::super::json::{Fields, Json, object};

/// Before the encrypted content of reasoning that not even its text may be shown of.
const REDACTED: &str = "redacted:";

/// Reads a reasoning item. The item itself stays beside it.
pub(super) fn read(mut item: Fields) -> Part {
    item.take("type");
    let texts = |key: &str| -> Vec<String> {
        let list = item.get(key).and_then(Json::as_list).unwrap_or_default();
        list.iter().filter_map(|t| t.as_object()?.text("text").map(str::to_owned)).collect()
    };
    let (summary, content) = (texts("summary"), texts("content"));
    let text = if summary.is_empty() { content.join("\n\n") } else { summary.join("\n\n") };
    let id = item.text("id").unwrap_or_default().to_owned();
    let body = match item.take_text("encrypted_content") {
        None => Body::Thinking { text, signature: None },
        Some(content) => match content.strip_prefix(REDACTED) {
            Some(rest) => Body::Redacted(Signature::from_wire(Maker::OpenAi, rest)),
            None => Body::Thinking { text, signature: Some(signature(&id, &content)) },
        },
    };
    Part::new(body).with(object! { "item": item })
}

/// The signature of an item: OpenAI wants the content back under the same id.
pub(super) fn signature(id: &str, content: &str) -> Signature {
    let mut signature = Signature::from_wire(Maker::OpenAi, content);
    if signature.maker == Maker::OpenAi {
        signature.text = format!("{id}.{content}");
    }
    signature
}

/// A reasoning item to write, by the id it shall have where it brings none.
pub(super) fn written(body: &Body, id: &str) -> Option<Fields> {
    let (text, signature, redacted) = match body {
        Body::Thinking { text, signature } => (text.as_str(), signature.as_ref(), false),
        Body::Redacted(data) => ("", Some(data), true),
        _ => return None,
    };
    let (id, content) = match signature {
        Some(s) if s.maker == Maker::OpenAi && !redacted => {
            s.text.split_once('.').map_or((id, Some(s.text.clone())), |(id, c)| (id, Some(c.to_owned())))
        }
        Some(s) => (id, Some(format!("{}{}", if redacted { REDACTED } else { "" }, s.to_wire(Maker::OpenAi)))),
        None => (id, None),
    };
    let summary = if text.is_empty() { Vec::new() } else { vec![object! { "type": "summary_text", "text": text }] };
    let mut item = object! { "id": id, "type": "reasoning", "summary": summary };
    item.put_some("encrypted_content", content);
    Some(item)
}
