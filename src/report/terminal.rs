//! The results as plain text.

use super::input::ReportInput;
use super::words::{self, kind_name};
use crate::track::{ArmSummary, fixed, grouped};

/// The least width that is used, even if the terminal is narrower.
const MIN_WIDTH: usize = 40;
/// Spaces between columns.
const GAP: usize = 2;

/// A column of the table.
struct Column {
    title: String,
    cells: Vec<String>,
    /// Numbers are aligned at the right.
    right: bool,
    /// Where the table is too wide, columns with the highest number go first; 0 stays.
    expendable: u8,
}

/// The table of arms, the references, the verdict and the warnings, in lines of at most `width` characters (but no
/// fewer than 40). Plain text without colours, so that it reads the same in a file.
#[must_use]
pub fn render_terminal(input: &ReportInput, width: usize) -> String {
    let width = width.max(MIN_WIDTH);
    let summary = &input.summary;
    let mut out = String::new();
    let head = format!("{}, preset {}: {}", summary.experiment, summary.preset, words::status(summary.status));
    paragraph(&mut out, &head, "", width);
    if let Some(on) = &summary.measured_on {
        paragraph(&mut out, &format!("{} on {on}", words::metric(&summary.metric)), "", width);
    }
    out.push('\n');
    if !summary.arms.is_empty() {
        table(&mut out, columns(input), width);
        out.push('\n');
    }
    if !summary.references.is_empty() {
        let score = |score: f64| fixed(score, words::decimals(summary));
        let all: Vec<String> = summary.references.iter().map(|r| format!("{} {}", r.name, score(r.score))).collect();
        paragraph(&mut out, &format!("References: {}", all.join(", ")), "", width);
        out.push('\n');
    }
    section(&mut out, "Verdict", &summary.verdict, width);
    section(&mut out, "Warnings", &words::warnings(summary), width);
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn columns(input: &ReportInput) -> Vec<Column> {
    let summary = &input.summary;
    let decimals = words::decimals(summary);
    let number = |value: Option<f64>, decimals| value.map_or("-".to_owned(), |v| fixed(v, decimals));
    let column = |title: &str, right: bool, expendable: u8, cell: &dyn Fn(&ArmSummary) -> String| Column {
        title: title.to_owned(),
        cells: words::best_first(summary).into_iter().map(cell).collect(),
        right,
        expendable,
    };
    let interval = |arm: &ArmSummary| {
        arm.results
            .ci95
            .map_or("-".to_owned(), |ci| format!("[{}, {}]", fixed(ci.low, decimals), fixed(ci.high, decimals)))
    };
    let mut columns = vec![
        column("arm", false, 0, &|arm| arm.name.clone()),
        column("learns by", false, 2, &|arm| kind_name(arm.kind).to_owned()),
        column("backbone", false, 3, &|arm| arm.backbone.clone()),
        column("seeds", true, 1, &words::seeds),
        column("IQM", true, 0, &|arm| number(arm.results.iqm, decimals)),
        column("95 % interval", false, 0, &interval),
        column("normalized", true, 4, &|arm| number(arm.results.normalized_iqm, 2)),
        column("env steps", true, 6, &|arm| grouped(arm.ledger.env_steps)),
        column("time", true, 5, &|arm| words::duration(arm.ledger.wall_secs)),
    ];
    columns.retain(|column| column.expendable == 0 || column.cells.iter().any(|cell| cell != "-" && cell != "0"));
    columns
}

fn table(out: &mut String, mut columns: Vec<Column>, width: usize) {
    let size =
        |column: &Column| column.cells.iter().chain([&column.title]).map(|c| c.chars().count()).max().unwrap_or(0);
    let total = |columns: &[Column]| columns.iter().map(size).sum::<usize>() + GAP * columns.len().saturating_sub(1);
    while total(&columns) > width {
        let worst = columns.iter().enumerate().max_by_key(|(_, column)| column.expendable);
        match worst {
            Some((at, column)) if column.expendable > 0 => drop(columns.remove(at)),
            _ => break,
        }
    }
    // What is still too wide is taken from the names of the arms.
    let excess = total(&columns).saturating_sub(width);
    if excess > 0 {
        let limit = size(&columns[0]).saturating_sub(excess).max(4);
        columns[0].cells.iter_mut().for_each(|cell| *cell = cut(cell, limit));
    }
    let sizes: Vec<usize> = columns.iter().map(size).collect();
    let mut line = |cell: &dyn Fn(&Column) -> String| {
        let mut text = String::new();
        for (column, &size) in columns.iter().zip(&sizes) {
            let cell = cell(column);
            let padding = " ".repeat(size - cell.chars().count());
            text += &if column.right { padding + &cell } else { cell + &padding };
            text += &" ".repeat(GAP);
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&|column| column.title.clone());
    line(&|column| "-".repeat(size(column)));
    for row in 0..columns[0].cells.len() {
        line(&|column| column.cells[row].clone());
    }
}

fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

fn section(out: &mut String, title: &str, sentences: &[String], width: usize) {
    if sentences.is_empty() {
        return;
    }
    out.push_str(title);
    out.push('\n');
    for sentence in sentences {
        paragraph(out, sentence, "  ", width);
    }
    out.push('\n');
}

/// Breaks a text into lines; those after the first are indented by two spaces more. A longer word stands alone.
fn paragraph(out: &mut String, text: &str, indent: &str, width: usize) {
    let mut line = indent.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            out.push_str(&line);
            out.push('\n');
            line = format!("{indent}  ");
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::study;
    use super::*;

    #[test]
    fn the_table_fits_and_names_every_arm() {
        for width in [40, 60, 80, 100, 140] {
            let text = render_terminal(&study(9, 5), width);
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width, "{width}: {longest}\n{text}");
            assert!(!text.contains('\u{1b}'));
        }
        let text = render_terminal(&study(9, 5), 100);
        for arm in study(9, 5).summary.arms {
            assert!(text.contains(&arm.name));
        }
    }

    #[test]
    fn snapshot() {
        insta::assert_snapshot!(render_terminal(&study(4, 5), 100));
    }

    #[test]
    fn an_empty_study_is_no_panic() {
        let mut input = study(2, 1);
        input.summary.arms.clear();
        input.summary.verdict.clear();
        assert!(render_terminal(&input, 0).starts_with("rec_sim, preset quick: complete\n"));
    }
}
