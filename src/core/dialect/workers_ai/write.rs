//! From the common form to what `run` takes.

use super::super::common::{AnswerFormat, Request};
use super::super::fields::Refused;
use super::super::foreign::one_choice;
use super::super::json::{Fields, Json, object};
use super::super::path::segment;
use super::super::{Encoded, Target, chat};

/// Writes a request: a chat completion's, but for what `run` has otherwise.
pub(crate) fn encode_request(request: &Request, target: &Target<'_>) -> Result<Encoded, Refused> {
    one_choice(request)?;
    let target = Target { only_max_tokens: true, ..*target };
    let encoded = chat::encode_request(request, &target)?;
    let mut body = Json::read(&encoded.body).ok().and_then(Json::into_fields).unwrap_or_default();
    let mut dropped = encoded.dropped;
    // Which model it is stands in the path, and usage is told without asking.
    for own in ["model", "stream_options", "n"] {
        body.take(own);
    }
    body.take("user");
    dropped.add_if(request.user.is_some(), "user");
    let messages = body.take_list("messages").unwrap_or_default();
    body.put("messages", messages.into_iter().map(spoken).collect::<Vec<_>>());
    if let Some(AnswerFormat::Schema { schema, .. }) = &request.format {
        // The schema itself, without OpenAI's frame around it.
        body.put("response_format", object! { "type": "json_schema", "json_schema": schema });
    }
    Ok(Encoded { path: model_path(target.model), body: body.to_text().into_bytes(), dropped })
}

/// A message whose content is there: `null` is refused.
fn spoken(message: Json) -> Json {
    match message {
        Json::Object(mut fields) if matches!(fields.get("content"), None | Some(Json::Null)) => {
            let mut out = Fields::new();
            out.put_some("role", fields.take("role"));
            out.put("content", "");
            fields.take("content");
            out.fill(fields);
            out.into()
        }
        other => other,
    }
}

/// The path of a model. Its name is several segments: `@cf/meta/llama-3.3-70b-instruct-fp8-fast`.
pub(crate) fn model_path(model: &str) -> String {
    format!("/run/{}", model.split('/').map(segment).collect::<Vec<_>>().join("/").replace("%40", "@"))
}
