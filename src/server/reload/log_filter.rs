use std::path::PathBuf;

use super::Subject;
use crate::telemetry::{self, LogFilter};

/// Has what is logged follow its file.
pub(in crate::server) fn log_filter(file: PathBuf) -> Subject {
    Subject::new("log filter", vec![file.clone()], move || LogFilter::read(&file), |new| telemetry::set_log_filter(&new))
}
