//! AWS Signature Version 4, for Bedrock: a function of request, credentials and time.
//!
//! Algorithm: AWS's reference "Create a signed AWS API request". Checked against the crate
//! `aws-sigv4` on generated requests. The payload is signed whole; a path is encoded once more than
//! it is sent, as every service but S3 wants it.

use crate::auth::hex;
use crate::map::sort_by;
use crate::units::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Who signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The key's id.
    pub access_key: &'a str,
    /// The key.
    pub secret_key: &'a str,
    /// For temporary keys.
    pub session_token: Option<&'a str>,
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signable<'a> {
    /// `POST`.
    pub method: &'a str,
    /// The host as it is sent, with its port if that is not the scheme's.
    pub host: &'a str,
    /// The path as it is sent, percent codes and all.
    pub path: &'a str,
    /// Headers that are to be signed, beside those that this adds. Names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// Where and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// `eu-central-1`.
    pub region: &'a str,
    /// `bedrock`.
    pub service: &'a str,
}

/// The headers to add: `x-amz-date`, `x-amz-security-token` for temporary keys, `authorization`.
/// `None` for a time that has no date.
pub fn sign(
    request: &Signable<'_>,
    credentials: &Credentials<'_>,
    scope: &Scope<'_>,
    now: Timestamp,
) -> Option<Vec<(&'static str, String)>> {
    // `2015-08-30T12:36:00.000Z` as `20150830T123600Z`.
    let written = now.rfc3339();
    let time = format!("{}Z", written.split_once('.')?.0.replace(['-', ':'], ""));
    let date = time.get(..8)?;
    let mut added = vec![("x-amz-date", time.clone())];
    added.extend(credentials.session_token.map(|token| ("x-amz-security-token", token.to_owned())));

    let given = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), one_line(value)));
    let ours = added.iter().map(|(name, value)| ((*name).to_owned(), one_line(value)));
    let mut headers: Vec<(String, String)> = given.chain(ours).chain([("host".to_owned(), one_line(request.host))]).collect();
    sort_by(&mut headers, Ord::cmp);
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();

    let payload = hex(&Sha256::digest(request.body));
    let path = encode_again(request.path);
    let canonical = format!("{}\n{path}\n\n{lines}\n{names}\n{payload}", request.method);
    let within = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{within}\n{}", hex(&Sha256::digest(canonical)));

    let secret = format!("AWS4{}", credentials.secret_key);
    let mut key = secret.into_bytes();
    for part in [date, scope.region, scope.service, "aws4_request", &to_sign] {
        key = mac(&key, part.as_bytes())?;
    }
    let id = credentials.access_key;
    added.push(("authorization", format!("AWS4-HMAC-SHA256 Credential={id}/{within}, SignedHeaders={names}, Signature={}", hex(&key))));
    Some(added)
}

fn mac(key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    // HMAC takes keys of any length.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(mac.finalize().into_bytes().to_vec())
}

/// A header's value without outer white space, and with one space where several are.
fn one_line(value: &str) -> String {
    value.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The path with every byte but unreserved ones and slashes as a percent code.
fn encode_again(path: &str) -> String {
    let encoded = path.split('/').map(super::path::encoded).collect::<Vec<_>>().join("/");
    if encoded.is_empty() { "/".to_owned() } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as their_sign};
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn theirs(request: &Signable<'_>, credentials: &Credentials<'_>, scope: &Scope<'_>, now: Timestamp) -> Vec<(String, String)> {
        let token = credentials.session_token.map(str::to_owned);
        let identity = aws_credential_types::Credentials::new(credentials.access_key, credentials.secret_key, token, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(scope.region)
            .name(scope.service)
            .time(UNIX_EPOCH + Duration::from_millis(now.0.unsigned_abs()))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let url = format!("https://{}{}", request.host, request.path);
        let signable =
            SignableRequest::new(request.method, url, request.headers.iter().copied(), SignableBody::Bytes(request.body)).unwrap();
        let (instructions, _) = their_sign(signable, &params).unwrap().into_parts();
        let mut headers: Vec<_> = instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        headers.sort();
        headers
    }

    #[test]
    fn the_form_is_pinned() {
        let headers = [("Content-Type", "application/json"), ("x-two", " a   b ")];
        let request = Signable {
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/a%3A0/converse",
            headers: &headers,
            body: b"{}",
        };
        let credentials =
            Credentials { access_key: "AKIDEXAMPLE", secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", session_token: Some("t") };
        let scope = Scope { region: "us-east-1", service: "bedrock" };
        let signed = sign(&request, &credentials, &scope, Timestamp(1_440_938_160_000)).unwrap();
        let signature = "b89d853905254127ad6679ee5623a4feb786fcf7e693f978d3c9ce89906320dd";
        assert_eq!(
            signed,
            [
                ("x-amz-date", "20150830T123600Z".to_owned()),
                ("x-amz-security-token", "t".to_owned()),
                (
                    "authorization",
                    format!(
                        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-two, Signature={signature}"
                    )
                ),
            ]
        );
    }

    proptest! {
        #[test]
        fn it_agrees_with_aws_sigv4(
            model in "[a-zA-Z0-9.:/_~ é%+-]{1,20}", stream: bool, body: Vec<u8>,
            headers in prop::collection::btree_map("x-[a-z]{1,6}", "[a-z0-9]([ -~]{0,8}[a-z0-9])?", 0..4),
            token in prop::option::of("[A-Za-z0-9+/=]{1,30}"), secret in "[A-Za-z0-9+/]{1,40}", ms in 0_i64..4_000_000_000_000,
        ) {
            let path = format!("/model/{}/converse{}", crate::dialect::path::segment(&model), if stream { "-stream" } else { "" });
            let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let request = Signable { method: "POST", host: "bedrock-runtime.eu-central-1.amazonaws.com", path: &path, headers: &headers, body: &body };
            let credentials = Credentials { access_key: "AKIDEXAMPLE", secret_key: &secret, session_token: token.as_deref() };
            let scope = Scope { region: "eu-central-1", service: "bedrock" };
            let mut ours: Vec<_> = sign(&request, &credentials, &scope, Timestamp(ms)).unwrap().into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            ours.sort();
            prop_assert_eq!(ours, theirs(&request, &credentials, &scope, Timestamp(ms)));
        }
    }

    #[test]
    fn a_time_without_a_date_signs_nothing() {
        let request = Signable { method: "GET", host: "h", path: "/", headers: &[], body: b"" };
        let credentials = Credentials { access_key: "a", secret_key: "b", session_token: None };
        assert_eq!(sign(&request, &credentials, &Scope { region: "r", service: "s" }, Timestamp(i64::MAX)), None);
    }
}
