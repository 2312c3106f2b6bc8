//! Questions and answers of both protocols, as they are on the wire.

use serde_json::json;

use super::*;
use crate::llm::Schema;

const BEST: Manner =
    Manner { form: Form::Schema, limit: Limit::Tokens, temperature: true, think: true };

fn chat() -> Chat {
    let schema =
        Schema { name: "answer", json: r#"{"type":"object","properties":{"b":{},"a":{}}}"# };
    Chat { messages: vec![Message::user("Hello")], schema: Some(schema), longest: 100 }
}

#[test]
fn a_question_to_openai_has_the_schema_in_its_own_order() {
    let body = Dialect::OpenAi.question(&chat(), "m", 8192, false, BEST).unwrap();
    assert_eq!(
        body,
        r#"{"model":"m","messages":[{"role":"user","content":"Hello"}],"stream":false,"temperature":0,"max_tokens":100,"response_format":{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":{"type":"object","properties":{"b":{},"a":{}}}}}}"#
    );
}

#[test]
fn a_question_asks_for_nothing_that_the_server_has_refused() {
    let manner =
        Manner { form: Form::Words, limit: Limit::CompletionTokens, temperature: false, ..BEST };
    let body = Dialect::OpenAi.question(&chat(), "m", 8192, true, manner).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": true, "max_completion_tokens": 100})
    );
}

#[test]
fn ollama_is_told_how_long_the_context_is() {
    let body = Dialect::Ollama.question(&chat(), "m", 8192, false, BEST).unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["options"], json!({"num_ctx": 8192, "num_predict": 100, "temperature": 0}));
    assert_eq!(body["format"]["type"], "object");
}

#[test]
fn only_ollama_is_told_not_to_think_and_only_while_it_takes_that() {
    let think = |dialect: Dialect, manner| {
        let body = dialect.question(&chat(), "m", 8192, false, manner).unwrap();
        serde_json::from_str::<Value>(&body).unwrap().get("think").cloned()
    };
    assert_eq!(think(Dialect::Ollama, BEST), Some(json!(false)));
    assert_eq!(think(Dialect::Ollama, Manner { think: false, ..BEST }), None);
    assert_eq!(think(Dialect::OpenAi, BEST), None);
}

#[test]
fn an_answer_counts_only_if_it_is_whole() {
    let open_ai = |message: Value, reason: Value| {
        let body = json!({"choices": [{"message": message, "finish_reason": reason}]}).to_string();
        Dialect::OpenAi.answer(body.as_bytes()).and_then(Piece::complete)
    };
    assert_eq!(open_ai(json!({"content": "Hi"}), json!("stop")), Ok("Hi".to_owned()));
    assert_eq!(open_ai(json!({"content": "{\"a\":"}), json!("length")), Err(LlmError::Truncated));
    assert!(matches!(open_ai(json!({"content": "Hi"}), Value::Null), Err(LlmError::Rubbish(_))));
    assert!(matches!(
        open_ai(json!({"content": null}), json!("tool_calls")),
        Err(LlmError::Rubbish(_))
    ));
    assert!(matches!(
        open_ai(json!({"content": "x"}), json!("content_filter")),
        Err(LlmError::Rejected { .. })
    ));
    assert_eq!(
        open_ai(json!({"content": null, "refusal": "I can't\nhelp."}), json!("stop")),
        Err(LlmError::Refused("I can't help.".to_owned()))
    );
    assert_eq!(
        open_ai(json!({"content": "Hi", "refusal": null}), json!("stop")),
        Ok("Hi".to_owned())
    );
    let ollama =
        |body: Value| Dialect::Ollama.answer(body.to_string().as_bytes()).and_then(Piece::complete);
    let said = json!({"content": "Hi"});
    assert_eq!(ollama(json!({"message": said, "done": true})), Ok("Hi".to_owned()));
    assert_eq!(
        ollama(json!({"message": said, "done": true, "done_reason": "length"})),
        Err(LlmError::Truncated)
    );
    assert!(matches!(ollama(json!({"message": said, "done": false})), Err(LlmError::Rubbish(_))));
    assert_eq!(
        ollama(json!({"error": "model 'm' not found"})),
        Err(LlmError::Rejected { status: 200, said: "model 'm' not found".to_owned() })
    );
}

#[test]
fn what_is_no_answer_is_told_apart_and_not_quoted() {
    let check = |body: &str, expected: &str| {
        let error = Dialect::OpenAi.answer(body.as_bytes()).unwrap_err();
        assert_eq!(error, LlmError::Rubbish(expected.to_owned()));
    };
    check("<html>secret</html>", "it answers a web page");
    check("", "it answers nothing");
    check("secret", "its answer is no JSON");
    check("[1, 2]", "its JSON is no answer of a chat");
}

#[test]
fn a_stream_is_read_line_by_line() {
    let piece = |line: &str| Dialect::OpenAi.piece(line);
    assert_eq!(piece(": keep-alive"), Ok(None));
    assert_eq!(piece(""), Ok(None));
    assert_eq!(
        piece(r#"data: {"choices":[{"delta":{"role":"assistant"},"finish_reason":null}]}"#),
        Ok(None)
    );
    let text = piece(r#"data: {"choices":[{"delta":{"content":"Hi"}}]}"#);
    assert_eq!(text, Ok(Some(Piece { text: "Hi".to_owned(), refusal: String::new(), end: None })));
    let end = piece(r#"data: {"choices":[{"delta":{},"finish_reason":"length"}]}"#);
    assert_eq!(
        end,
        Ok(Some(Piece { text: String::new(), refusal: String::new(), end: Some(End::Truncated) }))
    );
    assert!(matches!(piece("data: [DONE]"), Err(LlmError::Rubbish(_))));
    assert!(matches!(piece(r#"{"error":{"message":"no"}}"#), Err(LlmError::Rejected { .. })));
    assert!(matches!(piece("<html>"), Err(LlmError::Rubbish(_))));
    let line = Dialect::Ollama.piece(r#"{"message":{"content":"Hi"},"done":false}"#);
    assert_eq!(line, Ok(Some(Piece { text: "Hi".to_owned(), refusal: String::new(), end: None })));
}
