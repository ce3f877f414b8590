//! YAML as a tree that knows its lines. Of YAML's ways to say the same thing, a policy takes the plain ones: no anchors,
//! aliases or tags, one document, keys that are texts and stand once.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::mistake::{Mistake, Problem};

/// So many mistakes are told at once.
const MAX_MISTAKES: usize = 100;
/// How deep lists and mappings may stand in each other. A policy needs four.
const MAX_DEPTH: usize = 16;

const NO_ANCHORS: &str = "anchors and aliases are not taken: write the value out";
const NO_TAGS: &str = "tags are not taken: leave it out";
const ONE_DOCUMENT: &str = "one file is one policy: take this second document away";
const TOO_DEEP: &str = "lists and mappings stand too deep in each other";
const KEYS_ARE_TEXTS: &str = "a field's name is a text";

/// Something in the file, and its line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// A number, `true`, `null` or nothing, which stand without quotes.
    Bare(String),
    List(Vec<Node>),
    Mapping(Vec<Field>),
    /// A mistake with it is noted already.
    Unusable,
}

/// A field of a mapping, and the line of its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) node: Node,
}

/// Mistakes, up to a number.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(super) fn note(&mut self, line: usize, path: impl Into<String>, problem: Problem) {
        if self.0.len() < MAX_MISTAKES {
            self.0.push(Mistake { line, path: path.into(), problem });
        } else if self.0.len() == MAX_MISTAKES {
            self.0.push(Mistake { line, path: String::new(), problem: Problem::More });
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() > MAX_MISTAKES
    }

    pub(super) fn into_sorted(mut self) -> Vec<Mistake> {
        self.0.sort_by_key(|mistake| (mistake.problem == Problem::More, mistake.line));
        self.0
    }
}

/// The file's one document. `None` when the rest of it cannot be made sense of.
pub(super) fn read(text: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let mut tree = Tree { mistakes, open: Vec::new(), root: None };
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let said = error.info().escape_debug().to_string();
                tree.mistakes.note(error.marker().line(), "", Problem::Syntax(said));
                return None;
            }
        };
        tree.take(event, span)?;
        if tree.mistakes.is_full() {
            return None;
        }
    }
    tree.root.or(Some(Node { line: 1, value: Value::Bare(String::new()) }))
}

/// What is read so far.
struct Tree<'a> {
    mistakes: &'a mut Mistakes,
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or mapping whose end has not come.
struct Open {
    line: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    /// And the name whose value has not come.
    Mapping(Vec<Field>, Option<Node>),
}

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check(line, anchor, tag.is_some());
                let is_bare = style == ScalarStyle::Plain && is_bare(&text);
                let value = if is_bare { Value::Bare(text.into_owned()) } else { Value::Text(text.into_owned()) };
                self.add(Node { line, value });
            }
            Event::Alias(_) => {
                self.refuse(line, NO_ANCHORS);
                self.add(Node { line, value: Value::Unusable });
            }
            Event::SequenceStart(anchor, tag) => {
                self.check(line, anchor, tag.is_some());
                self.open(line, Content::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.check(line, anchor, tag.is_some());
                self.open(line, Content::Mapping(Vec::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { line, content } = self.open.pop()?;
                let value = match content {
                    Content::List(nodes) => Value::List(nodes),
                    Content::Mapping(fields, _) => Value::Mapping(fields),
                };
                self.add(Node { line, value });
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                self.refuse(line, ONE_DOCUMENT);
                return None;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn check(&mut self, line: usize, anchor: usize, is_tagged: bool) {
        if anchor > 0 {
            self.refuse(line, NO_ANCHORS);
        }
        if is_tagged {
            self.refuse(line, NO_TAGS);
        }
    }

    fn open(&mut self, line: usize, content: Content) -> Option<()> {
        if self.open.len() == MAX_DEPTH {
            self.refuse(line, TOO_DEEP);
            return None;
        }
        self.open.push(Open { line, content });
        Some(())
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(nodes)) => nodes.push(node),
            Some(Content::Mapping(_, name @ None)) => *name = Some(node),
            Some(Content::Mapping(fields, name)) => match name.take() {
                Some(Node { line, value: Value::Text(name) | Value::Bare(name) }) => {
                    fields.push(Field { line, name, node });
                }
                other => {
                    let line = other.map_or(node.line, |name| name.line);
                    self.refuse(line, KEYS_ARE_TEXTS);
                }
            },
        }
    }

    fn refuse(&mut self, line: usize, why: &'static str) {
        self.mistakes.note(line, "", Problem::Unsupported(why));
    }
}

/// Whether YAML takes it for something else than a text: `null`, a boolean or a number.
fn is_bare(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
        || text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.'))
            && (text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o"))
}
