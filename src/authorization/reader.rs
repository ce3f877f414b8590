//! Reads fields, lists and values, and notes what is wrong with them.

use std::collections::HashMap;
use std::hash::Hash;

use super::mistake::{Mistake, Problem, nearest};
use super::yaml::{Field, Mistakes, Node, Value};

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) mistakes: Mistakes,
}

/// The fields of one mapping.
pub(super) struct Fields<'a> {
    pub(super) path: String,
    pub(super) line: usize,
    all: &'a [Field],
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        self.all.iter().find(|field| field.name == name).map(|field| &field.node)
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

impl Reader {
    /// What was read, if nothing is wrong with it.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Vec<Mistake>> {
        let mistakes = self.mistakes.into_sorted();
        read.filter(|_| mistakes.is_empty()).ok_or(mistakes)
    }

    /// The fields of a mapping, those that there are not and those that stand twice noted.
    pub(super) fn fields<'a>(&mut self, node: &'a Node, path: String, known: &[&str]) -> Option<Fields<'a>> {
        let Value::Mapping(fields) = &node.value else {
            self.expected(node, path, &format!("the fields {}", known.join(", ")));
            return None;
        };
        let mut lines = HashMap::new();
        for field in fields {
            if self.mistakes.is_full() {
                break;
            }
            if !known.contains(&field.name.as_str()) {
                let suggestion = nearest(known.iter().copied(), &field.name);
                let problem = Problem::UnknownField { suggestion, fields: known.join(", ") };
                self.note(field.line, path.clone(), problem);
            } else if let Some(first) = lines.insert(field.name.as_str(), field.line) {
                let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
                self.note(field.line, path, Problem::Twice { first });
            }
        }
        Some(Fields { path, line: node.line, all: fields })
    }

    pub(super) fn required<'a>(&mut self, fields: &Fields<'a>, name: &str, expected: &str) -> Option<&'a Node> {
        let node = fields.get(name);
        if node.is_none() {
            self.note(fields.line, fields.path(name), Problem::Missing(expected.to_owned()));
        }
        node
    }

    /// A list with something in it.
    pub(super) fn required_list<'a>(&mut self, fields: &Fields<'a>, name: &str, expected: &str) -> Option<&'a [Node]> {
        let node = self.required(fields, name, expected)?;
        let nodes = self.list(node, fields.path(name), expected)?;
        if nodes.is_empty() {
            self.expected(node, fields.path(name), &format!("{expected}, with something in it"));
            return None;
        }
        Some(nodes)
    }

    pub(super) fn list<'a>(&mut self, node: &'a Node, path: impl Into<String>, expected: &str) -> Option<&'a [Node]> {
        let Value::List(nodes) = &node.value else {
            self.expected(node, path, expected);
            return None;
        };
        Some(nodes)
    }

    /// What each is read as, without what stands twice.
    pub(super) fn each<T: Copy + Eq + Hash>(
        &mut self,
        nodes: &[Node],
        path: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let value = self.text(node, format!("{path}[{index}]"), expected, &read);
            values.extend(value.map(|value| (value, node.line)));
        }
        self.once(values, path)
    }

    pub(super) fn text<T>(
        &mut self,
        node: &Node,
        path: String,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.any_text(node, &path, expected)?);
        if value.is_none() {
            self.expected(node, path, expected);
        }
        value
    }

    pub(super) fn any_text<'a>(&mut self, node: &'a Node, path: &str, expected: &str) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) => Some(text),
            Value::Bare(text) if !text.is_empty() => {
                self.expected(node, path, &format!("{expected}: put a text that looks like a number in quotes"));
                None
            }
            _ => {
                self.expected(node, path, expected);
                None
            }
        }
    }

    pub(super) fn number(&mut self, node: &Node, path: String, least: u32, most: u32) -> Option<u32> {
        let number = match &node.value {
            Value::Bare(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.expected(node, path, &format!("a whole number from {least} to {most}"));
        }
        number
    }

    pub(super) fn switch(&mut self, node: &Node, path: String) -> Option<bool> {
        match &node.value {
            Value::Bare(text) if text == "true" => Some(true),
            Value::Bare(text) if text == "false" => Some(false),
            _ => {
                self.expected(node, path, "true or false");
                None
            }
        }
    }

    pub(super) fn once<T: Copy + Eq + Hash>(&mut self, values: Vec<(T, usize)>, path: &str) -> Vec<T> {
        let mut lines = HashMap::with_capacity(values.len());
        let mut kept = Vec::with_capacity(values.len());
        for (value, line) in values {
            match lines.insert(value, line) {
                Some(first) => self.note(line, path, Problem::Twice { first }),
                None => kept.push(value),
            }
        }
        kept
    }

    pub(super) fn expected(&mut self, node: &Node, path: impl Into<String>, expected: &str) {
        if node.value != Value::Unusable {
            self.note(node.line, path, Problem::Expected(expected.to_owned()));
        }
    }

    pub(super) fn note(&mut self, line: usize, path: impl Into<String>, problem: Problem) {
        self.mistakes.note(line, path, problem);
    }
}
