//! Reasoning that a provider signed, and wants back as it was.
//!
//! A signature is worth something only to the models that made it. On its way through another
//! format it carries its maker's name, so that it is never shown to a provider that would refuse it.

/// Whose models made it. Claude's signatures are the same at Anthropic and on Bedrock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Claude.
    Anthropic,
    /// Gemini.
    Gemini,
    /// OpenAI: encrypted reasoning of the Responses format.
    OpenAi,
}

impl Maker {
    /// All of them.
    const ALL: [Maker; 3] = [Maker::Anthropic, Maker::Gemini, Maker::OpenAi];

    /// A short name. Never changes: clients hold it in their conversations.
    pub fn slug(self) -> &'static str {
        match self {
            Maker::Anthropic => "anthropic",
            Maker::Gemini => "gemini",
            Maker::OpenAi => "openai",
        }
    }
}

/// A signature, or reasoning in encrypted form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Who can read it.
    pub maker: Maker,
    /// As its maker wrote it.
    pub text: String,
}

impl Signature {
    /// One by `maker`.
    pub fn new(maker: Maker, text: impl Into<String>) -> Signature {
        Signature { maker, text: text.into() }
    }

    /// As written in a format of `own`: bare if it is the same maker's, else `maker:text`. Signatures
    /// are base64, which has no colon.
    pub fn to_wire(&self, own: Maker) -> String {
        if self.maker == own { self.text.clone() } else { format!("{}:{}", self.maker.slug(), self.text) }
    }

    /// Reads what [`Signature::to_wire`] wrote.
    pub fn from_wire(own: Maker, text: &str) -> Signature {
        let tagged = Maker::ALL.into_iter().find_map(|maker| {
            let rest = text.strip_prefix(maker.slug())?.strip_prefix(':')?;
            Some(Signature::new(maker, rest))
        });
        tagged.unwrap_or_else(|| Signature::new(own, text))
    }

    /// Its text, if `reader` can use it.
    pub fn for_maker(&self, reader: Maker) -> Option<&str> {
        (self.maker == reader).then_some(self.text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_finds_its_way_home() {
        for maker in Maker::ALL {
            for own in Maker::ALL {
                let signature = Signature::new(maker, "AbC+/=");
                assert_eq!(Signature::from_wire(own, &signature.to_wire(own)), signature);
            }
        }
        assert_eq!(Signature::new(Maker::Gemini, "x").to_wire(Maker::Anthropic), "gemini:x");
    }
}
