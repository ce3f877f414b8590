/// Follows one direction of HTTP/2 from frame to frame (RFC 9113, 4.1), without a look at what is in them.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    /// How much of the head is there.
    read: usize,
    /// What is still to come of the frame whose head was read.
    payload: usize,
    /// A block of headers has begun that other frames go on with.
    in_headers: bool,
    /// Frames, and blocks of headers, that have begun.
    begun: u64,
}

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    /// How long what follows it is.
    pub(super) length: usize,
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const HEAD: usize = 9;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

impl Frames {
    /// Goes on over these bytes, and tells each head that they complete.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Head)) {
        loop {
            let (_, rest) = bytes.split_at(self.payload.min(bytes.len()));
            self.payload -= bytes.len() - rest.len();
            if rest.is_empty() {
                return;
            }
            if self.read == 0 && !self.in_headers {
                self.begun += 1;
            }
            let (head, rest) = rest.split_at((HEAD - self.read).min(rest.len()));
            self.head[self.read..self.read + head.len()].copy_from_slice(head);
            self.read += head.len();
            if self.read < HEAD {
                return;
            }
            tell(self.enter());
            bytes = rest;
        }
    }

    /// What has begun and not ended: a frame or a block of headers, by its number.
    pub(super) fn unfinished(&self) -> Option<u64> {
        (self.read > 0 || self.payload > 0 || self.in_headers).then_some(self.begun)
    }

    fn enter(&mut self) -> Head {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.read = 0;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
            self.in_headers = flags & END_HEADERS == 0;
        }
        Head { kind, length: self.payload }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], &vec![0xff; payload]].concat()
    }

    /// How many frames' heads were completed.
    fn pass(frames: &mut Frames, bytes: &[u8]) -> usize {
        let mut heads = 0;
        frames.pass(bytes, |_| heads += 1);
        heads
    }

    #[test]
    fn a_frame_is_unfinished_from_its_first_byte_to_its_last() {
        let mut frames = Frames::default();
        assert_eq!((pass(&mut frames, b""), frames.unfinished()), (0, None));
        let ping = frame(6, 0, 8);
        assert_eq!((pass(&mut frames, &ping[..1]), frames.unfinished()), (0, Some(1)));
        assert_eq!((pass(&mut frames, &ping[1..9]), frames.unfinished()), (1, Some(1)));
        assert_eq!((pass(&mut frames, &ping[9..16]), frames.unfinished()), (0, Some(1)));
        assert_eq!((pass(&mut frames, &ping[16..]), frames.unfinished()), (0, None));
        assert_eq!((pass(&mut frames, &[&ping[..], &ping[..3]].concat()), frames.unfinished()), (1, Some(3)));
    }

    #[test]
    fn a_block_of_headers_is_one_however_many_frames_it_takes() {
        let mut frames = Frames::default();
        assert_eq!((pass(&mut frames, &frame(HEADERS, 0, 5)), frames.unfinished()), (1, Some(1)));
        assert_eq!((pass(&mut frames, &frame(CONTINUATION, 0, 0)), frames.unfinished()), (1, Some(1)));
        assert_eq!((pass(&mut frames, &frame(CONTINUATION, END_HEADERS, 0)), frames.unfinished()), (1, None));
        assert_eq!((pass(&mut frames, &frame(DATA, 0, 3)), frames.unfinished()), (1, None), "DATA has no such flag");
        assert_eq!(frames.begun, 2);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_frames_are_the_same(
            sent in prop::collection::vec((0..12_u8, any::<u8>(), 0..200_usize), 0..40),
            cuts in prop::collection::vec(1..60_usize, 1..20),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, *payload)).collect();
            let expected: Vec<Head> = sent.iter().map(|(kind, _, length)| Head { kind: *kind, length: *length }).collect();
            let (mut whole, mut heads) = (Frames::default(), Vec::new());
            whole.pass(&bytes, |head| heads.push(head));
            prop_assert_eq!(&heads, &expected);
            let (mut parts, mut heads, mut rest) = (Frames::default(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (part, later) = rest.split_at((*cut).min(rest.len()));
                parts.pass(part, |head| heads.push(head));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(&heads, &expected);
            prop_assert_eq!(parts.unfinished(), whole.unfinished());
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut frames = Frames::default();
            prop_assert!(pass(&mut frames, &bytes) <= bytes.len() / HEAD);
        }
    }
}
