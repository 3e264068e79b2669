//! JSON text, written piece by piece.

use serde::Serialize;
use std::io::{self, Write};

/// JSON text under way. Whoever writes it answers for the commas and braces.
pub struct Draft(Vec<u8>);

/// Pieces up to this length, in bytes, are copied word by word. Most of what is written is as short, and a call of the
/// general copy for each would take longer than everything else.
const LONG: usize = 32;

impl Draft {
    /// Nothing yet, with room for so many bytes.
    pub fn with_room(bytes: usize) -> Draft {
        Draft(Vec::with_capacity(bytes))
    }

    /// A piece as it is.
    pub fn put(&mut self, piece: &str) {
        self.copy(piece.as_bytes());
    }

    fn copy(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if rest.len() > LONG {
            return self.0.extend_from_slice(rest);
        }
        self.0.reserve(rest.len());
        while let Some((word, more)) = rest.split_first_chunk::<8>() {
            self.0.extend_from_slice(word);
            rest = more;
        }
        if let Some((word, more)) = rest.split_first_chunk::<4>() {
            self.0.extend_from_slice(word);
            rest = more;
        }
        if let Some((word, more)) = rest.split_first_chunk::<2>() {
            self.0.extend_from_slice(word);
            rest = more;
        }
        self.0.extend(rest.first().copied());
    }

    /// A number of things.
    pub fn count(&mut self, n: u64) {
        self.put(itoa::Buffer::new().format(n));
    }

    /// A whole number.
    pub fn int(&mut self, n: i64) {
        self.put(itoa::Buffer::new().format(n));
    }

    /// `true` or `false`.
    pub fn truth(&mut self, is: bool) {
        self.put(if is { "true" } else { "false" });
    }

    /// A string in quotes, escaped where it has to be.
    pub fn text(&mut self, text: &str) {
        if text.bytes().all(plain) {
            self.0.push(b'"');
            self.put(text);
            self.0.push(b'"');
        } else {
            self.put(&serde_json::Value::from(text).to_string());
        }
    }

    /// A value as `serde` writes it.
    ///
    /// # Errors
    /// Those of [`super::to_json`].
    pub fn value<T: Serialize>(&mut self, value: &T) -> Result<(), serde_json::Error> {
        serde_json::to_writer(self, value)
    }

    /// A list in brackets.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn list<T>(
        &mut self,
        items: &[T],
        mut each: impl FnMut(&mut Draft, &T) -> Result<(), serde_json::Error>,
    ) -> Result<(), serde_json::Error> {
        self.put("[");
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                self.put(",");
            }
            each(self, item)?;
        }
        self.put("]");
        Ok(())
    }

    /// The text.
    ///
    /// # Errors
    /// Never: all that was put is text.
    pub fn finish(self) -> Result<String, serde_json::Error> {
        String::from_utf8(self.0).map_err(serde::ser::Error::custom)
    }
}

/// What `serde` writes by.
impl Write for Draft {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.copy(piece);
        Ok(piece.len())
    }
    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        self.copy(piece);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a byte stands in a JSON string as it is.
pub(super) fn plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}
