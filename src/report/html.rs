//! The report as one page that needs nothing else.

use super::axis::number;
use super::figures::{self, word};
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
    let figures = figures::all(input).into_iter().map(|figure| {
        // Inside a page the name space is known; without it the page holds no address at all.
        let svg = figure.svg()?.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
        Ok(context! { caption => figure.caption, svg => Value::from_safe_string(svg) })
    });
    let figures = figures.collect::<Result<Vec<Value>>>()?;
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
        comparisons => comparisons(summary),
        method => input.method.clone(),
        warnings => words::warnings(summary),
        reproduce => input.reproduce.clone(),
        manifest => input.manifest.as_ref().map(facts),
        config => input.manifest.as_ref().map(|m| format!("{:#}", m.config)),
    };
    template.render(page_of).map_err(page)
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
    let tables = std::iter::once(main).chain(splits).filter(|(_, comparisons)| !comparisons.is_empty());
    tables
        .map(|(on, comparisons)| context! { on, against => comparisons[0].b.clone(), rows => best_first(comparisons, better).into_iter().map(comparison_row).collect::<Vec<_>>() })
        .collect()
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
