// Checks a request's AWS Signature Version 4, as AWS does:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

import { createHash, createHmac } from "node:crypto";
import { Refusal } from "./errors.mjs";

/** The one secret that the simulator knows, of whatever key id. */
export const SECRET = "simulated-secret";
const FORM =
  /^AWS4-HMAC-SHA256 Credential=([^/,\s]+)\/(\d{8})\/([a-z0-9-]+)\/bedrock\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;
/** Without these in it a signature says nothing about the request. */
const NEEDED = ["host", "x-amz-date"];

const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const strict = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

const invalid = (text) => new Refusal(403, text, { kind: "InvalidSignatureException" });
const incomplete = (text) => new Refusal(403, text, { kind: "IncompleteSignatureException" });

/** Returns the key's id. `body` are the request's bytes. */
export function verify(req, body) {
  const header = req.headers.authorization ?? "";
  const [, id, date, region, names, signature] = FORM.exec(header) ?? [];
  if (id === undefined) {
    throw incomplete(
      `Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters. Authorization=${header}`,
    );
  }
  const time = req.headers["x-amz-date"] ?? "";
  if (!/^\d{8}T\d{6}Z$/.test(time))
    throw incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.");
  if (!time.startsWith(date))
    throw invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP");
  const signed = names.split(";");
  const lost = NEEDED.find((name) => !signed.includes(name));
  if (lost !== undefined) throw invalid(`'${lost}' must be a 'SignedHeader' in the AWS Authorization.`);
  const scope = `${date}/${region}/bedrock/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", time, scope, sha256(canonical(req, body, signed))].join("\n");
  const key = [date, region, "bedrock", "aws4_request"].reduce(
    (secret, part) => hmac(secret, part),
    `AWS4${SECRET}`,
  );
  if (hmac(key, toSign).toString("hex") !== signature) {
    throw invalid(
      "The request signature we calculated does not match the signature you provided. Check your AWS Secret " +
        "Access Key and signing method. Consult the service documentation for details.",
    );
  }
  return id;
}

function canonical(req, body, signed) {
  const [path, query = ""] = req.url.split("?");
  const pairs = [...new URLSearchParams(query)].map(([name, value]) => `${strict(name)}=${strict(value)}`).sort();
  const headers = signed.map(
    (name) =>
      `${name}:${String(req.headers[name] ?? "")
        .trim()
        .replace(/ +/g, " ")}\n`,
  );
  // Each segment is encoded once more than on the wire, for every service but S3.
  const twice = path.split("/").map(strict).join("/");
  return [req.method, twice, pairs.join("&"), headers.join(""), signed.join(";"), sha256(body)].join("\n");
}
