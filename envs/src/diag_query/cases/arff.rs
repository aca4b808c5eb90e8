//! Tables in ARFF, the form of weka.
//!
//! Nominal and numeric attributes; quotes `'` or `"` with backslash escapes; `%` comments; keywords in any case. Sparse
//! rows, string, date and relational attributes are refused by name.

use super::{ColumnKind, RawColumn, RawRow, RawTable, text, wrong};
use retune::env::EnvError;

/// Reads an ARFF file; `file` is its name in messages.
///
/// # Errors
/// [`EnvError::Data`] with the line.
pub fn read_arff(file: &str, bytes: &[u8]) -> Result<RawTable, EnvError> {
    let mut table = RawTable { file: file.to_owned(), columns: Vec::new(), rows: Vec::new() };
    let mut in_data = false;
    for (i, line) in text(file, bytes)?.lines().enumerate() {
        let (number, line) = (i + 1, line.trim());
        if line.is_empty() || line.starts_with('%') {
            continue;
        }
        let fail = |message: String| wrong(file, number, message);
        if in_data {
            table.rows.push(RawRow { line: number, cells: row(line, &table.columns).map_err(fail)? });
            continue;
        }
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match keyword.to_ascii_lowercase().as_str() {
            "@relation" => {}
            "@attribute" => table.columns.push(attribute(rest).map_err(fail)?),
            "@data" if table.columns.is_empty() => return Err(fail("@data before any @attribute".to_owned())),
            "@data" => in_data = true,
            _ => return Err(fail(format!("found {keyword}, expected @relation, @attribute or @data"))),
        }
    }
    if !in_data {
        let lines = bytes.iter().filter(|&&b| b == b'\n').count();
        return Err(wrong(file, lines.max(1), "the file ends before @data".to_owned()));
    }
    table.checked()
}

fn attribute(rest: &str) -> Result<RawColumn, String> {
    let mut rest = rest.trim_start();
    let name = value(&mut rest, |c| c.is_whitespace() || c == '{')?.ok_or("an attribute without a name")?;
    let kind = rest.trim();
    if let Some(list) = kind.strip_prefix('{') {
        let mut list = list.strip_suffix('}').ok_or_else(|| format!("{name}: expected }} after the values"))?;
        let mut states = Vec::new();
        loop {
            list = list.trim_start();
            let state = value(&mut list, |c| c == ',')?.ok_or_else(|| format!("{name}: an empty value"))?;
            if states.contains(&state) {
                return Err(format!("{name}: the value {state} stands twice"));
            }
            states.push(state);
            list = list.trim_start();
            match list.strip_prefix(',') {
                Some(rest) => list = rest,
                None if list.is_empty() => return Ok(RawColumn { name, kind: ColumnKind::Nominal(states) }),
                None => return Err(format!("{name}: found {list}, expected , between values")),
            }
        }
    }
    match kind.to_ascii_lowercase().as_str() {
        "numeric" | "real" | "integer" => Ok(RawColumn { name, kind: ColumnKind::Numeric }),
        other => Err(format!("{name}: type `{other}` is not supported, expected {{…}}, numeric, real or integer")),
    }
}

fn row(line: &str, columns: &[RawColumn]) -> Result<Vec<Option<String>>, String> {
    if line.starts_with('{') {
        return Err("sparse rows are not supported, expected a value for each attribute".to_owned());
    }
    let (mut rest, mut cells) = (line, Vec::with_capacity(columns.len()));
    loop {
        rest = rest.trim_start();
        let quoted = rest.starts_with(['\'', '"']);
        let found = value(&mut rest, |c| c == ',')?.filter(|v| quoted || v != "?");
        let column = columns.get(cells.len());
        if let (Some(found), Some(column)) = (&found, column) {
            check(found, column)?;
        }
        cells.push(found);
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => break,
            None => return Err(format!("found {rest}, expected , between values")),
        }
    }
    if cells.len() == columns.len() {
        Ok(cells)
    } else {
        Err(format!("{} values, expected {}", cells.len(), columns.len()))
    }
}

fn check(found: &str, column: &RawColumn) -> Result<(), String> {
    let name = &column.name;
    match &column.kind {
        ColumnKind::Nominal(states) if !states.iter().any(|s| s == found) => {
            Err(format!("{name}: {found} is none of its values, expected {}", states.join(", ")))
        }
        ColumnKind::Numeric if !found.parse::<f64>().is_ok_and(f64::is_finite) => {
            Err(format!("{name}: {found} is no number"))
        }
        _ => Ok(()),
    }
}

/// Takes a value from the front of `rest`: quoted, or up to a character that `ends` it. `None` if it is empty.
fn value(rest: &mut &str, ends: impl Fn(char) -> bool) -> Result<Option<String>, String> {
    let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        let end = rest.find(ends).unwrap_or(rest.len());
        let found = rest[..end].trim_end().to_owned();
        *rest = &rest[end..];
        return Ok((!found.is_empty()).then_some(found));
    };
    let (mut found, mut escaped) = (String::new(), false);
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            found.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            *rest = &rest[at + 1..];
            return Ok(Some(found));
        } else {
            found.push(c);
        }
    }
    Err(format!("{rest}: expected {quote} at the end of the value"))
}
