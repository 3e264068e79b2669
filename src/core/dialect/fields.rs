//! Reading a caller's fields: each is right, absent, or the request is refused with its name.

use super::json::{Fields, Json};
use crate::map::Set;
use serde_json::Number;

/// Most names in a list of what was dropped; a caller's own field names are among them.
const MAX_DROPPED: usize = 32;
/// Longest such name, in bytes.
const MAX_DROPPED_NAME: usize = 64;
/// Fields of answers that clients send back with the conversation; they ask for nothing.
const ECHOED: [&str; 7] = ["item", "id", "index", "status", "annotations", "logprobs", "caller"];

/// Why a request cannot be read, or not be sent to this target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Path of the field to blame; empty for the body as a whole.
    pub param: String,
    /// What is wrong and what to do, without a full stop at the end.
    pub why: String,
}

impl Refused {
    /// A refusal that blames a field.
    pub fn new(param: impl Into<String>, why: impl Into<String>) -> Refused {
        Refused { param: param.into(), why: why.into() }
    }

    /// The same, seen from outside: `content` within `messages[2]` is `messages[2].content`.
    #[must_use]
    pub fn within(self, outer: &str) -> Refused {
        let param = match self.param.as_str() {
            "" => outer.to_owned(),
            inner if inner.starts_with('[') => format!("{outer}{inner}"),
            inner => format!("{outer}.{inner}"),
        };
        Refused { param, ..self }
    }
}

/// What a target could not be told, by the names that the caller used where there are such. Becomes
/// `x-tollgate-dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(Set<String>);

impl Dropped {
    /// Notes a name. At most 32 are kept; one that is long or not plain ASCII is noted as `other`.
    pub fn add(&mut self, name: &str) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']');
        let sound = !name.is_empty() && name.len() <= MAX_DROPPED_NAME && name.bytes().all(plain);
        if self.0.len() < MAX_DROPPED {
            self.0.insert(if sound { name.to_owned() } else { "other".to_owned() });
        }
    }

    /// Notes a name if there was something.
    pub fn add_if(&mut self, there: bool, name: &str) {
        if there {
            self.add(name);
        }
    }

    /// Notes the fields' names, below `outer` (empty: none). What says nothing, and what clients only
    /// echo from an answer, is not worth a word.
    pub fn add_fields(&mut self, outer: &str, fields: &Fields) {
        for (name, value) in fields.iter() {
            let idle = *value == Json::Null || value.as_list().is_some_and(<[Json]>::is_empty);
            // A text's citations are an echo; a document's ask for some.
            let echoed = ECHOED.contains(&name) || (name == "citations" && value.as_list().is_some());
            if idle || echoed {
                continue;
            }
            if outer.is_empty() { self.add(name) } else { self.add(&format!("{outer}.{name}")) }
        }
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a header's value: names and commas.
    pub fn header(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }
}

impl Fields {
    /// Takes a string.
    pub(crate) fn want_text(&mut self, key: &str) -> Result<Option<String>, Refused> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Refused::new(key, "must be a string")),
        }
    }

    /// Takes a string that must be there.
    pub(crate) fn need_text(&mut self, key: &str) -> Result<String, Refused> {
        self.want_text(key)?.ok_or_else(|| Refused::new(key, "is missing"))
    }

    /// Takes a whole number that is not negative.
    pub(crate) fn want_u64(&mut self, key: &str) -> Result<Option<u64>, Refused> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| Refused::new(key, "must be a whole number, not negative")),
        }
    }

    /// Takes a number.
    pub(crate) fn want_number(&mut self, key: &str) -> Result<Option<Number>, Refused> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Number(n)) => Ok(Some(n)),
            Some(_) => Err(Refused::new(key, "must be a number")),
        }
    }

    /// Takes a truth value.
    pub(crate) fn want_bool(&mut self, key: &str) -> Result<Option<bool>, Refused> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Bool(b)) => Ok(Some(b)),
            Some(_) => Err(Refused::new(key, "must be true or false")),
        }
    }

    /// Takes an array; empty if absent.
    pub(crate) fn want_list(&mut self, key: &str) -> Result<Vec<Json>, Refused> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Json::List(items)) => Ok(items),
            Some(_) => Err(Refused::new(key, "must be an array")),
        }
    }

    /// Takes an object.
    pub(crate) fn want_object(&mut self, key: &str) -> Result<Option<Fields>, Refused> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Object(fields)) => Ok(Some(fields)),
            Some(_) => Err(Refused::new(key, "must be an object")),
        }
    }

    /// Takes strings: one, or an array of them.
    pub(crate) fn want_texts(&mut self, key: &str) -> Result<Vec<String>, Refused> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Json::Text(text)) => Ok(vec![text]),
            Some(Json::List(items)) => {
                let texts = items.into_iter().map(|item| item.into_text().ok_or_else(|| Refused::new(key, "must hold strings only")));
                texts.collect()
            }
            Some(_) => Err(Refused::new(key, "must be a string or an array of strings")),
        }
    }
}

/// An object, or a refusal that blames `[at]`.
pub(crate) fn object_at(value: Json, at: usize) -> Result<Fields, Refused> {
    value.into_fields().ok_or_else(|| Refused::new(format!("[{at}]"), "must be an object"))
}

/// Reads every item of an array; a refusal names its place.
pub(crate) fn each<T>(items: Vec<Json>, outer: &str, mut read: impl FnMut(Fields) -> Result<T, Refused>) -> Result<Vec<T>, Refused> {
    let one = |(at, item): (usize, Json)| {
        object_at(item, at).and_then(|fields| read(fields).map_err(|e| e.within(&format!("[{at}]")))).map_err(|e| e.within(outer))
    };
    items.into_iter().enumerate().map(one).collect()
}

/// A request's body as an object.
pub(crate) fn body_of(body: &[u8]) -> Result<Fields, Refused> {
    match Json::read(body) {
        Ok(Json::Object(fields)) => Ok(fields),
        Ok(_) => Err(Refused::new("", "the body must be a JSON object")),
        Err(e) => Err(Refused::new("", format!("the body is not valid JSON: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_whole_path() {
        let body = Json::read(br#"[{"a":1},{"a":"x"},5]"#).unwrap().into_list().unwrap();
        let wrong = each(body.clone(), "messages", |mut f| f.want_text("a")).unwrap_err();
        assert_eq!(wrong, Refused::new("messages[0].a", "must be a string"));
        let wrong = each(body, "messages", |_| Ok(())).unwrap_err();
        assert_eq!(wrong.param, "messages[2]");
    }

    #[test]
    fn a_dropped_name_cannot_break_a_header() {
        let mut dropped = Dropped::default();
        for name in ["seed", "a\r\nx-evil: 1", "é", ""] {
            dropped.add(name);
        }
        dropped.add(&"x".repeat(65));
        assert_eq!(dropped.header(), "other, seed");
        (0..100).for_each(|i| dropped.add(&format!("n{i}")));
        assert_eq!(dropped.names().count(), MAX_DROPPED);
    }
}
