//! What clients and backends say to each other, as their documents show it.

use crate::translate::Translation::{self, ChatToMessages, ChatToResponses, MessagesToChat, ResponsesToChat};

/// A Responses request with a conversation that used tools.
pub const RESPONSES_TOOLS: &str = r#"{"model":"gpt-5","instructions":"Use tools.","max_output_tokens":512,"store":false,
    "tool_choice":"required","parallel_tool_calls":false,
    "tools":[{"type":"function","name":"weather","description":"Weather of a city","strict":true,
      "parameters":{"type":"object","properties":{"city":{"type":"string"}}}}],
    "input":[{"role":"user","content":"Weather in Bern and Rome?"},
      {"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"I look.","annotations":[]}]},
      {"type":"function_call","id":"fc_1","call_id":"call_1","name":"weather","arguments":"{\"city\":\"Bern\"}","status":"completed"},
      {"type":"function_call","call_id":"call_2","name":"weather","arguments":"{\"city\":\"Rome\"}"},
      {"type":"function_call_output","call_id":"call_1","output":"12 °C"},
      {"type":"function_call_output","call_id":"call_2","output":"18 °C"},
      {"role":"user","content":[{"type":"input_text","text":"Thanks."}]}]}"#;

/// Name, direction, body.
pub const REQUESTS: &[(&str, Translation, &str)] = &[
    (
        "chat-plain",
        ChatToMessages,
        r#"{"model":"gpt-4o","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}],
            "temperature":0.2,"top_p":0.9,"stop":["END"],"max_completion_tokens":64,"user":"u-1","stream":true,
            "stream_options":{"include_usage":true}}"#,
    ),
    (
        "chat-tools",
        ChatToMessages,
        r#"{"model":"gpt-4o","parallel_tool_calls":false,"tool_choice":"required",
            "tools":[{"type":"function","function":{"name":"weather","description":"Weather of a city","strict":true,
              "parameters":{"type":"object","properties":{"city":{"type":"string"},"at":{"type":"string"}},"required":["city"]}}},
              {"type":"function","function":{"name":"now"}}],
            "messages":[{"role":"developer","content":[{"type":"text","text":"Use tools."}]},
              {"role":"user","content":"Weather in Bern and Rome?"},
              {"role":"assistant","content":null,"refusal":null,"tool_calls":[
                {"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\",\"at\":\"now\"}"}},
                {"id":"call_2","type":"function","function":{"name":"weather","arguments":""}}]},
              {"role":"tool","tool_call_id":"call_1","content":"12 °C"},
              {"role":"tool","tool_call_id":"call_2","content":[{"type":"text","text":"18 °C"}]},
              {"role":"user","content":"Thanks."}]}"#,
    ),
    (
        "chat-images-and-files",
        ChatToMessages,
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"What is this?"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo=","detail":"auto"}},
            {"type":"image_url","image_url":{"url":"https://a.test/b.png"}},
            {"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0="}}]}]}"#,
    ),
    (
        "chat-schema",
        ChatToMessages,
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Ann is 7."}],
            "tool_choice":{"type":"function","function":{"name":"f"}},"tools":[{"type":"function","function":{"name":"f"}}],
            "response_format":{"type":"json_schema","json_schema":{"name":"person","strict":true,
              "schema":{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}}}}}}"#,
    ),
    (
        "messages-plain",
        MessagesToChat,
        r#"{"model":"claude-sonnet","max_tokens":64,"system":"Be brief.","stream":true,"temperature":0.2,
            "stop_sequences":["END"],"metadata":{"user_id":"u-1"},
            "messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"},{"role":"user","content":"Bye"}]}"#,
    ),
    (
        "messages-tools",
        MessagesToChat,
        r#"{"model":"claude-sonnet","max_tokens":1024,
            "system":[{"type":"text","text":"Use tools.","cache_control":{"type":"ephemeral"}}],
            "tool_choice":{"type":"any","disable_parallel_tool_use":true},
            "tools":[{"name":"weather","description":"Weather of a city","cache_control":{"type":"ephemeral"},
              "input_schema":{"type":"object","properties":{"city":{"type":"string"},"at":{"type":"string"}},"required":["city"]}}],
            "messages":[{"role":"user","content":[{"type":"text","text":"Weather in Bern?"}]},
              {"role":"assistant","content":[{"type":"thinking","thinking":"Ask the tool.","signature":""},
                {"type":"text","text":"I look it up."},
                {"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern","at":"now"}},
                {"type":"tool_use","id":"toolu_2","name":"weather","input":{}}]},
              {"role":"user","content":[
                {"type":"text","text":"Go on."},
                {"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"12 °C"}]},
                {"type":"tool_result","tool_use_id":"toolu_2","content":"no such city","is_error":true}]}]}"#,
    ),
    (
        "messages-images-and-schema",
        MessagesToChat,
        r#"{"model":"claude-sonnet","max_tokens":64,"messages":[{"role":"user","content":[
            {"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}},
            {"type":"image","source":{"type":"url","url":"https://a.test/b.png"}},
            {"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}},
            {"type":"text","text":"What are these?","cache_control":{"type":"ephemeral"}}]}],
            "output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"what":{"type":"string"}}}}}}"#,
    ),
    (
        "responses-plain",
        ResponsesToChat,
        r#"{"model":"gpt-5","input":"Hi","temperature":0.2,"top_p":0.9,"max_output_tokens":64,"stream":true,"user":"u-1",
            "reasoning":{"effort":"low"},"metadata":{"k":"v"},"include":["reasoning.encrypted_content"],"truncation":"disabled",
            "text":{"verbosity":"low","format":{"type":"json_schema","name":"p","strict":true,"schema":{"type":"object"}}}}"#,
    ),
    ("responses-tools", ResponsesToChat, RESPONSES_TOOLS),
    (
        "responses-images-and-thoughts",
        ResponsesToChat,
        r#"{"model":"gpt-5","input":[{"role":"developer","content":"Be brief."},{"role":"user","content":[
            {"type":"input_text","text":"What is this?"},{"type":"input_image","image_url":"data:image/png;base64,iVBORw0KGgo=","detail":"low"},
            {"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0="}]},
            {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"Look closely."}]},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"A cat."}]},
            {"role":"user","content":"Sure?"}]}"#,
    ),
    (
        "chat-as-responses",
        ChatToResponses,
        r#"{"model":"gpt-4o","max_tokens":64,"temperature":0.2,"stream":true,"stream_options":{"include_usage":true},
            "reasoning_effort":"low","response_format":{"type":"json_schema","json_schema":{"name":"p","schema":{"type":"object"}}},
            "tool_choice":{"type":"function","function":{"name":"weather"}},
            "tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}],
            "messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"What is this?"},
              {"type":"image_url","image_url":{"url":"https://a.test/b.png"}}]},
              {"role":"assistant","content":"I look.","tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{}"}}]},
              {"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"12 °C"}]}]}"#,
    ),
];

/// Name, direction of the request, body of the answer.
pub const ANSWERS: &[(&str, Translation, &str)] = &[
    (
        "message-text",
        ChatToMessages,
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet","content":[{"type":"text","text":"Hello"}],
            "stop_reason":"max_tokens","stop_sequence":null,
            "usage":{"input_tokens":10,"cache_creation_input_tokens":2,"cache_read_input_tokens":30,"output_tokens":4}}"#,
    ),
    (
        "message-tools",
        ChatToMessages,
        r#"{"id":"msg_2","type":"message","role":"assistant","model":"claude-sonnet","content":[
            {"type":"text","text":"I look it up."},
            {"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern"}},
            {"type":"tool_use","id":"toolu_2","name":"now","input":{}}],
            "stop_reason":"tool_use","usage":{"input_tokens":10,"output_tokens":40}}"#,
    ),
    (
        "chat-text",
        MessagesToChat,
        r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,
            "message":{"role":"assistant","content":"Hello","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"length"}],
            "usage":{"prompt_tokens":42,"completion_tokens":4,"total_tokens":46,"prompt_tokens_details":{"cached_tokens":30}}}"#,
    ),
    (
        "chat-tools",
        MessagesToChat,
        r#"{"id":"chatcmpl-2","model":"qwen","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant",
            "reasoning_content":"Ask the tool.","content":"","tool_calls":[
            {"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"}},
            {"id":"call_2","type":"function","function":{"name":"now","arguments":""}}]}}],
            "usage":{"prompt_tokens":10,"completion_tokens":40}}"#,
    ),
    (
        "chat-refusal",
        MessagesToChat,
        r#"{"id":"chatcmpl-3","model":"gpt-4o","choices":[{"index":0,"finish_reason":"stop",
            "message":{"role":"assistant","content":null,"refusal":"I can't help with that."}}]}"#,
    ),
    (
        "completion-as-response",
        ResponsesToChat,
        r#"{"id":"chatcmpl-1","model":"qwen","choices":[{"index":0,"finish_reason":"length","message":{"role":"assistant",
            "reasoning_content":"Hm.","content":"Hel"}}],"usage":{"prompt_tokens":42,"completion_tokens":4,
            "prompt_tokens_details":{"cached_tokens":30},"completion_tokens_details":{"reasoning_tokens":2}}}"#,
    ),
    (
        "completion-with-tools-as-response",
        ResponsesToChat,
        r#"{"id":"chatcmpl-2","model":"qwen","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant",
            "content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"}}]}}]}"#,
    ),
    (
        "response-as-completion",
        ChatToResponses,
        r#"{"id":"resp_1","object":"response","created_at":7,"status":"completed","model":"gpt-5","output":[
            {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"Hm."}]},
            {"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"I look.","annotations":[]}]},
            {"type":"function_call","id":"fc_1","call_id":"call_1","name":"weather","arguments":"{}","status":"completed"}],
            "usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":6,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":16}}"#,
    ),
    (
        "response-cut-as-completion",
        ChatToResponses,
        r#"{"id":"resp_2","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"model":"gpt-5","output":[
            {"type":"message","content":[{"type":"output_text","text":"Hel"}]}]}"#,
    ),
];

/// Name, direction of the request, the backend's stream.
pub const STREAMS: &[(&str, Translation, &str)] = &[
    (
        "message-text",
        ChatToMessages,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":9,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Grüezi \"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Bern\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":12}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    (
        "message-tools",
        ChatToMessages,
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_2\",\"model\":\"claude-sonnet\",\"usage\":{\"input_tokens\":9}}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"weather\",\"input\":{}}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"city\\\":\"}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\\\"Bern\\\"}\"}}\n\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"now\",\"input\":{}}}\n\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":30}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    (
        "message-error",
        ChatToMessages,
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_3\",\"model\":\"claude-sonnet\"}}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
    ),
    (
        "message-cut",
        ChatToMessages,
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_4\",\"model\":\"claude-sonnet\"}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    ),
    (
        "chat-text",
        MessagesToChat,
        "data: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\r\n\r\ndata: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Hm.\"},\"finish_reason\":null}]}\r\n\r\ndata: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grüezi \"},\"finish_reason\":null}]}\r\n\r\ndata: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Bern\"},\"finish_reason\":null}]}\r\n\r\ndata: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":14,\"completion_tokens\":12,\"prompt_tokens_details\":{\"cached_tokens\":5}}}\r\n\r\ndata: [DONE]\r\n\r\n",
    ),
    (
        "chat-tools",
        MessagesToChat,
        "data: {\"id\":\"chatcmpl-2\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"I look it up.\"}}]}\n\ndata: {\"id\":\"chatcmpl-2\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":\"\"}}]}}]}\n\ndata: {\"id\":\"chatcmpl-2\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"city\\\":\"}}]}}]}\n\ndata: {\"id\":\"chatcmpl-2\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"Bern\\\"}\"}}]}}]}\n\ndata: {\"id\":\"chatcmpl-2\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"now\",\"arguments\":\"{}\"}}]}}]}\n\ndata: {\"id\":\"chatcmpl-2\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n",
    ),
    (
        "chat-tools-without-index",
        MessagesToChat,
        "data: {\"id\":\"1\",\"model\":\"llama\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
    ),
    (
        "chat-cut",
        MessagesToChat,
        "data: {\"id\":\"chatcmpl-4\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grü\"}}]}\n\n",
    ),
    (
        "chat-error",
        MessagesToChat,
        "data: {\"id\":\"chatcmpl-5\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grü\"}}]}\n\ndata: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n",
    ),
    (
        "chunks-as-response",
        ResponsesToChat,
        "data: {\"id\":\"chatcmpl-1\",\"model\":\"qwen\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Hm.\"}}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"I \"}}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"look.\"}}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":\"\"}}]}}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":14,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n",
    ),
    (
        "chunks-cut-as-response",
        ResponsesToChat,
        "data: {\"id\":\"chatcmpl-1\",\"model\":\"qwen\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grü\"}}]}\n\n",
    ),
    (
        "chunks-error-as-response",
        ResponsesToChat,
        "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grü\"}}]}\n\ndata: {\"error\":{\"message\":\"boom\"}}\n\n",
    ),
    (
        "response-as-chunks",
        ChatToResponses,
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-5\",\"status\":\"in_progress\",\"output\":[]}}\n\nevent: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"message\",\"id\":\"msg_1\",\"content\":[]}}\n\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"content_index\":0,\"item_id\":\"msg_1\",\"delta\":\"I look.\"}\n\nevent: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"function_call\",\"id\":\"fc_1\",\"call_id\":\"call_1\",\"name\":\"weather\",\"arguments\":\"\"}}\n\nevent: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":1,\"item_id\":\"fc_1\",\"delta\":\"{}\"}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":10,\"output_tokens\":6}}}\n\n",
    ),
    (
        "response-failed-as-chunks",
        ChatToResponses,
        "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_2\",\"model\":\"gpt-5\"}}\n\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"resp_2\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"boom\"}}}\n\n",
    ),
];
