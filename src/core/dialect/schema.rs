//! JSON schemas that an answer or a call is held to: makers take different parts of the language, and refuse
//! a schema with any other.

use super::common::{AnswerFormat, ToolKind};
use super::fields::Dropped;
use super::json::{Fields, Json};

/// Formats of strings that Claude is held to.
const CLAUDE_FORMATS: [&str; 10] = ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];
/// What OpenAI's strict schemas cannot have.
const NEVER_STRICT: [&str; 9] =
    ["oneOf", "allOf", "not", "if", "then", "else", "patternProperties", "dependentRequired", "dependentSchemas"];

/// A schema as Claude takes it: objects are closed, and what it cannot be held to is told in the description,
/// as Anthropic's own SDKs do. Each such word is noted.
pub(super) fn for_claude(schema: &Json, dropped: &mut Dropped) -> Json {
    let Json::Object(fields) = schema else { return schema.clone() };
    let object = says(fields, "object");
    let (mut out, mut notes) = (Fields::new(), Vec::new());
    // Beside a reference nothing else may stand.
    let refers = fields.get("$ref").is_some();
    for (name, value) in fields.iter() {
        match (name, value) {
            ("$defs" | "definitions", Json::Object(all)) => out.put(name, each_of(all, dropped)),
            ("$ref", _) => out.put(name, value),
            ("$schema" | "$id" | "$comment", _) => {}
            _ if refers => {}
            ("type" | "title" | "description" | "enum" | "const" | "required", _) => out.put(name, value),
            ("properties", Json::Object(all)) => out.put(name, each_of(all, dropped)),
            ("items", Json::Object(_)) => out.put(name, for_claude(value, dropped)),
            ("anyOf" | "allOf", Json::List(all)) => out.put(name, all.iter().map(|one| for_claude(one, dropped)).collect::<Vec<_>>()),
            ("oneOf", Json::List(all)) if fields.get("anyOf").is_none() => {
                out.put("anyOf", all.iter().map(|one| for_claude(one, dropped)).collect::<Vec<_>>());
            }
            ("format", Json::Text(format)) if CLAUDE_FORMATS.contains(&format.as_str()) => out.put(name, value),
            ("minItems", _) if value.as_u64().is_some_and(|n| n <= 1) => out.put(name, value),
            ("additionalProperties", Json::Bool(false)) => {}
            ("additionalProperties", _) => dropped.add("schema.additionalProperties"),
            _ => {
                dropped.add(&format!("schema.{name}"));
                notes.push(format!("{name}: {}", value.to_text()));
            }
        }
    }
    if object && !refers {
        out.put("additionalProperties", false);
    }
    if !notes.is_empty() {
        let told = format!("{{{}}}", notes.join(", "));
        let before = out.take_text("description").map(|text| format!("{text}\n\n{told}"));
        out.put("description", before.unwrap_or(told));
    }
    out.into()
}

fn each_of(all: &Fields, dropped: &mut Dropped) -> Fields {
    let mut out = Fields::new();
    all.iter().for_each(|(name, schema)| out.put(name, for_claude(schema, dropped)));
    out
}

/// Whether a schema is of that type, alone or among others.
fn says(fields: &Fields, kind: &str) -> bool {
    match fields.get("type") {
        Some(Json::Text(text)) => text == kind,
        Some(Json::List(all)) => all.iter().any(|one| one.as_text() == Some(kind)),
        _ => kind == "object" && fields.get("properties").is_some(),
    }
}

/// Whether OpenAI takes a schema as strict: all objects are closed and need all of their properties.
fn is_strict(schema: &Json) -> bool {
    let Json::Object(fields) = schema else { return false };
    let all = |name: &str| fields.get(name).and_then(Json::as_object).into_iter().flat_map(Fields::iter);
    let required = |name: &str| fields.get("required").and_then(Json::as_list).is_some_and(|l| l.iter().any(|n| n.as_text() == Some(name)));
    let closed = fields.get("additionalProperties") == Some(&Json::Bool(false)) && all("properties").all(|(name, _)| required(name));
    (!says(fields, "object") || closed)
        && !NEVER_STRICT.iter().any(|name| fields.get(name).is_some())
        && ["properties", "$defs", "definitions"].iter().all(|name| all(name).all(|(_, inner)| is_strict(inner)))
        && fields.get("items").is_none_or(is_strict)
        && fields.get("anyOf").and_then(Json::as_list).unwrap_or_default().iter().all(is_strict)
}

/// `strict` for OpenAI, which refuses it where the schema leaves something open: others do not, so it is
/// taken off then, and noted.
fn strict_if_it_fits(strict: Option<bool>, schema: Option<&Json>, dropped: &mut Dropped) -> Option<bool> {
    let fits =
        strict != Some(true) || schema.is_some_and(|s| is_strict(s) && s.as_object().is_some_and(|f| f.text("type") == Some("object")));
    dropped.add_if(!fits, "strict");
    strict.filter(|_| fits)
}

/// An answer's format as OpenAI takes it from a request of another format.
pub(super) fn format_for_openai(format: &AnswerFormat, dropped: &mut Dropped) -> AnswerFormat {
    match format {
        AnswerFormat::Schema { name, description, schema, strict } => AnswerFormat::Schema {
            name: name.clone(),
            description: description.clone(),
            strict: strict_if_it_fits(*strict, Some(schema), dropped),
            schema: schema.clone(),
        },
        other => other.clone(),
    }
}

/// A tool as OpenAI takes it from a request of another format.
pub(super) fn tool_for_openai(kind: &ToolKind, dropped: &mut Dropped) -> ToolKind {
    match kind {
        ToolKind::Function { name, description, schema, strict } => ToolKind::Function {
            name: name.clone(),
            description: description.clone(),
            strict: strict_if_it_fits(*strict, schema.as_ref(), dropped),
            schema: schema.clone(),
        },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claude(text: &str) -> (String, String) {
        let mut dropped = Dropped::default();
        let out = for_claude(&Json::read(text.as_bytes()).unwrap(), &mut dropped);
        (out.to_text(), dropped.header())
    }

    #[test]
    fn claude_is_told_what_it_cannot_be_held_to() {
        let (out, dropped) = claude(
            r##"{"$schema":"x","type":"object","properties":{"n":{"type":"integer","minimum":1,"description":"How many"},"s":{"type":"string","maxLength":5,"format":"email"},"l":{"type":"array","items":{"type":"string","pattern":"a"},"minItems":1,"maxItems":3},"o":{"oneOf":[{"type":"string"},{"type":["object","null"],"properties":{}}]},"r":{"$ref":"#/$defs/d","title":"t"}},"required":["n"],"additionalProperties":true,"$defs":{"d":{"type":"object","properties":{}}}}"##,
        );
        assert_eq!(
            out,
            r##"{"type":"object","properties":{"n":{"type":"integer","description":"How many\n\n{minimum: 1}"},"s":{"type":"string","format":"email","description":"{maxLength: 5}"},"l":{"type":"array","items":{"type":"string","description":"{pattern: \"a\"}"},"minItems":1,"description":"{maxItems: 3}"},"o":{"anyOf":[{"type":"string"},{"type":["object","null"],"properties":{},"additionalProperties":false}]},"r":{"$ref":"#/$defs/d"}},"required":["n"],"$defs":{"d":{"type":"object","properties":{},"additionalProperties":false}},"additionalProperties":false}"##
        );
        assert_eq!(dropped, "schema.additionalProperties, schema.maxItems, schema.maxLength, schema.minimum, schema.pattern");
        // What it takes stays as it was written.
        let fine = r#"{"type":"object","properties":{"z":{"type":"string","enum":["a",null]},"a":{"const":1}},"required":["z","a"],"additionalProperties":false}"#;
        assert_eq!(claude(fine), (fine.to_owned(), String::new()));
        assert_eq!(claude("true").0, "true");
    }

    #[test]
    fn what_leaves_something_open_is_not_strict() {
        let strict = |text: &str| is_strict(&Json::read(text.as_bytes()).unwrap());
        assert!(strict(
            r##"{"type":"object","properties":{"a":{"type":["string","null"]},"b":{"type":"array","items":{"$ref":"#/$defs/d"}}},"required":["a","b"],"additionalProperties":false,"$defs":{"d":{"anyOf":[{"type":"string"}]}}}"##
        ));
        for open in [
            r#"{"type":"object","properties":{"a":{}},"required":["a"]}"#,
            r#"{"type":"object","properties":{"a":{}},"additionalProperties":false}"#,
            r#"{"type":"object","properties":{"a":{"type":"object","properties":{}}},"required":["a"],"additionalProperties":false}"#,
            r#"{"type":"array","items":{"type":"object","properties":{}}}"#,
            r#"{"anyOf":[{"type":"object","properties":{}}]}"#,
            r#"{"allOf":[{"type":"string"}]}"#,
            "true",
        ] {
            assert!(!strict(open), "{open}");
        }
    }
}
