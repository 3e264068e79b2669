//! What one answer should look like: the command line's defaults, then what the model name asks for.

/// Times in milliseconds. Zero means "none" for every field except `tokens`.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Before the first token of a stream.
    pub first_token: u64,
    /// Between two tokens of a stream.
    pub between_tokens: u64,
    /// Tokens in an answer.
    pub tokens: u32,
    /// Before a whole (non-stream) answer.
    pub latency: u64,
    /// Status of an error answer.
    pub error: u16,
    /// Cut the connection after this many tokens of a stream.
    pub cut_after: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            first_token: 0,
            between_tokens: 0,
            tokens: 16,
            latency: 0,
            error: 0,
            cut_after: 0,
        }
    }
}

impl Plan {
    /// Reads `mock-t50-i10-n64` on top of the defaults; anything before `mock` is a provider's prefix.
    /// The model name survives every gateway; headers may not.
    pub fn with_model(mut self, model: &str) -> Plan {
        let Some(at) = model.find("mock") else {
            return self;
        };
        for part in model[at..].split('-').skip(1) {
            let mut letters = part.chars();
            let (Some(what), Ok(n)) = (letters.next(), letters.as_str().parse::<u64>()) else {
                continue;
            };
            match what {
                't' => self.first_token = n,
                'i' => self.between_tokens = n,
                'n' => self.tokens = n as u32,
                'l' => self.latency = n,
                'e' => self.error = n as u16,
                'x' => self.cut_after = n as u32,
                _ => {}
            }
        }
        self
    }
}
