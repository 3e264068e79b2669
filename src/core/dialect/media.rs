//! Media types, their names in each format, and `data:` URLs.

use super::common::Source;

/// Pairs of a file name's ending and its media type; Bedrock names formats by the ending.
const TYPES: [(&str, &str); 17] = [
    ("png", "image/png"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("heic", "image/heic"),
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("mp3", "audio/mp3"),
    ("wav", "audio/wav"),
];

/// The media type of a name or an URL, by its ending.
pub fn mime_of_name(name: &str) -> Option<&'static str> {
    let path = name.split(['?', '#']).next().unwrap_or(name);
    let (_, ending) = path.rsplit_once('.')?;
    TYPES.iter().find(|(e, _)| ending.eq_ignore_ascii_case(e)).map(|(_, mime)| *mime)
}

/// The ending that stands for a media type.
pub fn ending_of_mime(mime: &str) -> Option<&'static str> {
    let plain = mime.split(';').next().unwrap_or(mime).trim();
    TYPES.iter().find(|(_, m)| m.eq_ignore_ascii_case(plain)).map(|(ending, _)| *ending)
}

impl Source {
    /// Reads an URL; one that holds its bytes gives them.
    pub fn from_url(url: &str) -> Source {
        let held = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        match held {
            Some((mime, data)) => Source::Base64 { mime: mime.to_owned(), data: data.to_owned() },
            None => Source::Url(url.to_owned()),
        }
    }

    /// As an URL, if it can be one.
    pub fn to_url(&self) -> Option<String> {
        match self {
            Source::Url(url) => Some(url.clone()),
            Source::Base64 { mime, data } => Some(format!("data:{mime};base64,{data}")),
            Source::Text(_) | Source::Id(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types() {
        assert_eq!(mime_of_name("https://a/b.PNG?x=.gif"), Some("image/png"));
        assert_eq!(mime_of_name("readme"), None);
        assert_eq!(ending_of_mime("image/jpeg; q=1"), Some("jpeg"));
        assert_eq!(ending_of_mime("application/pdf"), Some("pdf"));
    }

    #[test]
    fn data_urls_come_back() {
        let source = Source::from_url("data:image/png;base64,AAAA");
        assert_eq!(source, Source::Base64 { mime: "image/png".into(), data: "AAAA".into() });
        assert_eq!(source.to_url().as_deref(), Some("data:image/png;base64,AAAA"));
        assert_eq!(Source::from_url("https://a/b"), Source::Url("https://a/b".into()));
    }
}
