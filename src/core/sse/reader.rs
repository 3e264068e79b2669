//! Takes `text/event-stream` bytes apart, as the HTML standard says (9.2.6, "Interpreting an event
//! stream"): lines end with LF, CRLF or CR, a blank line ends an event, one leading byte order mark
//! and comments count for nothing. `id` and `retry` are ignored: nobody here reconnects.

/// Most bytes of one event's data and of one line. Larger than any picture that a provider sends in
/// one piece, small beside an isolate's 128 MB.
pub const MAX_EVENT: usize = 16 * 1024 * 1024;

/// An event with data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty if it has none.
    pub name: Vec<u8>,
    /// Its data, lines joined by LF.
    pub data: Vec<u8>,
}

/// A line or an event had more than [`MAX_EVENT`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Reads one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// The unfinished line.
    line: Vec<u8>,
    /// The unfinished event.
    event: Event,
    /// Whether it has a data line.
    has_data: bool,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Whether the first line is read.
    begun: bool,
}

impl Reader {
    /// Takes the next bytes; adds the events that they complete.
    ///
    /// # Errors
    /// A line or event is too large. What was read before it is in `out`; the reader is of no more use.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), TooLarge> {
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (line, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            if self.line.len().saturating_add(line.len()) > MAX_EVENT {
                return Err(TooLarge);
            }
            if self.line.is_empty() {
                self.take_line(line, out)?;
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take_line(&whole, out)?;
            }
            rest = match tail {
                [b'\r', b'\n', tail @ ..] | [b'\n', tail @ ..] => tail,
                [b'\r', tail @ ..] => {
                    self.after_cr = tail.is_empty();
                    tail
                }
                other => other,
            };
        }
        if self.line.len().saturating_add(rest.len()) > MAX_EVENT {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// The stream is over. An event that lacks only its blank line is given out: providers that
    /// forget it are more frequent than connections that break just there.
    ///
    /// # Errors
    /// The last event is too large.
    pub fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), TooLarge> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, out)?;
        }
        self.take_line(b"", out)
    }

    fn take_line(&mut self, line: &[u8], out: &mut Vec<Event>) -> Result<(), TooLarge> {
        let line = if self.begun { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                out.push(event);
            }
            return Ok(());
        }
        let mut halves = line.splitn(2, |b| *b == b':');
        let field = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.event.data.len().saturating_add(value.len()) >= MAX_EVENT {
                    return Err(TooLarge);
                }
                if self.has_data {
                    self.event.data.push(b'\n');
                }
                self.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = value.to_vec(),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventsource_stream::Eventsource;
    use futures_util::{StreamExt, stream};
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn read(parts: &[&[u8]]) -> Vec<Event> {
        let (mut reader, mut out) = (Reader::default(), Vec::new());
        for part in parts {
            reader.push(part, &mut out).unwrap();
        }
        out
    }

    /// The same by another's hand.
    fn oracle(bytes: &[u8]) -> Vec<Event> {
        let source = stream::iter([Ok::<_, Infallible>(bytes.to_vec())]);
        let events: Vec<_> = futures_executor::block_on(source.eventsource().collect());
        let one = |e: eventsource_stream::Event| Event {
            name: if e.event == "message" { Vec::new() } else { e.event.into_bytes() },
            data: e.data.into_bytes(),
        };
        events.into_iter().map(|e| one(e.unwrap())).collect()
    }

    #[test]
    fn a_last_event_without_its_blank_line_is_given_out_at_the_end() {
        let (mut reader, mut out) = (Reader::default(), Vec::new());
        reader.push(b"data: a\n\ndata: [DONE]", &mut out).unwrap();
        reader.finish(&mut out).unwrap();
        assert_eq!(out.iter().map(|e| e.data.as_slice()).collect::<Vec<_>>(), [&b"a"[..], b"[DONE]"]);
    }

    #[test]
    fn five_megabytes_in_a_line_pass_and_an_endless_line_does_not() {
        let line = vec![b'x'; 5 * 1024 * 1024];
        let (mut reader, mut out) = (Reader::default(), Vec::new());
        reader.push(b"data:", &mut out).unwrap();
        for part in line.chunks(4_096) {
            reader.push(part, &mut out).unwrap();
        }
        reader.push(b"\r\n\r\n", &mut out).unwrap();
        assert_eq!(out.pop().map(|e| e.data.len()), Some(line.len()));
        let endless = (0..4).try_for_each(|_| reader.push(&line, &mut out));
        assert_eq!(endless, Err(TooLarge));
        let many = [b"data:", &line[..], b"\n"].concat();
        let mut reader = Reader::default();
        assert_eq!((0..4).try_for_each(|_| reader.push(&many, &mut out)), Err(TooLarge));
    }

    fn text() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            4 => "(data|event|id|retry|x)?:? ?[a-z:é ]{0,6}",
            3 => Just(String::new()),
            1 => Just(": ping".to_owned()),
            1 => Just("data: {\"a\":1}".to_owned()),
        ];
        let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
        (any::<bool>(), prop::collection::vec((line, end), 0..20)).prop_map(|(bom, lines)| {
            let lines: String = lines.into_iter().map(|(line, end)| line + end).collect();
            if bom { format!("\u{feff}{lines}") } else { lines }
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_eventsource_stream(text in text()) {
            // Version 0.2.3 panics on a byte order mark.
            let text = format!("{}:\n\n", text.trim_start_matches('\u{feff}'));
            prop_assert_eq!(read(&[text.as_bytes()]), oracle(text.as_bytes()));
        }

        #[test]
        fn cutting_the_bytes_elsewhere_changes_nothing(text in text(), cuts in prop::collection::vec(1_usize..9, 1..50)) {
            let (mut rest, mut pieces, mut cut) = (text.as_bytes(), Vec::new(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (head, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                pieces.push(head);
                rest = tail;
            }
            prop_assert_eq!(read(&pieces), read(&[text.as_bytes()]));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            read(&[&bytes]);
        }
    }
}
