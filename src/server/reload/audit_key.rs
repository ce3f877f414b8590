use super::Subject;
use crate::audit::{self, Audit};

/// Has the audit's key follow its file, if it has one.
pub(in crate::server) fn audit_key(audit: &Audit) -> Option<Subject> {
    let (file, audit) = (audit.key_file()?.to_owned(), audit.clone());
    let read = {
        let file = file.clone();
        move || audit::read_key(&file)
    };
    Some(Subject::new("audit key", vec![file], read, move |key| audit.replace_key(&key)))
}
