use ticketd::identifiers::ContextIdentifier;

/// What is taken is harmless in a URL, a file name, a log line and SQL, and stays itself.
pub(crate) fn context_identifier(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(taken) = text.parse::<ContextIdentifier>() else { return };
    assert!(text.len() <= ContextIdentifier::MAX_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!((taken.as_str(), taken.to_string().as_str()), (text, text));
    let key = taken.key();
    assert_eq!(key, text.to_lowercase());
    assert_eq!(key.parse(), Ok(taken), "the tenant is the same in any case");
}
