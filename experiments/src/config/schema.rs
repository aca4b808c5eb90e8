//! What settings there are, and what each may be.

use crate::failure::bad_input;
use crate::suggest::did_you_mean;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Value;

/// One setting.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Value if nobody says otherwise; its type is the type of the setting.
    pub default: Value,
    /// Unit of the value; empty for names and switches.
    #[serde(default)]
    pub unit: String,
    /// Lowest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Every value must be greater than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Highest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The only values, for names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// Families of agents that look at it, `all` for every one; empty where that says nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// What it does, in one sentence.
    pub meaning: String,
    /// Where the default comes from.
    pub source: String,
}

/// All settings of an experiment by dotted key.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Schema {
    settings: BTreeMap<String, Setting>,
}

impl Schema {
    /// Reads a table of settings.
    ///
    /// # Errors
    /// If the text is not such a table, or a default is not a value its own setting accepts.
    pub fn parse(text: &str) -> Result<Self> {
        let schema: Self = toml::from_str(text)?;
        for (key, setting) in &schema.settings {
            setting.check(key, &setting.default, "default")?;
        }
        Ok(schema)
    }

    /// All settings in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// The setting `key`. `arm.<arm>.<name>` is `agent.<name>` for one arm alone.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] with the nearest key if there is none.
    pub fn get(&self, key: &str, origin: &str) -> Result<&Setting> {
        let looked_up = match key.strip_prefix("arm.").and_then(|rest| rest.split_once('.')) {
            Some((_, name)) => format!("agent.{name}"),
            None => key.to_owned(),
        };
        self.settings.get(&looked_up).ok_or_else(|| {
            let hint = did_you_mean(key, self.settings.keys().map(String::as_str));
            bad_input(format!("unknown setting `{key}` ({origin}){hint}"))
        })
    }

    /// Whether `key` is a setting.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.get(key, "").is_ok()
    }
}

impl Setting {
    /// `value` in the type of the setting: whole numbers become decimals where those are wanted.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] if it is of another type or out of range.
    pub fn check(&self, key: &str, value: &Value, origin: &str) -> Result<Value> {
        let value = match (&self.default, value) {
            (Value::Float(_), Value::Integer(whole)) => Value::Float(*whole as f64),
            _ => value.clone(),
        };
        if self.accepts(&value) {
            return Ok(value);
        }
        let choices = self.choices.iter().flatten().map(String::as_str);
        let hint = value.as_str().map_or_else(String::new, |given| did_you_mean(given, choices));
        Err(bad_input(format!("{key} = {value} ({origin}): expected {}{hint}", self.expected())))
    }

    /// The value that `text` spells, such as `15`, `1e-3`, `true`, `a,b`.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] if it spells none, or one that is out of range.
    pub fn parse(&self, key: &str, text: &str, origin: &str) -> Result<Value> {
        let parsed = match &self.default {
            Value::Integer(_) => text.replace('_', "").parse().ok().map(Value::Integer),
            Value::Float(_) => text.parse().ok().map(Value::Float),
            Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
            Value::Array(items) if is_whole(items) => {
                split_list(text).iter().map(whole).collect::<Option<_>>().map(Value::Array)
            }
            Value::Array(_) => Some(Value::Array(split_list(text))),
            _ => Some(Value::String(unquote(text).to_owned())),
        };
        match parsed {
            Some(value) => self.check(key, &value, origin),
            None => Err(bad_input(format!("{key} = {text} ({origin}): expected {}", self.expected()))),
        }
    }

    /// What would be right, for messages and for `describe`.
    #[must_use]
    pub fn expected(&self) -> String {
        let kind = match &self.default {
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Array(items) if is_whole(items) => "a list of whole numbers",
            Value::Array(_) => "a list of names",
            _ => "a name",
        };
        if let Some(choices) = &self.choices {
            return format!("one of {}", choices.join(", "));
        }
        let mut words = vec![kind.to_owned()];
        words.extend(self.above.map(|v| format!("above {v}")));
        words.extend(match (self.min, self.max) {
            (Some(min), Some(max)) => Some(format!("from {min} to {max}")),
            (Some(min), None) => Some(format!("of at least {min}")),
            (None, Some(max)) => Some(format!("of at most {max}")),
            (None, None) => None,
        });
        if !self.unit.is_empty() {
            words.push(format!("({})", self.unit));
        }
        words.join(" ")
    }

    fn accepts(&self, value: &Value) -> bool {
        let in_range = |v: f64| {
            v.is_finite()
                && self.min.is_none_or(|min| v >= min)
                && self.above.is_none_or(|above| v > above)
                && self.max.is_none_or(|max| v <= max)
        };
        match (&self.default, value) {
            (Value::Integer(_), Value::Integer(v)) => in_range(*v as f64),
            (Value::Float(_), Value::Float(v)) => in_range(*v),
            (Value::Boolean(_), Value::Boolean(_)) => true,
            (Value::String(_), Value::String(v)) => self.choices.as_ref().is_none_or(|c| c.contains(v)),
            (Value::Array(like), Value::Array(items)) if is_whole(like) => {
                !items.is_empty() && items.iter().all(|i| i.as_integer().is_some_and(|v| in_range(v as f64)))
            }
            (Value::Array(_), Value::Array(items)) => items.iter().all(Value::is_str),
            _ => false,
        }
    }
}

/// `a,b` or `["a", "b"]` as names; empty text is an empty list.
fn split_list(text: &str) -> Vec<Value> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    inner
        .split(',')
        .map(|item| unquote(item.trim()))
        .filter(|item| !item.is_empty())
        .map(|item| Value::String(item.to_owned()))
        .collect()
}

/// Whether a list is one of whole numbers.
fn is_whole(items: &[Value]) -> bool {
    items.first().is_some_and(Value::is_integer)
}

fn whole(text: &Value) -> Option<Value> {
    text.as_str()?.parse().ok().map(Value::Integer)
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let text = r#"
            [steps]
            default = 10
            min = 1
            max = 100
            unit = "env steps"
            meaning = "m"
            source = "s"
            ["agent.learning_rate"]
            default = 1e-3
            above = 0
            max = 1
            meaning = "m"
            source = "s"
            [arms]
            default = ["a"]
            meaning = "m"
            source = "s"
            [hidden]
            default = [64, 64]
            min = 1
            meaning = "m"
            source = "s"
            [form]
            default = "text"
            choices = ["text", "features"]
            meaning = "m"
            source = "s"
        "#;
        Schema::parse(text).expect("valid")
    }

    #[test]
    fn values_are_read_in_the_type_of_their_setting() {
        let schema = schema();
        let parse = |key: &str, text: &str| schema.get(key, "o").expect("known").parse(key, text, "o").ok();
        assert_eq!(parse("steps", "1_00"), Some(Value::Integer(100)));
        assert_eq!(parse("agent.learning_rate", "1"), Some(Value::Float(1.0)));
        assert_eq!(parse("arm.q_learning.learning_rate", "1e-2"), Some(Value::Float(0.01)));
        assert_eq!(parse("arms", "a, b"), Some(Value::Array(vec!["a".into(), "b".into()])));
        assert_eq!(parse("form", "\"text\""), Some(Value::String("text".into())));
        assert_eq!(parse("hidden", "[32, 16]"), Some(Value::Array(vec![32.into(), 16.into()])));
        for (key, text) in [
            ("hidden", "32,0"),
            ("hidden", ""),
            ("hidden", "a"),
            ("steps", "0"),
            ("steps", "1.5"),
            ("agent.learning_rate", "0"),
            ("form", "txt"),
        ] {
            assert_eq!(parse(key, text), None, "{key}={text}");
        }
        assert_eq!(parse("agent.learning_rate", "nan"), None);
    }

    #[test]
    fn messages_say_what_would_be_right() {
        let schema = schema();
        let error = schema.get("steps", "").expect("known").parse("steps", "0", "--set").expect_err("too low");
        assert_eq!(error.to_string(), "steps = 0 (--set): expected a whole number from 1 to 100 (env steps)");
        let error = schema.get("form", "").expect("known").parse("form", "txet", "--set").expect_err("no choice");
        assert!(error.to_string().ends_with("expected one of text, features; did you mean `text`?"), "{error}");
        let error = schema.get("stepz", "--set").expect_err("unknown");
        assert_eq!(error.to_string(), "unknown setting `stepz` (--set); did you mean `steps`?");
    }
}
