//! Notes that were taken over from Notion: their text out of its JSON.

use std::borrow::Cow;

use serde_json::Value;

/// The text that people read: of a JSON array of Notion's blocks what the blocks say, a line each; anything else as it is.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    said_by_blocks(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// What Notion's blocks say; `None` if the text is not made of them.
pub(crate) fn said_by_blocks(text: &str) -> Option<String> {
    let start = text.trim_start();
    if !start.starts_with('[') {
        return None;
    }
    match serde_json::from_str::<Value>(start) {
        Ok(Value::Array(blocks)) if !blocks.is_empty() && blocks.iter().all(is_block) => {
            let mut lines = Vec::new();
            blocks.iter().for_each(|block| tell(block, &mut lines));
            Some(lines.join("\n"))
        }
        Ok(_) => None,
        // Cut off or damaged: what can still be read of it.
        Err(_) => salvage(start),
    }
}

fn is_block(value: &Value) -> bool {
    value.get("type").is_some_and(Value::is_string)
}

/// Adds the lines of a block and of those inside it. JSON of more than 128 levels was not read at all.
fn tell(block: &Value, lines: &mut Vec<String>) {
    let Some(kind) = block.get("type").and_then(Value::as_str) else { return };
    let content = block.get(kind);
    if let Some(content) = content {
        for field in ["rich_text", "text", "caption"] {
            let line = content.get(field).map(spans).unwrap_or_default();
            if !line.trim().is_empty() {
                lines.push(line);
            }
        }
        for field in ["title", "expression"] {
            if let Some(line) = content.get(field).and_then(Value::as_str) {
                lines.push(line.to_owned());
            }
        }
        if let Some(cells) = content.get("cells").and_then(Value::as_array) {
            lines.push(cells.iter().map(spans).collect::<Vec<_>>().join(" | "));
        }
    }
    let inside = [block.get("children"), content.and_then(|content| content.get("children"))];
    inside
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .for_each(|it| tell(it, lines));
}

/// The text of an array of spans.
fn spans(value: &Value) -> String {
    let spans = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |span: &Value| {
        let plain = span.get("plain_text").or_else(|| span.pointer("/text/content"));
        plain.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    spans.iter().map(text).collect()
}

/// The values of all `plain_text` in what is no longer JSON, a line each; `None` if there is none.
fn salvage(text: &str) -> Option<String> {
    const KEY: &str = "\"plain_text\":";
    let mut lines = Vec::new();
    for part in text.split(KEY).skip(1) {
        let mut values = serde_json::Deserializer::from_str(part).into_iter::<String>();
        if let Some(Ok(line)) = values.next() {
            lines.push(line);
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_as_people_see_them_and_plain_text_stays() {
        let check = |text: &str, expected: &str| assert_eq!(readable(text), expected, "{text}");
        check("They like it.\n[later]", "They like it.\n[later]");
        check("[1] They like it", "[1] They like it");
        check("[]", "[]");
        check("null", "null");
        check(
            r#"[{"object":"block","type":"heading_2","heading_2":{"rich_text":[{"plain_text":"Call"}]}},
                {"type":"paragraph","paragraph":{"rich_text":[{"plain_text":"They like "},{"text":{"content":"it."}}]}},
                {"type":"image","local_image_path":"notion_images/a.png"},
                {"type":"toggle","toggle":{"rich_text":[]},"children":[
                    {"type":"to_do","to_do":{"rich_text":[{"plain_text":"Send the deck"}],"checked":false}}]},
                {"type":"table_row","table_row":{"cells":[[{"plain_text":"Fee"}],[{"plain_text":"1.5 %"}]]}}]"#,
            "Call\nThey like it.\nSend the deck\nFee | 1.5 %",
        );
    }

    #[test]
    fn what_is_left_of_damaged_blocks_is_still_read() {
        let check = |text: &str, expected: &str| assert_eq!(readable(text), expected, "{text}");
        check(
            r#"[{"type":"paragraph","paragraph":{"rich_text":[{"plain_text":"Ni\u00f1o"},{"plain_text": "cut"#,
            "Niño",
        );
        check(r#"[{"type":"paragraph""#, r#"[{"type":"paragraph""#);
        let deep = "[".repeat(10_000);
        check(&deep, &deep);
    }
}
