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
