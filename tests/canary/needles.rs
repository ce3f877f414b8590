//! Finds secrets in whatever form they got out.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A piece of a secret, in whatever encoding, that is this long is a leak.
pub(crate) const PIECE: usize = 12;
/// The same of a list of decimal bytes, where a byte takes up to five characters.
const DECIMAL_PIECE: usize = 24;
/// What is written as several characters for each byte is looked for in texts up to this length: the longer ones are
/// base64 already.
const LONGEST_WRITTEN_OUT: usize = 128;

/// Every piece of every secret in every encoding.
#[derive(Default)]
pub(crate) struct Needles {
    secrets: Vec<String>,
    pieces: Pieces<PIECE>,
    decimal_pieces: Pieces<DECIMAL_PIECE>,
}

type Pieces<const LENGTH: usize> = HashMap<[u8; LENGTH], Source, BuildHasherDefault<PieceHasher>>;

/// Whose piece it is: the number of the secret, and the encoding.
type Source = (usize, &'static str);

/// Something that is there and must not be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) secret: String,
    pub(crate) encoding: &'static str,
    /// What is around it.
    pub(crate) context: String,
}

impl Needles {
    /// Takes a secret in. A short one is itself a piece of nothing and would find words.
    pub(crate) fn add(&mut self, name: &str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        assert!(secret.len() >= PIECE, "{name} is too short to be looked for");
        let number = self.secrets.len();
        self.secrets.push(name.to_owned());
        for (encoding, encoded) in encodings(secret) {
            for piece in encoded.windows(PIECE) {
                self.pieces.entry(piece.try_into().unwrap()).or_insert((number, encoding));
            }
        }
        if is_written_out(secret) {
            for piece in decimal(secret).as_bytes().windows(DECIMAL_PIECE) {
                self.decimal_pieces.entry(piece.try_into().unwrap()).or_insert((number, "decimal"));
            }
        }
    }

    pub(crate) fn secrets(&self) -> usize {
        self.secrets.len()
    }

    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len() + self.decimal_pieces.len()
    }

    /// Every secret found, once for each encoding.
    pub(crate) fn search(&self, output: &[u8]) -> Vec<Hit> {
        let mut found = BTreeMap::new();
        for (offset, piece) in output.windows(PIECE).enumerate() {
            if let Some(source) = self.pieces.get(piece) {
                found.entry(*source).or_insert(offset);
            }
        }
        // Lists of numbers are rare, and looked at only where one is.
        for (offset, piece) in output.windows(DECIMAL_PIECE).enumerate().filter(|(_, piece)| is_list(piece)) {
            if let Some(source) = self.decimal_pieces.get(piece) {
                found.entry(*source).or_insert(offset);
            }
        }
        let hit = |((number, encoding), offset): (Source, usize)| Hit {
            secret: self.secrets[number].clone(),
            encoding,
            context: context(output, offset),
        };
        found.into_iter().map(hit).collect()
    }
}

/// The secret as it could be written: by base64 it begins at any of three places of a group.
pub(crate) fn encodings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = secret.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let mut encodings = vec![
        ("raw", secret.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("upper-case hex", hex.to_uppercase().into_bytes()),
        ("percent", percent(secret, |byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))),
    ];
    for shift in 0..3 {
        let shifted = [&[0; 2][..shift], secret].concat();
        // What the neighbours have a part in is not the secret's alone.
        let own = |text: String| text.as_bytes()[(shift * 8).div_ceil(6)..shifted.len() * 8 / 6].to_vec();
        encodings.push(("base64", own(STANDARD_NO_PAD.encode(&shifted))));
        encodings.push(("url-safe base64", own(URL_SAFE_NO_PAD.encode(&shifted))));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = serde_json::to_string(text).unwrap();
        let json = json.trim_matches('"');
        encodings.push(("JSON", json.as_bytes().to_vec()));
        encodings.push(("JSON with \\/", json.replace('/', "\\/").into_bytes()));
        encodings.push(("JSON in ASCII", escaped(text, |c| c.is_ascii_graphic() && !"\"\\".contains(c))));
        encodings.push(("debug", text.escape_debug().to_string().into_bytes()));
    }
    if is_written_out(secret) {
        encodings.push(("percent throughout", percent(secret, |_| false)));
        if let Ok(text) = std::str::from_utf8(secret) {
            encodings.push(("JSON throughout", escaped(text, |_| false)));
        }
    }
    let raw = encodings[0].1.clone();
    encodings.retain(|(name, encoded)| *name == "raw" || *encoded != raw);
    encodings
}

fn is_written_out(secret: &[u8]) -> bool {
    secret.len() <= LONGEST_WRITTEN_OUT || std::str::from_utf8(secret).is_err()
}

/// Millions of pieces are hashed without optimisation, and nobody picks them to collide.
#[derive(Default)]
pub(crate) struct PieceHasher(u64);

impl Hasher for PieceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, piece: &[u8]) {
        if let (Some(first), Some(last)) = (piece.first_chunk::<8>(), piece.last_chunk::<8>()) {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            let mixed = (first ^ last.rotate_left(23)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.0 = mixed ^ (mixed >> 29);
        }
    }

    /// The length, which is always the same.
    fn write_usize(&mut self, _length: usize) {}
}

fn percent(secret: &[u8], stays: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut encoded = Vec::new();
    for byte in secret {
        if stays(*byte) {
            encoded.push(*byte);
        } else {
            encoded.extend(format!("%{byte:02X}").bytes());
        }
    }
    encoded
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Vec<u8> {
    let mut encoded = String::new();
    for character in text.chars() {
        if stays(character) {
            encoded.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(encoded, "\\u{unit:04x}").unwrap();
            }
        }
    }
    encoded.into_bytes()
}

/// As `Debug` writes bytes.
fn decimal(secret: &[u8]) -> String {
    secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

fn is_list(piece: &[u8]) -> bool {
    piece.iter().all(|byte| byte.is_ascii_digit() || b", ".contains(byte))
}

fn context(output: &[u8], offset: usize) -> String {
    let around = offset.saturating_sub(160)..output.len().min(offset + 80);
    String::from_utf8_lossy(&output[around]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has what every encoding changes: signs, white space, letters beyond ASCII.
    const CANARY: &str = "c4Nary/+\"ø\\ 7Qz=%&kW2m/9tXbV?~Lp0sRfJh3";

    fn needles() -> Needles {
        let mut needles = Needles::default();
        needles.add("canary", CANARY);
        needles
    }

    #[test]
    fn a_planted_canary_is_found_in_every_encoding_whole_and_in_pieces() {
        let needles = needles();
        let mut planted = 0;
        for before in ["", "x", "xy", "xyz"] {
            for (encoding, encoded) in encodings(CANARY.as_bytes()) {
                for length in [PIECE, PIECE + 5, encoded.len()] {
                    for start in 0..=encoded.len() - length {
                        let output = [before.as_bytes(), &encoded[start..start + length], b"\n"].concat();
                        assert_ne!(needles.search(&output), [], "{encoding}: {output:?}");
                        planted += 1;
                    }
                }
            }
            let text = format!("{before}{CANARY}.");
            for output in
                [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text), format!("{:?}", text.as_bytes())]
            {
                assert_ne!(needles.search(output.as_bytes()), [], "{output}");
                planted += 1;
            }
        }
        println!("{planted} planted canaries found, in {} encodings", encodings(CANARY.as_bytes()).len() + 1);
    }

    #[test]
    fn a_hit_says_what_was_found_and_where() {
        let hits = needles().search(b"level=INFO token=kW2m/9tXbV?~Lp0 end");
        assert_eq!((hits.len(), hits[0].secret.as_str(), hits[0].encoding), (1, "canary", "raw"));
        assert!(hits[0].context.contains("level=INFO"), "{hits:?}");
    }

    #[test]
    fn what_is_shorter_or_other_text_is_not_found() {
        let needles = needles();
        let (short, _) = CANARY.as_bytes().split_at(PIECE - 1);
        assert_eq!(needles.search(short), []);
        assert_eq!(needles.search(b"the quick brown fox jumps over the lazy dog, 12, 13, 14, 15, 16, 17, 18"), []);
    }
}
