//! Tokens to declarations; names are not looked up yet, since a file may use them before it declares them.

use super::BifLimits;
use super::error::{BifError, BifErrorKind};
use super::lexer::{Lexer, Token};

/// Something with the line it stands on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At<T> {
    pub value: T,
    pub line: usize,
}

/// A `variable` block.
pub struct Declaration<'a> {
    pub name: At<&'a str>,
    pub states: Vec<&'a str>,
}

/// What a row of a table is for.
#[derive(Clone, Debug, PartialEq)]
pub enum RowKey<'a> {
    /// `table`: the only row of a variable without parents.
    Table,
    /// Every combination without a row of its own.
    Default,
    /// The states of the parents, in the order of the head.
    States(Vec<&'a str>),
}

/// One row: a key and its probabilities.
pub struct Row<'a> {
    pub key: RowKey<'a>,
    pub numbers: Vec<f64>,
    pub line: usize,
}

/// A `probability` block.
pub struct Block<'a> {
    pub variable: At<&'a str>,
    pub parents: Vec<At<&'a str>>,
    pub rows: Vec<Row<'a>>,
}

/// All of a file.
#[derive(Default)]
pub struct Ast<'a> {
    pub name: &'a str,
    pub variables: Vec<Declaration<'a>>,
    pub blocks: Vec<Block<'a>>,
    /// Number of lines, for what is missing altogether.
    pub last_line: usize,
}

/// Reads a whole file.
pub fn parse<'a>(file: &'a str, text: &'a str, limits: &BifLimits) -> Result<Ast<'a>, BifError> {
    let mut parser = Parser { lexer: Lexer::new(file, text), limits };
    let mut ast = Ast { last_line: text.lines().count().max(1), ..Ast::default() };
    const EXPECTED: &str = "`network`, `variable` or `probability`";
    while let Some(token) = parser.lexer.next()? {
        match token.0 {
            Token::Word("network") => ast.name = parser.network()?,
            Token::Word("variable") => ast.variables.push(parser.variable()?),
            Token::Word("probability") => ast.blocks.push(parser.probability()?),
            _ => return Err(parser.lexer.unexpected(Some(token), EXPECTED)),
        }
    }
    Ok(ast)
}

struct Parser<'a, 'l> {
    lexer: Lexer<'a>,
    limits: &'l BifLimits,
}

impl<'a> Parser<'a, '_> {
    fn network(&mut self) -> Result<&'a str, BifError> {
        let name = match self.lexer.peek()? {
            Some((Token::Word(_) | Token::Quoted(_), _)) => self.name("a name")?.value,
            _ => "",
        };
        self.mark('{', "`{` of the network")?;
        while !self.ends('}')? {
            self.property("`property` or `}` of the network")?;
        }
        Ok(name)
    }

    fn variable(&mut self) -> Result<Declaration<'a>, BifError> {
        let name = self.name("the name of the variable")?;
        self.mark('{', "`{` of the variable")?;
        let mut states = None;
        while !self.ends('}')? {
            match self.lexer.peek()? {
                Some((Token::Word("type"), line)) => {
                    if states.is_some() {
                        let expected = "one `type` in a variable".to_owned();
                        let kind = BifErrorKind::Syntax { found: "a second `type`".to_owned(), expected };
                        return Err(self.lexer.error(line, kind));
                    }
                    states = Some(self.states(name.value)?);
                }
                _ => self.property("`type`, `property` or `}` of the variable")?,
            }
        }
        match states {
            Some(states) => Ok(Declaration { name, states }),
            None => {
                let found = format!("variable {} without a type", name.value);
                let expected = "`type discrete [ N ] { … };`".to_owned();
                Err(self.lexer.error(name.line, BifErrorKind::Syntax { found, expected }))
            }
        }
    }

    /// `type discrete [ N ] { A, B };`
    fn states(&mut self, variable: &'a str) -> Result<Vec<&'a str>, BifError> {
        self.lexer.next()?;
        let kind = self.name("`discrete`")?;
        if kind.value != "discrete" {
            let what = format!("type {} of {variable}; expected `type discrete`", kind.value);
            return Err(self.lexer.error(kind.line, BifErrorKind::Unsupported { what }));
        }
        self.mark('[', "`[` and the number of states")?;
        let count = self.name("the number of states")?;
        let declared: u64 = count.value.parse().map_err(|_| {
            let (found, expected) = (Token::Word(count.value).describe(), "the number of states, such as 2".to_owned());
            self.lexer.error(count.line, BifErrorKind::Syntax { found, expected })
        })?;
        let variable = variable.to_owned();
        if declared > self.limits.max_states as u64 {
            let limit = self.limits.max_states;
            let kind = BifErrorKind::CardinalityTooLarge { variable, states: declared, limit };
            return Err(self.lexer.error(count.line, kind));
        }
        self.mark(']', "`]` after the number of states")?;
        self.mark('{', "`{` and the names of the states")?;
        let states = self.names('}', "the name of a state")?;
        self.mark(';', "`;` after the states")?;
        if states.len() as u64 != declared {
            let kind = BifErrorKind::StateCountMismatch { variable, declared, listed: states.len() };
            return Err(self.lexer.error(count.line, kind));
        }
        let mut seen = std::collections::HashSet::with_capacity(states.len());
        if let Some(twice) = states.iter().find(|s| !seen.insert(s.value)) {
            let kind = BifErrorKind::DuplicateState { variable, state: twice.value.to_owned() };
            return Err(self.lexer.error(twice.line, kind));
        }
        Ok(states.into_iter().map(|s| s.value).collect())
    }

    fn probability(&mut self) -> Result<Block<'a>, BifError> {
        self.mark('(', "`(` and the name of a variable")?;
        let variable = self.name("the name of a variable")?;
        let parents = match self.lexer.next()? {
            Some((Token::Mark(')'), _)) => Vec::new(),
            Some((Token::Mark('|'), _)) => self.names(')', "the name of a parent")?,
            other => return Err(self.lexer.unexpected(other, "`|` and the parents, or `)`")),
        };
        self.mark('{', "`{` of the probabilities")?;
        let mut rows = Vec::new();
        while !self.ends('}')? {
            const EXPECTED: &str = "`table`, `default`, `(`, `property` or `}` of the probabilities";
            let key = match self.lexer.peek()? {
                Some((Token::Mark('('), _)) => {
                    self.lexer.next()?;
                    RowKey::States(self.names(')', "the state of a parent")?.into_iter().map(|n| n.value).collect())
                }
                Some((Token::Word(word @ ("table" | "default")), _)) => {
                    self.lexer.next()?;
                    if word == "table" { RowKey::Table } else { RowKey::Default }
                }
                _ => {
                    self.property(EXPECTED)?;
                    continue;
                }
            };
            let (numbers, line) = self.numbers(variable.value)?;
            rows.push(Row { key, numbers, line });
        }
        Ok(Block { variable, parents, rows })
    }

    /// Probabilities up to `;`, with the line of the first.
    fn numbers(&mut self, variable: &str) -> Result<(Vec<f64>, usize), BifError> {
        let mut numbers = Vec::new();
        let mut first_line = 0;
        loop {
            let At { value, line } = self.name("a probability")?;
            let number: f64 = value.parse().map_err(|_| {
                let (found, expected) = (Token::Word(value).describe(), "a probability".to_owned());
                self.lexer.error(line, BifErrorKind::Syntax { found, expected })
            })?;
            // Written so that NaN is refused.
            if !(0.0..=1.0).contains(&number) {
                let kind = BifErrorKind::InvalidProbability { variable: variable.to_owned(), value: value.to_owned() };
                return Err(self.lexer.error(line, kind));
            }
            if numbers.is_empty() {
                first_line = line;
            }
            numbers.push(number);
            match self.lexer.next()? {
                Some((Token::Mark(','), _)) => {}
                Some((Token::Mark(';'), _)) => return Ok((numbers, first_line)),
                other => return Err(self.lexer.unexpected(other, "`,` and another probability, or `;`")),
            }
        }
    }

    /// `property` and whatever follows, up to `;`.
    fn property(&mut self, expected: &str) -> Result<(), BifError> {
        match self.lexer.next()? {
            Some((Token::Word("property"), _)) => {}
            other => return Err(self.lexer.unexpected(other, expected)),
        }
        loop {
            match self.lexer.next()? {
                Some((Token::Mark(';'), _)) => return Ok(()),
                Some(_) => {}
                None => return Err(self.lexer.unexpected(None, "`;` after the property")),
            }
        }
    }

    /// Names with commas between them, up to the closing mark, which is taken too.
    fn names(&mut self, close: char, expected: &str) -> Result<Vec<At<&'a str>>, BifError> {
        let mut names = Vec::new();
        loop {
            names.push(self.name(expected)?);
            match self.lexer.next()? {
                Some((Token::Mark(','), _)) => {}
                Some((Token::Mark(mark), _)) if mark == close => return Ok(names),
                other => return Err(self.lexer.unexpected(other, &format!("`,` or `{close}`"))),
            }
        }
    }

    fn name(&mut self, expected: &str) -> Result<At<&'a str>, BifError> {
        match self.lexer.next()? {
            Some((Token::Word(value) | Token::Quoted(value), line)) => Ok(At { value, line }),
            other => Err(self.lexer.unexpected(other, expected)),
        }
    }

    fn mark(&mut self, mark: char, expected: &str) -> Result<(), BifError> {
        match self.lexer.next()? {
            Some((Token::Mark(found), _)) if found == mark => Ok(()),
            other => Err(self.lexer.unexpected(other, expected)),
        }
    }

    /// Whether `mark` comes next; it is then taken.
    fn ends(&mut self, mark: char) -> Result<bool, BifError> {
        let ends = matches!(self.lexer.peek()?, Some((Token::Mark(found), _)) if found == mark);
        if ends {
            self.lexer.next()?;
        }
        Ok(ends)
    }
}
