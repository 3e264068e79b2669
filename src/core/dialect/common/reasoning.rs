//! How much to think: formats ask in words or in numbers, and models take one or the other.

use super::super::json::Fields;

/// How much to think.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoning {
    /// `Some(false)`: not at all; `Some(true)`: yes; `None`: as the model likes.
    pub on: Option<bool>,
    /// In words.
    pub effort: Option<Effort>,
    /// In tokens.
    pub budget: Option<u64>,
    /// Whether the caller wants to see it.
    pub show: Option<bool>,
    /// Fields that only the origin's format knows.
    pub extra: Fields,
}

impl Reasoning {
    /// Whether it asks for some, or leaves it to the model; and not for none.
    pub fn asks(&self) -> bool {
        self.on != Some(false) && self.effort != Some(Effort::None) && self.budget != Some(0)
    }
}

/// How hard to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as can be.
    Minimal,
    /// Little.
    Low,
    /// As usual.
    Medium,
    /// Much.
    High,
    /// More.
    XHigh,
    /// As much as can be.
    Max,
}

impl Effort {
    /// Reads OpenAI's and Anthropic's word.
    pub fn read(word: &str) -> Option<Effort> {
        Some(match word {
            "none" => Effort::None,
            "minimal" => Effort::Minimal,
            "low" => Effort::Low,
            "medium" => Effort::Medium,
            "high" => Effort::High,
            "xhigh" => Effort::XHigh,
            "max" => Effort::Max,
            _ => return None,
        })
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }

    /// The budget in tokens that stands for the word with models that take only a number.
    pub fn budget(self) -> u64 {
        match self {
            Effort::None => 0,
            Effort::Minimal | Effort::Low => 1_024,
            Effort::Medium => 8_192,
            Effort::High => 16_384,
            Effort::XHigh | Effort::Max => 32_768,
        }
    }

    /// The word that stands for a budget with models that take only words.
    pub fn of_budget(tokens: u64) -> Effort {
        match tokens {
            0 => Effort::None,
            1..=4_095 => Effort::Low,
            4_096..=16_383 => Effort::Medium,
            _ => Effort::High,
        }
    }
}
