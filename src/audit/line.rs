//! One event's line, written member by member: the events of cached calls are a good part of what such a call costs.

use std::fmt::{self, Write};
use std::net::SocketAddrV4;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// To the microsecond.
const TIMES: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// A JSON object on one line of printable ASCII, whatever its members hold.
pub(super) struct Line<'a>(&'a mut Vec<u8>);

impl<'a> Line<'a> {
    /// Begins an object with its first member.
    pub(super) fn begin(bytes: &'a mut Vec<u8>, first: &'static str, value: &str) -> Self {
        bytes.push(b'{');
        let mut line = Self(bytes);
        line.name_and_text(first, value);
        line
    }

    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.0.push(b',');
        self.name_and_text(name, value);
    }

    pub(super) fn optional_text(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(super) fn shown(&mut self, name: &'static str, value: &impl fmt::Display) {
        self.name(name);
        self.0.push(b'"');
        // Into memory: it cannot fail.
        let _ = write!(Escaping(self.0), "{value}");
        self.0.push(b'"');
    }

    /// Written by hand, as it is in each event: the address of nearly every peer.
    pub(super) fn address(&mut self, name: &'static str, value: SocketAddrV4) {
        self.name(name);
        self.0.push(b'"');
        for (octet, end) in value.ip().octets().into_iter().zip(*b"...:") {
            decimal(self.0, octet.into());
            self.0.push(end);
        }
        decimal(self.0, value.port().into());
        self.0.push(b'"');
    }

    pub(super) fn time(&mut self, name: &'static str, value: Timestamp) {
        self.name(name);
        self.0.push(b'"');
        // Into memory: it cannot fail.
        let _ = TIMES.print_timestamp(&value, &mut *self.0);
        self.0.push(b'"');
    }

    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        decimal(self.0, value);
    }

    pub(super) fn hexadecimal(&mut self, name: &'static str, value: u128, digits: usize) {
        self.name(name);
        self.0.push(b'"');
        hexadecimal(self.0, value, digits);
        self.0.push(b'"');
    }

    /// A text that needs no escaping.
    pub(super) fn plain(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(value);
        self.0.push(b'"');
    }

    /// Ends the object and its line.
    pub(super) fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }

    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn name_and_text(&mut self, name: &'static str, value: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":\"");
        escaped(self.0, value);
        self.0.push(b'"');
    }
}

struct Escaping<'a>(&'a mut Vec<u8>);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escaped(self.0, text);
        Ok(())
    }
}

/// Everything beyond printable ASCII is escaped: nothing ends the line, steers a terminal or turns the direction of
/// reading, and no list of such characters has to be right.
fn escaped(bytes: &mut Vec<u8>, text: &str) {
    // Without a way out of the loop the processor looks at many bytes at once.
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        bytes.extend_from_slice(text.as_bytes());
        return;
    }
    let mut units = [0; 2];
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if is_plain(byte) => bytes.push(byte),
            _ => {
                for unit in character.encode_utf16(&mut units) {
                    bytes.extend_from_slice(b"\\u");
                    hexadecimal(bytes, u128::from(*unit), 4);
                }
            }
        }
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn hexadecimal(bytes: &mut Vec<u8>, value: u128, digits: usize) {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    bytes.extend_from_slice(text.get(text.len().saturating_sub(digits)..).unwrap_or_default());
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn decimal(bytes: &mut Vec<u8>, mut value: u64) {
    let mut text = [0; 20];
    let mut length = 0;
    for place in text.iter_mut().rev() {
        *place = digit(u8::try_from(value % 10).unwrap_or_default());
        value /= 10;
        length += 1;
        if value == 0 {
            break;
        }
    }
    bytes.extend_from_slice(text.get(text.len() - length..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_kind_of_member_is_json() {
        let mut bytes = Vec::new();
        let mut line = Line::begin(&mut bytes, "stream", "audit");
        line.time("ts", "2026-11-22T12:00:00.1234567Z".parse().unwrap());
        line.optional_text("absent", None);
        line.optional_text("text", Some("a\"b\\c"));
        line.number("zero", 0);
        line.number("most", u64::MAX);
        line.hexadecimal("id", 0xab, 8);
        line.address("peer", SocketAddrV4::new([127, 0, 10, 255].into(), 65_535));
        line.end();
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).unwrap(),
            json!({"stream": "audit", "ts": "2026-11-22T12:00:00.123456Z", "text": "a\"b\\c", "zero": 0,
                   "most": u64::MAX, "id": "000000ab", "peer": "127.0.10.255:65535"})
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_one_line_of_printable_ascii(texts in prop::collection::vec(any::<String>(), 1..4)) {
            let mut bytes = Vec::new();
            let mut line = Line::begin(&mut bytes, "first", &texts[0]);
            for text in &texts {
                line.text("text", text);
            }
            line.end();
            let (end, rest) = bytes.split_last().unwrap();
            prop_assert_eq!(*end, b'\n');
            prop_assert!(rest.iter().all(|byte| (b' '..=b'~').contains(byte)));
            let event: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(event["first"].as_str(), Some(texts[0].as_str()));
            prop_assert_eq!(event["text"].as_str(), texts.last().map(String::as_str));
        }
    }
}
