use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::kind::{Kind, Value};
use super::{Mistake, Origin, Problem, Warning};

pub(super) const VARIABLE_PREFIX: &str = "TICKETD_";
/// Names the file, so it is the command line's.
const FILE_VARIABLE: &str = "TICKETD_CONFIG";

/// All that is set, and what is found wrong with it. What nobody has asked for in the end is unknown.
#[derive(Debug)]
pub(super) struct Reader {
    unread: BTreeMap<(String, String), Setting>,
    known: BTreeMap<&'static str, BTreeSet<&'static str>>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Warning>,
    secret_files: Vec<(&'static str, PathBuf)>,
    /// What each key takes, for the page that lists them.
    #[cfg(test)]
    takes: BTreeMap<String, Takes>,
}

/// What a key takes.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct Takes {
    pub(super) expected: String,
    pub(super) is_required: bool,
    pub(super) has_default: bool,
}

#[derive(Debug)]
struct Setting {
    value: Value,
    origin: Origin,
}

impl Reader {
    /// Takes the file apart and lays the variables over it. Fails with the mistakes of the file's syntax.
    pub(super) fn new(
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Vec<Mistake>> {
        let line_of = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        let (table, mut errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let syntax = |error: &toml::de::Error| Mistake {
                key: String::new(),
                origin: Origin::Line(line_of(error.span().map_or(0, |span| span.start))),
                // The message alone: the error's own text repeats the line, which may hold a secret.
                problem: Problem::Syntax(error.message().to_owned()),
            };
            errors.sort_by_key(|error| error.span().map(|span| span.start));
            return Err(errors.iter().map(syntax).collect());
        }
        let mut reader = Self {
            unread: BTreeMap::new(),
            known: BTreeMap::new(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            secret_files: Vec::new(),
            #[cfg(test)]
            takes: BTreeMap::new(),
        };
        for (section, value) in table.into_inner() {
            let section = section.into_inner().into_owned();
            match value.get_ref() {
                DeValue::Table(keys) if !keys.is_empty() => {
                    for (key, value) in keys {
                        let origin = Origin::Line(line_of(key.span().start));
                        let setting = Setting { value: Value::from_file(value), origin };
                        reader.unread.insert((section.clone(), key.get_ref().to_string()), setting);
                    }
                }
                other => {
                    let value_of = if other.is_table() { Value::Section } else { Value::Other };
                    let setting = Setting { value: value_of, origin: Origin::Line(line_of(value.span().start)) };
                    reader.unread.insert((String::new(), section), setting);
                }
            }
        }
        for (name, value) in environment {
            reader.lay_over(&name, value);
        }
        Ok(reader)
    }

    fn lay_over(&mut self, name: &OsStr, value: OsString) {
        let Some(name) = name.to_str() else { return };
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return };
        if name == FILE_VARIABLE || is_service_link(rest) {
            return;
        }
        let rest = rest.to_ascii_lowercase();
        let (section, key) = rest.split_once('_').unwrap_or(("", &rest));
        let value = value.into_string().map_or(Value::NotUnicode, Value::Variable);
        let setting = Setting { value, origin: Origin::Variable(name.to_owned()) };
        self.unread.insert((section.to_owned(), key.to_owned()), setting);
    }

    /// The keys of one section.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_> {
        self.known.entry(name).or_default();
        self.unread.retain(|(section, key), setting| {
            !(section.is_empty() && key == name && matches!(setting.value, Value::Section))
        });
        Section { name, reader: self, origins: BTreeMap::new() }
    }

    /// What was found wrong, and what should be looked at. Call it when every key has been asked for.
    pub(super) fn finish(mut self) -> (Vec<Mistake>, Vec<Warning>) {
        for ((section, key), setting) in std::mem::take(&mut self.unread) {
            let problem = self.unknown(&section, &key);
            let key = if section.is_empty() { key } else { format!("{section}.{key}") };
            self.mistakes.push(Mistake { key, origin: setting.origin, problem });
        }
        (self.mistakes, self.warnings)
    }

    /// What was found wrong so far, when not every key is asked for.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    /// The files with secrets that a section asked for.
    pub(super) fn secret_files(&self, section: &str) -> Vec<PathBuf> {
        self.secret_files.iter().filter(|(of, _)| *of == section).map(|(_, file)| file.clone()).collect()
    }

    fn unknown(&self, section: &str, key: &str) -> Problem {
        let names = || self.known.iter().flat_map(|(section, keys)| keys.iter().map(move |key| (*section, *key)));
        let file_name = format!("{}_file", key.trim_end_matches('s'));
        let file_key = names()
            .find(|(_, candidate)| candidate.trim_end_matches('s') == file_name)
            .map(|(section, key)| format!("{section}.{key}"));
        let sounds_secret = ["secret", "password", "passphrase", "token", "private_key", "signing_key"]
            .iter()
            .any(|word| key.contains(word));
        if file_key.is_some() || (sounds_secret && !key.contains("file")) {
            return Problem::SecretInline { file_key };
        }
        let full = |(section, key): (&str, &str)| format!("{section}.{key}");
        let elsewhere = || names().find(|(_, candidate)| *candidate == key).map(full);
        let misspelt_section = || nearest(self.known.keys().map(|name| (*name).to_owned()), key);
        let suggestion = if section.is_empty() {
            elsewhere().or_else(|| misspelt_section().map(|name| format!("[{name}]")))
        } else {
            elsewhere().or_else(|| nearest(names().map(full), &full((section, key))))
        };
        Problem::Unknown { suggestion }
    }

    /// Every key that was asked for, with its section, and what it takes.
    #[cfg(test)]
    pub(super) fn asked_for(&self) -> &BTreeMap<String, Takes> {
        &self.takes
    }
}

/// There is no value, and the reader knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recorded;

/// A value, unless a mistake with it is recorded.
pub(super) type Checked<T> = Result<T, Recorded>;

/// One section's keys.
#[derive(Debug)]
pub(super) struct Section<'a> {
    name: &'static str,
    reader: &'a mut Reader,
    origins: BTreeMap<&'static str, Origin>,
}

impl Section<'_> {
    /// A value that must be set.
    pub(super) fn required<T>(&mut self, key: &'static str, kind: Kind<T>) -> Checked<T> {
        let expected = kind.expected.clone();
        let value = self.optional(key, kind);
        #[cfg(test)]
        self.note(key, |takes| takes.is_required = true);
        value?.ok_or_else(|| self.mistake(key, Problem::Missing(expected)))
    }

    /// A value with a default.
    pub(super) fn or<T>(&mut self, key: &'static str, kind: Kind<T>, default: T) -> Checked<T> {
        let value = self.optional(key, kind);
        #[cfg(test)]
        self.note(key, |takes| takes.has_default = true);
        Ok(value?.unwrap_or(default))
    }

    /// A value that may be absent.
    pub(super) fn optional<T>(&mut self, key: &'static str, kind: Kind<T>) -> Checked<Option<T>> {
        self.reader.known.entry(self.name).or_default().insert(key);
        #[cfg(test)]
        self.note(key, |takes| takes.expected.clone_from(&kind.expected));
        let Some(setting) = self.reader.unread.remove(&(self.name.to_owned(), key.to_owned())) else {
            return Ok(None);
        };
        self.origins.insert(key, setting.origin);
        if matches!(setting.value, Value::NotUnicode) {
            return Err(self.mistake(key, Problem::NotUnicode));
        }
        let value = (kind.read)(&setting.value);
        value.map(Some).ok_or_else(|| self.mistake(key, Problem::Expected(kind.expected)))
    }

    /// Whether there is a value, good or not, in the file or a variable.
    pub(super) fn is_set(&self, key: &'static str) -> bool {
        self.origins.contains_key(key)
    }

    #[cfg(test)]
    fn note(&mut self, key: &'static str, note: impl FnOnce(&mut Takes)) {
        let unasked = || Takes { expected: String::new(), is_required: false, has_default: false };
        note(self.reader.takes.entry(format!("{}.{key}", self.name)).or_insert_with(unasked));
    }

    /// Notes that a secret is read from there.
    pub(super) fn reads(&mut self, path: &Path) {
        self.reader.secret_files.push((self.name, path.to_owned()));
    }

    /// Records a mistake that the value's type does not show.
    pub(super) fn mistake(&mut self, key: &'static str, problem: Problem) -> Recorded {
        let origin = self.origins.get(key).cloned().unwrap_or(Origin::Unset);
        self.reader.mistakes.push(Mistake { key: format!("{}.{key}", self.name), origin, problem });
        Recorded
    }

    /// Records a mistake when values do not fit together. One that is mistaken itself fits any.
    pub(super) fn rule(&mut self, key: &'static str, holds: Checked<bool>, otherwise: &'static str) {
        if holds == Ok(false) {
            self.mistake(key, Problem::Conflict(otherwise));
        }
    }

    /// Records what should be looked at. `warning` is given the key with its section.
    pub(super) fn warn(&mut self, key: &'static str, warning: impl FnOnce(String) -> Warning) {
        self.reader.warnings.push(warning(format!("{}.{key}", self.name)));
    }
}

/// The name that a misspelt one was probably meant to be.
fn nearest(names: impl Iterator<Item = String>, misspelt: &str) -> Option<String> {
    names
        .map(|name| (strsim::damerau_levenshtein(&name, misspelt), name))
        .min()
        .and_then(|(distance, name)| (distance <= 3).then_some(name))
}

/// Whether a variable, without its prefix, is one that Kubernetes sets for a Service named `ticketd` or `ticketd-…`:
/// those are nobody's settings.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT"
        || rest.ends_with("_PORT")
        || rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT_")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains("PORT_") && rest.contains(protocol))
}
