//! Base64 (RFC 4648), for Bedrock's binary fields and data URLs, and its alphabet for URLs, for sealed
//! secrets and JWTs.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as base64 with padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for three in bytes.chunks(3) {
        let n = three.iter().zip([16, 8, 0]).fold(0_u32, |n, (byte, shift)| n | (u32::from(*byte) << shift));
        for (i, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from((n >> shift) & 63).ok().and_then(|d| DIGITS.get(d)).copied().unwrap_or(b'A');
            out.push(if i > three.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

/// Bytes of base64, with padding or without; `None` if it is none.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len());
    for four in digits.chunks(4) {
        if four.len() == 1 {
            return None;
        }
        let mut n = 0_u32;
        for (digit, shift) in four.iter().zip([18, 12, 6, 0]) {
            let value = match digit {
                b'A'..=b'Z' => digit.wrapping_sub(b'A'),
                b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
                b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            n |= u32::from(value) << shift;
        }
        let [_, bytes @ ..] = n.to_be_bytes();
        out.extend(bytes.iter().take(four.len().saturating_sub(1)));
    }
    Some(out)
}

/// Bytes as base64 of the alphabet for URLs, without padding.
pub fn encode_url(bytes: &[u8]) -> String {
    let url = |c: char| match c {
        '+' => '-',
        '/' => '_',
        c => c,
    };
    encode(bytes).trim_end_matches('=').chars().map(url).collect()
}

/// Bytes of base64 of the alphabet for URLs, without padding; `None` if it is none.
pub fn decode_url(text: &str) -> Option<Vec<u8>> {
    if text.contains(['+', '/', '=']) {
        return None;
    }
    decode(&text.replace('-', "+").replace('_', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!((decode("Zg"), decode("Z"), decode("Zm9\n")), (Some(b"f".to_vec()), None, None));
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(decode_url(&encode_url(&bytes)), Some(bytes));
        }
    }
}
