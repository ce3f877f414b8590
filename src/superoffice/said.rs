use serde_json::{Map, Value};

use super::AuthorizeErrorCode;
use super::message;

/// What a refusal says of itself, whatever it is written in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The cause, when it is told in a known way. Two that differ are none.
    pub(super) code: Option<AuthorizeErrorCode>,
    /// For people. It has to be made presentable before it is shown.
    pub(super) message: Option<String>,
}

/// The members that ASP.NET, WCF, an OAuth server or SuperOffice itself would put it in, in small letters and without
/// `_`, those first that say it in the most words.
const MEMBERS: [&str; 16] = [
    "errormessage",
    "errordescription",
    "message",
    "exceptionmessage",
    "messagedetail",
    "detail",
    "description",
    "title",
    "faultstring",
    "error",
    "errors",
    "reason",
    "authorizeerrorcode",
    "authorizationerrorcode",
    "errorcode",
    "code",
];
/// Objects may stand in each other so deep.
const MAX_DEPTH: usize = 3;

impl Said {
    /// In these texts, of which the first that is not empty is for people.
    pub(super) fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::with_fallback(texts, "")
    }

    /// In the members of a JSON object that are there for it, and in those of objects in them.
    pub(super) fn of_members(members: &Map<String, Value>) -> Self {
        Self::of(texts(members).iter().map(String::as_str))
    }

    /// In a body of whatever type. Markup is for a browser, so it is only searched for a code.
    pub(super) fn of_body(body: &str) -> Self {
        let body = body.trim_start_matches('\u{feff}').trim();
        match serde_json::from_str(body) {
            Ok(Value::Object(members)) => Self::with_fallback(texts(&members).iter().map(String::as_str), body),
            Ok(Value::String(text)) => Self::of([text.as_str()]),
            Ok(Value::Number(_)) => Self::of([body]),
            Ok(_) => Self::default(),
            Err(_) if body.starts_with(['<', '{', '[']) => Self { message: None, ..Self::of([body]) },
            Err(_) => Self::with_fallback([message::first(body, 4 * message::MAX_LENGTH)], body),
        }
    }

    /// Where the texts name no code the fallback may.
    fn with_fallback<'a>(texts: impl IntoIterator<Item = &'a str>, fallback: &str) -> Self {
        let (mut codes, mut message): (Vec<AuthorizeErrorCode>, _) = (Vec::new(), None);
        for text in texts {
            codes.extend(AuthorizeErrorCode::find(text).filter(|code| !codes.contains(code)));
            if message.is_none() && !text.trim().is_empty() {
                message = Some(text.to_owned());
            }
        }
        let code = match codes.as_slice() {
            [] => AuthorizeErrorCode::find(fallback),
            [code] => Some(*code),
            _ => None,
        };
        Self { code, message }
    }
}

fn texts(members: &Map<String, Value>) -> Vec<String> {
    let mut texts = Vec::new();
    collect(members, MAX_DEPTH, &mut texts);
    texts
}

fn collect(members: &Map<String, Value>, depth: usize, texts: &mut Vec<String>) {
    for wanted in MEMBERS {
        for (_, value) in members.iter().filter(|(name, _)| name.replace('_', "").eq_ignore_ascii_case(wanted)) {
            match value {
                Value::String(text) => texts.push(text.clone()),
                Value::Number(number) => texts.extend(number.as_u64().map(|number| number.to_string())),
                Value::Object(members) if depth > 1 => collect(members, depth - 1, texts),
                Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Null => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AuthorizeErrorCode as Code;
    use super::*;

    /// Every form that a code may come in, in JSON, as text and as markup.
    fn bodies(code: &str) -> Vec<String> {
        let mut bodies = vec![
            code.to_owned(),
            format!("\"{code}\""),
            format!("\u{feff}Authorization error: {code}"),
            format!("<html><body><h2>AuthorizeErrorCode: {code}</h2></body></html>"),
            format!(r#"{{"error":{{"code":"{code}","message":"No"}}}}"#),
            format!(r#"{{"IsSuccessful":false,"ErrorMessage":"Not authorized","ErrorCode":"{code}"}}"#),
            format!(r#"{{"error":"unauthorized_client","error_description":"Authorization error: {code}"}}"#),
        ];
        for name in ["ErrorMessage", "errorMessage", "ErrorCode", "error_code", "AuthorizeErrorCode", "Code", "error"] {
            bodies.push(format!(r#"{{"{name}":"{code}"}}"#));
            bodies.push(format!(r#"{{"{name}":"Authorization error: {code}","status":400,"traceId":"00-7-3"}}"#));
            if code.parse::<u8>().is_ok() {
                bodies.push(format!(r#"{{"{name}":{code}}}"#));
            }
        }
        bodies
    }

    #[test]
    fn every_code_is_found_as_number_or_name_wherever_it_comes() {
        let mut found = 0;
        for code in Code::ALL {
            for written in [code.number().to_string(), code.as_str().to_owned(), code.as_str().to_lowercase()] {
                for body in bodies(&written) {
                    assert_eq!(Said::of_body(&body).code, Some(code), "{body}");
                    found += 1;
                }
            }
        }
        println!("{found} forms of 7 codes found");
    }

    #[test]
    fn no_error_is_no_refusal_code() {
        for written in ["0", "NoError", "noerror", "NoError (0)"] {
            for body in bodies(written) {
                assert_eq!(Said::of_body(&body).code, None, "{body}");
            }
        }
        let beside = r#"{"ErrorCode":0,"ErrorMessage":"Calculated signature is invalid"}"#;
        assert_eq!(Said::of_body(beside).code, Some(Code::InvalidSignature), "0 contradicts nothing");
    }

    #[test]
    fn codes_that_differ_are_none_and_numbers_elsewhere_are_no_codes() {
        for body in [
            r#"{"ErrorCode":7,"ErrorMessage":"Authorization error: Revoked (1)"}"#,
            r#"{"ErrorCode":7,"Message":"The supplied timestamp is invalid"}"#,
            r#"{"status":4,"Attempts":3,"title":"Bad Request"}"#,
            r#"{"ErrorCode":70}"#,
            r#"{"ErrorCode":-1}"#,
            r#"{"ErrorCode":1.5}"#,
            r#"{"ErrorCode":[7]}"#,
            r#"{"ErrorCode":true}"#,
            r#"{"a":{"b":{"c":{"code":7}}}}"#,
            "[7]",
            "null",
        ] {
            assert_eq!(Said::of_body(body).code, None, "{body}");
        }
    }

    #[test]
    fn the_message_is_the_one_with_the_most_words() {
        for (body, message) in [
            (r#"{"Code":7,"Title":"No","Message":"Never"}"#, Some("Never")),
            (r#"{"error":"invalid_request","error_description":" "}"#, Some("invalid_request")),
            (r#"{"error":{"message":"inside"}}"#, Some("inside")),
            ("plain", Some("plain")),
            ("<p>markup</p>", None),
            ("{broken", None),
            ("", None),
            ("{}", None),
        ] {
            assert_eq!(Said::of_body(body).message.as_deref(), message, "{body}");
        }
    }
}
