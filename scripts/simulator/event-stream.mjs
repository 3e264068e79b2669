// Amazon's binary event stream (`application/vnd.amazon.eventstream`):
// length of all, length of the headers, CRC-32 of these eight bytes; headers; payload; CRC-32 of all before it.
// Numbers are big-endian.

const TABLE = new Uint32Array(256).map((_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (let at = 0; at < bytes.length; at += 1) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[at]) & 255];
  return (crc ^ 0xffffffff) >>> 0;
}

const STRING = 7;

function headerBytes(headers) {
  return Buffer.concat(
    Object.entries(headers).map(([name, value]) => {
      const text = Buffer.from(value);
      const head = Buffer.alloc(name.length + 4);
      head[0] = name.length;
      head.write(name, 1, "latin1");
      head[name.length + 1] = STRING;
      head.writeUInt16BE(text.length, name.length + 2);
      return Buffer.concat([head, text]);
    }),
  );
}

/** One message as a string of bytes (latin1), so that it can be joined with others like text. */
export function frame(headers, payload) {
  const head = headerBytes(headers);
  const body = Buffer.from(JSON.stringify(payload));
  const bytes = Buffer.alloc(16 + head.length + body.length);
  bytes.writeUInt32BE(bytes.length, 0);
  bytes.writeUInt32BE(head.length, 4);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 8)), 8);
  head.copy(bytes, 12);
  body.copy(bytes, 12 + head.length);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, bytes.length - 4)), bytes.length - 4);
  return bytes.toString("latin1");
}

export const eventFrame = (kind, payload) =>
  frame({ ":event-type": kind, ":content-type": "application/json", ":message-type": "event" }, payload);

export const exceptionFrame = (kind, payload) =>
  frame({ ":exception-type": kind, ":content-type": "application/json", ":message-type": "exception" }, payload);
