//! Requests, answers and streams in the other API. What each becomes is in the snapshots.

use bytes::Bytes;
use openshell_api::inference::{Api, Backend, BackendKind, Locality, Sensitivity};
use proptest::prelude::*;

use super::samples;
use crate::document::{Document, Json};
use crate::endpoint::Endpoint;
use crate::translate::{Carry, Step, Target, Translated, Translation, Untranslatable};

const NOW: u64 = 1_700_000_000;

fn document(body: &str) -> Document {
    Document::parse(Bytes::copy_from_slice(body.as_bytes())).expect("a document")
}

fn pretty(json: &[u8]) -> String {
    let value = Json::parse(json).expect("what was translated is JSON");
    serde_json::to_string_pretty(&value).expect("JSON")
}

fn refusal<T>(result: Result<T, Untranslatable>) -> String {
    result.err().map_or_else(|| "translated".to_owned(), |refused| refused.what)
}

#[test]
fn requests() {
    for (name, translation, body) in samples::REQUESTS {
        let translated = translation.request(&document(body), "the-backends", Target::default());
        let shown = translated.map_or_else(|refused| panic!("{name}: {refused}"), |bytes| pretty(&bytes));
        insta::assert_snapshot!(format!("request-{name}"), shown);
    }
}

#[test]
fn answers() {
    for (name, translation, body) in samples::ANSWERS {
        let translated = translation.answer(&asked(), body.as_bytes(), NOW);
        let shown = translated.map_or_else(|refused| panic!("{name}: {refused}"), |bytes| pretty(&bytes));
        insta::assert_snapshot!(format!("answer-{name}"), shown);
    }
}

#[test]
fn what_can_not_be_carried_is_named() {
    use Translation::{ChatToMessages, ChatToResponses, MessagesToChat, ResponsesToChat};
    let user = r#""messages":[{"role":"user","content":"x"}]"#;
    let with = |rest: &str| format!(r#"{{"model":"m",{user},{rest}}}"#);
    let says = |content: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{content}]}}]}}"#);
    let turn = |turn: &str| format!(r#"{{"model":"m","messages":[{turn}]}}"#);
    for (translation, body, expected) in [
        (ChatToMessages, with(r#""seed":7"#), "seed"),
        (ChatToMessages, with(r#""n":2"#), "n"),
        (ChatToMessages, with(r#""n":1,"logprobs":false,"presence_penalty":0.0,"store":false"#), "translated"),
        (ChatToMessages, with(r#""temperature":1.5"#), "a temperature above 1"),
        (ChatToMessages, with(r#""response_format":{"type":"json_object"}"#), "response_format.json_object"),
        (ChatToMessages, with(r#""reasoning_effort":"high""#), "reasoning_effort"),
        (ChatToMessages, with(r#""tools":[{"type":"web_search"}]"#), "tools[0].web_search"),
        (ChatToMessages, with(r#""something_new":1"#), "something_new"),
        (ChatToMessages, with(r#""something_new":null"#), "translated"),
        (ChatToMessages, says(r#"{"type":"input_audio","input_audio":{}}"#), "messages[0].content[0].input_audio"),
        (
            ChatToMessages,
            says(r#"{"type":"image_url","image_url":{"url":"https://a.test/b.png","detail":"high"}}"#),
            "messages[0].content[0].image_url.detail",
        ),
        (
            ChatToMessages,
            says(r#"{"type":"image_url","image_url":{"url":"ftp://a"}}"#),
            "messages[0].content[0].image_url.url",
        ),
        (
            ChatToMessages,
            turn(r#"{"role":"user","content":"a"},{"role":"system","content":"b"}"#),
            "messages[1]: a system prompt after the first turn",
        ),
        (ChatToMessages, turn(r#"{"role":"user","content":"a","name":"ann"}"#), "messages[0].name"),
        (
            ChatToMessages,
            turn(
                r#"{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{"}}]}"#,
            ),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (MessagesToChat, with(r#""max_tokens":5,"top_k":7"#), "top_k"),
        (MessagesToChat, with(r#""max_tokens":5,"thinking":{"type":"enabled","budget_tokens":1024}"#), "thinking"),
        (MessagesToChat, with(r#""max_tokens":5,"thinking":{"type":"disabled"}"#), "translated"),
        (
            MessagesToChat,
            with(r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#),
            "tools[0].web_search_20250305",
        ),
        (MessagesToChat, with(r#""stop_sequences":["a","b","c","d","e"]"#), "more than four stop_sequences"),
        (MessagesToChat, says(r#"{"type":"search_result","source":"x"}"#), "messages[0].content[0].search_result"),
        (
            MessagesToChat,
            says(r#"{"type":"tool_result","tool_use_id":"1","content":[{"type":"image","source":{}}]}"#),
            "messages[0].content[0].content[0].image",
        ),
        (
            MessagesToChat,
            turn(r#"{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"}]}"#),
            "messages[0].content[0].signature",
        ),
    ] {
        let found = refusal(translation.request(&document(&body), "m", Target::default()));
        assert_eq!(found, expected, "{body}");
    }
    let input = |item: &str| format!(r#"{{"model":"m","input":[{item}]}}"#);
    let responses = |rest: &str| format!(r#"{{"model":"m","input":"x",{rest}}}"#);
    for (translation, body, expected) in [
        (ResponsesToChat, responses(r#""previous_response_id":"resp_1""#), "previous_response_id"),
        (ResponsesToChat, responses(r#""conversation":"c""#), "conversation"),
        (ResponsesToChat, responses(r#""background":true"#), "background"),
        (ResponsesToChat, responses(r#""store":true"#), "store"),
        (ResponsesToChat, responses(r#""store":false,"include":["reasoning.encrypted_content"]"#), "translated"),
        (ResponsesToChat, responses(r#""include":["web_search_call.action.sources"]"#), "include"),
        (ResponsesToChat, responses(r#""reasoning":{"effort":"low","summary":"auto"}"#), "reasoning.summary"),
        (ResponsesToChat, responses(r#""tools":[{"type":"web_search"}]"#), "tools[0].web_search"),
        (ResponsesToChat, responses(r#""prompt":{"id":"p"}"#), "prompt"),
        (ResponsesToChat, responses(r#""something_new":1"#), "something_new"),
        (ResponsesToChat, input(r#"{"type":"item_reference","id":"x"}"#), "input[0].item_reference"),
        (ResponsesToChat, input(r#"{"type":"reasoning","encrypted_content":"xyz"}"#), "input[0].encrypted_content"),
        (
            ResponsesToChat,
            input(r#"{"role":"user","content":[{"type":"input_file","file_id":"f"}]}"#),
            "input[0].content[0].file_data",
        ),
        (ResponsesToChat, r#"{"model":"m"}"#.to_owned(), "input"),
        (ChatToResponses, with(r#""seed":7"#), "seed"),
        (ChatToResponses, with(r#""stop":["a"]"#), "stop"),
        (ChatToResponses, with(r#""n":2"#), "n"),
        (ChatToResponses, with(r#""logprobs":true"#), "logprobs"),
        (ChatToResponses, turn(r#"{"role":"user","content":"a","name":"ann"}"#), "messages[0].name"),
        (ChatToResponses, says(r#"{"type":"input_audio","input_audio":{}}"#), "messages[0].content[0].input_audio"),
    ] {
        let found = refusal(translation.request(&document(&body), "m", Target::default()));
        assert_eq!(found, expected, "{body}");
    }
    for (translation, body, expected) in [
        (ChatToResponses, r#"{"output":[{"type":"web_search_call"}]}"#, "output[0].web_search_call"),
        (ChatToResponses, r#"{"output":[],"status":"failed"}"#, "status failed"),
        (ResponsesToChat, r#"{"choices":[]}"#, "an answer with other than one choice"),
        (ChatToMessages, r#"{"content":[{"type":"server_tool_use"}]}"#, "content[0].server_tool_use"),
        (ChatToMessages, r#"{"content":[],"stop_reason":"pause_turn"}"#, "stop_reason pause_turn"),
        (MessagesToChat, r#"{"choices":[]}"#, "an answer with other than one choice"),
        (MessagesToChat, "<html>", "an answer that is not JSON"),
        (
            MessagesToChat,
            r#"{"choices":[{"message":{"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{\"a"}}]}}]}"#,
            "choices[0].message.tool_calls[0].function.arguments",
        ),
    ] {
        assert_eq!(refusal(translation.answer(&asked(), body.as_bytes(), NOW)), expected, "{body}");
    }
}

#[test]
fn limits_go_by_the_name_that_the_service_reads() {
    let body = document(r#"{"model":"m","max_tokens":5,"messages":[]}"#);
    for (url, expected) in [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://one.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("http://127.0.0.1:11434/v1", "max_tokens"),
        ("https://api.openai.com.evil.test/v1", "max_tokens"),
    ] {
        let made = Translation::MessagesToChat.request(&body, "m", Target::at(url)).expect("translated");
        assert!(Json::parse(&made).is_some_and(|j| j.get(expected).is_some()), "{url}");
    }
}

#[test]
fn each_request_takes_the_shortest_way() {
    for (endpoint, kind, apis, expected) in [
        (Endpoint::Chat, BackendKind::Openai, &[][..], "unchanged"),
        (Endpoint::Responses, BackendKind::Openai, &[], "unchanged"),
        (Endpoint::Completions, BackendKind::Ollama, &[], "unchanged"),
        (Endpoint::Embeddings, BackendKind::Vllm, &[], "unchanged"),
        (Endpoint::Responses, BackendKind::Azure, &[], "unchanged"),
        (Endpoint::Messages, BackendKind::Anthropic, &[], "unchanged"),
        (Endpoint::CountTokens, BackendKind::Anthropic, &[], "unchanged"),
        (Endpoint::Messages, BackendKind::Vllm, &[Api::Chat, Api::Messages], "unchanged"),
        (Endpoint::Chat, BackendKind::Anthropic, &[], "[ChatToMessages] to messages"),
        (Endpoint::Messages, BackendKind::Compatible, &[], "[MessagesToChat] to chat/completions"),
        (Endpoint::Responses, BackendKind::Ollama, &[], "[ResponsesToChat] to chat/completions"),
        (Endpoint::Responses, BackendKind::Anthropic, &[], "[ResponsesToChat, ChatToMessages] to messages"),
        (Endpoint::Chat, BackendKind::Openai, &[Api::Responses], "[ChatToResponses] to responses"),
        (Endpoint::Messages, BackendKind::Openai, &[Api::Responses], "[MessagesToChat, ChatToResponses] to responses"),
        (Endpoint::Embeddings, BackendKind::Anthropic, &[], "no way"),
        (Endpoint::Completions, BackendKind::Anthropic, &[], "no way"),
        (Endpoint::CountTokens, BackendKind::Openai, &[], "no way"),
    ] {
        let found = match Carry::of(endpoint, &backend(kind, apis)) {
            None => "no way".to_owned(),
            Some(Carry::Unchanged) => "unchanged".to_owned(),
            Some(carry @ Carry::Translated(steps)) => {
                format!("{steps:?} to {}", &carry.endpoint(endpoint).suffix()[1..])
            }
        };
        assert_eq!(found, expected, "{endpoint:?} {kind:?} {apis:?}");
    }
}

/// Two steps there and back: nothing that the first step carries is lost in the second.
#[test]
fn responses_and_messages_meet_in_two_steps() {
    let steps = &[Translation::ResponsesToChat, Translation::ChatToMessages];
    let asked = document(samples::RESPONSES_TOOLS);
    let way = Translated::new(steps, &asked, "claude", Target::default()).expect("translated");
    insta::assert_snapshot!("request-responses-as-messages", pretty(&way.body()));
    let (_, _, answer) = samples::ANSWERS.iter().find(|(name, ..)| *name == "message-tools").expect("a sample");
    let answer = way.answer(&asked, answer.as_bytes(), NOW).expect("translated");
    insta::assert_snapshot!("answer-message-as-response", pretty(&answer));
    let (_, _, text) = samples::STREAMS.iter().find(|(name, ..)| *name == "message-tools").expect("a sample");
    let mut stream = way.stream(&asked, NOW);
    let mut out = Vec::new();
    for byte in text.as_bytes() {
        out.extend(stream.feed(&[*byte]).expect("translated"));
    }
    out.extend(stream.finish().expect("complete"));
    insta::assert_snapshot!("stream-message-as-response", String::from_utf8(out).expect("UTF-8"));
    assert!(
        String::from_utf8_lossy(&way.error(429, br#"{"type":"error","error":{"message":"slow down"}}"#))
            .contains("slow down")
    );
}

#[test]
fn errors_keep_their_words() {
    for (translation, body, expected) in [
        (
            Translation::ChatToMessages,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#,
            r#"{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":null}}"#,
        ),
        (
            Translation::MessagesToChat,
            r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#,
        ),
        (
            Translation::MessagesToChat,
            "<html>",
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"the backend answered HTTP 429"}}"#,
        ),
    ] {
        assert_eq!(translation.error(429, body.as_bytes()), expected, "{body}");
    }
}

/// What the answers and streams answer.
fn asked() -> Document {
    document(
        r#"{"model":"asked","stream":true,"stream_options":{"include_usage":true},"instructions":"Be brief.","temperature":0.5,
            "tools":[{"type":"function","name":"weather","parameters":{"type":"object"}}],"metadata":{"k":"v"}}"#,
    )
}

fn stream(translation: Translation) -> Step {
    translation.stream(&asked(), NOW)
}

/// A backend of this kind.
fn backend(kind: BackendKind, apis: &[Api]) -> Backend {
    Backend {
        name: "one".parse().expect("name"),
        kind,
        apis: apis.to_vec(),
        base_url: "http://127.0.0.1:1/v1".into(),
        model: None,
        locality: Locality::Host,
        clearance: Sensitivity::Public,
        input_price: 0,
        output_price: 0,
        cached_input_price: None,
        cache_write_price: None,
        redact: false,
        context: 1000,
        features: Vec::new(),
        provider: None,
        idle_timeout_ms: 1000,
    }
}

/// Feeds a stream cut at `ends`; an error becomes the last line.
fn run(translation: Translation, text: &str, ends: &[usize]) -> String {
    let mut stream = stream(translation);
    let mut out = Vec::new();
    let mut from = 0;
    for &end in ends.iter().chain([&text.len()]) {
        match stream.feed(&text.as_bytes()[from..end]) {
            Ok(more) => out.extend(more),
            Err(error) => return format!("{}error: {error}", String::from_utf8_lossy(&out)),
        }
        from = end;
    }
    match stream.finish() {
        Ok(more) => out.extend(more),
        Err(error) => out.extend(format!("error: {error}").into_bytes()),
    }
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn streams() {
    for (name, translation, text) in samples::STREAMS {
        insta::assert_snapshot!(format!("stream-{name}"), run(*translation, text, &[]));
    }
}

proptest! {
    #[test]
    fn streams_do_not_depend_on_how_they_are_cut(cuts in prop::collection::vec(0usize..4000, 0..12)) {
        for (name, translation, text) in samples::STREAMS {
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
            ends.sort_unstable();
            prop_assert_eq!(run(*translation, text, &ends), run(*translation, text, &[]), "{}", name);
        }
    }

    #[test]
    fn whatever_a_backend_says_is_translated_or_refused(text in "(data: )?[\\[\\]{}:,\"a-c0-9 \n]{0,80}") {
        use Translation::{ChatToMessages, ChatToResponses, MessagesToChat, ResponsesToChat};
        for translation in [ChatToMessages, MessagesToChat, ResponsesToChat, ChatToResponses] {
            let _ = run(translation, &text, &[]);
            let _ = translation.answer(&asked(), text.as_bytes(), NOW);
            let _ = translation.error(500, text.as_bytes());
        }
    }
}
