//! Values as JSON text.
//!
//! [`to_json`] is for any value. What is written and read for each request is written by [`Draft`] and read by
//! [`Scan`], to the same bytes: the general way takes several times longer.

mod draft;
mod scan;

pub use draft::Draft;
pub use scan::Scan;

use serde::Serialize;

/// Room for most messages, in bytes.
pub(crate) const ROOM: usize = 512;

/// The same text as `serde_json::to_string` gives.
///
/// # Errors
/// Those of `serde_json::to_string`: keys that are no strings, and what a `Serialize` refuses.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut draft = Draft::with_room(ROOM);
    draft.value(value)?;
    draft.finish()
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
