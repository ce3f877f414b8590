use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

/// What a value must be.
pub(super) struct Kind<T> {
    pub(super) expected: String,
    pub(super) read: Read<T>,
}

type Read<T> = Box<dyn Fn(&Value) -> Option<T>>;

/// A text that `read` takes.
pub(super) fn text<T>(expected: &str, read: impl Fn(&str) -> Option<T> + 'static) -> Kind<T> {
    Kind { expected: expected.to_owned(), read: Box::new(move |value| read(value.text()?)) }
}

/// A text that the type itself parses.
pub(super) fn parsed<T: FromStr>(expected: &str) -> Kind<T> {
    text(expected, |value| value.parse().ok())
}

/// A path.
pub(super) fn path(expected: &str) -> Kind<PathBuf> {
    text(expected, |value| (!value.is_empty() && !value.contains('\0')).then(|| PathBuf::from(value)))
}

/// One path or more.
pub(super) fn paths(expected: &str, at_most: usize) -> Kind<Vec<PathBuf>> {
    list(path(expected), at_most)
}

/// One value or more, each of a kind that texts are read as. In a variable commas part them.
pub(super) fn list<T: 'static>(one: Kind<T>, at_most: usize) -> Kind<Vec<T>> {
    let Kind { expected, read: one } = one;
    let read = move |value: &Value| {
        let values = match value {
            Value::List(values) => values.iter().map(&one).collect::<Option<Vec<_>>>()?,
            Value::Variable(text) => {
                text.split(',').map(|value| one(&Value::Text(value.trim().to_owned()))).collect::<Option<_>>()?
            }
            _ => return None,
        };
        (1..=at_most).contains(&values.len()).then_some(values)
    };
    Kind { expected, read: Box::new(read) }
}

/// Like [`list`], and may be empty: `[]`, or a variable that is.
pub(super) fn any_number_of<T: 'static>(one: Kind<T>, at_most: usize) -> Kind<Vec<T>> {
    let Kind { expected, read: some } = list(one, at_most);
    let read = move |value: &Value| match value {
        Value::List(values) if values.is_empty() => Some(Vec::new()),
        Value::Variable(text) if text.is_empty() => Some(Vec::new()),
        some_values => some(some_values),
    };
    Kind { expected, read: Box::new(read) }
}

/// An IP address and port.
pub(super) fn socket_address() -> Kind<SocketAddr> {
    parsed("an IP address and port, like \"127.0.0.1:8443\"")
}

/// true or false.
pub(super) fn switch() -> Kind<bool> {
    let read = |value: &Value| match value {
        Value::Switch(switch) => Some(*switch),
        Value::Variable(text) => text.parse().ok(),
        _ => None,
    };
    Kind { expected: "true or false".to_owned(), read: Box::new(read) }
}

/// A whole number within a range.
pub(super) fn number<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> Kind<T> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let read = move |value: &Value| {
        let number = match value {
            Value::Number(number) => *number,
            Value::Variable(text) => text.parse().ok()?,
            _ => return None,
        };
        range.contains(&number).then(|| T::try_from(number).ok()).flatten()
    };
    Kind { expected, read: Box::new(read) }
}

/// A duration within a range, with its unit.
pub(super) fn duration(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let expected = format!(
        "a duration from \"{}\" to \"{}\", with its unit",
        humantime::format_duration(*range.start()),
        humantime::format_duration(*range.end())
    );
    text(&expected, move |value| humantime::parse_duration(value).ok().filter(|duration| range.contains(duration)))
}

/// What stands in the file or in a variable.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Switch(bool),
    List(Vec<Value>),
    /// A variable's text, which is read as whatever is wanted.
    Variable(String),
    /// A variable that is no UTF-8.
    NotUnicode,
    /// A section without keys.
    Section,
    /// A type that no key has.
    Other,
}

impl Value {
    pub(super) fn from_file(value: &Spanned<DeValue<'_>>) -> Self {
        match value.get_ref() {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(Self::Other, Self::Number)
            }
            DeValue::Boolean(switch) => Self::Switch(*switch),
            DeValue::Array(values) => Self::List(values.iter().map(Self::from_file).collect()),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Self::Other,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Variable(text) => Some(text),
            _ => None,
        }
    }
}
