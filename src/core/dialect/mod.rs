//! Wire formats. Each has the same parts: request, response, stream, usage.

pub mod openai;
