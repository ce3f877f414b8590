/// How long the beginning is that the ids of one process share.
pub(super) const START: usize = 12;
const MOST: usize = START + 1 + 16;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Letters, digits and hyphens that name one thing: no two ids are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Id {
    text: [u8; MOST],
    length: usize,
}

impl Id {
    pub(super) fn new(start: [u8; START], number: u64) -> Self {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        let places = (0..digits).rev().map(|place| usize::try_from(number >> (4 * place) & 0xf).unwrap_or_default());
        let digits = places.filter_map(|digit| DIGITS.get(digit).copied());
        let mut id = Self::default();
        for (place, byte) in id.text.iter_mut().zip(start.into_iter().chain([b'-']).chain(digits)) {
            *place = byte;
            id.length += 1;
        }
        id
    }

    /// As it is written.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_a_beginning_and_a_number() {
        for (number, text) in [(0, "0"), (15, "f"), (16, "10"), (u64::MAX, "ffffffffffffffff")] {
            assert_eq!(Id::new(*b"abcdefghijkl", number).as_bytes(), format!("abcdefghijkl-{text}").as_bytes());
        }
    }
}
