use ticketd::config::Config;

/// A configuration file. What is wrong with it is said without repeating values, a line each.
pub(crate) fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // A file that is named is opened, and of those that look like files this machine has some that never end.
    if ["/proc", "/sys", "/dev"].iter().any(|place| text.contains(place)) {
        return;
    }
    if let Err(error) = Config::parse(text, []) {
        let said = error.to_string();
        assert!(
            !said.is_empty() && said.chars().all(|character| character == '\n' || !character.is_control()),
            "{said:?}"
        );
        assert!(!said.contains("c4nary5ecret"), "{said:?}");
    }
}
