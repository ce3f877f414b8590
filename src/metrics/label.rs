/// A label, with every value that it may have.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    name: &'static str,
    values: &'static [&'static str],
    shows: Shows,
}

/// What a value shows as.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// Itself.
    Itself,
    /// Nothing when it is empty.
    ItselfUnlessEmpty,
    /// A status of gRPC's, and `error.type` beside it when the server is answerable for it.
    GrpcStatus,
    /// An HTTP status, with `error.type` beside it from 400 on; or `error.type` alone where there was no status.
    HttpOutcome,
}

const ERROR_TYPE: &str = "error.type";
/// The statuses that the server is answerable for.
const SERVER_ERRORS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

impl Label {
    /// One whose values show as they are. Any other value counts as the last of them.
    pub const fn new(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values, shows: Shows::Itself }
    }

    pub(super) const fn unless_empty(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values, shows: Shows::ItselfUnlessEmpty }
    }

    pub(super) const fn grpc_status(values: &'static [&'static str]) -> Self {
        Self { name: "rpc.response.status_code", values, shows: Shows::GrpcStatus }
    }

    pub(super) const fn http_outcome(values: &'static [&'static str]) -> Self {
        Self { name: "http.response.status_code", values, shows: Shows::HttpOutcome }
    }

    fn position(&self, value: &str) -> usize {
        self.values.iter().position(|known| *known == value).unwrap_or(self.values.len() - 1)
    }

    fn show(&self, value: &'static str, shown: &mut Vec<(&'static str, String)>) {
        let mut put = |name| shown.push((name, value.to_owned()));
        match self.shows {
            Shows::Itself => put(self.name),
            Shows::ItselfUnlessEmpty if value.is_empty() => {}
            Shows::ItselfUnlessEmpty => put(self.name),
            Shows::GrpcStatus => {
                put(self.name);
                if SERVER_ERRORS.contains(&value) {
                    put(ERROR_TYPE);
                }
            }
            Shows::HttpOutcome => {
                let is_status = value.starts_with(|first: char| first.is_ascii_digit());
                if is_status {
                    put(self.name);
                }
                if !is_status || value >= "400" {
                    put(ERROR_TYPE);
                }
            }
        }
    }

    /// Every label that it may show as, with the values that it may have there.
    fn shown(&self) -> Vec<(&'static str, &'static [&'static str])> {
        match self.shows {
            Shows::Itself | Shows::ItselfUnlessEmpty => vec![(self.name, self.values)],
            Shows::GrpcStatus | Shows::HttpOutcome => vec![(self.name, self.values), (ERROR_TYPE, self.values)],
        }
    }
}

/// How many series the labels make.
pub(super) fn combinations(labels: &[Label]) -> usize {
    labels.iter().map(|label| label.values.len()).product()
}

/// Which of them these values name, one for each label.
pub(super) fn index(labels: &[Label], values: &[&str]) -> usize {
    labels.iter().zip(values).fold(0, |index, (label, value)| index * label.values.len() + label.position(value))
}

/// The labels of the series with this index.
pub(super) fn shown(labels: &[Label], mut index: usize) -> Vec<(&'static str, String)> {
    let mut values = Vec::with_capacity(labels.len());
    for label in labels.iter().rev() {
        values.push(label.values.get(index % label.values.len()).copied().unwrap_or_default());
        index /= label.values.len();
    }
    let mut shown = Vec::with_capacity(labels.len() + 1);
    for (label, value) in labels.iter().zip(values.into_iter().rev()) {
        label.show(value, &mut shown);
    }
    shown
}

pub(super) fn described(labels: &[Label]) -> Vec<(&'static str, &'static [&'static str])> {
    labels.iter().flat_map(Label::shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [Label; 2] = [Label::new("one", &["a", "b", "_OTHER"]), Label::grpc_status(&["OK", "INTERNAL"])];

    #[test]
    fn each_combination_has_an_index_of_its_own() {
        let mut seen = Vec::new();
        for one in ["a", "b", "_OTHER"] {
            for status in ["OK", "INTERNAL"] {
                let index = index(&LABELS, &[one, status]);
                let shown = shown(&LABELS, index);
                assert_eq!(shown[..2], [("one", one.to_owned()), ("rpc.response.status_code", status.to_owned())]);
                assert_eq!(shown.len() == 3, status == "INTERNAL", "{shown:?}");
                seen.push(index);
            }
        }
        assert_eq!(seen, (0..combinations(&LABELS)).collect::<Vec<_>>());
        assert_eq!(index(&LABELS, &["canary", "OK"]), index(&LABELS, &["_OTHER", "OK"]));
    }

    #[test]
    fn an_http_outcome_is_a_status_or_an_error() {
        let label = [Label::http_outcome(&["200", "503", "timeout"])];
        let of = |index| shown(&label, index);
        assert_eq!(of(0), [("http.response.status_code", "200".to_owned())]);
        assert_eq!(of(1), [("http.response.status_code", "503".to_owned()), ("error.type", "503".to_owned())]);
        assert_eq!(of(2), [("error.type", "timeout".to_owned())]);
    }
}
