//! Reads one Rust file as far as the house rules need: words without comments and strings, the module each stands in,
//! whether it is test code, and every path (`a::b::c`, groups unfolded). Not a parser: it knows no types, expands no
//! macro, and trusts the compiler to refuse what is not Rust.

/// What a token is, as far as a rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or a name; raw names without their `r#`.
    Word,
    /// `::` or one character of punctuation.
    Mark,
    /// A number, string or character.
    Literal,
}

/// One word of code.
#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    pub line: usize,
    /// How many modules of the file's stack of inline modules are open here; index into [`Source::modules`].
    pub module: usize,
    /// Stands under `#[cfg(test)]`.
    pub test: bool,
}

/// `a::b::c` as written; a group or a `use` tree gives one path for each of its leaves.
#[derive(Clone, Debug)]
pub struct Path {
    pub segments: Vec<String>,
    pub line: usize,
    pub test: bool,
    module: usize,
}

/// A `mod name;` line: a file that this file brings in.
#[derive(Clone, Debug)]
pub struct Child {
    pub module: Vec<String>,
    pub test: bool,
}

/// One Rust file, read.
pub struct Source {
    pub tokens: Vec<Token>,
    pub paths: Vec<Path>,
    pub children: Vec<Child>,
    /// The module paths that occur in the file: its own first, then those of its inline modules.
    pub modules: Vec<Vec<String>>,
    lines: usize,
}

impl Source {
    /// Reads the file at `path` (`src/room/leaf.rs`); all of it counts as test code if `test`.
    pub fn read(path: &str, text: &str, test: bool) -> Source {
        let mut source = Source {
            tokens: tokens(text),
            paths: Vec::new(),
            children: Vec::new(),
            modules: vec![module_of(path)],
            lines: text.lines().count(),
        };
        source.mark_modules();
        source.mark_tests(test);
        source.collect_paths();
        source
    }

    /// Lines that are not under `#[cfg(test)]`.
    pub fn lines_without_tests(&self) -> usize {
        let mut of_tests = 0;
        let mut last = 0;
        let mut tokens = self.tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            if !token.test {
                continue;
            }
            let first = token.line.max(last + 1);
            last = token.line;
            while let Some(next) = tokens.next_if(|next| next.test) {
                last = next.line;
            }
            of_tests += (last + 1).saturating_sub(first);
        }
        self.lines - of_tests
    }

    /// Where in this crate `path` leads, from the crate's root; `None` if it leads elsewhere or is relative to its own
    /// module. `crate`, `super` and `self` are resolved, so no number of `super` hides an arrow between rooms.
    pub fn in_crate(&self, path: &Path) -> Option<Vec<String>> {
        let mut segments = path.segments.iter().map(String::as_str);
        let mut base = match segments.next()? {
            "crate" | "llts" => Vec::new(),
            "self" => self.modules[path.module].clone(),
            "super" => parent(&self.modules[path.module]),
            _ => return None,
        };
        for segment in segments {
            match segment {
                "super" => base = parent(&base),
                "self" => {}
                name => base.push(name.to_string()),
            }
        }
        Some(base)
    }

    /// Lines on which `words` stand side by side, tests left out unless `tests`.
    pub fn lines_with(&self, words: &[&str], tests: bool) -> Vec<usize> {
        self.tokens
            .windows(words.len())
            .filter(|window| tests || !window[0].test)
            .filter(|window| window.iter().zip(words).all(|(t, w)| t.kind != Kind::Literal && t.text == *w))
            .map(|window| window[0].line)
            .collect()
    }

    /// Lines on which the macro `name` is called, tests left out unless `tests`.
    pub fn macro_calls(&self, name: &str, tests: bool) -> Vec<usize> {
        let called = |at: usize| {
            let open = ["(", "[", "{"].iter().any(|open| self.is(at + 2, open));
            self.word(at) == Some(name) && self.is(at + 1, "!") && open
        };
        let calls = self.tokens.iter().enumerate().filter(|(at, token)| (tests || !token.test) && called(*at));
        calls.map(|(_, token)| token.line).collect()
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|t| t.kind != Kind::Literal && t.text == text)
    }

    fn word(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).filter(|t| t.kind == Kind::Word).map(|t| t.text.as_str())
    }

    /// Gives every token its module and notes the `mod name;` lines.
    fn mark_modules(&mut self) {
        let mut open: Vec<(usize, usize)> = Vec::new(); // (brace depth inside the module, its index)
        let mut depth = 0;
        let mut opening = None;
        for at in 0..self.tokens.len() {
            let current = open.last().map_or(0, |(_, module)| *module);
            self.tokens[at].module = current;
            if self.is(at, "{") {
                depth += 1;
                if opening == Some(at) {
                    open.push((depth, self.modules.len() - 1));
                }
            } else if self.is(at, "}") {
                if open.last().is_some_and(|(inside, _)| *inside == depth) {
                    open.pop();
                }
                depth -= 1;
            } else if self.is(at, "mod") {
                let Some(name) = self.word(at + 1) else { continue };
                let mut module = self.modules[current].clone();
                module.push(name.to_string());
                if self.is(at + 2, ";") {
                    self.children.push(Child { module, test: false });
                } else if self.is(at + 2, "{") {
                    self.modules.push(module);
                    opening = Some(at + 2);
                }
            }
        }
    }

    /// Marks what stands under `#[cfg(test)]` or `#[cfg(all(test, ..))]`, from the attribute to the end of the item.
    fn mark_tests(&mut self, all: bool) {
        let mut at = 0;
        let all =
            all || (0..self.tokens.len()).any(|at| self.is(at, "#") && self.is(at + 1, "!") && self.cfg_test(at + 3));
        while at < self.tokens.len() {
            if all || (self.is(at, "#") && self.is(at + 1, "[") && self.cfg_test(at + 2)) {
                let end = if all { self.tokens.len() } else { self.item_end(at) };
                self.tokens[at..end].iter_mut().for_each(|t| t.test = true);
                at = end;
            } else {
                at += 1;
            }
        }
        let declared = (0..self.tokens.len()).filter(|at| self.is(*at, "mod") && self.is(*at + 2, ";"));
        let tests: Vec<bool> = declared.map(|at| self.tokens[at].test).collect();
        self.children.iter_mut().zip(tests).for_each(|(child, test)| child.test = test);
    }

    fn cfg_test(&self, at: usize) -> bool {
        let plain = self.is(at + 2, "test");
        let among = self.is(at + 2, "all") && self.is(at + 4, "test");
        self.is(at, "cfg") && (plain || among)
    }

    /// The index after the item that the attribute at `at` belongs to.
    fn item_end(&self, at: usize) -> usize {
        let mut depth = 0i32;
        for next in at..self.tokens.len() {
            match self.tokens[next].text.as_str() {
                _ if self.tokens[next].kind != Kind::Mark => {}
                "(" | "[" | "{" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth <= 0 {
                        return next + usize::from(depth == 0);
                    }
                }
                ";" if depth == 0 => return next + 1,
                _ => {}
            }
        }
        self.tokens.len()
    }

    fn collect_paths(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            let starts = self.word(at).is_some() && self.is(at + 1, "::");
            let continues = at > 0 && (self.is(at - 1, "::") || self.is(at - 1, "."));
            at = if starts && !continues { self.path(at, Vec::new()) } else { at + 1 };
        }
    }

    /// Reads the path that goes on at `at` after `prefix`, files its leaves, answers the index after it.
    fn path(&mut self, mut at: usize, mut prefix: Vec<String>) -> usize {
        let start = at;
        loop {
            let open = self.is(at, "{") && !prefix.is_empty() && at > 0 && self.is(at - 1, "::");
            if open {
                at += 1;
                while at < self.tokens.len() && !self.is(at, "}") {
                    at = if self.is(at, ",") { at + 1 } else { self.path(at, prefix.clone()) };
                }
                return at + 1;
            }
            let Some(word) = self.word(at).map(str::to_string).or_else(|| self.is(at, "*").then(|| "*".into())) else {
                break;
            };
            prefix.push(word);
            at += 1;
            if !self.is(at, "::") {
                break;
            }
            at += 1;
        }
        let Token { line, module, test, .. } = self.tokens[start.min(self.tokens.len() - 1)];
        self.paths.push(Path { segments: prefix, line, test, module });
        if self.is(at, "as") { at + 2 } else { at.max(start + 1) }
    }
}

/// The module that a file of src holds: `src/a/b.rs` and `src/a/b/mod.rs` hold `a::b`, `src/lib.rs` the root.
pub fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let stem = inner.strip_suffix(".rs").unwrap_or(inner);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    match stem {
        "lib" | "main" => Vec::new(),
        _ => stem.split('/').map(str::to_string).collect(),
    }
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Cuts Rust text into words, leaving out comments.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let start = at;
        let c = chars[at];
        let kind = if c.is_whitespace() {
            at += 1;
            None
        } else if c == '/' && peek(at + 1) == '/' {
            at = skip_until(&chars, at, |c| c == '\n');
            None
        } else if c == '/' && peek(at + 1) == '*' {
            at = block_comment_end(&chars, at);
            None
        } else if let Some(end) = string_end(&chars, at) {
            at = end;
            Some(Kind::Literal)
        } else if c == '\'' {
            if peek(at + 1) != '\\' && peek(at + 2) != '\'' {
                at = skip_until(&chars, at + 1, |c| !is_word(c)); // a lifetime: no rule asks for one
                None
            } else {
                at = quoted_end(&chars, at + 1, '\'');
                Some(Kind::Literal)
            }
        } else if c.is_ascii_digit() {
            at = skip_until(&chars, at, |c| !is_word(c));
            if peek(at) == '.' && peek(at + 1).is_ascii_digit() {
                at = skip_until(&chars, at + 1, |c| !is_word(c));
            }
            Some(Kind::Literal)
        } else if is_word(c) {
            at = skip_until(&chars, at, |c| !is_word(c));
            Some(Kind::Word)
        } else {
            at += if c == ':' && peek(at + 1) == ':' { 2 } else { 1 };
            Some(Kind::Mark)
        };
        if let Some(kind) = kind {
            let text = chars[start..at].iter().collect();
            tokens.push(Token { kind, text, line, module: 0, test: false });
        }
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn skip_until(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|c| stop(*c)).map_or(chars.len(), |n| from + n)
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The end of the string that starts at `from` (plain, raw, byte or C), if one does.
fn string_end(chars: &[char], from: usize) -> Option<usize> {
    let mut at = from;
    while at < from + 2 && matches!(chars.get(at), Some('b' | 'c' | 'r')) {
        at += 1;
    }
    let raw = at > from && chars[at - 1] == 'r';
    let hashes = if raw { chars[at..].iter().take_while(|c| **c == '#').count() } else { 0 };
    at += hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    if !raw {
        return Some(quoted_end(chars, at + 1, '"'));
    }
    let closing = |at: usize| chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    let end = (at + 1..chars.len()).find(|at| closing(*at)).map_or(chars.len(), |at| at + 1 + hashes);
    Some(end)
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str, text: &str) -> Vec<String> {
        let source = Source::read(path, text, false);
        source.paths.iter().map(|p| p.segments.join("::")).collect()
    }

    fn arrows(path: &str, text: &str) -> Vec<String> {
        let source = Source::read(path, text, false);
        source.paths.iter().filter_map(|p| source.in_crate(p)).map(|p| p.join("::")).collect()
    }

    #[test]
    fn groups_and_renames_are_unfolded_to_their_leaves() {
        let text = "use crate::{flow::{Stamp, Claim as C, self}, unit::*}; fn f() { crate::limits::X; }";
        let expected =
            ["crate::flow::Stamp", "crate::flow::Claim", "crate::flow::self", "crate::unit::*", "crate::limits::X"];
        assert_eq!(paths("src/a.rs", text), expected);
    }

    #[test]
    fn comments_strings_characters_and_lifetimes_hide_no_code_and_show_none() {
        let text = r####"// crate::a
            /* crate::b /* crate::c */ crate::d */ let s = "crate::e \" crate::f"; let r = r#"crate::g " "#;
            let c = '"'; let d = '\''; fn f<'a>(x: &'a str) { crate::seen::it; } let b = b"\"crate::h";"####;
        assert_eq!(paths("src/a.rs", text), ["crate::seen::it"]);
    }

    #[test]
    fn any_number_of_supers_is_resolved_from_where_it_stands() {
        assert_eq!(arrows("src/a/b.rs", "use super::super::flow::X;"), ["flow::X"]);
        assert_eq!(arrows("src/a/mod.rs", "use super::flow::X;"), ["flow::X"]);
        assert_eq!(arrows("src/a/b.rs", "mod inner { use super::X; use super::super::Y; }"), ["a::b::X", "a::Y"]);
        assert_eq!(arrows("src/a/b.rs", "mod inner { } use super::{super::wire::Z, c};"), ["wire::Z", "a::c"]);
    }

    #[test]
    fn test_code_is_the_item_under_its_attribute_and_nothing_after_it() {
        let text =
            "#[cfg(test)]\n#[derive(Debug)]\nmod tests {\n x::y();\n}\nfn f() { z::w(); }\n#[cfg(not(test))] use n::m;";
        let source = Source::read("src/a.rs", text, false);
        let marked: Vec<(String, bool)> = source.paths.iter().map(|p| (p.segments.join("::"), p.test)).collect();
        assert_eq!(marked, [("x::y".into(), true), ("z::w".into(), false), ("n::m".into(), false)]);
        assert_eq!(source.lines_without_tests(), 2);
    }

    #[test]
    fn a_test_only_import_or_module_line_ends_at_its_semicolon() {
        let source =
            Source::read("src/a.rs", "#[cfg(test)] use a::b;\nuse c::d;\n#[cfg(test)] mod bed;\nmod leaf;", false);
        assert_eq!(source.paths.iter().map(|p| p.test).collect::<Vec<_>>(), [true, false]);
        assert_eq!(source.children.iter().map(|c| c.test).collect::<Vec<_>>(), [true, false]);
        assert_eq!(source.children[1].module, ["a", "leaf"]);
    }

    #[test]
    fn a_file_that_is_test_code_as_a_whole_says_so_once() {
        let source = Source::read("src/a/bed.rs", "//! x\n#![cfg(test)]\nuse a::b;", false);
        assert!(source.tokens.iter().all(|t| t.test));
    }
}
