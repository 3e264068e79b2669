//! Log-probabilities as both of OpenAI's formats write them.

use super::common::Logprob;
use super::json::{Fields, Json, object};

/// Reads a list of tokens; what is no token is left out.
pub(super) fn read(items: Vec<Json>) -> Vec<Logprob> {
    items.into_iter().filter_map(|item| one(item.into_fields()?)).collect()
}

fn one(mut fields: Fields) -> Option<Logprob> {
    let token = fields.take_text("token")?;
    let Some(Json::Number(logprob)) = fields.take("logprob") else { return None };
    let bytes = fields.take_list("bytes").map(|b| b.iter().filter_map(|n| u8::try_from(n.as_u64()?).ok()).collect());
    Some(Logprob { token, logprob, bytes, top: read(fields.take_list("top_logprobs").unwrap_or_default()) })
}

/// The list to write.
pub(super) fn written(tokens: &[Logprob]) -> Json {
    let full = |token: &Logprob| {
        let mut fields = bare(token);
        fields.put("top_logprobs", token.top.iter().map(bare).collect::<Vec<_>>());
        fields
    };
    tokens.iter().map(full).collect::<Vec<_>>().into()
}

fn bare(token: &Logprob) -> Fields {
    let bytes = match &token.bytes {
        Some(bytes) => bytes.iter().map(|b| u32::from(*b)).collect::<Vec<_>>().into(),
        None => Json::from(token.token.bytes().map(u32::from).collect::<Vec<_>>()),
    };
    object! { "token": &token.token, "logprob": &token.logprob, "bytes": bytes }
}
