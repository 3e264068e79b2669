//! Time zones.

use serde::{Deserialize, Serialize};

/// A time zone of the IANA database, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone;

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(text: String) -> Result<Zone, String> {
        if text == "UTC" { Ok(Zone) } else { Err(format!("there is no time zone `{text}`")) }
    }
}

impl From<Zone> for String {
    fn from(_: Zone) -> String {
        "UTC".to_owned()
    }
}
