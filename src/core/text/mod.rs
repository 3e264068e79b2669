//! Values as JSON text.
//!
//! [`to_json`] is for any value. What is written and read for each request is written by [`Draft`] and read by
//! [`Scan`], to the same bytes: the general way takes several times longer.

mod draft;
mod scan;

pub use draft::Draft;
pub use scan::Scan;

use serde::Serialize;
use std::io::{self, Write};

/// Pieces up to this length are copied byte by byte.
const SHORT: usize = 8;
/// Room for most messages.
const ROOM: usize = 512;

/// Collects text. Most of what a serializer writes are single characters, and a call of the general copy for
/// each of them takes longer than everything else that it does.
struct Text(Vec<u8>);

impl Text {
    fn put(&mut self, piece: &[u8]) {
        if piece.len() <= SHORT {
            self.0.extend(piece.iter().copied());
        } else {
            self.0.extend_from_slice(piece);
        }
    }
}

impl Write for Text {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.put(piece);
        Ok(piece.len())
    }
    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        self.put(piece);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same text as `serde_json::to_string` gives.
///
/// # Errors
/// Those of `serde_json::to_string`: keys that are no strings, and what a `Serialize` refuses.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut text = Text(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut text, value)?;
    String::from_utf8(text.0).map_err(serde::ser::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_what_serde_json_writes() {
        let value = json!({"a": [1, -2.5, null, true], "long enough to be copied at once": "é\n\"x\"", "": {}});
        assert_eq!(to_json(&value).unwrap(), serde_json::to_string(&value).unwrap());
        assert!(to_json(&std::collections::BTreeMap::from([((1, 2), 3)])).is_err());
    }
}
