use std::fmt;

/// Why SuperOffice does not authorize a request, as far as its documentation numbers the causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthorizeErrorCode {
    /// The application's access to the tenant has been revoked.
    Revoked = 1,
    /// The redirect URL of a sign-in is not registered.
    InvalidRedirectUrl = 2,
    /// The application's authorization on the tenant has expired.
    Expired = 3,
    /// The application's access to the tenant has been denied.
    Denied = 4,
    /// The authorization needs to be approved again.
    NeedsReapproval = 5,
    /// The time in the signed token is too far from SuperOffice's.
    InvalidTimestamp = 6,
    /// The signature is not by the registered key.
    InvalidSignature = 7,
}

impl AuthorizeErrorCode {
    /// A short name out of a fixed set, for metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Revoked => "authorization_revoked",
            Self::InvalidRedirectUrl => "invalid_redirect_url",
            Self::Expired => "authorization_expired",
            Self::Denied => "authorization_denied",
            Self::NeedsReapproval => "authorization_needs_reapproval",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::InvalidSignature => "invalid_signature",
        }
    }

    /// Every code.
    pub const ALL: [Self; 7] = [
        Self::Revoked,
        Self::InvalidRedirectUrl,
        Self::Expired,
        Self::Denied,
        Self::NeedsReapproval,
        Self::InvalidTimestamp,
        Self::InvalidSignature,
    ];

    /// Looks for a code in what SuperOffice said, whose wording is not public. A text that names two codes names none:
    /// a wrong guess would send somebody to mend what is not broken.
    ///
    /// Found are: a name that is no English word, wherever it stands; any name or number that is the whole text or
    /// follows `AuthorizeErrorCode` or `Authorization error`; the documentation's own sentences; and a number in
    /// parentheses at the end.
    pub fn find(text: &str) -> Option<Self> {
        let text = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().trim();
        let lower = text.to_lowercase();
        let words: Vec<&str> =
            lower.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect();
        let mut found = Self::ALL.into_iter().filter(|code| code.is_said_by(&words) || code.ends(text));
        match (found.next(), found.next()) {
            (Some(code), None) => Some(code),
            _ => None,
        }
    }

    /// As [`Self::find`], in what is most likely about something else: there one English word alone means nothing.
    pub(super) fn find_in_passing(text: &str) -> Option<Self> {
        Self::find(text).filter(|code| !code.is_english() || text.split_whitespace().nth(1).is_some())
    }

    /// The name in SuperOffice's documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "Revoked",
            Self::InvalidRedirectUrl => "InvalidRedirectUrl",
            Self::Expired => "Expired",
            Self::Denied => "Denied",
            Self::NeedsReapproval => "NeedsReapproval",
            Self::InvalidTimestamp => "InvalidTimestamp",
            Self::InvalidSignature => "InvalidSignature",
        }
    }

    /// Its number in SuperOffice's documentation.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn is_said_by(self, words: &[&str]) -> bool {
        let is_this = |word: &str| word.eq_ignore_ascii_case(self.as_str()) || self.is_number(word);
        let is_whole_text = match words {
            [word] => is_this(word),
            // With another code's number the text names two, which is none.
            [name, number] => name.eq_ignore_ascii_case(self.as_str()) && number.parse::<u8>().is_ok(),
            _ => false,
        };
        let follows_marker = || {
            words.windows(2).any(|pair| matches!(pair, ["authorizeerrorcode", word] if is_this(word)))
                || words.windows(3).any(|three| matches!(three, ["authorization", "error", word] if is_this(word)))
        };
        let is_named = || !self.is_english() && words.iter().any(|word| word.eq_ignore_ascii_case(self.as_str()));
        let is_told =
            || self.sentence().is_some_and(|sentence| words.windows(sentence.len()).any(|window| window == sentence));
        is_whole_text || is_named() || follows_marker() || is_told()
    }

    /// `… (7)` and `… (7).`
    fn ends(self, text: &str) -> bool {
        let inside = text.trim_end_matches('.').strip_suffix(')').and_then(|text| text.rsplit_once('('));
        inside.is_some_and(|(_, inside)| self.is_number(inside))
    }

    fn is_number(self, word: &str) -> bool {
        matches!(word.as_bytes(), [digit] if digit.wrapping_sub(b'0') == self.number())
    }

    /// Such a name stands in many a text that is about something else.
    fn is_english(self) -> bool {
        matches!(self, Self::Revoked | Self::Expired | Self::Denied)
    }

    /// What the documentation says of the code, in lower-case words.
    fn sentence(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Revoked => Some(&["access", "to", "the", "tenant", "has", "been", "revoked"]),
            Self::InvalidRedirectUrl => None,
            Self::Expired => Some(&["application", "authorization", "on", "this", "tenant", "has", "expired"]),
            Self::Denied => Some(&["access", "to", "this", "tenant", "has", "been", "denied"]),
            Self::NeedsReapproval => Some(&["authorization", "needs", "to", "be", "re", "approved"]),
            Self::InvalidTimestamp => Some(&["supplied", "timestamp", "is", "invalid"]),
            Self::InvalidSignature => Some(&["calculated", "signature", "is", "invalid"]),
        }
    }
}

/// What follows is not looked at.
const MAX_TEXT: usize = 4096;

impl fmt::Display for AuthorizeErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.as_str(), self.number())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::AuthorizeErrorCode as Code;

    #[test]
    fn every_code_is_found_in_every_form() {
        for code in Code::ALL {
            let (name, number) = (code.as_str(), code.number());
            for text in [
                code.to_string(),
                name.to_owned(),
                name.to_uppercase(),
                format!(" {name}. "),
                format!("{number}"),
                format!("({number})"),
                format!("Authorization error: {name} ({number})"),
                format!("Authorization error: {name}"),
                format!("authorization error {number}"),
                format!("AuthorizeErrorCode.{name}"),
                format!("AuthorizeErrorCode: {number}"),
                format!("AuthorizeErrorCode {number}"),
                format!("AuthorizeErrorCode={number} at 12:01"),
                format!(r#"{{"AuthorizeErrorCode":{number}}}"#),
                format!(r#"{{"authorizeErrorCode" : "{name}", "x": 12}}"#),
                format!("The request was not authorized ({number})."),
            ] {
                assert_eq!(Code::find(&text), Some(code), "{text}");
            }
        }
        for text in ["Failed: InvalidSignature.", "validation: invalidsignature, try again", "[InvalidSignature]"] {
            assert_eq!(Code::find(text), Some(Code::InvalidSignature), "{text}");
        }
    }

    #[test]
    fn the_documentations_sentences_are_known() {
        for (sentence, code) in [
            ("Application's access to the tenant has been revoked", Code::Revoked),
            ("The application authorization on this tenant has expired", Code::Expired),
            ("The applications access to this tenant has been denied", Code::Denied),
            ("Authorization needs to be re-approved", Code::NeedsReapproval),
            ("The supplied timestamp is invalid", Code::InvalidTimestamp),
            ("Calculated signature is invalid", Code::InvalidSignature),
        ] {
            assert_eq!(Code::find(sentence), Some(code));
            assert_eq!(Code::find(&format!("Error: {}. Request ID: 00-7-00", sentence.to_uppercase())), Some(code));
        }
    }

    #[test]
    fn other_texts_hold_no_code() {
        for text in [
            "",
            "   ",
            "0",
            "NoError",
            "NoError (0)",
            "Authorization error: NoError (0)",
            "AuthorizeErrorCode: 0",
            "8",
            "07",
            "77",
            "unexpired",
            "The certificate has expired",
            "Access is denied.",
            "Permission denied (publickey)",
            "The lease was not revoked",
            "Unexpired session denied",
            "InvalidSignatureException7x",
            "NotInvalidSignature",
            "My_InvalidSignature_2",
            "retry (12)",
            "error (0)",
            "error (8)",
            "(3) attempts were made",
            "The 7 dwarfs",
            "AuthorizeErrorCode 70",
            "AuthorizeErrorCode: none, 7 attempts",
            "Revoked (7)",
            "InvalidSignature or InvalidTimestamp",
            "Authorization error: Denied, then Expired (3)",
            "ＩｎｖａｌｉｄＳｉｇｎａｔｕｒｅ",
            "(٧)",
            "<html><body>403 - Forbidden: Access is denied.</body></html>",
        ] {
            assert_eq!(Code::find(text), None, "{text}");
        }
    }

    #[test]
    fn in_passing_an_english_word_alone_means_nothing() {
        for code in [Code::Revoked, Code::Expired, Code::Denied] {
            assert_eq!(Code::find_in_passing(code.as_str()), None);
            assert_eq!(Code::find_in_passing(&code.to_string()), Some(code));
        }
        assert_eq!(Code::find_in_passing("InvalidSignature"), Some(Code::InvalidSignature));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,80}") {
            let _ = Code::find(&text);
        }
    }
}
