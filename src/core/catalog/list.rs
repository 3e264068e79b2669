//! The price list, `prices.json`: made by `scripts/prices`, whose `rows.py` tells the form of a row.
//!
//! Rows stay text until one is asked for. A worker starts by finding where 1,500 of them begin, which
//! takes a fraction of the time that reading them would; plans remember the prices that are in use.

use crate::map::Map;
use crate::price::{Price, RateText, Rates, Tier, Variant};
use crate::units::{Millis, NanoUsd, Timestamp, Tokens};
use serde::Deserialize;

const PRICES: &str = include_str!("prices.json");
/// Milliseconds of a day.
const DAY: Millis = 86_400_000;

/// The list of every provider.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct List {
    /// What it was made from, with the version.
    #[serde(default)]
    source: &'static str,
    providers: Map<&'static str, Section>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Section {
    /// What it was made from, where that is not the list's source.
    #[serde(default)]
    source: Option<&'static str>,
    /// Sections to look through for what is not in this one.
    #[serde(default, rename = "else")]
    others: Vec<&'static str>,
    /// Sorted by the name that they begin with.
    models: Vec<&'static str>,
}

/// A row, in parts that are not read yet.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    price: &'static str,
    sizes: &'static str,
    /// Empty for a row that is only for its own name.
    rules: &'static str,
    /// Joined by `|`.
    more: &'static str,
}

/// How well a rule fits: an exact one goes before a prefix, a prefix before the rest, a longer rule
/// before a shorter.
type Rank = (bool, bool, usize);

impl Row {
    fn of(text: &'static str) -> Row {
        let cut = |text: &'static str| text.split_once('|').unwrap_or((text, ""));
        let (name, rest) = cut(text);
        let (price, rest) = cut(rest);
        let (sizes, rest) = cut(rest);
        let (rules, more) = cut(rest);
        Row { name, price, sizes, rules, more }
    }

    /// The names that it is for.
    fn rules(&self) -> impl Iterator<Item = (char, &'static str)> {
        let own = self.rules.is_empty().then_some(('=', self.name));
        let written = self.rules.split(' ').filter_map(|rule| {
            let mut chars = rule.chars();
            Some((chars.next()?, chars.as_str()))
        });
        own.into_iter().chain(written)
    }

    fn rank(&self, model: &str) -> Option<Rank> {
        self.rules().filter_map(|(kind, text)| fits(kind, text, model).then_some((kind == '=', kind == '^', text.len()))).max()
    }

    /// What `more` tells of that word.
    fn told(&self, word: &str) -> Option<&'static str> {
        self.more.split('|').find_map(|field| field.split_once(' ').filter(|(first, _)| *first == word)).map(|(_, rest)| rest)
    }

    fn size(&self, place: usize) -> Option<Tokens> {
        self.sizes.split(' ').nth(place)?.parse().ok()
    }

    fn price(&self, id: String, now: Timestamp) -> Option<Price> {
        let (mut text, mut label, mut until) = (self.price, self.told("from"), None::<Timestamp>);
        for (when, price) in self.more.split('|').filter_map(|field| field.split_once(' ')) {
            let Some(when) = When::read(when) else { continue };
            if when.holds(now) {
                (text, label) = (price, Some(when.0));
            }
            let next = when.next(now);
            until = until.into_iter().chain(next).min();
        }
        let (base, steps) = with_steps(text)?;
        let mut tiers = Vec::new();
        if !self.more.is_empty() {
            for tier in Tier::PRICED {
                if let Some(text) = self.told(tier.name()) {
                    let (base, steps) = with_steps(text)?;
                    tiers.push(Variant { tier, base, steps });
                }
            }
        }
        let per_request = self.told("request").map_or(Some(NanoUsd::ZERO), NanoUsd::from_usd)?;
        let id = label.map_or(id.clone(), |label| format!("{id}@{label}"));
        Some(Price { id, base, steps, per_request, tiers, valid_until: until })
    }
}

/// When a price holds: as written, and as milliseconds.
struct When(&'static str, Span);

enum Span {
    From(Timestamp),
    /// Of each day in UTC, from and until; over midnight if they are in the other order.
    Daily(Millis, Millis),
}

impl When {
    /// `None` for other words.
    fn read(text: &'static str) -> Option<When> {
        let clock = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            let minutes = hours.parse::<Millis>().ok()?.checked_mul(60)?.checked_add(minutes.parse().ok()?)?;
            minutes.checked_mul(60_000)
        };
        let span = match text.split_once('-') {
            Some((from, until)) if from.contains(':') => Span::Daily(clock(from)?, clock(until)?),
            _ => Span::From(Timestamp::from_rfc3339(&format!("{text}T00:00:00Z"))?),
        };
        Some(When(text, span))
    }

    fn holds(&self, now: Timestamp) -> bool {
        let time = now.0.rem_euclid(DAY);
        match self.1 {
            Span::From(start) => now >= start,
            Span::Daily(from, until) if until < from => time >= from || time < until,
            Span::Daily(from, until) => (from..until).contains(&time),
        }
    }

    /// When it begins or ends next.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let time = now.0.rem_euclid(DAY);
        let midnight = Timestamp(now.0.saturating_sub(time));
        match self.1 {
            Span::From(start) => Some(start).filter(|start| now < *start),
            Span::Daily(from, until) => {
                let today = |at: Millis| midnight.plus(if time < at { at } else { at.saturating_add(DAY) });
                Some(today(from).min(today(until)))
            }
        }
    }
}

/// Rates, and those of longer prompts.
fn with_steps(text: &str) -> Option<(Rates, Vec<(Tokens, Rates)>)> {
    let mut parts = text.split(" > ");
    let base = rates(parts.next()?)?;
    let mut steps = Vec::new();
    for step in parts {
        let (over, text) = step.split_once(' ')?;
        steps.push((over.parse().ok()?, rates(text)?));
    }
    Some((base, steps))
}

fn rates(text: &str) -> Option<Rates> {
    let mut words = text.split(' ').map(|word| Some(word).filter(|w| *w != "-"));
    let [input, output, cached_input, cache_write, cache_write_1h] = [(); 5].map(|()| words.next().flatten());
    if words.next().is_some() {
        return None;
    }
    RateText { input: input?, output: output?, cached_input, cache_write, cache_write_1h }.rates()
}

/// Names are compared without regard to the case of ASCII letters: providers do, and lists differ in it.
fn fits(kind: char, text: &str, model: &str) -> bool {
    let (text, model) = (text.as_bytes(), model.as_bytes());
    let same = |part: Option<&[u8]>| part.is_some_and(|part| part.eq_ignore_ascii_case(text));
    match kind {
        '=' => model.eq_ignore_ascii_case(text),
        '^' => same(model.get(..text.len())),
        '$' => model.len().checked_sub(text.len()).is_some_and(|start| same(model.get(start..))),
        '~' => !text.is_empty() && model.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text)),
        _ => false,
    }
}

impl Section {
    fn find(&self, model: &str) -> Option<Row> {
        let name = |row: &&'static str| row.split_once('|').map_or(*row, |(name, _)| name);
        // A row's own name is the closest rule there is: most look-ups end here.
        let own = self.models.binary_search_by(|row| name(row).cmp(model)).ok().and_then(|at| self.models.get(at));
        if let Some(row) = own.map(|text| Row::of(text)).filter(|row| row.rules().any(|rule| rule == ('=', row.name))) {
            return Some(row);
        }
        let ranked = self.models.iter().filter_map(|text| {
            let row = Row::of(text);
            Some((row.rank(model)?, row))
        });
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, row)| row)
    }
}

impl List {
    /// The list that is built in.
    pub(super) fn built_in() -> Result<List, serde_json::Error> {
        serde_json::from_str(PRICES)
    }

    /// The row of a model, and the name and source of its section.
    fn find(&self, section: &str, model: &str) -> Option<(&'static str, &'static str, Row)> {
        let (name, first) = self.providers.get_key_value(section)?;
        let others = first.others.iter().filter_map(|other| self.providers.get_key_value(other));
        std::iter::once((name, first)).chain(others).find_map(|(name, section)| {
            let row = section.find(model)?;
            Some((*name, section.source.unwrap_or(self.source), row))
        })
    }

    /// The price of a model. Its id names the source with its version, the row, and since when or at
    /// what time of day the price holds, where there are several.
    pub(super) fn price(&self, section: &str, model: &str, now: Timestamp) -> Option<Price> {
        let (section, source, row) = self.find(section, model)?;
        row.price(format!("{source}:{section}/{}", row.name), now)
    }

    /// Tokens that fit into a model's input and output together.
    pub(super) fn context_window(&self, section: &str, model: &str) -> Option<Tokens> {
        self.find(section, model)?.2.size(0)
    }

    /// The most tokens that a model writes.
    pub(super) fn max_output(&self, section: &str, model: &str) -> Option<Tokens> {
        self.find(section, model)?.2.size(1)
    }

    /// The names that a section knows exactly.
    pub(super) fn models(&self, section: &str) -> impl Iterator<Item = &'static str> {
        let rows = self.providers.get(section).into_iter().flat_map(|section| &section.models);
        rows.flat_map(|text| Row::of(text).rules().filter(|(kind, _)| *kind == '=').map(|(_, name)| name).collect::<Vec<_>>())
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
