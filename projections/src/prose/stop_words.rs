//! Words that say nothing by themselves.

/// Folded, so without accents.
const ENGLISH: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "because", "been", "but", "by", "can", "could", "did", "do", "does", "don", "for", "from",
    "get", "going", "good", "got", "had", "has", "have", "he", "her", "here", "him", "his", "how",
    "i", "if", "in", "into", "is", "it", "its", "just", "know", "let", "like", "ll", "me", "more",
    "my", "no", "not", "now", "of", "okay", "on", "one", "or", "our", "out", "re", "really",
    "right", "s", "said", "see", "she", "should", "so", "some", "t", "than", "thank", "thanks",
    "that", "the", "their", "them", "then", "there", "these", "they", "think", "this", "those",
    "to", "up", "us", "ve", "very", "was", "we", "well", "were", "what", "when", "where", "which",
    "who", "will", "with", "would", "yeah", "yes", "you", "your",
];

const SPANISH: &[&str] = &[
    "a", "ahora", "al", "algo", "alli", "ante", "aqui", "asi", "bien", "bueno", "claro", "como",
    "con", "cual", "cuando", "da", "de", "del", "desde", "donde", "e", "el", "ella", "ellos", "en",
    "entonces", "era", "eran", "es", "esa", "ese", "eso", "esta", "estaba", "estan", "estas",
    "este", "esto", "estos", "fue", "gracias", "ha", "haber", "han", "hasta", "hay", "la", "las",
    "le", "les", "lo", "los", "mas", "me", "mi", "mucho", "muy", "nada", "ni", "no", "nos",
    "nosotros", "o", "otra", "otro", "para", "pero", "poco", "por", "porque", "pues", "que",
    "quien", "se", "ser", "si", "sido", "sin", "sobre", "somos", "son", "su", "sus", "tambien",
    "te", "tenemos", "tiene", "tienen", "todo", "todos", "tu", "u", "un", "una", "unos", "vale",
    "ver", "y", "ya", "yo",
];

/// Whether a folded word carries no meaning of its own, in either language.
pub fn is_stop_word(word: &str) -> bool {
    ENGLISH.binary_search(&word).is_ok() || SPANISH.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_searched() {
        assert!(ENGLISH.is_sorted() && SPANISH.is_sorted());
        assert!(is_stop_word("the") && is_stop_word("porque") && !is_stop_word("hedging"));
    }
}
