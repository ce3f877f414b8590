//! Makes what a peer said fit to be shown: harmless characters, no secret of ours, bounded.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The longest message, in bytes.
pub(super) const MAX_LENGTH: usize = 256;

/// What follows in a peer's text is not looked at.
const MAX_TEXT: usize = 4096;
/// A piece of a secret that is this long is masked.
const PIECE: usize = 12;
/// A shorter secret is none, and masking it would mask words.
const SHORTEST_SECRET: usize = 6;
/// A word longer than this is a token of somebody's, in whatever encoding.
const LONGEST_WORD: usize = 40;
/// A request's id is groups of hexadecimal digits, none longer than this.
const LONGEST_GROUP: usize = 32;
/// How often a text is decoded in search of an encoded secret.
const DECODINGS: usize = 4;
const MASK: &str = "[masked]";
const WITHHELD: &str = "(withheld: the text repeats a secret)";

/// Cleans `text`, masks every piece of `secrets` in it and cuts it short.
pub(super) fn presentable(text: &str, secrets: &[&str]) -> String {
    let pieces = Pieces::of(secrets);
    let cleaned: String = first(text, MAX_TEXT).chars().filter_map(harmless).collect();
    let masked = mask_long_words(&pieces.mask(cleaned.trim()));
    let shown = if pieces.are_encoded_in(&masked) { WITHHELD } else { &masked };
    first(shown, MAX_LENGTH).to_owned()
}

/// At most `length` bytes of `text`, whole characters only.
pub(super) fn first(text: &str, length: usize) -> &str {
    text.get(..text.floor_char_boundary(length)).unwrap_or_default()
}

/// Control characters would break a log's lines; the invisible ones and those that turn the direction of writing make
/// a text read as something else.
fn harmless(character: char) -> Option<char> {
    match character {
        '\u{2028}' | '\u{2029}' => Some(' '),
        _ if character.is_control() => Some(' '),
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => None,
        _ => Some(character),
    }
}

/// Whether tokens are made of it, in base64 for URLs too.
fn in_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '=' | '_' | '-')
}

fn mask_long_words(text: &str) -> String {
    let is_id = |run: &str| {
        let is_group = |group: &str| group.len() <= LONGEST_GROUP && group.bytes().all(|byte| byte.is_ascii_hexdigit());
        run.split('-').all(is_group)
    };
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let end = rest.find(|c| in_word(c) != in_word(next)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let is_token = in_word(next) && run.len() > LONGEST_WORD && !is_id(run);
        shown.push_str(if is_token { MASK } else { run });
        rest = after;
    }
    shown
}

/// Every piece of the secrets, by length. Case is folded, and `+` is a blank: a form encodes one as the other.
struct Pieces(BTreeMap<usize, HashSet<Vec<u8>>>);

impl Pieces {
    fn of(secrets: &[&str]) -> Self {
        let mut pieces: BTreeMap<usize, HashSet<Vec<u8>>> = BTreeMap::new();
        for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET) {
            for written in std::iter::once(secret.as_bytes().to_vec()).chain(encoded(secret.as_bytes())) {
                let folded = fold(&written);
                let length = folded.len().min(PIECE);
                pieces.entry(length).or_default().extend(folded.windows(length).map(<[u8]>::to_vec));
            }
        }
        Self(pieces)
    }

    /// Masks each piece with the rest of its word, escapes included: it belongs to the same secret.
    fn mask(&self, text: &str) -> String {
        let mut covered = self.covered(text.as_bytes());
        let adjoins = |byte: &u8| in_word(char::from(*byte)) || matches!(byte, b'%' | b'\\');
        let words: Vec<_> = text.bytes().map(|byte| adjoins(&byte)).collect();
        for index in 1..covered.len() {
            if covered.get(index - 1) == Some(&true) && words.get(index - 1..=index) == Some(&[true, true]) {
                covered.iter_mut().skip(index).take(1).for_each(|byte| *byte = true);
            }
        }
        for index in (1..covered.len()).rev() {
            if covered.get(index) == Some(&true) && words.get(index - 1..=index) == Some(&[true, true]) {
                covered.iter_mut().skip(index - 1).take(1).for_each(|byte| *byte = true);
            }
        }
        let is_covered = |index: usize, character: char| {
            covered.get(index..index + character.len_utf8()).is_some_and(|bytes| bytes.contains(&true))
        };
        let mut shown = String::with_capacity(text.len());
        let mut in_mask = false;
        for (index, character) in text.char_indices() {
            match (is_covered(index, character), in_mask) {
                (true, false) => shown.push_str(MASK),
                (true, true) => {}
                (false, _) => shown.push(character),
            }
            in_mask = is_covered(index, character);
        }
        shown
    }

    /// Whether a piece appears once percent-encoding, JSON's escapes and HTML's entities are undone.
    fn are_encoded_in(&self, text: &str) -> bool {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..DECODINGS {
            bytes = decoded(&bytes);
            if self.covered(&bytes).contains(&true) {
                return true;
            }
        }
        false
    }

    fn covered(&self, text: &[u8]) -> Vec<bool> {
        let folded = fold(text);
        let mut covered = vec![false; folded.len()];
        for (length, pieces) in &self.0 {
            for (index, _) in folded.windows(*length).enumerate().filter(|(_, window)| pieces.contains(*window)) {
                covered.iter_mut().skip(index).take(*length).for_each(|byte| *byte = true);
            }
        }
        covered
    }
}

/// A secret in base64, beginning at any of the three places of a group, and in hexadecimal. The characters that its
/// neighbours have a part in are left out.
fn encoded(secret: &[u8]) -> Vec<Vec<u8>> {
    let hexadecimal = secret.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let digits = hexadecimal.filter_map(|digit| char::from_digit(digit.into(), 16)).map(|digit| digit as u8);
    let mut written = vec![digits.collect()];
    for shift in 0..3 {
        let shifted = [&vec![0; shift], secret].concat();
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            let own = text.as_bytes().get((shift * 8).div_ceil(6)..shifted.len() * 8 / 6);
            written.push(own.unwrap_or_default().to_vec());
        }
    }
    written
}

fn fold(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if *byte == b'+' { b' ' } else { byte.to_ascii_lowercase() }).collect()
}

/// Undoes one layer of `%41`, `\u0041`, `\"`, `&#65;`, `&#x41;` and `&amp;`; what is none of these stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let escape = match first {
            b'%' => hexadecimal(after, 2).and_then(|value| Some((vec![u8::try_from(value).ok()?], 3))),
            b'\\' => backslash(after),
            b'&' => entity(after),
            _ => None,
        };
        let (plain, length) = escape.unwrap_or_else(|| (vec![first], 1));
        bytes.extend(plain);
        rest = rest.get(length..).unwrap_or_default();
    }
    bytes
}

fn backslash(after: &[u8]) -> Option<(Vec<u8>, usize)> {
    match after.first()? {
        plain @ (b'"' | b'\\' | b'/' | b'\'') => Some((vec![*plain], 2)),
        b'u' => Some((utf8(hexadecimal(after.get(1..)?, 4)?)?, 6)),
        b'x' => Some((utf8(hexadecimal(after.get(1..)?, 2)?)?, 4)),
        _ => None,
    }
}

fn entity(after: &[u8]) -> Option<(Vec<u8>, usize)> {
    let end = after.iter().take(12).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(after.get(..end)?).ok()?;
    let number = name.strip_prefix('#').and_then(|digits| match digits.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    });
    let plain = match (name, number) {
        (_, Some(number)) => utf8(number)?,
        ("amp", _) => b"&".to_vec(),
        ("quot", _) => b"\"".to_vec(),
        ("apos", _) => b"'".to_vec(),
        ("lt", _) => b"<".to_vec(),
        ("gt", _) => b">".to_vec(),
        _ => return None,
    };
    Some((plain, end + 2))
}

fn hexadecimal(text: &[u8], digits: usize) -> Option<u32> {
    let digits = text.get(..digits)?;
    let are_digits = digits.iter().all(u8::is_ascii_hexdigit);
    u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| are_digits)?, 16).ok()
}

fn utf8(value: u32) -> Option<Vec<u8>> {
    char::from_u32(value).map(|character| character.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "My App ø-8k8Q7DmBgo.202006301117.dErddLx+u6BeJM/aa==";

    fn percent(text: &str) -> String {
        text.bytes().fold(String::new(), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() {
                encoded.push(byte.into());
            } else {
                write!(encoded, "%{byte:02X}").unwrap();
            }
            encoded
        })
    }

    fn json_escaped(text: &str) -> String {
        text.encode_utf16().fold(String::new(), |mut escaped, unit| {
            write!(escaped, "\\u{unit:04x}").unwrap();
            escaped
        })
    }

    fn assert_hidden(shown: &str) {
        for decoding in 0..=DECODINGS {
            let mut bytes = shown.as_bytes().to_vec();
            (0..decoding).for_each(|_| bytes = decoded(&bytes));
            let folded = fold(&bytes);
            let secret = fold(SECRET.as_bytes());
            assert!(!secret.windows(PIECE).any(|piece| folded.windows(PIECE).any(|window| window == piece)), "{shown}");
        }
    }

    #[test]
    fn harmless_texts_stay_as_they_are() {
        for text in ["Unknown system user token", "Tenant ø 漢字 (7)", "100 % + \\o/ & more", ""] {
            assert_eq!(presentable(text, &[SECRET]), text);
        }
    }

    #[test]
    fn secrets_are_masked_in_every_encoding() {
        assert_eq!(presentable(&format!("no such token '{SECRET}'!"), &[SECRET]), "no such token '[masked]'!");
        assert_eq!(presentable("token 8k8Q7DmBgo.20 is cut", &[SECRET]), "token [masked] is cut");
        assert_eq!(presentable("my secret abcdef.", &["abcdef"]), "my secret [masked].");
        for echo in [
            SECRET.to_owned(),
            SECRET.to_uppercase(),
            SECRET.replace(' ', "+"),
            percent(SECRET),
            percent(SECRET).to_lowercase(),
            percent(&percent(SECRET)),
            SECRET.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}")),
            json_escaped(SECRET),
            json_escaped(&json_escaped(SECRET)),
            serde_json::to_string(&SECRET.replace('/', "\\/")).unwrap(),
            SECRET.chars().fold(String::new(), |text, c| text + &format!("&#{};", u32::from(c))),
            SECRET.chars().fold(String::new(), |text, c| text + &format!("&#x{:X};", u32::from(c))),
            SECRET.replace('+', "&#43;").replace(' ', "%20"),
        ] {
            for text in [format!("bad: {echo}."), format!("\\{echo}\\"), format!("%{echo}"), format!("&{echo};")] {
                assert_hidden(&presentable(&text, &[SECRET]));
            }
        }
    }

    #[test]
    fn secrets_in_base64_and_hexadecimal_are_masked_in_pieces_too() {
        let short = "c4Nary-7Qz2kW9tX";
        for before in ["", "x", "xy"] {
            let text = format!("{before}{short}");
            let hexadecimal = text.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02X}"));
            for echo in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text), hexadecimal] {
                assert_eq!(presentable(&format!("no {echo}, sorry"), &[short]), "no [masked], sorry");
                assert_eq!(presentable(&format!("no {}, sorry", &echo[6..20]), &[short]), "no [masked], sorry");
            }
        }
    }

    #[test]
    fn the_rest_of_a_secrets_word_is_masked_with_it() {
        // Another tenant's token: the application's name is the same.
        let shown = presentable("no My Application-Zz9Yy8Xx7W, no", &["My Application-8k8Q7DmBgo"]);
        assert_eq!(shown, "no [masked], no");
    }

    #[test]
    fn a_secret_across_either_cut_is_masked() {
        for cut in [MAX_LENGTH, MAX_TEXT] {
            for shift in 0..SECRET.len() + 5 {
                assert_hidden(&presentable(&format!("{}{SECRET}", "x ".repeat((cut - shift) / 2)), &[SECRET]));
            }
        }
    }

    #[test]
    fn long_words_are_tokens_of_somebodys() {
        let jwt = format!("ey{}.ey{}.{}", "J".repeat(60), "x-".repeat(40), "_".repeat(90));
        assert_eq!(presentable(&format!("got {jwt}"), &[]), "got [masked].[masked].[masked]");
        let request = "Request ID: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert_eq!(presentable(request, &[]), request);
    }

    #[test]
    fn control_and_direction_characters_are_gone() {
        let shown =
            presentable("a\r\nb\u{1b}[31mc\0d\u{202e}e\u{2066}f\u{200b}g\u{2028}h\u{feff}\u{85}i\u{e0041}", &[]);
        assert_eq!(shown, "a  b [31mc defg h i");
    }

    #[test]
    fn the_cut_is_at_a_whole_character() {
        let shown = presentable(&"€".repeat(1_000), &[]);
        assert_eq!((shown.len(), shown.chars().count()), (255, 85));
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_bounded_line(text in any::<String>(), secret in any::<String>()) {
            let shown = presentable(&text, &[&secret]);
            prop_assert!(shown.len() <= MAX_LENGTH && !shown.chars().any(char::is_control));
        }
    }
}
