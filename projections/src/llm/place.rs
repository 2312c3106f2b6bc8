//! Addresses at a server, made from whichever of its addresses the user names.

use super::wire::Dialect;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Ollama's paths begin here.
    root: String,
    /// OpenAI's paths begin here.
    api: String,
}

impl Place {
    /// Understands `http://host`, `http://host/v1`, Ollama's `http://host/api`, and the whole path of a chat.
    pub(super) fn of(url: &str) -> Self {
        let url = url.trim().trim_end_matches('/');
        let url = url.strip_suffix("/chat/completions").unwrap_or(url);
        let url = url.strip_suffix("/api/chat").unwrap_or(url);
        let root = url.strip_suffix("/v1").or_else(|| url.strip_suffix("/api")).unwrap_or(url);
        let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let api = if has_path { url.to_owned() } else { format!("{url}/v1") };
        Self { root: root.to_owned(), api }
    }

    /// Where Ollama tells its version.
    pub(super) fn version(&self) -> String {
        format!("{}/api/version", self.root)
    }

    /// Where a chat goes.
    pub(super) fn chat(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::OpenAi => format!("{}/chat/completions", self.api),
            Dialect::Ollama => format!("{}/api/chat", self.root),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_its_addresses_names_a_server() {
        let check = |url: &str, open_ai: &str, ollama: &str| {
            let place = Place::of(url);
            assert_eq!(place.chat(Dialect::OpenAi), open_ai);
            assert_eq!(place.chat(Dialect::Ollama), ollama);
        };
        let local =
            ("http://localhost:11434/v1/chat/completions", "http://localhost:11434/api/chat");
        for url in ["", "/", "/v1", "/v1/", "/v1/chat/completions"] {
            check(&format!("http://localhost:11434{url}"), local.0, local.1);
        }
        assert_eq!(Place::of("http://localhost:11434/api").chat(Dialect::Ollama), local.1);
        assert_eq!(
            Place::of("http://localhost:11434/api/chat").version(),
            "http://localhost:11434/api/version"
        );
        check(
            "https://ai.example/api/v1",
            "https://ai.example/api/v1/chat/completions",
            "https://ai.example/api/api/chat",
        );
    }
}
