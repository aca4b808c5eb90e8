//! Reading a catalogue file.

use super::data_error;
use super::kmeans::kmeans;
use csv::{ByteRecord, ReaderBuilder};
use retune::env::EnvError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which columns of a file mean what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Columns whose contents, joined by `": "`, are the text of an item. The first one is the key of the split.
    pub text: Vec<String>,
    /// Column with the topic; without one, topics are clusters of embeddings.
    #[serde(default)]
    pub topic: Option<String>,
    /// Column with a rating; without one, qualities are drawn per topic.
    #[serde(default)]
    pub quality: Option<String>,
}

impl Columns {
    /// The columns of the catalogue that the program ships: `lemma: gloss`, topic in `lexname`.
    #[must_use]
    pub fn wordnet() -> Self {
        Self { text: vec!["lemma".to_owned(), "gloss".to_owned()], topic: Some("lexname".to_owned()), quality: None }
    }

    /// Refuses a choice of columns that leaves no text or gives hidden things away.
    fn check(&self) -> Result<(), EnvError> {
        let refuse = |key: &str, value: &str, expected: &str| {
            Err(EnvError::Config { key: key.to_owned(), value: value.to_owned(), expected: expected.to_owned() })
        };
        if self.text.is_empty() || self.text.iter().any(String::is_empty) {
            return refuse("text_columns", &self.text.join(","), "at least one column name, none of them empty");
        }
        for (at, name) in self.text.iter().enumerate() {
            if self.text[..at].contains(name) {
                return refuse("text_columns", name, "each column once");
            }
            if Some(name) == self.topic.as_ref() || Some(name) == self.quality.as_ref() {
                return refuse("text_columns", name, "columns other than topic and quality: a text must not tell them");
            }
        }
        if self.topic.is_some() && self.topic == self.quality {
            return refuse("quality_column", self.quality.as_deref().unwrap_or(""), "another column than the topic");
        }
        Ok(())
    }
}

/// The rows of a catalogue file, checked but without anything drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The file, for messages.
    pub(super) file: String,
    /// First text column of each row.
    pub(super) keys: Vec<String>,
    /// Text of each row, all distinct.
    pub(super) texts: Vec<String>,
    /// Line of each row.
    pub(super) lines: Vec<u64>,
    /// Topic of each row.
    pub(super) topics: Option<Vec<String>>,
    /// Rating of each row, finite.
    pub(super) qualities: Option<Vec<f64>>,
}

impl Source {
    /// Reads CSV with a header line. `file` is the name used in messages.
    ///
    /// # Errors
    /// [`EnvError::Config`] if the columns contradict each other; [`EnvError::Data`] naming file, line and column for
    /// a missing or repeated column, a row of another width, bytes that are not UTF-8, an empty text or topic, a
    /// rating that is not a finite number, a repeated text, or no rows.
    pub fn read(file: &str, bytes: &[u8], columns: &Columns) -> Result<Self, EnvError> {
        columns.check()?;
        // Spreadsheets like to begin UTF-8 files with a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = ReaderBuilder::new().from_reader(bytes);
        let header = reader.byte_headers().map_err(|e| csv_error(file, &e))?.clone();
        let table = Table { file, header: &header };
        let text_at = columns.text.iter().map(|name| table.find(name)).collect::<Result<Vec<_>, _>>()?;
        let topic_at = columns.topic.as_deref().map(|name| table.find(name)).transpose()?;
        let quality_at = columns.quality.as_deref().map(|name| table.find(name)).transpose()?;

        let mut source = Self {
            file: file.to_owned(),
            keys: Vec::new(),
            texts: Vec::new(),
            lines: Vec::new(),
            topics: topic_at.map(|_| Vec::new()),
            qualities: quality_at.map(|_| Vec::new()),
        };
        for record in reader.byte_records() {
            let record = record.map_err(|e| csv_error(file, &e))?;
            let parts = text_at.iter().map(|&at| table.filled(&record, at)).collect::<Result<Vec<_>, _>>()?;
            source.keys.push(parts[0].to_owned());
            source.texts.push(parts.join(": "));
            source.lines.push(line(&record));
            if let (Some(topics), Some(at)) = (&mut source.topics, topic_at) {
                topics.push(table.filled(&record, at)?.to_owned());
            }
            if let (Some(qualities), Some(at)) = (&mut source.qualities, quality_at) {
                qualities.push(table.number(&record, at)?);
            }
        }
        source.check()?;
        Ok(source)
    }

    /// Text of each row.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Whether [`Source::assign_topics`] is needed.
    #[must_use]
    pub fn needs_topics(&self) -> bool {
        self.topics.is_none()
    }

    /// Makes topics of a file without a topic column: k-means clusters of embeddings of the texts.
    ///
    /// # Shapes
    /// `embeddings` is `[num_rows, width]`, row by row.
    ///
    /// # Errors
    /// [`EnvError::Config`] if there are not `num_topics` rows or the embeddings do not fit or are not finite.
    pub fn assign_topics(
        &mut self,
        embeddings: &[f32],
        width: usize,
        num_topics: usize,
        seed: u64,
    ) -> Result<(), EnvError> {
        if width == 0 || embeddings.len() != self.texts.len() * width {
            return Err(super::config_error(
                "embeddings",
                format!("{} numbers of width {width}", embeddings.len()),
                format!("one row for each of {} texts", self.texts.len()),
            ));
        }
        let clusters = kmeans(embeddings, width, num_topics, seed)?;
        let digits = num_topics.saturating_sub(1).to_string().len();
        self.topics = Some(clusters.into_iter().map(|c| format!("cluster {c:0digits$}")).collect());
        Ok(())
    }

    fn check(&self) -> Result<(), EnvError> {
        if self.texts.is_empty() {
            return Err(data_error(&self.file, "no rows after the header, expected one row for each item"));
        }
        if u32::try_from(self.texts.len()).is_err() {
            return Err(data_error(&self.file, "2^32 rows or more, expected fewer"));
        }
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut repeated, mut contradicting, mut example) = (0, 0, None);
        for (row, text) in self.texts.iter().enumerate() {
            let Some(&earlier) = first.get(text.as_str()) else {
                first.insert(text, row);
                continue;
            };
            repeated += 1;
            let other_topic = self.topics.as_ref().is_some_and(|t| t[row] != t[earlier]);
            contradicting += usize::from(other_topic);
            example.get_or_insert((earlier, row));
        }
        let Some((earlier, row)) = example else { return Ok(()) };
        let message = format!(
            "line {}: the same text as line {}; {repeated} rows repeat an earlier text, {contradicting} of them with \
             another topic. Expected each text once, because a repeated item could be trained on and held out at the \
             same time",
            self.lines[row], self.lines[earlier]
        );
        Err(data_error(&self.file, message))
    }
}

/// A file and its header, for messages.
struct Table<'a> {
    file: &'a str,
    header: &'a ByteRecord,
}

impl Table<'_> {
    fn find(&self, name: &str) -> Result<usize, EnvError> {
        let mut matches = (0..self.header.len()).filter(|&i| trimmed(&self.header[i]) == name.as_bytes());
        let names = || {
            let quoted = self.header.iter().map(|h| format!("{:?}", String::from_utf8_lossy(trimmed(h))));
            quoted.collect::<Vec<_>>().join(", ")
        };
        match (matches.next(), matches.next()) {
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => {
                Err(data_error(self.file, format!("line 1: column {name:?} stands there twice; there are {}", names())))
            }
            _ => Err(data_error(self.file, format!("line 1: there is no column {name:?}; there are {}", names()))),
        }
    }

    fn name(&self, at: usize) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(trimmed(&self.header[at]))
    }

    fn filled<'r>(&self, record: &'r ByteRecord, at: usize) -> Result<&'r str, EnvError> {
        let problem =
            |what: &str| data_error(self.file, format!("line {}, column {:?}: {what}", line(record), self.name(at)));
        let text = std::str::from_utf8(&record[at]).map_err(|e| {
            problem(&format!("byte {} of the field is not UTF-8; save the file as UTF-8", e.valid_up_to() + 1))
        })?;
        let text = text.trim();
        if text.is_empty() { Err(problem("empty, expected a text")) } else { Ok(text) }
    }

    fn number(&self, record: &ByteRecord, at: usize) -> Result<f64, EnvError> {
        let text = self.filled(record, at)?;
        text.parse().ok().filter(|q: &f64| q.is_finite()).ok_or_else(|| {
            let place = format!("line {}, column {:?}", line(record), self.name(at));
            data_error(self.file, format!("{place}: {text:?} is not a finite number"))
        })
    }
}

fn trimmed(field: &[u8]) -> &[u8] {
    field.trim_ascii()
}

fn line(record: &ByteRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

fn csv_error(file: &str, error: &csv::Error) -> EnvError {
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => format!(
            "line {}: {len} fields, expected {expected_len} as in the header (quote fields that contain commas)",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        _ => error.to_string(),
    };
    data_error(file, message)
}
