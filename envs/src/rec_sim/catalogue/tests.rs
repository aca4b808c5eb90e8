use super::*;
use crate::rec_sim::interest_evolution::{EvolutionConfig, HISTORY_LEN, InterestEvolution, ObservationMode};
use retune::env::{Env, ObsSpec, Slate};
use retune_assets::wordnet_glosses::CSV;
use std::collections::BTreeSet;

fn wordnet() -> Catalogue {
    let source = Source::read("wordnet_glosses.csv", CSV.as_bytes(), &Columns::wordnet()).unwrap();
    Catalogue::build(source, &CatalogueConfig::default()).unwrap()
}

fn columns(text: &[&str], topic: Option<&str>, quality: Option<&str>) -> Columns {
    Columns {
        text: text.iter().map(|&t| t.to_owned()).collect(),
        topic: topic.map(str::to_owned),
        quality: quality.map(str::to_owned),
    }
}

fn refuse(csv: &[u8], columns: &Columns) -> String {
    Source::read("shop.csv", csv, columns).unwrap_err().to_string()
}

#[test]
fn the_shipped_catalogue_is_balanced_and_split_by_topic() {
    let catalogue = wordnet();
    assert_eq!((catalogue.cards().len(), catalogue.topics().len()), (3000, 20));
    assert!(catalogue.warnings().is_empty());
    for topic in 0..20 {
        let count = |split| catalogue.part(split).filter(|(_, c)| c.topic == topic).count();
        assert_eq!([count(Split::Train), count(Split::Validation), count(Split::Cold)], [105, 15, 30]);
    }
    // The hash decides within a topic: every held-out card lies above every training card.
    let key = |id: TextId| fnv1a(catalogue.texts().get(id).unwrap().split(": ").next().unwrap().as_bytes());
    for topic in 0..20 {
        let of = |split| catalogue.part(split).filter(move |(_, c)| c.topic == topic).map(|(id, _)| key(id));
        assert!(of(Split::Train).max() < of(Split::Validation).min());
        assert!(of(Split::Validation).max() < of(Split::Cold).min());
    }
}

#[test]
fn texts_tell_neither_topic_nor_quality() {
    let catalogue = wordnet();
    let mut rows = csv::Reader::from_reader(CSV.as_bytes());
    for (row, text) in rows.records().zip(catalogue.texts().as_slice()) {
        let row = row.unwrap();
        assert_eq!(*text, format!("{}: {}", &row[0], &row[1]));
        assert!(!text.contains("noun."), "{text}");
    }
    // Names in alphabetical order are not in the order of quality.
    assert!(!catalogue.topics().is_sorted());
    assert_eq!(catalogue.topics().iter().collect::<BTreeSet<_>>().len(), 20);
}

#[test]
fn qualities_are_drawn_once_around_the_mean_of_the_cluster() {
    let catalogue = wordnet();
    assert_eq!(catalogue.topic_means(), topic_means(20, -3.0, 3.0));
    let z: Vec<f64> =
        catalogue.cards().iter().map(|c| (c.quality - catalogue.topic_means()[c.topic as usize]) / 0.1).collect();
    let mean = z.iter().sum::<f64>() / 3000.0;
    let variance = z.iter().map(|x| x * x).sum::<f64>() / 3000.0;
    assert!(mean.abs() < 0.07 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    let again = wordnet();
    assert_eq!(catalogue.cards(), again.cards());
    let source = Source::read("x", CSV.as_bytes(), &Columns::wordnet()).unwrap();
    let other = Catalogue::build(source, &CatalogueConfig { seed: 1, ..Default::default() }).unwrap();
    assert_ne!(other.topics(), catalogue.topics());
    // Another seed moves no card from one part to another.
    assert!(other.cards().iter().zip(catalogue.cards()).all(|(a, b)| a.split == b.split));
}

#[test]
fn fnv_1a_has_its_published_values() {
    let values = [fnv1a(b""), fnv1a(b"a"), fnv1a(b"foobar")];
    assert_eq!(values, [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]);
}

#[test]
fn held_out_cards_are_never_offered() {
    let catalogue = wordnet();
    for split in [Split::Train, Split::Validation, Split::Cold] {
        let mode = ObservationMode::History;
        let mut env = InterestEvolution::text(EvolutionConfig::default(), &catalogue, split, mode).unwrap();
        let ObsSpec::Candidates(spec) = env.spec().obs.clone() else { panic!() };
        let pool: BTreeSet<TextId> = spec.pool.iter().copied().collect();
        let part: BTreeSet<TextId> = catalogue.part(split).map(|(id, _)| id).collect();
        assert_eq!(pool, part);
        let mut offered = BTreeSet::new();
        for seed in 0..20 {
            let mut obs = env.reset(Some(seed)).unwrap();
            loop {
                assert_eq!(obs.candidate_texts.iter().collect::<BTreeSet<_>>().len(), 10);
                offered.extend(obs.candidate_texts.iter().copied());
                offered.extend(obs.history.iter().filter_map(|e| e.text));
                let step = env.step(&Slate(vec![0, 1, 2])).unwrap();
                obs = step.obs;
                if step.status.is_over() {
                    break;
                }
            }
        }
        assert!(offered.is_subset(&part));
        assert!(offered.len() * 10 > part.len() * 9, "{split}: {} of {}", offered.len(), part.len());
    }
}

#[test]
fn modes_show_what_they_say_and_only_consumed_quality() {
    let catalogue = wordnet();
    let make = |mode| InterestEvolution::text(EvolutionConfig::default(), &catalogue, Split::Train, mode).unwrap();
    let (mut interests, mut history) = (make(ObservationMode::Interests), make(ObservationMode::History));
    let (a, b) = (interests.reset(Some(4)).unwrap(), history.reset(Some(4)).unwrap());
    assert_eq!((a.state.len(), a.history.len(), b.state.len(), b.history.len()), (20, 0, 0, 0));
    assert_eq!(a.candidate_texts, b.candidate_texts);
    assert!(a.candidate_features.is_empty() && b.candidate_features.is_empty());
    let mut expected = Vec::new();
    for t in 1..=25 {
        let slate = Slate(vec![8, 0, 3]);
        let (a, b) = (interests.step(&slate).unwrap(), history.step(&slate).unwrap());
        assert_eq!((a.reward, a.status, &a.obs.feedback), (b.reward, b.status, &b.obs.feedback));
        let feedback = b.obs.feedback.unwrap();
        assert!(feedback.outcomes.iter().all(|o| o.quality.is_some() == o.clicked));
        let facts = history.sim().last_step().unwrap();
        expected.push(match facts.consumed() {
            Some(item) => (item.text, vec![1.0, b.reward as f32, item.quality as f32]),
            None => (None, vec![0.0; 3]),
        });
        assert_eq!(b.obs.history.len(), t.min(HISTORY_LEN));
        let shown: Vec<_> = b.obs.history.into_iter().map(|e| (e.text, e.features)).collect();
        assert_eq!(shown, expected[t - t.min(HISTORY_LEN)..]);
        assert_eq!(a.obs.state.len(), 20);
    }
    let saved = serde_json::to_string(&history.save_state().unwrap()).unwrap();
    let mut other = make(ObservationMode::History);
    other.restore_state(&serde_json::from_str(&saved).unwrap()).unwrap();
    assert_eq!(other.step(&Slate(vec![1, 2, 3])).unwrap(), history.step(&Slate(vec![1, 2, 3])).unwrap());
    // A state of the training part does not fit the cold-start part, nor the other mode.
    assert!(interests.restore_state(&serde_json::from_str(&saved).unwrap()).is_err());
    let mut cold =
        InterestEvolution::text(EvolutionConfig::default(), &catalogue, Split::Cold, ObservationMode::History).unwrap();
    assert!(cold.restore_state(&serde_json::from_str(&saved).unwrap()).is_err());
}

#[test]
fn files_that_cannot_be_used_are_refused_with_file_line_and_column() {
    let all = columns(&["title"], Some("genre"), Some("stars"));
    assert_eq!(
        refuse(b"title,stars\na,1\n", &all),
        "shop.csv: line 1: there is no column \"genre\"; there are \"title\", \"stars\""
    );
    assert!(refuse(b"title,genre,title,stars\na,b,c,1\n", &all).contains("column \"title\" stands there twice"));
    assert_eq!(
        refuse(b"title,genre,stars\na,x,1\nb,y,NaN\n", &all),
        "shop.csv: line 3, column \"stars\": \"NaN\" is not a finite number"
    );
    assert!(refuse(b"title,genre,stars\na,x,four\n", &all).contains("\"four\" is not a finite number"));
    assert!(refuse(b"title,genre,stars\na,x,1e999\n", &all).contains("not a finite number"));
    assert!(refuse(b"title,genre,stars\na,x,\n", &all).contains("line 2, column \"stars\": empty"));
    assert!(refuse(b"title,genre,stars\n  ,x,1\n", &all).contains("line 2, column \"title\": empty, expected a text"));
    assert_eq!(
        refuse(b"title,genre,stars\na,x,1\nb\xffc,y,2\n", &all),
        "shop.csv: line 3, column \"title\": byte 2 of the field is not UTF-8; save the file as UTF-8"
    );
    assert!(refuse(b"title,genre,stars\na,x\n", &all).starts_with("shop.csv: line 2: 2 fields, expected 3"));
    assert_eq!(
        refuse(b"title,genre,stars\n", &all),
        "shop.csv: no rows after the header, expected one row for each item"
    );
    assert!(refuse(b"", &all).contains("there is no column \"title\""));
    let repeated = refuse(b"title,genre,stars\na,x,1\nb,x,2\na,y,3\nb,x,1\n", &all);
    assert!(
        repeated.starts_with(
            "shop.csv: line 4: the same text as line 2; 2 rows repeat an earlier text, 1 of them with another topic."
        ),
        "{repeated}"
    );
    assert!(refuse(b"title\na\n", &columns(&["title"], Some("title"), None)).contains("a text must not tell them"));
    assert!(refuse(b"title\na\n", &columns(&[], None, None)).starts_with("text_columns = : at least one"));
    assert!(refuse(b"title\na\n", &columns(&["title", "title"], None, None)).contains("each column once"));
}

#[test]
fn own_ratings_are_standardised_and_clipped() {
    let mut file = String::from("\u{feff}title, genre ,stars\n");
    for i in 0..40 {
        file += &format!("item {i},genre {},{}\n", i % 4, if i == 0 { 1000 } else { i % 5 });
    }
    let source = Source::read("shop.csv", file.as_bytes(), &columns(&["title"], Some("genre"), Some("stars"))).unwrap();
    let catalogue = Catalogue::build(source, &CatalogueConfig::default()).unwrap();
    let qualities: Vec<f64> = catalogue.cards().iter().map(|c| c.quality).collect();
    assert_eq!(qualities[0], 3.0);
    assert!(qualities[1..].iter().all(|q| q.abs() < 0.3));
    let topic = catalogue.cards()[0].topic;
    let of: Vec<f64> = catalogue.cards().iter().filter(|c| c.topic == topic).map(|c| c.quality).collect();
    assert!((catalogue.topic_means()[topic as usize] - of.iter().sum::<f64>() / of.len() as f64).abs() < 1e-12);

    let equal = Source::read("shop.csv", b"t,s\na,2\nb,2\n", &columns(&["t"], None, Some("s"))).unwrap();
    let mut equal = equal;
    equal.assign_topics(&[0.0, 1.0], 1, 2, 0).unwrap();
    let message = Catalogue::build(equal, &CatalogueConfig::default()).unwrap_err().to_string();
    assert!(message.starts_with("shop.csv: all 2 qualities are equal (2)"), "{message}");
}

#[test]
fn small_catalogues_are_refused_or_warned_about() {
    let file = b"t,g\na,x\nb,x\nc,x\nd,x\ne,y\n";
    let source = Source::read("shop.csv", file, &columns(&["t"], Some("g"), None)).unwrap();
    let catalogue = Catalogue::build(source, &CatalogueConfig::default()).unwrap();
    assert_eq!(catalogue.warnings().len(), 1);
    assert!(catalogue.warnings()[0].contains("1 of 2 topics have a single item (\"y\")"), "{:?}", catalogue.warnings());
    let text = |c, k| {
        InterestEvolution::text(EvolutionConfig::with_sizes(c, k), &catalogue, Split::Train, ObservationMode::Interests)
    };
    assert_eq!(
        text(10, 3).err().unwrap().to_string(),
        "shop.csv: the training part has 2 of 5 items, fewer than num_candidates = 10: add items or offer fewer"
    );
    let mut env = text(2, 1).unwrap();
    // As many candidates as cards: every one is offered at every step.
    let mut shown = env.reset(Some(0)).unwrap().candidate_texts;
    shown.sort_unstable();
    assert_eq!(shown, catalogue.part(Split::Train).map(|(id, _)| id).collect::<Vec<_>>());
}

#[test]
fn topics_can_come_from_embeddings() {
    let source = || Source::read("shop.csv", b"t\na\nb\nc\nd\n", &columns(&["t"], None, None)).unwrap();
    assert!(source().needs_topics());
    let message = Catalogue::build(source(), &CatalogueConfig::default()).unwrap_err().to_string();
    assert!(message.starts_with("shop.csv: no topics"), "{message}");
    let mut with = source();
    with.assign_topics(&[0.0, 9.0, 0.1, 9.1], 1, 2, 0).unwrap();
    let catalogue = Catalogue::build(with, &CatalogueConfig::default()).unwrap();
    let topics: Vec<u32> = catalogue.cards().iter().map(|c| c.topic).collect();
    assert_eq!((topics[0], topics[1]), (topics[2], topics[3]));
    assert_ne!(topics[0], topics[1]);
    assert!(source().assign_topics(&[0.0; 3], 1, 2, 0).is_err());
}
