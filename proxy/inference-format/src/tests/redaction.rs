//! What was found is replaced in requests and put back into answers, in whatever pieces they arrive.

use bytes::Bytes;
use openshell_policy_host::Finding;
use proptest::prelude::*;

use crate::document::{Document, Json};
use crate::endpoint::Endpoint;
use crate::redact::{Irreplaceable, Placeholders, Redacted, Restoring, redact};
use crate::texts;

const KEY: &[u8] = b"key";
/// A value that JSON must escape.
const PEM: &str = "-----BEGIN KEY-----\nMII\"abc\\def\n-----END KEY-----";

fn document(json: serde_json::Value) -> Document {
    Document::parse(Bytes::from(json.to_string())).expect("a document")
}

/// Redacts wherever one of `values` is first seen in a text, as a router would say it.
fn redacted(document: &Document, endpoint: Endpoint, values: &[&str]) -> Result<Redacted, Irreplaceable> {
    redacted_by(KEY, document, endpoint, values)
}

fn redacted_by(
    key: &[u8],
    document: &Document,
    endpoint: Endpoint,
    values: &[&str],
) -> Result<Redacted, Irreplaceable> {
    let texts = texts::of(document, endpoint);
    let mut findings = Vec::new();
    for (message, text) in texts.messages.iter().enumerate() {
        for value in values {
            let forms = [(*value).to_owned(), escaped(value)];
            if let Some((at, form)) = forms.iter().find_map(|form| Some((text.text.find(form.as_str())?, form))) {
                let (start, end) = (at as u32, (at + form.len()) as u32);
                findings.push(Finding { kind: "payment_card".into(), message: message as u32, start, end });
            }
        }
    }
    redact(document, &texts.pieces, &findings, key, Placeholders::default())
}

fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn sent(redacted: &Redacted) -> String {
    String::from_utf8(redacted.document.bytes_for(None).to_vec()).expect("UTF-8")
}

/// The placeholder of a value, as the document shows it in the place of `SLOT`.
fn placeholder(value: &str) -> (String, Placeholders) {
    let request = document(serde_json::json!({"model": "m", "prompt": format!("<{value}>")}));
    let made = redacted(&request, Endpoint::Completions, &[value]).expect("replaced");
    let text = made.document.get("prompt").and_then(Json::text).expect("a prompt").to_owned();
    (text[1..text.len() - 1].to_owned(), made.placeholders)
}

#[test]
fn every_occurrence_is_replaced_and_nothing_else() {
    let arguments = serde_json::json!({"pan": "4111111111111111", "key": PEM}).to_string();
    let request = document(serde_json::json!({
        "model": "m", "temperature": 0.5, "user": "4111111111111111",
        "messages": [
            {"role": "system", "content": "Card 4111111111111111."},
            {"role": "user", "content": [{"type": "text", "text": format!("Again 4111111111111111; key {PEM}")}]},
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "pay", "arguments": arguments}}]},
        ],
    }));
    let made = redacted(&request, Endpoint::Chat, &["4111111111111111", PEM]).expect("replaced");
    let text = sent(&made);
    assert!(!text.contains("4111111111111111") && !text.contains("MII"), "{text}");
    assert_eq!(made.placeholders.len(), 2, "{text}");
    let (card, key) = (placeholder("4111111111111111").0, placeholder(PEM).0);
    assert_eq!(text.matches(&card).count(), 4, "{text}");
    assert_eq!(text.matches(&key).count(), 2, "{text}");
    assert!(card.starts_with("PAYMENT_CARD_") && card.len() == "PAYMENT_CARD_".len() + 8, "{card}");
    // The arguments are still JSON, and put back they are what they were.
    let restored = made.placeholders.restore_document(text.as_bytes(), false).expect("JSON");
    let (restored, original) = (Json::parse(&restored), Json::parse(&request.bytes_for(None)));
    assert_eq!(restored, original);
    assert!(text.contains(r#""temperature":0.5"#) && text.contains(r#""role":"system""#), "{text}");
}

#[test]
fn what_has_no_place_for_a_placeholder_is_refused() {
    let rows = [
        (
            serde_json::json!({"model": "m", "seed": 4_111_111_111_111_111_u64, "prompt": "x"}),
            "4111111111111111",
            Irreplaceable::Place,
        ),
        (serde_json::json!({"model": "secret-model", "prompt": "x"}), "secret-model", Irreplaceable::Model),
        (
            serde_json::json!({"model": "m", "prompt": "4111111111111111", "metadata": {"4111111111111111": "x"}}),
            "4111111111111111",
            Irreplaceable::Left,
        ),
        (
            serde_json::json!({"model": "m", "prompt": "4111111111111111", "seed": 4_111_111_111_111_111_u64}),
            "4111111111111111",
            Irreplaceable::Left,
        ),
        (serde_json::json!({"model": "m", "prompt": "x"}), "nowhere", Irreplaceable::Nothing),
    ];
    for (request, value, expected) in rows {
        let found = redacted(&document(request.clone()), Endpoint::Completions, &[value]).err();
        // A key that says it first is found there first.
        let allowed = [Some(expected), (expected == Irreplaceable::Left).then_some(Irreplaceable::Place)];
        assert!(found.is_some() && allowed.contains(&found), "{request}: {found:?}");
    }
}

#[test]
fn each_of_overlapping_findings_is_replaced_wherever_it_stands() {
    let address = "12 Elm Street, Bern";
    let request = document(serde_json::json!({"model": "m", "prompt": [address, "Street, Bern", "12 Elm Street"]}));
    let laid = texts::of(&request, Endpoint::Completions);
    let message = laid.messages.iter().position(|message| message.text == address).expect("it is laid out") as u32;
    let finding = |start, end| Finding { kind: "address".into(), message, start, end };
    let findings = [finding(0, 13), finding(7, 19)];
    let made = redact(&request, &laid.pieces, &findings, KEY, Placeholders::default()).expect("replaced");
    let sent = made.document.bytes_for(None);
    let text = String::from_utf8(sent.to_vec()).expect("UTF-8");
    assert!(!text.contains("Street"), "{text}");
    let restored = made.placeholders.restore_document(&sent, false).expect("JSON");
    assert_eq!(Json::parse(&restored), Json::parse(&request.bytes_for(None)));
}

#[test]
fn a_reader_of_the_rest_sees_stars() {
    let (name, placeholders) = placeholder("hunter2!");
    let mut text = format!("password: {name}, and {name}");
    placeholders.hide(&mut text);
    let stars = "*".repeat(name.len());
    assert_eq!(text, format!("password: {stars}, and {stars}"));
}

/// A stream whose text arrives in pieces cut at `cuts`, in the form of `endpoint`.
fn stream(endpoint: Endpoint, text: &str, cuts: &[usize]) -> String {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut % (text.len() + 1))).collect();
    ends.push(text.len());
    ends.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for end in ends {
        pieces.push(&text[from..end]);
        from = end;
    }
    let mut out = String::new();
    let mut event = |json: serde_json::Value| out.push_str(&format!("data: {json}\n\n"));
    match endpoint {
        Endpoint::Messages => {
            event(serde_json::json!({"type": "message_start", "message": {"id": "m"}}));
            event(
                serde_json::json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            );
            for piece in &pieces {
                event(
                    serde_json::json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}),
                );
            }
            event(serde_json::json!({"type": "content_block_stop", "index": 0}));
            event(
                serde_json::json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "input": {}}}),
            );
            for piece in &pieces {
                let partial = serde_json::json!({"type": "input_json_delta", "partial_json": escaped(piece)});
                event(serde_json::json!({"type": "content_block_delta", "index": 1, "delta": partial}));
            }
            event(serde_json::json!({"type": "content_block_stop", "index": 1}));
            event(serde_json::json!({"type": "message_stop"}));
        }
        Endpoint::Responses => {
            for (number, piece) in pieces.iter().enumerate() {
                event(
                    serde_json::json!({"type": "response.output_text.delta", "sequence_number": number, "output_index": 0,
                    "content_index": 0, "delta": piece}),
                );
            }
            event(
                serde_json::json!({"type": "response.output_text.done", "sequence_number": pieces.len(), "output_index": 0,
                "content_index": 0, "text": text}),
            );
            event(serde_json::json!({"type": "response.completed", "sequence_number": pieces.len() + 1,
                "response": {"output": [{"content": [{"text": text}]}]}}));
        }
        _ => {
            // Two answers side by side, chunk by chunk, and a tool call.
            for piece in &pieces {
                for index in [0, 1] {
                    event(
                        serde_json::json!({"id": "c", "choices": [{"index": index, "delta": {"content": piece}, "finish_reason": null}]}),
                    );
                }
                let call = serde_json::json!({"index": 0, "function": {"arguments": escaped(piece)}});
                event(
                    serde_json::json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]}),
                );
            }
            for index in [0, 1] {
                event(
                    serde_json::json!({"id": "c", "choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}),
                );
            }
            out.push_str("data: [DONE]\n\n");
        }
    }
    out
}

/// The texts of a stream, put together: plain ones and those in JSON.
fn texts_of(endpoint: Endpoint, stream: &str) -> Vec<String> {
    let mut texts = vec![String::new(); 3];
    let mut last_number = None;
    for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let event: serde_json::Value = serde_json::from_str(data).expect("JSON");
        if let Some(number) = event["sequence_number"].as_u64() {
            assert_eq!(number, last_number.map_or(0, |last: u64| last + 1), "numbered without gaps: {stream}");
            last_number = Some(number);
        }
        let mut add = |slot: usize, value: &serde_json::Value| texts[slot].push_str(value.as_str().unwrap_or_default());
        match endpoint {
            Endpoint::Messages => {
                add(0, &event["delta"]["text"]);
                add(2, &event["delta"]["partial_json"]);
            }
            Endpoint::Responses => {
                add(0, &event["delta"]);
                add(1, &event["response"]["output"][0]["content"][0]["text"]);
            }
            _ => {
                for choice in event["choices"].as_array().expect("choices") {
                    add(choice["index"].as_u64().expect("index") as usize, &choice["delta"]["content"]);
                    add(2, &choice["delta"]["tool_calls"][0]["function"]["arguments"]);
                }
            }
        }
    }
    texts
}

proptest! {
    /// For any key, and so any placeholders; for any answer, cut anywhere into events, and its stream cut anywhere into frames: what is restored is the original.
    #[test]
    fn streams_are_restored_however_they_are_cut(
        words in prop::collection::vec(prop_oneof![Just(0usize), Just(1), Just(2), Just(3), Just(4)], 1..8),
        cuts in prop::collection::vec(0usize..400, 0..12),
        frames in prop::collection::vec(0usize..6000, 0..12),
        which in 0usize..3,
        key in any::<[u8; 4]>(),
    ) {
        let endpoint = [Endpoint::Chat, Endpoint::Messages, Endpoint::Responses][which];
        let request = document(serde_json::json!({"model": "m", "prompt": ["4111111111111111", "ann@example.org", PEM]}));
        let values = ["4111111111111111", "ann@example.org", PEM];
        let made = redacted_by(&key, &request, Endpoint::Completions, &values).expect("replaced");
        let prompts: Vec<String> =
            made.document.get("prompt").expect("prompts").items().iter().map(|p| p.text().expect("text").to_owned()).collect();
        // Placeholders among words that begin as they do.
        let model = |word: &usize| match word { 0..=2 => prompts[*word].as_str(), 3 => "PAYMENT_CARD_ ", _ => "Grüezi P" };
        let caller = |word: &usize| match word { 0 => "4111111111111111", 1 => "ann@example.org", 2 => PEM, 3 => "PAYMENT_CARD_ ", _ => "Grüezi P" };
        let said: String = words.iter().map(model).collect();
        let expected: String = words.iter().map(caller).collect();
        let text = stream(endpoint, &said, &cuts);
        let mut ends: Vec<usize> = frames.iter().map(|cut| cut % (text.len() + 1)).chain([text.len()]).collect();
        ends.sort_unstable();
        let mut restoring = Restoring::new(made.placeholders.clone(), endpoint, false);
        let (mut out, mut from) = (Vec::new(), 0);
        for end in ends {
            out.extend(restoring.feed(&text.as_bytes()[from..end]).expect("readable"));
            from = end;
        }
        out.extend(restoring.finish().expect("readable"));
        let out = String::from_utf8(out).expect("UTF-8");
        let texts = texts_of(endpoint, &out);
        prop_assert_eq!(&texts[0], &expected, "{}", out);
        if endpoint != Endpoint::Messages {
            prop_assert_eq!(&texts[1], &expected, "{}", out);
        }
        if endpoint != Endpoint::Responses {
            prop_assert_eq!(&texts[2], &escaped(&expected), "{}", out);
        }
    }

    /// Whatever a router finds, nothing of it is in what is sent; put back, the request is what it was.
    #[test]
    fn nothing_of_what_was_found_is_sent(
        texts in prop::collection::vec("[a-cA-C\"\\\\é {}:0-2]{0,24}", 1..5),
        spots in prop::collection::vec((0usize..8, 0usize..24, 4usize..12), 1..5),
    ) {
        let turns: Vec<serde_json::Value> = texts.iter().map(|text| serde_json::json!({"role": "user", "content": text})).collect();
        let request = document(serde_json::json!({"model": "zzz", "messages": turns}));
        let laid = texts::of(&request, Endpoint::Chat);
        let mut findings = Vec::new();
        let mut values = Vec::new();
        for (message, start, length) in spots {
            let message = message % laid.messages.len();
            let text = &laid.messages[message].text;
            let start = text.floor_char_boundary(start % (text.len() + 1));
            let end = text.floor_char_boundary((start + length).min(text.len()));
            if end < start + 4 || ["user", "zzz"].contains(&text.as_str()) {
                continue;
            }
            values.push(text[start..end].to_owned());
            findings.push(Finding { kind: "x".into(), message: message as u32, start: start as u32, end: end as u32 });
        }
        prop_assume!(!findings.is_empty());
        let Ok(made) = redact(&request, &laid.pieces, &findings, KEY, Placeholders::default()) else { return Ok(()) };
        let after = texts::of(&made.document, Endpoint::Chat);
        for text in &after.messages {
            let mut rest = text.text.clone();
            made.placeholders.hide(&mut rest);
            for value in &values {
                prop_assert!(!rest.contains(value.as_str()), "{value:?} in {rest:?}");
            }
        }
        let restored = made.placeholders.restore_document(&made.document.bytes_for(None), false).expect("JSON");
        prop_assert_eq!(Json::parse(&restored), Json::parse(&request.bytes_for(None)));
    }
}

#[test]
fn a_stream_that_can_not_be_read_is_refused() {
    let (_, placeholders) = placeholder("4111111111111111");
    for (endpoint, text, readable) in [
        (Endpoint::Chat, "data: {\"choices\":[]}\n\n", true),
        (Endpoint::Chat, ": a comment\n\ndata: [DONE]\n\n", true),
        (Endpoint::Chat, "data: {\"choices\"\n\n", false),
        (Endpoint::Chat, "data: <html>\n\n", false),
        (Endpoint::Messages, "event: x\ndata: {\"a\":1,\"a\":2}\n\n", false),
    ] {
        let mut restoring = Restoring::new(placeholders.clone(), endpoint, false);
        let ended = restoring.feed(text.as_bytes()).and_then(|_| restoring.finish());
        assert_eq!(ended.is_ok(), readable, "{text}");
    }
}
