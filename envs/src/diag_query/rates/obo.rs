//! `hp.obo`: names of terms, what they are kinds of, and what became of old ones.

use super::{text, wrong};
use retune::env::EnvError;
use std::collections::HashMap;

/// A term.
#[derive(Clone, Debug, Default, PartialEq)]
struct Term {
    id: String,
    name: String,
    synonyms: Vec<String>,
    parents: Vec<String>,
    alternatives: Vec<String>,
    obsolete: bool,
    replaced_by: Option<String>,
    line: usize,
}

/// Terms by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ontology {
    terms: Vec<Term>,
    index: HashMap<String, usize>,
    /// Parents by number.
    up: Vec<Vec<usize>>,
}

/// Reads the `[Term]` stanzas of an OBO file; `file` is its name in messages.
///
/// # Errors
/// [`EnvError::Data`] with the line: a stanza without an id, an id that stands twice, an unknown parent, a cycle.
pub fn read_obo(file: &str, bytes: &[u8]) -> Result<Ontology, EnvError> {
    let mut terms: Vec<Term> = Vec::new();
    let mut inside = false;
    for (i, line) in text(file, bytes)?.lines().enumerate() {
        let (number, line) = (i + 1, line.trim());
        if line.starts_with('[') {
            inside = line == "[Term]";
            if inside {
                terms.push(Term { line: number, ..Term::default() });
            }
            continue;
        }
        let Some(term) = terms.last_mut().filter(|_| inside) else { continue };
        if line.is_empty() || line.starts_with('!') {
            continue;
        }
        let (tag, value) = line.split_once(':').ok_or_else(|| {
            let shown: String = line.chars().take(40).collect();
            wrong(file, number, format!("found {shown}, expected `tag: value`"))
        })?;
        let value = value.trim();
        // What follows ` ! ` repeats the name of a term for people.
        let id = || value.split(" ! ").next().unwrap_or(value).split(" {").next().unwrap_or(value).trim().to_owned();
        match tag {
            "id" => term.id = id(),
            "name" => term.name = unescape(value),
            "synonym" => term.synonyms.extend(quoted(value)),
            "is_a" => term.parents.push(id()),
            "alt_id" => term.alternatives.push(id()),
            "is_obsolete" => term.obsolete = value == "true",
            "replaced_by" => term.replaced_by = Some(id()),
            _ => {}
        }
    }
    Ontology::new(file, terms)
}

fn unescape(value: &str) -> String {
    value.replace("\\\"", "\"")
}

/// The text between the first quotes.
fn quoted(value: &str) -> Option<String> {
    let inside = value.strip_prefix('"')?;
    let mut escaped = false;
    let end = inside.char_indices().find(|&(_, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| unescape(&inside[..at]))
}

impl Ontology {
    fn new(file: &str, terms: Vec<Term>) -> Result<Self, EnvError> {
        let mut index = HashMap::with_capacity(terms.len());
        for (i, term) in terms.iter().enumerate() {
            if term.id.is_empty() {
                return Err(wrong(file, term.line, "a term without an id".to_owned()));
            }
            if let Some(first) = index.insert(term.id.clone(), i) {
                let first: &Term = &terms[first];
                let message = format!("{} stands a second time (first on line {})", term.id, first.line);
                return Err(wrong(file, term.line, message));
            }
        }
        if terms.is_empty() {
            return Err(wrong(file, 1, "no [Term], expected at least one".to_owned()));
        }
        let mut up = Vec::with_capacity(terms.len());
        for term in &terms {
            let parent = |id: &String| {
                let message = || wrong(file, term.line, format!("{}: is_a {id}, expected a term of the file", term.id));
                index.get(id).copied().ok_or_else(message)
            };
            up.push(term.parents.iter().map(parent).collect::<Result<Vec<_>, _>>()?);
        }
        let made = Self { terms, index, up };
        made.check_cycles(file)?;
        let mut made = made;
        for i in 0..made.terms.len() {
            for alternative in made.terms[i].alternatives.clone() {
                // An id of its own comes before an alternative one.
                made.index.entry(alternative).or_insert(i);
            }
        }
        Ok(made)
    }

    fn check_cycles(&self, file: &str) -> Result<(), EnvError> {
        let mut below = vec![0usize; self.terms.len()];
        self.up.iter().flatten().for_each(|&p| below[p] += 1);
        let mut open: Vec<usize> = (0..below.len()).filter(|&i| below[i] == 0).collect();
        let mut placed = 0;
        while let Some(i) = open.pop() {
            placed += 1;
            for &p in &self.up[i] {
                below[p] -= 1;
                if below[p] == 0 {
                    open.push(p);
                }
            }
        }
        match below.iter().position(|&b| b > 0) {
            Some(i) if placed < below.len() => {
                Err(wrong(file, self.terms[i].line, format!("{} is in a cycle of is_a", self.terms[i].id)))
            }
            _ => Ok(()),
        }
    }

    /// Number of terms.
    #[must_use]
    pub fn len(&self) -> usize {
        self.terms.len()
    }

    /// Whether there are no terms; never so for a file that was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Number of the term that an id means today: its own, that of the term it is an alternative of, or, if it is
    /// obsolete, that of its replacement.
    ///
    /// # Errors
    /// What is wrong with the id.
    pub fn resolve(&self, id: &str) -> Result<usize, String> {
        let mut at = *self.index.get(id).ok_or_else(|| format!("there is no term {id}"))?;
        // A chain of replacements is at most as long as there are terms.
        for _ in 0..self.terms.len() {
            let term = &self.terms[at];
            match &term.replaced_by {
                _ if !term.obsolete => return Ok(at),
                Some(next) => {
                    at = *self.index.get(next).ok_or_else(|| format!("{id} is replaced by unknown {next}"))?
                }
                None => return Err(format!("{id} is obsolete and has no replacement")),
            }
        }
        Err(format!("{id} is replaced in a circle"))
    }

    /// Name of a term.
    #[must_use]
    pub fn name(&self, term: usize) -> &str {
        &self.terms[term].name
    }

    /// Id of a term.
    #[must_use]
    pub fn id(&self, term: usize) -> &str {
        &self.terms[term].id
    }

    /// Other names of a term.
    #[must_use]
    pub fn synonyms(&self, term: usize) -> &[String] {
        &self.terms[term].synonyms
    }

    /// Terms that this one is a kind of.
    #[must_use]
    pub fn parents(&self, term: usize) -> &[usize] {
        &self.up[term]
    }
}
