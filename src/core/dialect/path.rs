//! Models as parts of paths.

/// A path segment: a name that cannot leave its place. `.` and `..` would; no model is called so.
pub(super) fn segment(text: &str) -> String {
    if matches!(text, "." | "..") { "_".to_owned() } else { encoded(text) }
}

/// Everything but unreserved characters (RFC 3986, 2.3) as percent and two digits.
pub(super) fn encoded(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |n: u8| char::from(DIGITS.get(usize::from(n)).copied().unwrap_or(b'0'));
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

/// Reads what [`segment`] wrote; what is no percent code stays as it is.
pub(super) fn read_segment(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let code = if *byte == b'%' { tail.get(..2).and_then(|two| std::str::from_utf8(two).ok()) } else { None };
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(read) => {
                out.push(read);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_model_cannot_leave_its_segment() {
        assert_eq!(segment("anthropic.claude-v2:1"), "anthropic.claude-v2%3A1");
        assert_eq!(segment("../x?y#z"), "..%2Fx%3Fy%23z");
        assert_eq!(segment(".."), "_");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(text in "\\PC{0,12}") {
            prop_assert_eq!(read_segment(&encoded(&text)), text);
        }
    }
}
