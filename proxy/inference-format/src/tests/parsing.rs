//! Reading requests and figures.

use bytes::Bytes;
use proptest::prelude::*;

use crate::document::Document;
use crate::endpoint::Endpoint;
use crate::texts;
use crate::usage::{Meter, Usage};

fn parse(body: &str) -> Document {
    Document::parse(Bytes::copy_from_slice(body.as_bytes())).expect("a document")
}

#[track_caller]
fn check(body: &str, expected: &str) {
    let document = parse(&format!(r#"{{"model":"m",{body}}}"#));
    let texts = texts::of(&document, Endpoint::Chat);
    let lines: Vec<String> = texts.messages.iter().skip(1).map(|m| format!("{}: {}", m.role, m.text)).collect();
    assert_eq!(format!("{} [{}]", lines.join(" | "), texts.needs.join(",")), expected, "{body}");
}

#[test]
fn every_text_is_laid_out() {
    for (body, expected) in [
        (r#""messages":[{"role":"user","content":"hi"}]"#, "parameters: user | user: hi []"),
        (r#""messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#, "parameters: user | user: hi []"),
        (r#""system":[{"type":"text","text":"be kind"}]"#, "system: be kind []"),
        (r#""prompt":["a","b"]"#, "user: a | user: b []"),
        (r#""input":[{"role":"user","content":[{"type":"input_text","text":"x"}]}]"#, "parameters: user | user: x []"),
        (r#""user":"ann@example.org""#, "parameters: user: ann@example.org []"),
        (r#""seed":4111111111111111"#, "parameters: seed: 4111111111111111 []"),
        (r#""tools":[{"name":"f"}]"#, "parameters: tools\nname: f [tools]"),
        (
            r#""messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"{\"pan\":4111}"}}]}]"#,
            "parameters: assistant | assistant: tool_calls\nfunction\narguments: {\"pan\":4111} [tools]",
        ),
        (
            r#""messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"42"}]}]}]"#,
            "parameters: user | user: 42 [tools]",
        ),
        (
            r#""messages":[{"role":"assistant","content":[{"type":"tool_use","input":{"password":"x1"}}]}]"#,
            "parameters: assistant | assistant: input\npassword: x1 [tools]",
        ),
        (r#""response_format":{"type":"json_object"}"#, "parameters: response_format\ntype: json_object [json]"),
        (
            r#""messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x.test/a?k=v"}}]}]"#,
            "user: image_url\nurl: https://x.test/a?k=v [vision]",
        ),
    ] {
        check(body, expected);
    }
    let picture = format!("data:image/png;base64,iVBORw0KGgo{}", "A".repeat(100));
    check(
        &format!(r#""messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"{picture}"}}}}]}}]"#),
        "user: image_url [vision]",
    );
    // What only claims to be a picture is read.
    let disguised = format!("iVBORw0KGgo 4111 {}", "A".repeat(100));
    check(&format!(r#""prompt":"{disguised}""#), &format!("user: {disguised} []"));
}

#[test]
fn tokens_are_counted_and_limits_read() {
    for (body, endpoint, input, output) in [
        (r#"{"model":"m","max_tokens":7,"prompt":"The quick brown fox"}"#, Endpoint::Completions, 10, 7),
        (r#"{"model":"m","prompt":"The quick brown fox"}"#, Endpoint::Completions, 5, 1024),
        (r#"{"model":"m","input":"The quick brown fox"}"#, Endpoint::Embeddings, 5, 0),
    ] {
        let texts = texts::of(&parse(body), endpoint);
        assert_eq!((texts.input_tokens, texts.output_tokens), (input, output), "{body}");
    }
}

#[test]
fn numbers_of_tokens_are_text_that_nobody_can_read() {
    for (body, encoded) in [
        (r#"{"model":"m","input":[1,2,3]}"#, true),
        (r#"{"model":"m","input":[[1,2],[3]]}"#, true),
        (r#"{"model":"m","prompt":[[1,2],[3]]}"#, true),
        (r#"{"model":"m","input":["one","two"]}"#, false),
        (r#"{"model":"m","input":[]}"#, false),
        (r#"{"model":"m","messages":[{"role":"user","content":"1 2 3"}]}"#, false),
    ] {
        let document = parse(body);
        let mut texts = texts::of(&document, Endpoint::Embeddings);
        assert_eq!(texts.encoded, encoded, "{body}");
        let asked = crate::question::of(&document, &mut texts, "s", &Default::default(), Default::default());
        let restricted = asked.so_far == openshell_policy_host::Sensitivity::Restricted;
        assert_eq!(restricted, encoded, "{body}");
    }
}

const NONE: Usage = Usage { input: None, cached: 0, written: 0, output: None };

const STREAMS: &[(&str, bool, Usage)] = &[
    (
        r#"{"usage":{"prompt_tokens":30,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":20}}}"#,
        false,
        Usage { input: Some(30), cached: 20, written: 0, output: Some(4) },
    ),
    (
        r#"{"id":"resp_1","usage":{"input_tokens":30,"input_tokens_details":{"cached_tokens":20},"output_tokens":4}}"#,
        false,
        Usage { input: Some(30), cached: 20, written: 0, output: Some(4) },
    ),
    (
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"cache_creation_input_tokens\":5,\"cache_read_input_tokens\":20,\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":30}}\n\n",
        true,
        Usage { input: Some(34), cached: 20, written: 5, output: Some(30) },
    ),
    (
        r#"{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#,
        false,
        Usage { input: Some(3), output: Some(4), ..NONE },
    ),
    (
        r#"{"usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":10}}"#,
        false,
        Usage { input: Some(13), cached: 10, output: Some(4), ..NONE },
    ),
    (r#"{"input_tokens":21}"#, false, Usage { input: Some(21), ..NONE }),
    ("garbage", false, NONE),
    (
        "data: {\"delta\":\"a\"}\r\n\r\ndata: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\r\n\r\ndata: [DONE]\r\n\r\n",
        true,
        Usage { input: Some(3), output: Some(4), ..NONE },
    ),
    (
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":30}}\n\n",
        true,
        Usage { input: Some(9), output: Some(30), ..NONE },
    ),
    (
        "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}}",
        true,
        Usage { input: Some(5), output: Some(6), ..NONE },
    ),
];

proptest! {
    #[test]
    fn figures_do_not_depend_on_how_the_answer_is_cut(cuts in prop::collection::vec(0usize..400, 0..8)) {
        for (text, events, expected) in STREAMS {
            let mut meter = Meter::new(*events);
            let mut ends: Vec<usize> = cuts.iter().map(|c| c % (text.len() + 1)).chain([text.len()]).collect();
            ends.sort_unstable();
            let mut from = 0;
            for end in ends {
                meter.feed(&text.as_bytes()[from..end]);
                from = end;
            }
            prop_assert_eq!(meter.finish(), *expected, "{}", text);
        }
    }

    #[test]
    fn any_body_is_parsed_or_refused(body in "[\\[\\]{}:,\"a-c0-9 ]{0,60}") {
        let _ = Document::parse(Bytes::from(body)).map(|d| texts::of(&d, Endpoint::Chat));
    }
}
