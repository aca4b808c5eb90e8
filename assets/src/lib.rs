//! Data only: what the program ships. Each folder carries the licence of its content.

/// The default text backbone: `paraphrase-MiniLM-L3-v2` with 8-bit rows (Apache-2.0; see `minilm-l3/README.md`).
pub mod minilm_l3 {
    /// Name shown to people.
    pub const NAME: &str = "paraphrase-MiniLM-L3-v2 (8-bit rows)";
    /// Hugging Face `BertConfig`.
    pub const CONFIG: &[u8] = include_bytes!("../minilm-l3/config.json");
    /// Uncased WordPiece.
    pub const TOKENIZER: &[u8] = include_bytes!("../minilm-l3/tokenizer.json");
    /// Weights in the form `u8-row-v1`.
    pub const WEIGHTS: &[u8] = include_bytes!("../minilm-l3/model.safetensors");
    /// Licence text.
    pub const LICENSE: &str = include_str!("../minilm-l3/LICENSE");
}

/// The default catalogue: 3,000 nouns with definitions in 20 topics, from WordNet 3.1 (licence beside the file).
pub mod wordnet_glosses {
    /// Columns `lemma,gloss,lexname`.
    pub const CSV: &str = include_str!("../catalogue/wordnet_glosses.csv");
    /// Licence text, which travels with every copy.
    pub const LICENSE: &str = include_str!("../catalogue/wordnet_glosses.LICENSE");
}

/// Bayesian networks in BIF (bnlearn Bayesian Network Repository, CC BY-SA 3.0; see `networks/LICENSE-NOTE.md`).
pub mod networks {
    /// ASIA, 8 variables: chest clinic.
    pub const ASIA: &[u8] = include_bytes!("../networks/asia.bif");
    /// CHILD, 20 variables: congenital heart disease in newborns.
    pub const CHILD: &[u8] = include_bytes!("../networks/child.bif");
    /// ALARM, 37 variables: monitoring of patients in intensive care.
    pub const ALARM: &[u8] = include_bytes!("../networks/alarm.bif");
    /// HEPAR II, 70 variables: disorders of the liver.
    pub const HEPAR2: &[u8] = include_bytes!("../networks/hepar2.bif");
    /// PATHFINDER, 109 variables: diseases of lymph nodes.
    pub const PATHFINDER: &[u8] = include_bytes!("../networks/pathfinder.bif");
    /// Per network: default targets, findings with the kind of test that sets their cost, and names for people. Made
    /// for this project.
    pub const ROLES: &str = include_str!("../networks/roles.json");
    /// Origin, original works and licence, which travel with every copy.
    pub const LICENSE_NOTE: &str = include_str!("../networks/LICENSE-NOTE.md");
}

/// Large soybean disease data: 683 real cases, 35 findings, 19 diseases (UCI, CC BY 4.0; see `cases/soybean.NOTE.md`).
pub mod soybean {
    /// ARFF; the diagnosis is the last attribute, `class`.
    pub const ARFF: &[u8] = include_bytes!("../cases/soybean.arff");
    /// Origin, citation and licence, which travel with every copy.
    pub const NOTE: &str = include_str!("../cases/soybean.NOTE.md");
}
