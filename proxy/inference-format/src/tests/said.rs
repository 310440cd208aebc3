//! What answers say, and which checks they pass.

use bytes::Bytes;
use openshell_api::inference::Check;

use crate::document::Document;
use crate::endpoint::Endpoint;
use crate::said::{Said, without_logprobs};

fn asked(rest: &str) -> Document {
    Document::parse(Bytes::from(format!(r#"{{"model":"m"{rest}}}"#))).expect("a document")
}

const JSON_MODE: &str = r#","response_format":{"type":"json_object"}"#;

#[test]
fn checks_tell_what_will_not_do() {
    let chat = |content: &str, finish: &str| serde_json::json!({"choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}]});
    let call = |arguments: &str| {
        serde_json::json!({"choices": [{"finish_reason": "tool_calls", "message": {"content": null,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]}}]})
    };
    let sure = |logprob: f64| {
        serde_json::json!({"choices": [{"finish_reason": "stop", "message": {"content": "a b"},
            "logprobs": {"content": [{"token": "a", "logprob": logprob}, {"token": " b", "logprob": logprob}]}}]})
    };
    let long = format!("I cannot stress enough how much there is to say. {}", "More of it. ".repeat(150));
    for (check, request, answer, passes) in [
        ("refusal", "", chat("Paris.", "stop"), true),
        ("refusal", "", chat("I’m sorry, but I can't help with that.", "stop"), false),
        ("refusal", "", chat("As an AI, I have no opinion.", "stop"), false),
        ("refusal", "", chat(&long, "stop"), true),
        ("refusal", "", chat("", "content_filter"), false),
        ("json", JSON_MODE, chat("{\"a\":1}", "stop"), true),
        ("json", JSON_MODE, chat("{\"a\":", "stop"), false),
        ("json", "", chat("no JSON", "stop"), true),
        ("json", "", call("{\"a\":1}"), true),
        ("json", "", call("{\"a\":"), false),
        ("json", JSON_MODE, call("{}"), true),
        ("cut", "", chat("Par", "length"), false),
        ("cut", "", chat("Paris.", "stop"), true),
        ("short=7", "", chat("Paris.", "stop"), false),
        ("short=6", "", chat("Paris.", "stop"), true),
        ("short=6", "", call("{}"), true),
        ("logprob=-0.5", "", sure(-0.4), true),
        ("logprob=-0.5", "", sure(-0.6), false),
        ("logprob=-0.5", "", chat("unsaid", "stop"), false),
    ] {
        let said = Said::read(Endpoint::Chat, answer.to_string().as_bytes(), false).expect("readable");
        let check: Check = check.parse().expect("a check");
        assert_eq!(said.passes(check, &asked(request)), passes, "{check} {answer}");
    }
}

#[test]
fn every_family_says_the_same() {
    let rows = [
        (Endpoint::Completions, false, r#"{"choices":[{"text":"Hi.","finish_reason":"length"}]}"#.to_owned(), 0),
        (
            Endpoint::Messages,
            false,
            r#"{"content":[{"type":"text","text":"Hi."},{"type":"tool_use","id":"1","name":"f","input":{}}],"stop_reason":"max_tokens"}"#.to_owned(),
            1,
        ),
        (
            Endpoint::Responses,
            false,
            r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"Hi."}]}],"incomplete_details":{"reason":"max_output_tokens"}}"#.to_owned(),
            0,
        ),
        (
            Endpoint::Chat,
            true,
            "data: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"i.\",\"tool_calls\":[{\"index\":0,\"id\":\"1\",\"function\":{\"arguments\":\"{\"}}]}}]}\n\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n".to_owned(),
            1,
        ),
        (
            Endpoint::Messages,
            true,
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hi.\"}}\n\ndata: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"tool_use\"}}\n\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"partial_json\":\"{}\"}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
            1,
        ),
        (
            Endpoint::Responses,
            true,
            "data: {\"type\":\"response.incomplete\",\"response\":{\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi.\"}]}],\"incomplete_details\":{\"reason\":\"max_output_tokens\"}}}\n\n".to_owned(),
            0,
        ),
    ];
    for (endpoint, events, answer, calls) in rows {
        let said = Said::read(endpoint, answer.as_bytes(), events).unwrap_or_else(|| panic!("{endpoint:?} {answer}"));
        assert_eq!((said.text.as_str(), said.cut, said.complete, said.refused), ("Hi.", true, true, false), "{answer}");
        assert_eq!(said.calls.len(), calls, "{answer}");
        assert!(said.calls.iter().all(|call| call == "{}"), "{answer}");
    }
    for (endpoint, events, answer) in [
        (Endpoint::Chat, false, "<html>"),
        (Endpoint::Chat, true, "data: {\"error\":{\"message\":\"boom\"}}\n\n"),
        (Endpoint::Messages, true, "data: {\"type\":\"error\"}\n\n"),
        (Endpoint::Responses, true, "data: {\"type\":\"response.failed\"}\n\n"),
    ] {
        assert_eq!(Said::read(endpoint, answer.as_bytes(), events), None, "{answer}");
    }
}

#[test]
fn probabilities_that_nobody_asked_for_are_taken_out() {
    let whole = r#"{"choices":[{"message":{"content":"a"},"logprobs":{"content":[{"token":"a"}]}}]}"#;
    let stream = format!("data: {whole}\n\ndata: [DONE]\n\n");
    let expected = r#"{"choices":[{"message":{"content":"a"},"logprobs":null}]}"#;
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.expect("readable")).expect("UTF-8");
    assert_eq!(text(without_logprobs(whole.as_bytes(), false)), expected);
    assert_eq!(text(without_logprobs(stream.as_bytes(), true)), format!("data: {expected}\n\ndata: [DONE]\n\n"));
}
