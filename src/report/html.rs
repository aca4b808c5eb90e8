//! The report as one page that needs nothing else.

use super::axis::number;
use super::extras::{Tale, ToldCase};
use super::figures::{self, Figure, word};
use super::input::ReportInput;
use super::words;
use crate::stats::{Claim, Interval};
use crate::track::{ArmSummary, Comparison, Manifest, Summary, best_first, decimals_for, grouped};
use crate::{Error, Result};
use minijinja::{Environment, Value, context};

/// File name of the template in error messages; its end switches escaping on.
const TEMPLATE: &str = "report.html";

/// One column of what arms spent: its title and how to read it from a ledger.
type Spent = (&'static str, fn(&ArmSummary) -> String);

const LEDGER: [Spent; 7] = [
    ("env steps", |arm| grouped(arm.ledger.env_steps)),
    ("labels", |arm| grouped(arm.ledger.labels)),
    ("updates", |arm| grouped(arm.ledger.updates)),
    ("tokens forward", |arm| grouped(arm.ledger.forward_tokens)),
    ("tokens backward", |arm| grouped(arm.ledger.backward_tokens)),
    ("trained parameters", |arm| grouped(arm.trainable_parameters)),
    ("time of a trial", |arm| words::duration(arm.ledger.wall_secs)),
];

/// The report as an HTML page: no scripts, no fonts, styles or images from elsewhere. Everything that comes from data
/// is escaped.
///
/// # Errors
/// If a figure or the page cannot be made.
pub fn render_html(input: &ReportInput) -> Result<String> {
    let summary = &input.summary;
    let figures = figures::all(input).iter().map(embedded).collect::<Result<Vec<Value>>>()?;
    let charts = figures::extra(input).iter().map(embedded).collect::<Result<Vec<Value>>>()?;
    let spent: Vec<&Spent> = LEDGER
        .iter()
        .filter(|(_, read)| summary.arms.iter().any(|arm| !matches!(read(arm).as_str(), "0" | "-")))
        .collect();
    let (headline, sentences) =
        summary.verdict.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let mut environment = Environment::new();
    environment.add_template(TEMPLATE, include_str!("report.html.j2")).map_err(page)?;
    let template = environment.get_template(TEMPLATE).map_err(page)?;
    let page_of = context! {
        experiment => summary.experiment.clone(),
        preset => summary.preset.clone(),
        status => words::status(summary.status),
        question => input.question.clone(),
        headline,
        sentences => sentences.to_vec(),
        metric => words::metric(&summary.metric),
        measured_on => summary.measured_on.clone(),
        arms => words::best_first(summary).into_iter().map(|arm| arm_row(summary, arm, &spent)).collect::<Vec<_>>(),
        spent => spent.iter().map(|(title, _)| *title).collect::<Vec<_>>(),
        normalized => summary.arms.iter().any(|arm| arm.results.normalized_iqm.is_some()),
        references => references(summary),
        figures,
        charts,
        charts_title => input.extras.title.clone(),
        told_title => input.extras.told_title.clone(),
        told_intro => input.extras.told_intro.clone(),
        told => input.extras.told.iter().map(told).collect::<Vec<_>>(),
        comparisons => comparisons(summary),
        method => input.method.clone(),
        warnings => words::warnings(summary),
        reproduce => input.reproduce.clone(),
        manifest => input.manifest.as_ref().map(facts),
        config => input.manifest.as_ref().map(|m| format!("{:#}", m.config)),
    };
    template.render(page_of).map_err(page)
}

fn embedded(figure: &Figure) -> Result<Value> {
    // Inside a page the name space is known; without it the page holds no address at all.
    let svg = figure.svg()?.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
    Ok(context! { caption => figure.caption.clone(), svg => Value::from_safe_string(svg) })
}

fn told(case: &ToldCase) -> Value {
    let tale = |tale: &Tale| context! { arm => tale.arm.clone(), lines => tale.lines.clone(), end => tale.end.clone() };
    context! { title => case.title.clone(), tales => case.tales.iter().map(tale).collect::<Vec<_>>() }
}

fn arm_row(summary: &Summary, arm: &ArmSummary, spent: &[&Spent]) -> Value {
    let decimals = words::decimals(summary);
    context! {
        name => arm.name.clone(),
        kind => words::kind_name(arm.kind),
        backbone => arm.backbone.clone(),
        description => arm.description.clone(),
        seeds => words::seeds(arm),
        iqm => arm.results.iqm.map_or("no finished seed".to_owned(), |iqm| number(iqm, decimals)),
        interval => arm.results.ci95.map_or(String::new(), |ci| ends(ci, decimals)),
        normalized => arm.results.normalized_iqm.map_or(String::new(), |v| number(v, 2)),
        ledger => spent.iter().map(|(_, read)| read(arm)).collect::<Vec<_>>(),
    }
}

fn references(summary: &Summary) -> Vec<(String, String, String)> {
    let decimals = words::decimals(summary);
    summary.references.iter().map(|r| (r.name.clone(), number(r.score, decimals), r.description.clone())).collect()
}

fn comparisons(summary: &Summary) -> Vec<Value> {
    let better = summary.metric.higher_is_better;
    let main = (summary.measured_on.clone().unwrap_or_default(), &summary.comparisons);
    let splits = summary.splits.iter().map(|split| (split.measured_on.clone(), &split.comparisons));
    let mut tables = Vec::new();
    for (on, comparisons) in std::iter::once(main).chain(splits) {
        // One table for each rival, in the order in which they come.
        let mut rivals: Vec<&str> = Vec::new();
        for comparison in comparisons {
            if !rivals.contains(&comparison.b.as_str()) {
                rivals.push(&comparison.b);
            }
        }
        for against in rivals {
            let rows = best_first(comparisons, better).into_iter().filter(|c| c.b == against);
            let rows: Vec<Value> = rows.map(comparison_row).collect();
            tables.push(context! { on => on.clone(), against, rival => words::rival(summary, against), rows });
        }
    }
    tables
}

fn comparison_row(c: &Comparison) -> Value {
    let decimals = decimals_for(c.ci95.high - c.ci95.low);
    context! {
        a => c.a.clone(),
        difference => number(c.difference_iqm, decimals),
        interval => ends(c.ci95, decimals),
        corrected => c.ci95_expanded.map_or("none".to_owned(), |wide| ends(wide, decimals)),
        probability => format!("{:.2}", c.probability_of_improvement),
        seeds => c.seeds,
        needed => c.seeds_for_80_percent_power.map_or("unknown".to_owned(), grouped),
        word => word(c.claim),
        class => match c.claim {
            Claim::Better => "good",
            Claim::Worse => "bad",
            Claim::SuggestsBetter | Claim::SuggestsWorse | Claim::Undecided => "open",
        },
    }
}

fn ends(interval: Interval, decimals: usize) -> String {
    format!("{} to {}", number(interval.low, decimals), number(interval.high, decimals))
}

/// What a reader wants to know of the manifest, as pairs of name and value.
fn facts(manifest: &Manifest) -> Vec<(String, String)> {
    let mut facts = vec![
        ("started".to_owned(), manifest.started_at.clone()),
        ("root seed".to_owned(), manifest.root_seed.to_string()),
    ];
    if let Some(revision) = &manifest.source.revision {
        let dirty = if manifest.source.dirty == Some(true) { ", with uncommitted changes" } else { "" };
        facts.push(("source".to_owned(), format!("{revision}{dirty}")));
    }
    facts.push(("device".to_owned(), manifest.device.clone()));
    facts.extend(manifest.threads.iter().map(|(name, count)| (format!("threads, {name}"), count.to_string())));
    facts.extend(manifest.versions.iter().map(|(name, version)| (format!("version of {name}"), version.clone())));
    facts.extend(manifest.hashes.iter().map(|(name, hash)| (format!("SHA-256 of {name}"), hash.clone())));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

fn page(error: minijinja::Error) -> Error {
    Error::config(TEMPLATE, "cannot be made", format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::super::extras::tests::extras;
    use super::super::input::tests::study;
    use super::*;

    #[test]
    fn the_page_needs_nothing_else() {
        let html = render_html(&study(9, 5)).unwrap();
        for outside in ["http:", "https:", "//", "<script", "<link", "<img", "src=", "url(", "@import", "<iframe"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert_eq!(html.matches("<svg").count(), 5);
        assert!(html.starts_with("<!DOCTYPE html>") && html.trim_end().ends_with("</html>"));
    }

    #[test]
    fn the_verdict_comes_first_and_every_arm_is_named() {
        let input = study(9, 5);
        let html = render_html(&input).unwrap();
        let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is missing"));
        assert!(place(&input.summary.verdict[0]) < place("<table"));
        for arm in &input.summary.arms {
            place(&format!(">{}<", arm.name));
        }
        place("seed 5 failed");
        place("cards never seen in training");
    }

    #[test]
    fn what_only_one_experiment_has_stands_behind_the_common_figures() {
        let mut input = study(4, 5);
        input.extras = extras(&["q_learning", "supervised_clicks"], 5, 6);
        let html = render_html(&input).unwrap();
        let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is missing"));
        assert_eq!(html.matches("<svg").count(), 5 + 3);
        let order = [
            "<title>Learning curves</title>",
            "<h2>Questions and answers</h2>",
            "<title>Accuracy against questions. Vertical axis: accuracy (share of cases). Horizontal axis: questions. q_learning: 0.458 at 0, ",
            "What accuracy_by_questions means.",
            "<title>Calibration. q_learning: expected calibration error",
            "<title>What was taken for what. q_learning: ",
            "<h2>Cases, question by question</h2>",
            "<h3>Case 1</h3>",
            "<h4>q_learning</h4>",
            "<li>asked smoke: yes → believed lung cancer 42 %</li>",
            "declared lung cancer: right",
            "<h4>supervised_clicks</h4>",
            "<h2>Comparisons</h2>",
        ];
        let places: Vec<usize> = order.map(place).to_vec();
        assert!(places.is_sorted(), "{places:?}");
        assert!(!render_html(&study(4, 5)).unwrap().contains("class=\"tale\""));
    }

    #[test]
    fn every_rival_has_a_table_and_is_called_what_it_is() {
        let mut input = study(9, 5);
        let best = input.summary.best_supervised().unwrap().name.clone();
        let mut other = input.summary.comparisons[0].clone();
        (other.a, other.b) = ("sarsa".into(), "q_learning".into());
        input.summary.comparisons.push(other);
        let html = render_html(&input).unwrap();
        assert!(html.contains(&format!("against {best}, the best supervised arm</h3>")), "{html}");
        assert!(html.contains("against q_learning, the best arm that learns from reward</h3>"));
        input.summary.comparisons.drain(..input.summary.comparisons.len() - 1);
        input.summary.splits.clear();
        input.summary.verdict.clear();
        assert!(!render_html(&input).unwrap().contains("the best supervised arm"));
    }

    #[test]
    fn hostile_names_are_escaped() {
        let mut input = study(4, 3);
        let hostile = "<script>alert(1)</script>\"'&";
        input.summary.arms[3].name = hostile.into();
        for curve in input.curves.iter_mut().filter(|curve| curve.arm == "q_learning") {
            curve.arm = hostile.into();
        }
        input.summary.comparisons[0].a = hostile.into();
        input.summary.experiment = hostile.into();
        input.summary.warnings = vec![hostile.into()];
        input.question = hostile.into();
        input.reproduce = Some(hostile.into());
        input.extras = extras(&[hostile, "sarsa"], 3, 4);
        input.extras.title = hostile.into();
        input.extras.told[0].tales[0].lines[0] = hostile.into();
        input.manifest.as_mut().unwrap().device = hostile.into();
        input.manifest.as_mut().unwrap().config = serde_json::json!({ hostile: hostile });
        let html = render_html(&input).unwrap();
        assert!(!html.contains("<script") && !html.contains("alert(1)</"), "{html}");
        assert!(html.contains("&lt;script&gt;"));
    }

    #[test]
    fn studies_with_little_in_them_still_have_a_page() {
        render_html(&study(1, 1)).unwrap();
        let mut input = study(2, 1);
        input.manifest = None;
        input.curves.clear();
        input.summary.arms.clear();
        input.summary.splits.clear();
        input.summary.verdict.clear();
        let html = render_html(&input).unwrap();
        assert!(!html.contains("<svg"));
    }
}
