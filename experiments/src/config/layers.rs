//! Values of all settings with where each came from.

use super::Schema;
use crate::failure::bad_input;
use anyhow::Result;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use toml::{Table, Value};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A preset.
    Preset(&'static str),
    /// A settings file.
    File(PathBuf),
    /// `--set`.
    Set,
    /// Another option.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Set => f.write_str("--set"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Values of all settings by dotted key; later ones replace earlier ones.
#[derive(Clone, Debug)]
pub struct Layers<'s> {
    schema: &'s Schema,
    values: BTreeMap<String, (Value, Origin)>,
}

impl<'s> Layers<'s> {
    /// The defaults.
    #[must_use]
    pub fn defaults(schema: &'s Schema) -> Self {
        let values = schema.iter().map(|(key, s)| (key.to_owned(), (s.default.clone(), Origin::Default))).collect();
        Self { schema, values }
    }

    /// Takes over every value of a TOML text.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] for text that is not TOML, an unknown key, a value out of range.
    pub fn merge_toml(&mut self, text: &str, origin: &Origin) -> Result<()> {
        let table: Table = text.parse().map_err(|e| bad_input(format!("{origin}: not valid TOML: {e}")))?;
        self.merge_table("", &table, origin)
    }

    fn merge_table(&mut self, prefix: &str, table: &Table, origin: &Origin) -> Result<()> {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Table(inner) if !self.schema.contains(&key) => self.merge_table(&key, inner, origin)?,
                _ => self.set(&key, value, origin)?,
            }
        }
        Ok(())
    }

    /// Sets one value.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] for an unknown key or a value out of range.
    pub fn set(&mut self, key: &str, value: &Value, origin: &Origin) -> Result<()> {
        let name = origin.to_string();
        let value = self.schema.get(key, &name)?.check(key, value, &name)?;
        self.put(key, value, origin);
        Ok(())
    }

    /// Sets one value from its spelling.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] for an unknown key or a value out of range.
    pub fn set_text(&mut self, key: &str, text: &str, origin: &Origin) -> Result<()> {
        let name = origin.to_string();
        let value = self.schema.get(key, &name)?.parse(key, text, &name)?;
        self.put(key, value, origin);
        Ok(())
    }

    /// What is later said of all arms replaces what was said of one.
    fn put(&mut self, key: &str, value: Value, origin: &Origin) {
        if let Some(name) = key.strip_prefix("agent.") {
            let of_one_arm = |other: &str| other.starts_with("arm.") && other.rsplit('.').next() == Some(name);
            self.values.retain(|other, (_, said)| said == origin || !of_one_arm(other));
        }
        self.values.insert(key.to_owned(), (value, origin.clone()));
    }

    /// The value of a setting; `None` if there is no such setting.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).map(|(value, _)| value)
    }

    /// What settings there are.
    #[must_use]
    pub fn schema(&self) -> &'s Schema {
        self.schema
    }

    /// `key = value (origin)`, for messages about settings that contradict each other.
    #[must_use]
    pub fn show(&self, key: &str) -> String {
        match self.values.get(key) {
            Some((value, origin)) => format!("{key} = {value} ({origin})"),
            None => key.to_owned(),
        }
    }

    /// All keys with value and origin, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| (key.as_str(), value, origin))
    }

    /// The settings as a typed structure.
    ///
    /// # Errors
    /// If the structure and the schema do not fit together, which a test excludes.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T> {
        let mut root = Table::new();
        for (key, (value, _)) in &self.values {
            insert(&mut root, &key.split('.').collect::<Vec<_>>(), value.clone());
        }
        Ok(Value::Table(root).try_into()?)
    }
}

fn insert(table: &mut Table, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert((*first).to_owned(), value);
        return;
    }
    let inner = table.entry((*first).to_owned()).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = inner {
        insert(inner, rest, value);
    }
}
