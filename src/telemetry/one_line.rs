use std::borrow::Cow;
use std::io;

use tracing_subscriber::fmt::MakeWriter;

/// The text with nothing in it that ends a line, steers a terminal or turns the direction of reading: such characters
/// are written as JSON would escape them, so that text from a peer can be shown and logged.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            // Every such character is in the basic plane: one escape of four digits is valid JSON.
            escaped.push_str("\\u");
            let code = u32::from(character);
            escaped.extend([12, 8, 4, 0].into_iter().filter_map(|shift| char::from_digit(code >> shift & 0xf, 16)));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// Hands out writers that keep each event on one line.
#[derive(Clone, Debug)]
pub(super) struct OneLineWriter<W>(W);

impl<W> OneLineWriter<W> {
    pub(super) fn new(writer: W) -> Self {
        Self(writer)
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLineWriter<W> {
    type Writer = OneLineWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for OneLineWriter<W> {
    /// Takes one whole event with its line end, as the subscriber writes it.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = one_line(text.trim_end_matches('\n')).into_owned();
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn harmless_text_is_left_as_it_is() {
        assert!(matches!(one_line("Cust12345 – øæå 日本語"), Cow::Borrowed(_)));
        assert_eq!(one_line("a\u{1b}[2Jb\nc\u{202e}d"), "a\\u001b[2Jb\\u000ac\\u202ed");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_stays_on_its_line(text in any::<String>()) {
            let line = one_line(&text);
            prop_assert!(!line.contains(is_unsafe));
            prop_assert_eq!(one_line(&line), line.as_ref());
        }
    }
}
