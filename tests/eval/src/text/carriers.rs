//! Surroundings of a value: `{w}` is a word of people for it, `{k}` a program's key, `{v}` the value.

use crate::random::Random;

/// Names of the carriers.
pub const NAMES: &[&str] = &["prose", "json", "yaml", "env", "log", "code", "table", "mail", "tool", "markup"];

struct Carrier {
    name: &'static str,
    tuned: &'static [&'static str],
    held_out: &'static [&'static str],
}

const CARRIERS: &[Carrier] = &[
    Carrier {
        name: "prose",
        tuned: &[
            "Hello, {w} is {v}, can you help me?",
            "Please note: {w} {v}. Thanks!",
            "I was told to send you this. {w}: {v}",
            "{w} {v}",
            "So here we go, {w} {v} and nothing else.",
            "For the record, {w} is {v} (checked twice).",
            "{w}: {v}\nWhat do I do next?",
            "As discussed on the phone – {w} {v}; keep it to yourself.",
        ],
        held_out: &[
            "Hi there! {w} {v} - please confirm.",
            "Could you check whether {w} {v} is right?",
            "{w} = {v}. That is all I know.",
            "(internal) {w}: {v}",
        ],
    },
    Carrier {
        name: "json",
        tuned: &[
            "{\"id\": 4711, \"{k}\": \"{v}\", \"active\": true}",
            "{\"record\":{\"{k}\":\"{v}\"},\"page\":1}",
            "[{\"type\":\"entry\",\"{k}\":\"{v}\",\"tags\":[\"a\",\"b\"]}]",
            "{\n  \"meta\": {\"v\": 2},\n  \"{k}\": \"{v}\"\n}",
        ],
        held_out: &[
            "{\"data\": {\"attributes\": {\"{k}\": \"{v}\"}}, \"ok\": 1}",
            "{\"{k}\": \"{v}\", \"next\": null}",
        ],
    },
    Carrier {
        name: "yaml",
        tuned: &[
            "service: billing\n{k}: {v}\nreplicas: 2\n",
            "- name: one\n  {k}: \"{v}\"\n",
            "config:\n  {k}: '{v}'\n  retries: 5\n",
            "{k}: {v} # set by hand\nlevel: info\n",
        ],
        held_out: &["spec:\n  template:\n    {k}: {v}\n    image: app:1.2\n", "{k}: >-\n  {v}\nname: job\n"],
    },
    Carrier {
        name: "env",
        tuned: &[
            "PORT=8080\n{k}={v}\nDEBUG=0\n",
            "export {k}=\"{v}\"\n",
            "# local only\n{k}='{v}'\nLANG=C\n",
            "$ {k}={v} ./run.sh --fast",
        ],
        held_out: &["set {k}={v}\nset MODE=prod\n", "ENV {k}={v}\nRUN make\n"],
    },
    Carrier {
        name: "log",
        tuned: &[
            "2024-05-01T12:34:56Z INFO request done {k}={v} status=200 took=12ms",
            "[12:01:07] worker-3: loaded {k}: {v}",
            "May  3 09:14:22 host7 app[812]: {k}={v}, retry in 5s",
            "level=warn ts=1714552496 msg=\"unexpected\" {k}=\"{v}\"",
        ],
        held_out: &[
            "2025-01-09 08:00:01,114 | DEBUG | core | {k} -> {v}",
            "I0612 10:44:02.118273 1 main.go:57] {k}=\"{v}\" ok",
        ],
    },
    Carrier {
        name: "code",
        tuned: &[
            "def setup():\n    {k} = \"{v}\"\n    return connect({k})\n",
            "const {k} = '{v}';\nexport default {k};\n",
            "let {k} = \"{v}\".to_string();\nclient.run(&{k})?;\n",
            "+    \"{k}\": \"{v}\",\n-    \"{k}\": None,\n",
        ],
        held_out: &["var cfg = new Config { {k} = \"{v}\" };\n", "func init() {\n\t{k} := \"{v}\"\n\tuse({k})\n}\n"],
    },
    Carrier {
        name: "table",
        tuned: &[
            "id,{k},state\n1,{v},open\n",
            "| field | value |\n|---|---|\n| {k} | {v} |\n",
            "{k}\tcount\n{v}\t3\n",
            "INSERT INTO records (id, {k}) VALUES (7, '{v}');",
        ],
        held_out: &["{k};state;n\n{v};new;4\n", "UPDATE t SET {k} = '{v}' WHERE id = 3;"],
    },
    Carrier {
        name: "mail",
        tuned: &[
            "Subject: your request\n\nHi,\n\nas asked: {w} {v}\n\nRegards\n",
            "Betreff: Anfrage\n\nGuten Tag,\n\n{w}: {v}\n\nViele Grüße\n",
        ],
        held_out: &["Hello team,\n\n{w} {v}\n\nThanks, M.\n"],
    },
    Carrier {
        name: "tool",
        tuned: &[
            "{\"name\":\"save\",\"arguments\":\"{\\\"{k}\\\":\\\"{v}\\\",\\\"n\\\":1}\"}",
            "{\"input\":\"{\\n  \\\"step\\\": 2,\\n  \\\"{k}\\\": \\\"{v}\\\"\\n}\"}",
        ],
        held_out: &["[{\"function\":{\"name\":\"upsert\",\"arguments\":\"{\\\"{k}\\\": \\\"{v}\\\"}\"}}]"],
    },
    Carrier {
        name: "markup",
        tuned: &[
            "<record><{k}>{v}</{k}></record>",
            "<input name=\"{k}\" value=\"{v}\">",
            "<li><b>{w}</b>: {v}</li>",
            "**{w}**: `{v}`\n",
        ],
        held_out: &["<td>{k}</td><td>{v}</td>", "- {w}: **{v}**\n"],
    },
];

/// A text with the value in the carrier of this name.
pub fn carry(name: &str, held_out: bool, (word, key): (&str, &str), value: &str, r: &mut Random) -> String {
    let carrier = CARRIERS.iter().find(|c| c.name == name).unwrap_or(&CARRIERS[0]);
    let template = r.pick(if held_out { carrier.held_out } else { carrier.tuned });
    template.replace("{w}", word).replace("{k}", key).replace("{v}", value)
}
