use super::kind::path;
use super::reader::{Checked, Reader, Recorded};
use super::{Problem, ShownPath, Warning};
use crate::authorization::{Policy, PolicyError, Settings};

const KEY: &str = "policy_file";
const MISSING: &str = "must be set: it says which callers may do what. For development, \
    server.allow_unidentified_callers = true does without: whoever connects may do everything then";

/// Which policy counts. There is none only where callers without an identity are let in.
pub(super) fn read(reader: &mut Reader, allow_unidentified_callers: Checked<bool>) -> Checked<Settings> {
    let mut section = reader.section("authorization");
    let Some(policy_file) = section.optional(KEY, path("the path of a policy, docs/policy.md"))? else {
        section.rule(KEY, allow_unidentified_callers, MISSING);
        if allow_unidentified_callers == Ok(true) {
            section.warn(KEY, |key| Warning::NoPolicy { key });
        }
        return Ok(Settings::development());
    };
    let file = ShownPath::new(&policy_file);
    match Policy::read(&policy_file) {
        Ok(policy) => Ok(Settings { policy_file: Some(policy_file), policy }),
        Err(PolicyError::Unreadable(cause)) => Err(section.mistake(KEY, Problem::File { file, cause })),
        Err(PolicyError::Mistakes(mistakes)) => {
            for mistake in mistakes {
                section.mistake(KEY, Problem::Policy { file: file.clone(), mistake });
            }
            Err(Recorded)
        }
    }
}
