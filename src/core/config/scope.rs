//! Whose requests a rule counts together.

use serde::{Deserialize, Serialize};

/// Longest name of a metadata field in bytes.
const MAX_NAME: usize = 64;

/// Whose requests a limit or budget counts together. In documents a word: `tenant`, `key`, `model`,
/// `provider`, `metadata:<name>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// All of the tenant's.
    #[default]
    Tenant,
    /// Each gateway key's for itself.
    Key,
    /// Those for each model, as the caller named it.
    Model,
    /// Those that may go to each provider.
    Provider,
    /// Those with each value of this metadata field. A request without the field is not counted.
    Metadata(String),
}

impl TryFrom<String> for Scope {
    type Error = String;
    fn try_from(text: String) -> Result<Scope, String> {
        match text.as_str() {
            "tenant" => Ok(Scope::Tenant),
            "key" => Ok(Scope::Key),
            "model" => Ok(Scope::Model),
            "provider" => Ok(Scope::Provider),
            other => match other.strip_prefix("metadata:") {
                Some(name) if !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control) => {
                    Ok(Scope::Metadata(name.to_owned()))
                }
                _ => Err(format!("`{other}` is no scope: write `tenant`, `key`, `model`, `provider` or `metadata:<name>`")),
            },
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        match scope {
            Scope::Tenant => "tenant".to_owned(),
            Scope::Key => "key".to_owned(),
            Scope::Model => "model".to_owned(),
            Scope::Provider => "provider".to_owned(),
            Scope::Metadata(name) => format!("metadata:{name}"),
        }
    }
}
