//! JSON whose objects keep their order.
//!
//! A tool's schema and a call's arguments are handed on as they came: models write the fields of an
//! answer in the order in which a schema names them, so sorting the keys would change answers.

use crate::map::Map;
use crate::text::to_json;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use std::fmt;

/// Objects with more keys than this are searched for doubled keys by an index, not pairwise.
const FEW: usize = 16;

/// A JSON value. Nesting is bounded by `serde_json`, which refuses more than 127 levels.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Json {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Fields),
}

/// An object's fields in their order. No key is there twice: of doubled keys the last one counts, as
/// everywhere else in JSON, so that gateway and provider cannot believe different ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(String, Json)>);

/// Reads JSON. As text: what reads text is in the wasm anyway, and what reads bytes would be there a second time.
pub fn from_bytes<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

impl Json {
    /// Reads JSON text.
    ///
    /// # Errors
    /// Where and why it is none.
    pub fn read(bytes: &[u8]) -> Result<Json, serde_json::Error> {
        let text = std::str::from_utf8(bytes).map_err(serde::de::Error::custom)?;
        serde_json::from_str(text)
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    /// An object's fields.
    pub fn as_object(&self) -> Option<&Fields> {
        if let Json::Object(fields) = self { Some(fields) } else { None }
    }

    /// An array's items.
    pub fn as_list(&self) -> Option<&[Json]> {
        if let Json::List(items) = self { Some(items) } else { None }
    }

    /// A whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        if let Json::Number(n) = self { n.as_u64() } else { None }
    }

    /// The fields of an object; none of anything else.
    pub fn into_fields(self) -> Option<Fields> {
        if let Json::Object(fields) = self { Some(fields) } else { None }
    }

    /// The items of an array; none of anything else.
    pub fn into_list(self) -> Option<Vec<Json>> {
        if let Json::List(items) = self { Some(items) } else { None }
    }

    /// The text of a string; none of anything else.
    pub fn into_text(self) -> Option<String> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    /// As JSON text without white space.
    pub fn to_text(&self) -> String {
        // Strings as keys and numbers that JSON knows: writing them cannot fail.
        to_json(self).unwrap_or_default()
    }
}

impl Fields {
    /// No fields.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A field's value; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v).filter(|v| **v != Json::Null)
    }

    /// A field's text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Json::as_text)
    }

    /// Takes a field out; `null` counts as absent.
    pub fn take(&mut self, key: &str) -> Option<Json> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        let (_, value) = self.0.remove(at);
        (value != Json::Null).then_some(value)
    }

    /// Takes a string out; anything else is left.
    pub fn take_text(&mut self, key: &str) -> Option<String> {
        if matches!(self.get(key), Some(Json::Text(_))) { self.take(key).and_then(Json::into_text) } else { None }
    }

    /// Takes an array out; anything else is left.
    pub fn take_list(&mut self, key: &str) -> Option<Vec<Json>> {
        if matches!(self.get(key), Some(Json::List(_))) { self.take(key).and_then(Json::into_list) } else { None }
    }

    /// Takes an object out; anything else is left.
    pub fn take_object(&mut self, key: &str) -> Option<Fields> {
        if matches!(self.get(key), Some(Json::Object(_))) { self.take(key).and_then(Json::into_fields) } else { None }
    }

    /// Takes a whole number out; anything else is left.
    pub fn take_u64(&mut self, key: &str) -> Option<u64> {
        let found = self.get(key).and_then(Json::as_u64)?;
        self.take(key);
        Some(found)
    }

    /// Takes a truth value out; anything else is left.
    pub fn take_bool(&mut self, key: &str) -> Option<bool> {
        if matches!(self.get(key), Some(Json::Bool(_))) { self.take(key).map(|v| v == Json::Bool(true)) } else { None }
    }

    /// Sets a field, at the end if it is new.
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<Json>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Sets a field if there is a value.
    pub fn put_some(&mut self, key: &str, value: Option<impl Into<Json>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Adds the fields that are not there yet, in nested objects too.
    pub fn fill(&mut self, more: Fields) {
        for (key, value) in more.0 {
            match self.0.iter_mut().find(|(k, _)| *k == key) {
                Some((_, Json::Object(here))) => {
                    if let Json::Object(more) = value {
                        here.fill(more);
                    }
                }
                Some(_) => {}
                None => self.0.push((key, value)),
            }
        }
    }

    /// As JSON text without white space.
    pub fn to_text(&self) -> String {
        to_json(self).unwrap_or_default()
    }
}

/// An object written in place: `object! { "type": "text", "text": text }`.
macro_rules! object {
    ($($key:literal : $value:expr),+ $(,)?) => {{
        let mut fields = $crate::dialect::json::Fields::new();
        $(fields.put($key, $value);)+
        fields
    }};
}
pub(crate) use object;

impl From<Fields> for Json {
    fn from(fields: Fields) -> Json {
        Json::Object(fields)
    }
}
impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}
impl From<&String> for Json {
    fn from(text: &String) -> Json {
        Json::Text(text.clone())
    }
}
impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}
impl From<bool> for Json {
    fn from(truth: bool) -> Json {
        Json::Bool(truth)
    }
}
impl From<u64> for Json {
    fn from(n: u64) -> Json {
        Json::Number(n.into())
    }
}
impl From<u32> for Json {
    fn from(n: u32) -> Json {
        Json::Number(n.into())
    }
}
impl From<u16> for Json {
    fn from(n: u16) -> Json {
        Json::Number(n.into())
    }
}
impl From<Number> for Json {
    fn from(n: Number) -> Json {
        Json::Number(n)
    }
}
impl From<&Number> for Json {
    fn from(n: &Number) -> Json {
        Json::Number(n.clone())
    }
}
impl From<f64> for Json {
    fn from(n: f64) -> Json {
        Number::from_f64(n).map_or(Json::Null, Json::Number)
    }
}
impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Json {
        Json::List(items.into_iter().map(Into::into).collect())
    }
}
impl From<&Json> for Json {
    fn from(value: &Json) -> Json {
        value.clone()
    }
}
impl From<&Fields> for Json {
    fn from(fields: &Fields) -> Json {
        Json::Object(fields.clone())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => to.serialize_unit(),
            Json::Bool(b) => to.serialize_bool(*b),
            Json::Number(n) => n.serialize(to),
            Json::Text(s) => to.serialize_str(s),
            Json::List(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Json::Object(fields) => fields.serialize(to),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Json, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, b: bool) -> Result<Json, E> {
                Ok(Json::Bool(b))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Json, E> {
                Ok(n.into())
            }
            fn visit_i64<E>(self, n: i64) -> Result<Json, E> {
                Ok(Json::Number(n.into()))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Json, E> {
                Ok(n.into())
            }
            fn visit_str<E>(self, s: &str) -> Result<Json, E> {
                Ok(s.into())
            }
            fn visit_string<E>(self, s: String) -> Result<Json, E> {
                Ok(s.into())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut fields: Vec<(String, Json)> = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(Json::Object(Fields(last_of_each(fields))))
            }
        }
        from.deserialize_any(V)
    }
}

/// Of fields with the same key, the last.
fn last_of_each(fields: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let doubled = if fields.len() <= FEW {
        fields.iter().enumerate().any(|(i, (key, _))| fields.iter().take(i).any(|(k, _)| k == key))
    } else {
        fields.iter().map(|(key, _)| key.as_str()).collect::<crate::map::Set<_>>().len() < fields.len()
    };
    if !doubled {
        return fields;
    }
    let last: Map<String, usize> = fields.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)).collect();
    fields.into_iter().enumerate().filter(|(i, (key, _))| last.get(key) == Some(i)).map(|(_, field)| field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_is_kept_and_the_last_of_doubled_keys_counts() {
        let text = r#"{"z":1,"a":{"y":[true,null,-2,0.5],"b":"é\n"},"z":3}"#;
        assert_eq!(Json::read(text.as_bytes()).unwrap().to_text(), r#"{"a":{"y":[true,null,-2,0.5],"b":"é\n"},"z":3}"#);
        let many: String = (0..40).map(|i| format!("\"k{}\":{i},", i % 30)).collect();
        let read = Json::read(format!("{{{}\"end\":0}}", many).as_bytes()).unwrap();
        assert_eq!(read.as_object().unwrap().get("k3"), Some(&Json::from(33_u64)));
        assert_eq!(read.as_object().unwrap().iter().count(), 31);
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        assert!(Json::read("[".repeat(100_000).as_bytes()).is_err());
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            (-1e6..1e6).prop_map(|n: f64| n.into()),
            "\\PC{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map("[a-e]{1,2}", inner, 0..5).prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value in value()) {
            let text = value.to_string();
            prop_assert_eq!(Json::read(text.as_bytes()).unwrap().to_text(), text);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Json::read(&bytes);
        }
    }
}
