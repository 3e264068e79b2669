//! Where in a JSON document an error lies, as the path of a field.
//!
//! `serde_json` tells how many bytes it had read. That is behind the key or value that it refused, or before
//! a list or object that it did not expect. An error about several fields of a list's element comes behind
//! the comma after it, or behind the end of the list. So the path is found without reading the document into
//! its types a second way: a reader that keeps the path would cost 30 KB of the compressed bundle.

use std::fmt::Write;

/// A list or object that is open: its own path, and in a list the number of the element.
struct Open {
    path: usize,
    element: Option<usize>,
}

/// The path at which a reader's error lies (`limits[1].burst`), empty if that is the document as a whole.
pub(super) fn of(text: &str, error: &serde_json::Error) -> String {
    let why = error.to_string();
    let unexpected = ["invalid type: map", "invalid type: sequence"].iter().any(|w| why.starts_with(w));
    let kind = match unexpected {
        true => Kind::Begins,
        false if why.starts_with("missing field") => Kind::Lacks,
        false => Kind::Ends,
    };
    path(text, error.line(), error.column(), kind)
}

/// What is wrong at the place of an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The key or value that ends there; where a list or object ends, the last one in it.
    Ends,
    /// The list or object that begins there.
    Begins,
    /// The object that ends there lacks a field.
    Lacks,
}

fn path(text: &str, line: usize, column: usize, kind: Kind) -> String {
    let lacks = kind == Kind::Lacks;
    let before = text.split_inclusive('\n').take(line.saturating_sub(1)).fold(0_usize, |n, l| n.saturating_add(l.len()));
    let at = before.saturating_add(column);
    let (mut path, mut last) = (String::new(), String::new());
    let mut open: Vec<Open> = Vec::new();
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((start, byte)) = bytes.next() {
        let end = start.saturating_add(1);
        match byte {
            b'{' | b'[' => {
                if start >= at {
                    return if kind == Kind::Begins { path } else { last };
                }
                open.push(Open { path: path.len(), element: (byte == b'[').then_some(0) });
                if byte == b'[' {
                    path.push_str("[0]");
                }
            }
            b'}' | b']' => {
                let Some(closed) = open.pop() else { return path };
                let empty = text.get(..start).is_some_and(|t| t.trim_end().ends_with('['));
                if end >= at && if byte == b']' { !empty } else { !lacks } {
                    return path;
                }
                path.truncate(closed.path);
                if end >= at {
                    return path;
                }
            }
            b',' => {
                if start >= at {
                    return path;
                }
                last.clone_from(&path);
                if let Some(list) = open.last_mut() {
                    path.truncate(list.path);
                    if let Some(n) = &mut list.element {
                        *n = n.saturating_add(1);
                        let _ = write!(path, "[{n}]");
                    }
                }
            }
            b'"' => {
                let mut end = end;
                if start >= at {
                    return last;
                }
                while let Some((i, b)) = bytes.next() {
                    end = i.saturating_add(1);
                    match b {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
                let is_key = open.last().is_some_and(|o| o.element.is_none() && o.path == path.len());
                if is_key {
                    let key = text.get(start..end).and_then(|k| serde_json::from_str::<String>(k).ok()).unwrap_or_default();
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&key);
                }
                if end >= at {
                    return path;
                }
            }
            b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                // A number or a word.
                let mut end = end;
                if start >= at {
                    return last;
                }
                while bytes.peek().is_some_and(|(_, b)| !matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')) {
                    bytes.next();
                    end = end.saturating_add(1);
                }
                if end >= at {
                    return path;
                }
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::{Kind, of, path};
    use tollgate_core::config::Config;

    fn place(text: &str) -> String {
        of(text, &serde_json::from_str::<Config>(text).unwrap_err())
    }

    #[test]
    fn errors_are_found_where_they_are() {
        for (text, told) in [
            (r#"{"limit":[]}"#, "limit"),
            (r#"{"cache":{"enabled":"yes"}}"#, "cache.enabled"),
            (r#"{"cache":{"enabled":true,"ttl":5}}"#, "cache.ttl"),
            (r#"{"limits":{}}"#, "limits"),
            (r#"{"limits":[5]}"#, "limits[0]"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1},5]}"#, "limits[1]"),
            (r#"{"limits":[{"id":"a","window_s":1},5]}"#, "limits[0]"),
            (r#"{"limits":[{"id":"a","only":["x",{}]}]}"#, "limits[0].only[1]"),
            (r#"{"limits":[{"id":"a","requests":[1]}]}"#, "limits[0].requests"),
            (r#"{"limits":[{"id":"a","requests":-1,"window_s":1}]}"#, "limits[0].requests"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1},{"id":"b","scope":"team","requests":1}]}"#, "limits[1].scope"),
            (r#"{"limits":[{"id":"a","window_s":1}]}"#, "limits[0]"),
            (r#"{"limits":[{"id":"a","window_s":1},{"id":"b","requests":1,"window_s":1}]}"#, "limits[0]"),
            (r#"{"limits":[{"id":"a","requests":1,"window_s":1},{"id":"b","window_s":1}],"cache":{}}"#, "limits[1]"),
            (r#"{"limits":[{"requests":1,"window_s":1}]}"#, "limits[0]"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","time_zone":"CEST"}]}"#, "budgets[0].time_zone"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","thresholds":[1,256]}]}"#, "budgets[0].thresholds[1]"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","thresholds":[]},{"id":7}]}"#, "budgets[1].id"),
            (r#"{"budgets":[{"id":"a","limit_usd":"1","period":"day","top_ups":[{"amount_usd":1}]}]}"#, "budgets[0].top_ups[0].amount_usd"),
            (r#"{"permit":{"session":{"window_s":60}}}"#, "permit.session"),
            (r#"{"permit":{"session":[]}}"#, "permit.session"),
            (r#"{"models":{"a\"}b":{"target":"x/y"},"c":5},"limits":[]}"#, "models.c"),
            (r#"{"models":{"c":5,"d":{"target":"x/y"}}}"#, "models.c"),
            (r#"{"models":{"a\"}é":{"target":"x/y"}},"cache":{"ttl_s":null}}"#, "cache.ttl_s"),
            ("{\n \"cache\" : {\n  \"ttl_s\" :\t-5 ,\n \"enabled\": true } }", "cache.ttl_s"),
            ("{ \"limits\" : [ { \"id\" : \"a\" } , { \"id\": \"b\" } ] }", "limits[0]"),
            ("5", ""),
        ] {
            assert_eq!(place(text), told, "{text}");
        }
    }

    #[test]
    fn no_position_in_any_text_is_too_much() {
        for text in ["", "{", "]]", "{\"a", "[1,", "\"\\", "{\"a\":[{}]}", "é,é"] {
            for (line, column) in [(0, 0), (1, 1), (1, 3), (9, 9), (usize::MAX, usize::MAX)] {
                assert!([Kind::Ends, Kind::Begins, Kind::Lacks].iter().all(|kind| path(text, line, column, *kind).len() < 20));
            }
        }
    }
}
