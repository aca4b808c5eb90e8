use super::{BifError, BifErrorKind, BifLimits, read};
use crate::diag_query::network::Network;
use proptest::prelude::*;
use retune_assets::networks;

const ASIA: &str = include_str!("../../../../assets/networks/asia.bif");

fn load(text: &str) -> Result<Network, BifError> {
    read("test.bif", text.as_bytes(), &BifLimits::default())
}

/// `variable` blocks for A (yes, no), B (u, v, w) and the given rest.
fn with(rest: &str) -> String {
    format!(
        "network x {{ property author \"a; b\" ; }}\nvariable A {{ type discrete [ 2 ] {{ yes, no }}; }}\n\
         variable B {{ type discrete [ 3 ] {{ u, v, w }}; }}\n{rest}"
    )
}

fn fails(rest: &str) -> (usize, BifErrorKind) {
    let error = load(&with(rest)).expect_err("must be refused");
    assert!(error.to_string().starts_with(&format!("test.bif, line {}: ", error.line)), "{error}");
    (error.line, error.kind)
}

const A: &str = "probability ( A ) { table 0.5, 0.5; }\n";

#[test]
fn the_shipped_networks_have_the_published_sizes() {
    let expected = [
        (networks::ASIA, 8, 8, 18),
        (networks::CHILD, 20, 25, 230),
        (networks::ALARM, 37, 46, 509),
        (networks::HEPAR2, 70, 123, 1453),
        (networks::PATHFINDER, 109, 195, 72_079),
    ];
    for (bytes, nodes, arcs, parameters) in expected {
        let network = read("shipped", bytes, &BifLimits::default()).unwrap();
        assert_eq!((network.len(), network.num_arcs(), network.num_parameters()), (nodes, arcs, parameters));
        for v in network.variables() {
            for row in v.table.chunks(v.states.len()) {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-15 * 64.0, "{}", v.name);
            }
        }
    }
}

#[test]
fn order_comments_quotes_defaults_and_line_ends_do_not_matter() {
    let plain = load(&with(&format!("{A}probability ( B | A ) {{ (yes) 0.1, 0.2, 0.7; (no) 1, 0, 0; }}"))).unwrap();
    let dressed = "\u{feff}probability ( \"B\" | A ) { // first\r\n default 1e0, 0.0, 0;\r\n property \"x;y\" z;\r\n\
                   (yes) 0.1, 2e-1, 0.7/* here */; }\r\nprobability(A){table .5,.5;}\r\n\
                   variable A {property p ; type discrete[2]{yes,no};property q;}\r\n\
                   variable B { type discrete [ 3 ] { u, v, w }; }\r\n/* a\r\n b */ network \"x\" { }";
    assert_eq!(load(dressed).unwrap(), plain);
}

#[test]
fn rows_are_keyed_in_the_order_of_the_head() {
    let text = "variable A { type discrete [ 2 ] { a, b }; } variable B { type discrete [ 2 ] { a, b }; }
        variable C { type discrete [ 2 ] { a, b }; }
        probability ( A ) { table 0.5, 0.5; } probability ( B ) { table 0.5, 0.5; }
        probability ( C | B, A ) { (a, b) 0.25, 0.75; default 1.0, 0.0; }";
    let network = load(text).unwrap();
    assert_eq!(network.variables()[2].parents, [1, 0]);
    // B = a, A = b.
    assert_eq!(network.row(2, &[1, 0, 0]), [0.25, 0.75]);
    assert_eq!(network.row(2, &[0, 1, 0]), [1.0, 0.0]);
}

#[test]
fn rows_are_normalised() {
    let network = load(&with("probability ( A ) { table 0.50003, 0.50003; }\nprobability ( B ) { table 0, 1, 0; }"));
    assert_eq!(network.unwrap().variables()[0].table, [0.5, 0.5]);
}

#[test]
fn each_mistake_has_its_error_and_line() {
    use BifErrorKind as K;
    let b = "probability ( B ) { table 0.1, 0.2, 0.7; }\n";
    assert!(matches!(
        fails("variable A { type discrete [ 1 ] { x }; }"),
        (4, K::DuplicateVariable { first_line: 2, .. })
    ));
    assert!(matches!(fails("variable C { type discrete [ 2 ] { x, x }; }"), (4, K::DuplicateState { .. })));
    let mismatch = fails("variable C { type discrete [ 3 ] { x, y }; }");
    assert!(matches!(mismatch, (4, K::StateCountMismatch { declared: 3, listed: 2, .. })));
    let huge = fails("variable C { type discrete [ 99999999999 ] { x, y }; }");
    assert!(matches!(huge, (4, K::CardinalityTooLarge { states: 99_999_999_999, limit: 4096, .. })));
    assert!(matches!(fails("variable C { type discrete [ -2 ] { x, y }; }"), (4, K::Syntax { .. })));
    assert!(matches!(fails("variable C { type continuous; }"), (4, K::Unsupported { .. })));
    assert!(matches!(fails("variable C { }"), (4, K::Syntax { .. })));
    assert!(matches!(fails("variable C { type discrete [ 0 ] { }; }"), (4, K::Syntax { .. })));
    assert!(matches!(fails(&format!("{A}probability ( C ) {{ table 1; }}")), (5, K::UnknownVariable { .. })));
    assert!(matches!(
        fails(&format!("{A}probability ( B | C ) {{ default 1, 0, 0; }}")),
        (5, K::UnknownVariable { .. })
    ));
    assert!(matches!(
        fails(&format!("{A}probability ( B | A, A ) {{ default 1, 0, 0; }}")),
        (5, K::DuplicateVariable { .. })
    ));
    let state = fails(&format!("{A}probability ( B | A ) {{\n(maybe) 1, 0, 0; }}"));
    assert!(matches!(state, (6, K::UnknownState { .. })), "{state:?}");
    let arity = |rest: &str| matches!(fails(&format!("{A}{rest}")), (5, K::WrongArity { .. }));
    assert!(arity("probability ( B ) { table 0.5, 0.5; }"));
    assert!(arity("probability ( B | A ) { (yes, no) 1, 0, 0; }"));
    assert!(arity("probability ( B ) { (yes) 1, 0, 0; }"));
    let missing = fails(&format!("{A}probability ( B | A ) {{ (yes) 1, 0, 0; }}"));
    assert_eq!(missing, (5, K::MissingRow { variable: "B".into(), key: vec!["no".into()] }));
    assert!(matches!(fails(&format!("{A}probability ( B ) {{ }}")), (5, K::MissingRow { .. })));
    let twice = "{ (yes) 1, 0, 0; (no) 1, 0, 0;\n(yes) 1, 0, 0; }";
    assert!(matches!(fails(&format!("{A}probability ( B | A ) {twice}")), (6, K::DuplicateRow { .. })));
    let defaults = "{ default 1, 0, 0; default 1, 0, 0; }";
    assert!(matches!(fails(&format!("{A}probability ( B | A ) {defaults}")), (5, K::DuplicateRow { .. })));
    assert_eq!(fails(A), (3, K::MissingProbability { variable: "B".into() }));
    assert!(matches!(fails(&format!("{A}{b}{A}")), (6, K::DuplicateProbability { first_line: 4, .. })));
    for bad in ["-0.1", "1.5", "NaN", "inf", "-inf", "1e300"] {
        let found = fails(&format!("{A}probability ( B ) {{ table {bad}, 0.5, 0.5; }}"));
        assert!(matches!(found, (5, K::InvalidProbability { .. })), "{bad}: {found:?}");
    }
    assert!(matches!(fails(&format!("{A}probability ( B ) {{ table 0.5, 0.2, 0.2; }}")), (5, K::RowSum { .. })));
    assert!(matches!(fails(&format!("{A}probability ( B ) {{ table x, 0.2, 0.2; }}")), (5, K::Syntax { .. })));
    let flat = "probability ( B | A ) { table 1, 0, 0, 1, 0, 0; }";
    assert!(matches!(fails(&format!("{A}{flat}")), (5, K::Unsupported { .. })));
    let cycle = fails("probability ( A | B ) { default 1, 0; }\nprobability ( B | A ) { default 1, 0, 0; }");
    let names = |path: &[&str]| path.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
    assert_eq!(cycle, (5, K::Cycle { path: names(&["B", "A", "B"]) }));
    let own = fails(&format!("{b}probability ( A | A ) {{ default 1, 0; }}"));
    assert_eq!(own, (5, K::Cycle { path: names(&["A", "A"]) }));
    assert_eq!(load("// nothing").unwrap_err().kind, K::EmptyNetwork);
    assert_eq!(load("").unwrap_err().kind, K::EmptyNetwork);
    assert!(matches!(load("model x { }").unwrap_err().kind, K::Syntax { .. }));
    assert!(matches!(load("/* open").unwrap_err().kind, K::UnexpectedEof { .. }));
    assert!(matches!(load("variable \"open").unwrap_err().kind, K::UnexpectedEof { .. }));
    assert!(matches!(load("variable \"open\n\" {}").unwrap_err().kind, K::Syntax { .. }));
    let bytes = |bytes: &[u8]| read("b", bytes, &BifLimits::default()).unwrap_err();
    assert_eq!(bytes(b"network\n\xff\xfe").kind, K::NotText { offset: 8 });
    assert_eq!(bytes(b"network\n\0").line, 2);
}

/// A file of a few hundred bytes that asks for 2^80 cells, and one whose tables fit only one by one.
#[test]
fn absurd_tables_are_refused_before_they_are_allocated() {
    let mut text = String::new();
    for i in 0..40 {
        let states: Vec<String> = (0..4).map(|s| format!("s{s}")).collect();
        text += &format!("variable V{i} {{ type discrete [ 4 ] {{ {} }}; }}\n", states.join(", "));
    }
    let all: Vec<String> = (1..40).map(|i| format!("V{i}")).collect();
    let mut wide = text.clone();
    let mut deep = text;
    for i in 0..40 {
        let head = |parents: &str| if parents.is_empty() { String::new() } else { format!("| {parents}") };
        let parents = if i == 0 { all.join(", ") } else { String::new() };
        wide += &format!("probability ( V{i} {} ) {{ default 1, 0, 0, 0; }}\n", head(&parents));
        deep += &format!("probability ( V{i} {} ) {{ default 1, 0, 0, 0; }}\n", head(&twelve_before(i)));
    }
    let error = load(&wide).unwrap_err();
    assert!(matches!(error.kind, BifErrorKind::TableTooLarge { cells: None, together: false, .. }), "{error}");
    let error = load(&deep).unwrap_err();
    assert!(matches!(error.kind, BifErrorKind::TableTooLarge { together: true, .. }), "{error}");
}

/// The twelve variables before `V{i}`: tables of 2^26 cells, each within the limit.
fn twelve_before(i: usize) -> String {
    (i.saturating_sub(12)..i).map(|p| format!("V{p}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn sampling_is_deterministic_and_follows_the_tables() {
    let network = load(ASIA).unwrap();
    let draw = |i| network.sample(&mut retune::rng::Seed::root(7).index(i).rng());
    assert_eq!(draw(3), draw(3));
    let smoke = network.find("smoke").unwrap();
    let bronc = network.find("bronc").unwrap();
    let cases: Vec<_> = (0..20_000).map(draw).collect();
    let smokers = cases.iter().filter(|c| c[smoke] == 0).count() as f64;
    let both = cases.iter().filter(|c| c[smoke] == 0 && c[bronc] == 0).count() as f64;
    // Four standard errors of 10,000 and of 0.6 out of about 10,000.
    assert!((smokers - 10_000.0).abs() < 4.0 * 70.8, "{smokers}");
    assert!((both / smokers - 0.6).abs() < 4.0 * 0.0049, "{}", both / smokers);
}

/// What a hand may do to a file: cut it, change bytes, take a line out or put it in twice.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (0..5usize, any::<prop::sample::Index>(), prop::collection::vec(change, 1..6)).prop_map(|(kind, at, changes)| {
        let mut bytes = ASIA.as_bytes().to_vec();
        let cut = at.index(bytes.len());
        match kind {
            0 => bytes.truncate(cut),
            1 => changes.iter().for_each(|(at, b)| {
                let i = at.index(bytes.len());
                bytes[i] = *b;
            }),
            2 => changes.iter().for_each(|(at, b)| {
                let i = at.index(bytes.len());
                bytes[i] = b"{}()[];,|\"/*-9.e \n"[*b as usize % 18];
            }),
            other => {
                let mut lines: Vec<&str> = ASIA.lines().collect();
                let line = at.index(lines.len());
                if other == 3 {
                    lines.remove(line)
                } else {
                    lines.swap(line, 0);
                    lines[0]
                };
                bytes = lines.join("\n").into_bytes();
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_file_is_read_or_refused(bytes in damaged()) {
        if let Err(error) = read("f", &bytes, &BifLimits::default()) {
            let lines = bytes.iter().filter(|&&b| b == b'\n').count() + 1;
            prop_assert!(error.line >= 1 && error.line <= lines, "{}", error);
        }
    }

    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read("f", &bytes, &BifLimits::default()).is_err());
    }

    #[test]
    fn token_salad_is_refused(words in prop::collection::vec(prop::sample::select(vec![
        "network", "variable", "probability", "type", "discrete", "table", "default", "property", "{", "}", "(", ")",
        "[", "]", ";", ",", "|", "A", "B", "2", "0.5", "\"A\"", "//", "\n", "/*", "*/", "NaN", "99999999999999999999",
    ]), 0..120)) {
        prop_assert!(load(&words.join(" ")).is_err());
    }
}
