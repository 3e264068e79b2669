//! What is answered.

use super::super::Dialect;
use super::super::base64;
use super::super::common::{Usage, WireError};
use super::super::json::{Fields, Json, object};
use super::Format;

/// Vectors, one for each text, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// The vectors.
    pub vectors: Vec<Vec<f64>>,
    /// Tokens read, where the target tells. Bedrock tells them in the header
    /// `x-amzn-bedrock-input-token-count` for Cohere's models.
    pub usage: Option<Usage>,
}

impl Embeddings {
    /// Reads a target's answer.
    ///
    /// # Errors
    /// It is none: the provider's own error, or bytes that cannot be read.
    pub fn decode(format: Format, body: &[u8]) -> Result<Embeddings, WireError> {
        let mut fields =
            Json::read(body).ok().and_then(Json::into_fields).ok_or_else(|| WireError::malformed("it is not a JSON object"))?;
        let vectors = match format {
            Format::OpenAi => vectors(&fields, "data", "embedding"),
            Format::Gemini => vectors(&fields, "embeddings", "values"),
            Format::Bedrock => bedrock(&fields),
            Format::WorkersAi => {
                if let Some(result) = fields.take_object("result") {
                    fields = result;
                }
                fields.get("data").and_then(Json::as_list).and_then(lists)
            }
        };
        let Some(vectors) = vectors.filter(|all| !all.is_empty()) else {
            let dialect = match format {
                Format::OpenAi | Format::WorkersAi => Dialect::OpenAiChat,
                Format::Gemini => Dialect::Gemini,
                Format::Bedrock => Dialect::Bedrock,
            };
            let told = fields.get("error").is_some() || fields.get("message").is_some();
            return Err(if told { dialect.decode_error(body) } else { WireError::malformed("it has no embeddings") });
        };
        Ok(Embeddings { vectors, usage: tokens(&fields).and_then(|input| Usage { input, ..Usage::default() }.checked()) })
    }

    /// Writes OpenAI's answer.
    pub fn encode(&self, model: &str, base64: bool) -> Vec<u8> {
        let one = |(at, vector): (u64, &Vec<f64>)| {
            let embedding = if base64 { packed(vector).into() } else { Json::from(vector.clone()) };
            object! { "object": "embedding", "index": at, "embedding": embedding }
        };
        let data: Vec<Fields> = (0_u64..).zip(&self.vectors).map(one).collect();
        let tokens = self.usage.map_or(0, |u| u.input);
        let usage = object! { "prompt_tokens": tokens, "total_tokens": tokens };
        object! { "object": "list", "data": data, "model": model, "usage": usage }.to_text().into_bytes()
    }
}

fn tokens(fields: &Fields) -> Option<u64> {
    let inside = |outer: &str, name: &str| fields.get(outer)?.as_object()?.get(name)?.as_u64();
    let counted = inside("usage", "prompt_tokens").or_else(|| inside("usageMetadata", "promptTokenCount"));
    counted.or_else(|| fields.get("inputTextTokenCount")?.as_u64())
}

fn vectors(fields: &Fields, list: &str, key: &str) -> Option<Vec<Vec<f64>>> {
    fields.get(list)?.as_list()?.iter().map(|item| numbers(item.as_object()?.get(key)?)).collect()
}

/// Titan's one vector; Cohere's list, or its lists by type.
fn bedrock(fields: &Fields) -> Option<Vec<Vec<f64>>> {
    if let Some(one) = fields.get("embedding") {
        return Some(vec![numbers(one)?]);
    }
    match fields.get("embeddings")? {
        Json::Object(by_type) => lists(by_type.get("float")?.as_list()?),
        Json::List(items) => lists(items),
        _ => None,
    }
}

fn lists(items: &[Json]) -> Option<Vec<Vec<f64>>> {
    items.iter().map(numbers).collect()
}

/// A vector's numbers; also of one that is packed.
fn numbers(vector: &Json) -> Option<Vec<f64>> {
    match vector {
        Json::List(items) => items.iter().map(|n| if let Json::Number(n) = n { n.as_f64() } else { None }).collect(),
        Json::Text(text) => {
            let bytes = base64::decode(text)?;
            let four = |b: &[u8]| b.try_into().ok().map(|b| f64::from(f32::from_le_bytes(b)));
            bytes.chunks(4).map(four).collect()
        }
        _ => None,
    }
}

/// Base64 of little-endian 32-bit floats.
fn packed(vector: &[f64]) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the format has 32 bits a number")]
    let bytes: Vec<u8> = vector.iter().flat_map(|n| (*n as f32).to_le_bytes()).collect();
    base64::encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::super::EmbedRequest;
    use super::*;

    fn asked(body: &str, format: Format, model: &str) -> Result<(String, String, String), String> {
        let request = EmbedRequest::decode(body.as_bytes()).map_err(|e| e.param)?;
        let out = request.encode(format, model).map_err(|e| e.param)?;
        Ok((out.path, String::from_utf8(out.body).unwrap(), out.dropped.header()))
    }

    #[test]
    fn each_target_is_asked_in_its_own_words() {
        let two = r#"{"model":"m","input":["a","b"],"dimensions":64,"encoding_format":"base64","user":"u"}"#;
        let one = r#"{"model":"m","input":"a","dimensions":64}"#;
        let ok = |path: &str, body: &str, dropped: &str| Ok((path.to_owned(), body.to_owned(), dropped.to_owned()));
        assert_eq!(
            asked(two, Format::OpenAi, "x"),
            ok("/embeddings", r#"{"model":"x","input":["a","b"],"dimensions":64,"encoding_format":"base64","user":"u"}"#, "")
        );
        assert_eq!(
            asked(two, Format::Gemini, "gemini-embedding-001"),
            ok(
                "/models/gemini-embedding-001:batchEmbedContents",
                r#"{"requests":[{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"a"}]},"outputDimensionality":64},{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"b"}]},"outputDimensionality":64}]}"#,
                "user"
            )
        );
        assert_eq!(
            asked(two, Format::Bedrock, "cohere.embed-v4:0"),
            ok(
                "/model/cohere.embed-v4%3A0/invoke",
                r#"{"texts":["a","b"],"input_type":"search_document","embedding_types":["float"],"output_dimension":64}"#,
                "user"
            )
        );
        assert_eq!(
            asked(one, Format::Bedrock, "amazon.titan-embed-text-v2:0"),
            ok("/model/amazon.titan-embed-text-v2%3A0/invoke", r#"{"inputText":"a","dimensions":64}"#, "")
        );
        assert_eq!(
            asked(two, Format::WorkersAi, "@cf/baai/bge-m3"),
            ok("/run/@cf/baai/bge-m3", r#"{"text":["a","b"]}"#, "dimensions, user")
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let tokens = r#"{"model":"m","input":[[1,2],[3]]}"#;
        assert!(asked(tokens, Format::OpenAi, "x").unwrap().1.contains("[[1,2],[3]]"));
        assert_eq!(asked(tokens, Format::Gemini, "x").unwrap_err(), "input");
        assert_eq!(asked(r#"{"model":"m","input":["a","b"]}"#, Format::Bedrock, "amazon.titan-embed-text-v1").unwrap_err(), "input");
        assert_eq!(asked(r#"{"model":"m","input":"a"}"#, Format::Bedrock, "other").unwrap_err(), "model");
        for (body, param) in [
            (r#"{"input":"a"}"#, "model"),
            (r#"{"model":"m"}"#, "input"),
            (r#"{"model":"m","input":[]}"#, "input"),
            (r#"{"model":"m","input":["a",1]}"#, "input"),
            (r#"{"model":"m","input":"a","encoding_format":"int8"}"#, "encoding_format"),
        ] {
            assert_eq!(EmbedRequest::decode(body.as_bytes()).unwrap_err().param, param, "{body}");
        }
    }

    #[test]
    fn each_answer_becomes_openais() {
        let answers = [
            (Format::OpenAi, r#"{"object":"list","data":[{"embedding":[0.5,-0.25]}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#, 3),
            (Format::OpenAi, r#"{"object":"list","data":[{"embedding":"AAAAPwAAgL4="}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#, 3),
            (Format::Gemini, r#"{"embeddings":[{"values":[0.5,-0.25]}],"usageMetadata":{"promptTokenCount":3}}"#, 3),
            (Format::Bedrock, r#"{"embedding":[0.5,-0.25],"inputTextTokenCount":3}"#, 3),
            (Format::Bedrock, r#"{"embeddings":{"float":[[0.5,-0.25]]}}"#, 0),
            (Format::Bedrock, r#"{"embeddings":[[0.5,-0.25]]}"#, 0),
            (Format::WorkersAi, r#"{"result":{"shape":[1,2],"data":[[0.5,-0.25]]},"success":true}"#, 0),
            (Format::WorkersAi, r#"{"shape":[1,2],"data":[[0.5,-0.25]]}"#, 0),
        ];
        for (format, body, tokens) in answers {
            let read = Embeddings::decode(format, body.as_bytes()).unwrap();
            let expected = format!(
                r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[0.5,-0.25]}}],"model":"m","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
            );
            assert_eq!(String::from_utf8(read.encode("m", false)).unwrap(), expected, "{body}");
            let packed = read.encode("m", true);
            assert_eq!(Embeddings::decode(Format::OpenAi, &packed).unwrap().vectors, read.vectors);
        }
        let error = Embeddings::decode(Format::Gemini, br#"{"error":{"message":"m","status":"NOT_FOUND"}}"#).unwrap_err();
        assert_eq!((error.message.as_str(), error.kind.as_deref()), ("m", Some("NOT_FOUND")));
        for bad in ["", "[]", "{}", r#"{"data":[{"embedding":["x"]}]}"#, r#"{"data":[{"embedding":"AAA"}]}"#] {
            assert!(Embeddings::decode(Format::OpenAi, bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
