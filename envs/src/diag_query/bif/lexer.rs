//! Characters to tokens.

use super::error::{BifError, BifErrorKind};

/// A piece of a BIF file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// A run of ordinary characters: keyword, name or number.
    Word(&'a str),
    /// A name in double quotes, without them.
    Quoted(&'a str),
    /// One of `{ } ( ) [ ] ; , |`.
    Mark(char),
}

impl Token<'_> {
    /// The token as a person would write it, cut to a readable length.
    pub fn describe(&self) -> String {
        match self {
            Self::Word(text) | Self::Quoted(text) => {
                let shown: String = text.chars().take(40).collect();
                if shown.len() < text.len() { format!("`{shown}…`") } else { format!("`{shown}`") }
            }
            Self::Mark(mark) => format!("`{mark}`"),
        }
    }
}

/// Cuts a text into tokens, one ahead.
pub struct Lexer<'a> {
    file: &'a str,
    rest: &'a str,
    line: usize,
    ahead: Option<(Token<'a>, usize)>,
}

fn is_mark(c: char) -> bool {
    matches!(c, '{' | '}' | '(' | ')' | '[' | ']' | ';' | ',' | '|')
}

impl<'a> Lexer<'a> {
    /// At the start of `text`; a byte order mark is skipped.
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1, ahead: None }
    }

    /// An error on the given line.
    pub fn error(&self, line: usize, kind: BifErrorKind) -> BifError {
        BifError { file: self.file.to_owned(), line, kind }
    }

    /// A [`BifErrorKind::Syntax`] for this token, or [`BifErrorKind::UnexpectedEof`] where there is none.
    pub fn unexpected(&self, found: Option<(Token<'a>, usize)>, expected: &str) -> BifError {
        let expected = expected.to_owned();
        match found {
            Some((token, line)) => self.error(line, BifErrorKind::Syntax { found: token.describe(), expected }),
            None => self.error(self.line, BifErrorKind::UnexpectedEof { expected }),
        }
    }

    /// The next token and its line, kept for the next call; `None` at the end.
    pub fn peek(&mut self) -> Result<Option<(Token<'a>, usize)>, BifError> {
        if self.ahead.is_none() {
            self.ahead = self.scan()?;
        }
        Ok(self.ahead)
    }

    /// The next token and its line; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(Token<'a>, usize)>, BifError> {
        match self.ahead.take() {
            Some(token) => Ok(Some(token)),
            None => self.scan(),
        }
    }

    fn scan(&mut self) -> Result<Option<(Token<'a>, usize)>, BifError> {
        self.skip_blanks()?;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let token = match first {
            '"' => Token::Quoted(self.quoted()?),
            mark if is_mark(mark) => {
                self.rest = &self.rest[1..];
                Token::Mark(mark)
            }
            _ => Token::Word(self.word()),
        };
        Ok(Some((token, self.line)))
    }

    fn skip_blanks(&mut self) -> Result<(), BifError> {
        loop {
            let trimmed = self.rest.trim_start();
            self.advance(self.rest.len() - trimmed.len());
            if self.rest.starts_with("//") {
                self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                match self.rest[2..].find("*/") {
                    Some(at) => self.advance(at + 4),
                    None => {
                        let expected = "*/ at the end of the comment".to_owned();
                        return Err(self.error(self.line, BifErrorKind::UnexpectedEof { expected }));
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.bytes().filter(|&b| b == b'\n').count();
        self.rest = rest;
    }

    fn quoted(&mut self) -> Result<&'a str, BifError> {
        let inside = &self.rest[1..];
        match inside.find(['"', '\n']) {
            Some(at) if inside.as_bytes()[at] == b'"' => {
                self.rest = &inside[at + 1..];
                Ok(&inside[..at])
            }
            Some(at) => {
                let (found, expected) = (Token::Word(&self.rest[..=at]).describe(), "\" before the end of the line");
                Err(self.error(self.line, BifErrorKind::Syntax { found, expected: expected.to_owned() }))
            }
            None => {
                let expected = "\" at the end of the name".to_owned();
                Err(self.error(self.line, BifErrorKind::UnexpectedEof { expected }))
            }
        }
    }

    /// A word ends before a mark, a blank, a quote or a comment; a single `/` belongs to it (`Asy/Patch`).
    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .char_indices()
            .find(|&(at, c)| {
                let comment = c == '/' && at > 0 && matches!(self.rest.as_bytes().get(at + 1), Some(b'/' | b'*'));
                is_mark(c) || c.is_whitespace() || c == '"' || comment
            })
            .map_or(self.rest.len(), |(at, _)| at);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}
