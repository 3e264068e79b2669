//! Addresses with variables: `https://{AZURE_RESOURCE}.openai.azure.com/openai/v1`.

use super::{BaseUrl, MAX_LABEL, Why};

impl BaseUrl {
    /// Replaces each `{NAME}` by the value of that variable, for the reader of addresses to read.
    ///
    /// A value is one label or segment at most: `evil#` before `.openai.azure.com` would make `evil` the
    /// host, so characters that could end a label are refused here, before anything is put together.
    ///
    /// # Errors
    /// [`Why::Template`], [`Why::Unset`] or [`Why::Value`].
    pub fn fill<'a>(template: &str, value: impl Fn(&str) -> Option<&'a str>) -> Result<String, Why> {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').ok_or(Why::Template)?;
            if !is_name(name) || before.contains('}') {
                return Err(Why::Template);
            }
            let value = value(name).ok_or_else(|| Why::Unset(name.to_owned()))?;
            if !is_value(value) {
                return Err(Why::Value(name.to_owned()));
            }
            out.push_str(before);
            out.push_str(value);
            rest = tail;
        }
        if rest.contains('}') {
            return Err(Why::Template);
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (1..=MAX_LABEL).contains(&name.len()) && name.bytes().all(plain)
}

fn is_value(value: &str) -> bool {
    (1..=MAX_LABEL).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
