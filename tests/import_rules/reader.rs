//! The paths that a file of Rust names: its `use` lines taken apart, and those that stand in its code.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Where a path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// At this crate's root: `crate::`, `ticketd::`, or `super::` often enough.
    Ours,
    /// Anywhere else: at a crate's name, or at something in scope.
    Other,
}

/// A path as the code writes it, with the groups of a `use` taken apart.
#[derive(Debug)]
pub(crate) struct UsedPath {
    pub(crate) root: Root,
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// Collects the paths of one file.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) paths: Vec<UsedPath>,
    /// Modules declared in the file, which hide crates of the same name.
    pub(crate) local_modules: Vec<String>,
}

impl Reader {
    /// Reads tokens of a module `depth` levels below the crate's root.
    pub(crate) fn read(&mut self, tokens: TokenStream, depth: usize) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if is_test_only(&tokens[at..]) {
                at = end_of_item(&tokens, at + 2);
                continue;
            }
            match &tokens[at] {
                TokenTree::Ident(name) if name == "use" => {
                    let end = (at..tokens.len()).find(|&i| is_punct(&tokens[i], ';')).unwrap_or(tokens.len());
                    self.read_use(&tokens[at + 1..end], &[], depth);
                    at = end;
                }
                TokenTree::Ident(name) if name == "mod" => {
                    self.local_modules.extend(tokens.get(at + 1).map(ToString::to_string));
                    if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                        self.read(body.stream(), depth + 1);
                        at += 2;
                    }
                }
                TokenTree::Ident(_) => {
                    let (segments, end) = path_at(&tokens, at);
                    if segments.len() > 1 && !continues_a_path(&tokens, at) {
                        self.keep(segments, tokens[at].span().start().line, depth);
                    }
                    at = end - 1;
                }
                TokenTree::Group(group) => self.read(group.stream(), depth),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
    }

    /// Reads what stands between `use` and `;`, or within one of its groups.
    fn read_use(&mut self, tokens: &[TokenTree], prefix: &[String], depth: usize) {
        for tree in tokens.split(|token| is_punct(token, ',')) {
            let start = tree.iter().take_while(|token| is_punct(token, ':')).count();
            let Some(first) = tree.get(start) else { continue };
            let (segments, end) = path_at(tree, start);
            let path = [prefix, &segments].concat();
            match tree.get(end) {
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.read_use(&group.stream().into_iter().collect::<Vec<_>>(), &path, depth);
                }
                Some(token) if is_punct(token, '*') => {
                    self.keep([path, vec!["*".to_owned()]].concat(), first.span().start().line, depth);
                }
                _ => self.keep(path, first.span().start().line, depth),
            }
        }
    }

    fn keep(&mut self, mut segments: Vec<String>, line: usize, depth: usize) {
        let supers = segments.iter().take_while(|segment| *segment == "super").count();
        let root = match segments.first().map(String::as_str) {
            Some("crate" | "ticketd") => {
                segments.remove(0);
                Root::Ours
            }
            Some("super") if supers >= depth => {
                segments.drain(..supers);
                Root::Ours
            }
            _ => Root::Other,
        };
        self.paths.push(UsedPath { root, segments, line });
    }
}

/// The names joined by `::` from `start` on, and the first position after them and a trailing `::`.
fn path_at(tokens: &[TokenTree], start: usize) -> (Vec<String>, usize) {
    let mut segments = Vec::new();
    let mut at = start;
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        segments.push(name.to_string());
        at += 1;
        if !is_separator(tokens, at) {
            break;
        }
        at += 2;
    }
    (segments, at)
}

/// Whether the name at `at` belongs to something before it: `<T>::name` or `value.name`, but not `-> ::name`.
fn continues_a_path(tokens: &[TokenTree], at: usize) -> bool {
    let before = |back: usize, wanted: &[char]| {
        at.checked_sub(back).is_some_and(|i| wanted.iter().any(|&wanted| is_punct(&tokens[i], wanted)))
    };
    before(1, &['.']) || before(1, &[':']) && before(2, &[':']) && before(3, &['>']) && !before(4, &['-', '='])
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    tokens.len() > at + 1 && is_punct(&tokens[at], ':') && is_punct(&tokens[at + 1], ':')
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Whether the tokens begin with `#[cfg(test)]`.
fn is_test_only(tokens: &[TokenTree]) -> bool {
    let [hash, TokenTree::Group(attribute), ..] = tokens else { return false };
    is_punct(hash, '#') && attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// The position after the item that starts at `start`: after its body or its semicolon.
fn end_of_item(tokens: &[TokenTree], start: usize) -> usize {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_punct(token, ';'),
    };
    (start..tokens.len()).find(|&i| is_end(&tokens[i])).map_or(tokens.len(), |i| i + 1)
}
